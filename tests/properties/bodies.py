"""Bodies of responses: pages of engagements, nearly pages, or nothing of the kind."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies as st


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


_BLANKS = st.sampled_from((b"", b"", b" ", b"\n", b"\r\n\t"))
_NAMES = st.sampled_from((b'"a"', b'"A"', b'"Engagements"', b'"page_size"', rb'"\ud800"', b'""'))
_TEXTS = st.text().map(lambda text: json.dumps(text, ensure_ascii=False).encode(errors="replace"))
_SCALARS = st.one_of(
    st.sampled_from((b"null", b"true", b"-0", b"1E2", rb'"\ud800"', rb'"x \uDC4B"', rb'"\ud83d\udc4b \\\""')),
    st.integers(1, 6_000).map(lambda digits: b"9" * digits),
    _TEXTS,
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.builds(_array, st.lists(inner, max_size=4), _BLANKS),
        st.builds(_object, st.lists(st.tuples(_NAMES, inner), max_size=4), _BLANKS),
    ),
    max_leaves=8,
)
_MEMBERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=3)
_RECORDS = st.builds(
    lambda members, identity, start: _object(
        [*members, (b'"engagement_id"', identity), (b'"start_time"', start)], b" "
    ),
    _MEMBERS,
    _TEXTS | st.sampled_from((b"7", b"7.5", b"null", b"true", b"{}")),
    _TEXTS | st.sampled_from((b"7", b"null", b"[]")),
)
SOUND_PAGES = st.builds(
    lambda records, before, after, blank: SoundPage(
        _object(
            [
                *before,
                (b'"total_records"', b"%d" % len(records)),
                (b'"engagements"', _array(records, blank)),
                *after,
            ],
            blank,
        ),
        records,
    ),
    st.lists(_RECORDS, max_size=4),
    _MEMBERS,
    _MEMBERS,
    _BLANKS,
)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Replace, repeat and cut a few bytes."""
    body = draw(bodies)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.sampled_from((0, 1, 1, 2, 8, 100, len(body))))
        pieces = (b"\\", b'"', rb"\ud83d", b"\xff", b"NaN", b"[" * 2_000, body[start:end] * 2)
        body = body[:start] + draw(st.binary(max_size=8) | st.sampled_from(pieces)) + body[end:]
    return body


_SOUND_BODIES = SOUND_PAGES.map(lambda page: page.body)
BODIES = st.one_of(st.binary(max_size=2_000), _SOUND_BODIES, damaged(_SOUND_BODIES))
