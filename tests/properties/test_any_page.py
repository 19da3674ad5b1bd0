"""Whatever the body of a response: its records are those bytes of it, or it is a transient error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from json.decoder import JSONDecoder

from hypothesis import event, given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.errors import TransientError
from airflow_provider_zcc.zoom.page import Page, parse_page
from tests.properties.profile import examples

#: Numbers keep their spelling, as bytes: some are too long for Python's int.
_DECODER = JSONDecoder(parse_int=str.encode, parse_float=str.encode)

Members = list[tuple[bytes, bytes]]


def an_array(items: list[bytes], blank: bytes) -> bytes:
    return b"[" + blank + (b"," + blank).join(items) + b"]"


def an_object(members: Members, blank: bytes) -> bytes:
    return b"{" + (b"," + blank).join(name + b":" + blank + value for name, value in members) + blank + b"}"


def a_page(records: list[bytes], before: Members, after: Members, blank: bytes) -> tuple[bytes, list[bytes]]:
    """Return the JSON of a page, and its records."""
    own = [(b'"total_records"', b"%d" % len(records)), (b'"engagements"', an_array(records, blank))]
    return an_object([*before, *own, *after], blank), records


BLANKS = st.sampled_from((b"", b"", b" ", b"\n", b"\r\n\t"))
NAMES = st.sampled_from((b'"a"', b'"A"', b'"Engagements"', b'"page_size"', rb'"\ud800"', b'""'))
TEXTS = st.text().map(lambda text: json.dumps(text, ensure_ascii=False).encode(errors="replace"))
VALUES = st.recursive(
    st.one_of(
        st.sampled_from((b"null", b"true", b"-0", b"1E2", rb'"\ud800"', rb'"x \uDC4B"', rb'"\ud83d\udc4b \\\""')),
        st.integers(1, 6_000).map(lambda digits: b"9" * digits),
        TEXTS,
    ),
    lambda inner: st.one_of(
        st.builds(an_array, st.lists(inner, max_size=4), BLANKS),
        st.builds(an_object, st.lists(st.tuples(NAMES, inner), max_size=4), BLANKS),
    ),
    max_leaves=8,
)
MEMBERS = st.lists(st.tuples(NAMES, VALUES), max_size=3)
RECORDS = st.builds(
    lambda members, identity, start: an_object(
        [*members, (b'"engagement_id"', identity), (b'"start_time"', start)], b" "
    ),
    MEMBERS,
    TEXTS | st.sampled_from((b"7", b"7.5", b"null", b"true", b"{}")),
    TEXTS | st.sampled_from((b"7", b"null", b"[]")),
)
PAGES = st.builds(a_page, st.lists(RECORDS, max_size=4), MEMBERS, MEMBERS, BLANKS)


@st.composite
def damaged_pages(draw: st.DrawFn) -> bytes:
    """Replace, repeat and cut a few bytes."""
    body, _ = draw(PAGES)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.sampled_from((0, 1, 1, 2, 8, 100, len(body))))
        pieces = (b"\\", b'"', rb"\ud83d", b"\xff", b"NaN", b"[" * 2_000, body[start:end] * 2)
        body = body[:start] + draw(st.binary(max_size=8) | st.sampled_from(pieces)) + body[end:]
    return body


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
@given(body=st.binary(max_size=2_000) | damaged_pages() | damaged_pages())
def test_any_body_is_a_page_of_its_records_or_a_transient_error(body: bytes) -> None:
    try:
        page = parse_page(body)
    except TransientError:
        event("no page")
        return
    event(f"a page of {min(len(page.records), 3)} records or more")
    assert_holds_the_records_of(page, body)


@examples(250, 6_000)
@given(sound=PAGES)
def test_any_values_at_any_place_of_a_record_are_read(sound: tuple[bytes, list[bytes]]) -> None:
    body, records = sound

    page = parse_page(body)

    assert [record.line for record in page.records] == [record.translate(None, b"\r\n") for record in records]
    assert page.total_records == len(records)
