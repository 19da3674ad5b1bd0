"""Answers that are pages of engagements, nearly pages, or nothing of the kind."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import strategies as st

from tests.zoom_simulator.data import Engagements, TimeStyle

_RECORDS = [Engagements(range(1_793_000_000, 1_793_000_240)).render(number, TimeStyle()) for number in range(240)]
_HEAD = {
    "next_page_token": "",
    "page_size": 100,
    "timezone": "UTC",
    "from": f"{datetime(2026, 11, 5, tzinfo=UTC):%Y-%m-%dT%H:%M:%SZ}",
    "to": f"{datetime(2026, 11, 6, tzinfo=UTC):%Y-%m-%dT%H:%M:%SZ}",
}


def _page(numbers: list[int], *, head_first: bool) -> bytes:
    head = json.dumps(_HEAD | {"total_records": len(numbers)})[1:-1]
    records = f'"engagements": [{",".join(_RECORDS[number] for number in numbers)}]'
    return f"{{{', '.join((head, records) if head_first else (records, head))}}}".encode()


#: Pages as Zoom writes them.
PAGES = st.builds(_page, st.lists(st.integers(0, 239), max_size=4), head_first=st.booleans())

_NAMES = st.sampled_from(
    (
        b'"engagements"',
        b'"total_records"',
        b'"next_page_token"',
        b'"from"',
        b'"to"',
        b'"engagement_id"',
        b'"start_time"',
        b'"a"',
    )
)
_OTHER_NAMES = st.sampled_from((b'"a"', b'"A"', b'"Engagements"', b'"page_size"', rb'"\ud800"', b'""'))
_STRINGS = st.sampled_from(
    (
        b'""',
        b'"a"',
        b'"2026-11-05T00:00:00Z"',
        b'"7"',
        b'"\xc3\xa9\xe2\x80\xa8"',
        rb'"\ud83d\udc4b"',
        rb'"\n\"\\\u0000"',
        rb'"\ud800"',
        rb'"x \uDC4B"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        rb'"\q"',
        rb'"\ud8"',
        b'"open',
        b'"line\nbreak"',
    )
) | st.text().map(lambda text: json.dumps(text).encode())
_NUMBERS = st.one_of(
    st.integers().map(lambda number: b"%d" % number),
    st.integers(1, 6_000).map(lambda digits: b"9" * digits),
    st.floats().map(lambda number: json.dumps(number).encode()),
    st.sampled_from((b"0", b"-0", b"1E2", b"-0.50", b"1e999", b"1e-999", b"01", b"1.", b"-", b"+1", b"NaN", b"3.0")),
)
_SPACES = st.sampled_from((b"", b"", b"", b" ", b"\n", b"\r\n\t", b"\x0c", b"\x00", b"\xef\xbb\xbf"))
_DEEP = st.builds(
    lambda pair, depth: pair[0] * depth + b"1" + pair[1] * depth,
    st.sampled_from(((b"[", b"]"), (b'{"a":', b"}"), (b"[", b""), (b'{"a":', b""))),
    st.integers(1, 1_200) | st.just(100_000),
)
_SCALARS = st.one_of(st.sampled_from((b"null", b"true", b"false", b"nul")), _STRINGS, _NUMBERS)


def _list_of(items: list[bytes], space: bytes) -> bytes:
    return b"[" + space + (b"," + space).join(items) + b"]"


def _object_of(members: list[tuple[bytes, bytes]], space: bytes) -> bytes:
    return b"{" + (b"," + space).join(name + b":" + space + value for name, value in members) + space + b"}"


def _objects(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(_object_of, st.lists(st.tuples(_NAMES, values), max_size=5), _SPACES)


_VALUES = st.recursive(
    _SCALARS | _DEEP,
    lambda inner: st.builds(_list_of, st.lists(inner, max_size=4), _SPACES) | _objects(inner),
    max_leaves=8,
)
_RECORD_LISTS = st.builds(_list_of, st.lists(_objects(_VALUES) | _VALUES, max_size=4), _SPACES)
#: Any value at any place, names that come twice, names that are missing.
SHAPES = st.builds(
    lambda before, records, after, space: _object_of([*before, (b'"engagements"', records), *after], space),
    st.lists(st.tuples(_NAMES, _VALUES), max_size=3),
    _RECORD_LISTS | _VALUES,
    st.lists(st.tuples(_NAMES, _VALUES), max_size=3),
    _SPACES,
)
_SOUND_VALUES = st.recursive(
    st.one_of(
        st.sampled_from(
            (b"null", b"true", b"-0", b"1E2", b"1e-999", rb'"\ud800"', rb'"x \uDC4B"', rb'"\ud83d\udc4b \\\" \n"')
        ),
        st.integers(1, 6_000).map(lambda digits: b"9" * digits),
        st.text().map(lambda text: json.dumps(text, ensure_ascii=False).encode(errors="replace")),
    ),
    lambda inner: (
        st.builds(_list_of, st.lists(inner, max_size=4), st.sampled_from((b"", b" ", b"\r\n\t")))
        | st.builds(
            _object_of, st.lists(st.tuples(_OTHER_NAMES, inner), max_size=4), st.sampled_from((b"", b" ", b"\r\n\t"))
        )
    ),
    max_leaves=8,
)
_TEXTS = st.text(max_size=8).map(lambda text: json.dumps(text).encode())
_SOUND_RECORDS = st.builds(
    lambda members, identity, start, space: _object_of(
        [*members, (b'"engagement_id"', identity), (b'"start_time"', start)], space
    ),
    st.lists(st.tuples(_OTHER_NAMES, _SOUND_VALUES), max_size=4),
    _TEXTS | _SOUND_VALUES.filter(lambda value: b"9999" not in value),
    _TEXTS,
    st.sampled_from((b"", b" ", b"\n")),
)
#: Pages with any values in any of their records.
SOUND_SHAPES = st.builds(
    lambda before, records, after, space: _object_of(
        [*before, (b'"engagements"', _list_of(records, space)), *after], space
    ),
    st.lists(st.tuples(_OTHER_NAMES, _SOUND_VALUES), max_size=3),
    st.lists(_SOUND_RECORDS, max_size=4),
    st.lists(st.tuples(_OTHER_NAMES, _SOUND_VALUES), max_size=3),
    st.sampled_from((b"", b" ", b"\r\n\t")),
)
#: Tokens of JSON in any order.
SOUP = st.lists(
    st.one_of(st.sampled_from((b"{", b"}", b"[", b"]", b",", b":", b'{"engagements":[')), _NAMES, _SCALARS, _SPACES),
    max_size=25,
).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Flip, cut, insert and repeat a few bytes."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(body)))
        length = draw(st.sampled_from((1, 1, 1, 2, 8, 100)))
        what = draw(st.sampled_from(("flip", "cut", "insert", "repeat", "end")))
        if what == "flip":
            body[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif what == "cut":
            del body[place : place + length]
        elif what == "insert":
            body[place:place] = draw(
                st.binary(max_size=8) | _SCALARS | _SPACES | st.sampled_from((b"\\", b'"', rb"\ud83d"))
            )
        elif what == "repeat":
            body[place:place] = body[place : place + length]
        else:
            del body[place:]
    return bytes(body)


BODIES = st.one_of(
    st.binary(max_size=2_000), PAGES, SHAPES, SOUND_SHAPES, SOUP, damaged(PAGES), damaged(SHAPES), damaged(SOUND_SHAPES)
)
