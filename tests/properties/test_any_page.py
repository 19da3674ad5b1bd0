"""Whatever the body of a response: its records are those bytes of it, or it is a transient error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from json.decoder import JSONDecoder

from hypothesis import event, given

from airflow_provider_zcc.zoom.errors import TransientError
from airflow_provider_zcc.zoom.page import Page, parse_page
from tests.properties.bodies import BODIES, SOUND_PAGES, SoundPage
from tests.properties.profile import examples

#: Numbers keep their spelling, as bytes: some are too long for Python's int.
_DECODER = JSONDecoder(parse_int=str.encode, parse_float=str.encode)


@contextmanager
def room_for_nesting() -> Iterator[None]:
    """Python reads as deep as the package does, and this stands deeper in the stack."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 1_000)
    yield
    sys.setrecursionlimit(limit)


@room_for_nesting()
def assert_holds_the_records_of(page: Page, body: bytes) -> None:
    """Compare a page with what Python's own JSON reads; of names that occur twice, the last counts."""
    records = [_DECODER.decode(record.line.decode()) for record in page.records]
    assert records == (_DECODER.decode(body.decode()).get("engagements") or [])
    without_line_breaks, place = body.translate(None, b"\r\n"), 0
    for record in page.records:
        place = without_line_breaks.index(record.line, place) + len(record.line)


@examples(600, 16_000)
@given(body=BODIES)
def test_any_body_is_a_page_of_its_records_or_a_transient_error(body: bytes) -> None:
    try:
        page = parse_page(body)
    except TransientError:
        event("no page")
        return
    event(f"a page of {min(len(page.records), 3)} records or more")
    assert_holds_the_records_of(page, body)


@examples(250, 6_000)
@given(sound=SOUND_PAGES)
def test_any_values_at_any_place_of_a_record_are_read(sound: SoundPage) -> None:
    page = parse_page(sound.body)

    assert [record.line for record in page.records] == [record.translate(None, b"\r\n") for record in sound.records]
    assert page.total_records == len(sound.records)
