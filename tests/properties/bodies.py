"""Bodies of responses: pages of engagements, nearly pages, or nothing of the kind."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.zoom_simulator.data import Engagements, TimeStyle

_ENGAGEMENTS = Engagements(range(1_793_000_000, 1_793_000_240))
_RECORDS = [_ENGAGEMENTS.render(number, TimeStyle()).encode() for number in range(240)]


@dataclass(frozen=True)
class SoundPage:
    """A page that has to be read.

    :param body: the JSON.
    :param records: its engagements, as they are in the body.
    """

    body: bytes
    records: list[bytes]


def _array(items: list[bytes], blank: bytes) -> bytes:
    return b"[" + blank + (b"," + blank).join(items) + b"]"


def _object(members: list[tuple[bytes, bytes]], blank: bytes) -> bytes:
    return b"{" + (b"," + blank).join(name + b":" + blank + value for name, value in members) + blank + b"}"


def _values(scalars: st.SearchStrategy[bytes], names: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.builds(_array, st.lists(inner, max_size=4), _BLANKS),
            st.builds(_object, st.lists(st.tuples(names, inner), max_size=4), _BLANKS),
        ),
        max_leaves=8,
    )


_BLANKS = st.sampled_from((b"", b"", b" ", b"\n", b"\r\n\t"))
_OTHER_NAMES = st.sampled_from((b'"a"', b'"A"', b'"Engagements"', b'"page_size"', rb'"\ud800"', b'""'))
_NAMES = _OTHER_NAMES | st.sampled_from(
    [
        f'"{name}"'.encode()
        for name in ("engagements", "total_records", "next_page_token", "engagement_id", "start_time")
    ]
)
_TEXTS = st.text(max_size=8).map(lambda text: json.dumps(text).encode())
_LONG_NUMBERS = st.integers(1, 6_000).map(lambda digits: b"9" * digits)
_SOUND_SCALARS = st.one_of(
    st.sampled_from(
        (b"null", b"true", b"-0", b"1E2", b"1e-999", rb'"\ud800"', rb'"x \uDC4B"', rb'"\ud83d\udc4b \\\""')
    ),
    _LONG_NUMBERS,
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False).encode(errors="replace")),
)
_ODD_SCALARS = st.one_of(
    _SOUND_SCALARS,
    st.floats().map(lambda number: json.dumps(number).encode()),
    st.sampled_from((b"nul", b"01", b"1.", b"-", b"+1", b"NaN", b"\x00", b"\xef\xbb\xbf")),
    st.sampled_from((b'"7"', rb'"\n\u0000"', b'"\xff"', b'"\xed\xa0\x80"', rb'"\q"', rb'"\ud8"', b'"open', b'"a\nb"')),
    st.builds(
        lambda opening, closing, depth: opening * depth + b"1" + closing * depth,
        st.sampled_from((b"[", b'{"a":')),
        st.sampled_from((b"]", b"}", b"")),
        st.integers(1, 1_200) | st.just(100_000),
    ),
)
_SOUND_VALUES = _values(_SOUND_SCALARS, _OTHER_NAMES)
_ODD_VALUES = _values(_ODD_SCALARS, _NAMES)


@st.composite
def _sound_pages(draw: st.DrawFn, records: st.SearchStrategy[bytes], values: st.SearchStrategy[bytes]) -> SoundPage:
    found = draw(st.lists(records, max_size=4))
    members = st.lists(st.tuples(_OTHER_NAMES, values), max_size=3)
    total = (b'"total_records"', b"%d" % len(found))
    engagements = (b'"engagements"', _array(found, draw(_BLANKS)))
    return SoundPage(_object([*draw(members), total, engagements, *draw(members)], draw(_BLANKS)), found)


_SOUND_RECORDS = st.builds(
    lambda members, identity, start: _object(
        [*members, (b'"engagement_id"', identity), (b'"start_time"', start)], b" "
    ),
    st.lists(st.tuples(_OTHER_NAMES, _SOUND_VALUES), max_size=4),
    _TEXTS | _SOUND_VALUES.filter(lambda value: b"9999" not in value),
    _TEXTS,
)
#: Pages as Zoom writes them, and pages with any values in any of their records.
PAGES = _sound_pages(st.sampled_from(_RECORDS), st.just(b'"UTC"'))
SOUND_PAGES = _sound_pages(_SOUND_RECORDS, _SOUND_VALUES)
#: Any value at any place, names that occur twice, names that are missing.
_SHAPES = st.builds(
    lambda before, engagements, after, blank: _object([*before, (b'"engagements"', engagements), *after], blank),
    st.lists(st.tuples(_NAMES, _ODD_VALUES), max_size=3),
    st.builds(_array, st.lists(_ODD_VALUES, max_size=4), _BLANKS) | _ODD_VALUES,
    st.lists(st.tuples(_NAMES, _ODD_VALUES), max_size=3),
    _BLANKS,
)
#: Tokens of JSON in any order.
_SOUP = st.lists(st.sampled_from((b"{", b"}", b"[", b"]", b",", b":")) | _NAMES | _ODD_SCALARS, max_size=25).map(
    b"".join
)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Replace, repeat and cut a few bytes."""
    body = draw(bodies)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.sampled_from((0, 1, 1, 2, 8, 100, len(body))))
        inserted = draw(st.binary(max_size=8) | st.sampled_from((b"\\", b'"', rb"\ud83d", body[start:end] * 2)))
        body = body[:start] + inserted + body[end:]
    return body


_SOUND_BODIES = (PAGES | SOUND_PAGES).map(lambda page: page.body)
BODIES = st.one_of(st.binary(max_size=2_000), _SOUND_BODIES, _SHAPES, _SOUP, damaged(_SOUND_BODIES), damaged(_SHAPES))
