"""Whatever the body of a response: its records are those bytes of it, or it is a transient error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from json.decoder import JSONDecoder
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.errors import TransientError
from airflow_provider_zcc.zoom.page import Page, parse_page
from tests.properties.bodies import BODIES, PAGES, SOUND_PAGES, SoundPage
from tests.properties.profile import examples


def _reject(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


#: Numbers keep their spelling, as bytes: some are too long for Python's int.
_DECODER = JSONDecoder(parse_int=str.encode, parse_float=str.encode, parse_constant=_reject)


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
    assert isinstance(page.total_records, int | None)
    assert page.next_page_token is None or page.next_page_token
    records = [_DECODER.decode(record.line.decode()) for record in page.records]
    assert records == (_DECODER.decode(body.decode()).get("engagements") or [])
    without_line_breaks, place = body.translate(None, b"\r\n"), 0
    for record, read in zip(page.records, records, strict=True):
        place = without_line_breaks.index(record.line, place) + len(record.line)
        identity = read.get("engagement_id")
        if isinstance(record.identity, bytes):
            assert record.identity == record.line
        elif isinstance(record.identity, int):
            assert record.identity == int(identity)
        elif identity.isprintable():
            assert record.identity == identity


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
@given(sound=PAGES | SOUND_PAGES)
def test_any_values_at_any_place_of_a_record_are_read(sound: SoundPage) -> None:
    page = parse_page(sound.body)

    assert [record.line for record in page.records] == [record.translate(None, b"\r\n") for record in sound.records]
    assert page.total_records == len(sound.records)
    assert_holds_the_records_of(page, sound.body)


@examples(25, 400)
@given(
    unit=st.binary(min_size=1, max_size=6)
    | st.sampled_from(
        (b"[", b'{"a":', b'"', b"\\", rb"\ud83d", rb'{"a":"\ud800"},', b"{},", b"9", b" ", b"\n", b"1,", b'"a":1,')
    ),
    start=st.sampled_from(
        (b"", b'{"engagements":[', b'{"engagements":[{"a":"', b'{"total_records":', rb'{"x":"\ud800",')
    ),
    end=st.sampled_from((b"", b"]}", b"}]}", b'"}]}', b"}")),
)
def test_a_body_of_a_million_bytes_takes_seconds_at_most(unit: bytes, start: bytes, end: bytes) -> None:
    body = start + unit * (1_000_000 // len(unit)) + end
    began = time.thread_time()

    with suppress(TransientError):
        parse_page(body)

    assert time.thread_time() - began < 5
