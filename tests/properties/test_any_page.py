"""Whatever the body of an answer: its records are those bytes of it, or it is a transient error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from json.decoder import JSONDecoder, scanstring
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.errors import TransientError
from airflow_provider_zcc.zoom.page import Page, parse_page
from tests.properties.bodies import BODIES, PAGES, SOUND_SHAPES
from tests.properties.profile import examples

_BLANKS = " \t\r\n"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


#: Numbers stay text: some are too long for Python. Members stay a list: some names come twice.
_DECODER = JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse, object_pairs_hook=dict)


@contextmanager
def room_for_nesting() -> Iterator[None]:
    """Python reads as deep as the package does, and this stands deeper in the stack."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 1_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _past_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BLANKS:
        place += 1
    return place


def _elements(text: str, place: int) -> list[str] | None:
    """Return the text of each element of the list that begins at a place; None if there is no list."""
    if text[place] != "[":
        return None
    found, place = [], _past_blanks(text, place + 1)
    while text[place] != "]":
        _, end = _DECODER.raw_decode(text, place)
        found.append(text[place:end])
        place = _past_blanks(text, end)
        place = _past_blanks(text, place + 1) if text[place] == "," else place
    return found


def engagements_in(body: bytes) -> list[str]:
    """Cut the engagements out with Python's own JSON; of names that come twice the last counts."""
    text = body.decode()
    found: list[str] | None = None
    place = _past_blanks(text, _past_blanks(text, 0) + 1)
    while text[place] != "}":
        name, end = scanstring(text, place + 1)
        place = _past_blanks(text, _past_blanks(text, end) + 1)
        if name == "engagements":
            found = _elements(text, place)
        _, end = _DECODER.raw_decode(text, place)
        place = _past_blanks(text, end)
        place = _past_blanks(text, place + 1) if text[place] == "," else place
    return found or []


def assert_holds_the_records_of(page: Page, body: bytes) -> None:
    assert isinstance(page.total_records, int | None)
    assert page.next_page_token is None or page.next_page_token
    with room_for_nesting():
        expected = [text.encode().translate(None, b"\r\n") for text in engagements_in(body)]
        assert [record.line for record in page.records] == expected
        for record in page.records:
            read = _DECODER.decode(record.line.decode())
            identity = read.get("engagement_id")
            assert isinstance(read, dict)
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


@examples(150, 4_000)
@given(body=SOUND_SHAPES)
def test_any_values_at_any_place_of_a_record_are_read(body: bytes) -> None:
    assert_holds_the_records_of(parse_page(body), body)


@examples(100, 2_000)
@given(body=PAGES)
def test_a_page_as_zoom_writes_it_is_read(body: bytes) -> None:
    page = parse_page(body)

    assert_holds_the_records_of(page, body)
    assert len(page.records) == page.total_records == json.loads(body)["total_records"]


@examples(25, 400)
@given(
    unit=st.one_of(
        st.binary(min_size=1, max_size=6),
        st.sampled_from(
            (
                b"[",
                b"{",
                b'{"a":',
                b'"',
                b"\\",
                rb"\ud83d",
                rb'{"a":"\ud800"},',
                b"{},",
                b"9",
                b" ",
                b"\n",
                b"1,",
                b'"a":1,',
            )
        ),
    ),
    start=st.sampled_from(
        (
            b"",
            b'{"engagements":[',
            b'{"engagements":[{"a":',
            b'{"engagements":[{"a":"',
            b'{"total_records":',
            rb'{"x":"\ud800","engagements":[',
        )
    ),
    end=st.sampled_from((b"", b"]}", b"{}]}", b"}]}", b'"}]}', b"}")),
)
def test_a_body_of_a_million_bytes_takes_seconds_at_most(unit: bytes, start: bytes, end: bytes) -> None:
    body = start + unit * (1_000_000 // len(unit)) + end
    began = time.thread_time()

    try:
        records = parse_page(body).records
    except TransientError:
        records = []

    assert time.thread_time() - began < 5
    assert all(len(record.line) <= len(body) for record in records)
