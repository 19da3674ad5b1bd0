"""One page of Zoom's answer: its records as the bytes they came in, and little else read."""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec

from airflow_provider_zcc.zoom.errors import TransientError


class _Page(msgspec.Struct):
    next_page_token: str | None = None
    total_records: int | str | None = None
    echoed_from: Any = msgspec.field(default=None, name="from")
    echoed_to: Any = msgspec.field(default=None, name="to")
    engagements: list[msgspec.Raw] | None = None


class _Head(msgspec.Struct, gc=False):
    engagement_id: Any = None
    start_time: Any = None


# Records come by the hundred thousand, and hold nothing that the garbage collector would have to follow.
class Record(msgspec.Struct, frozen=True, gc=False):
    """One engagement.

    :param line: its JSON as Zoom sent it, without the line breaks between its tokens; where there are none, a view
        of the page.
    :param identity: its ``engagement_id``; without one, the line.
    :param start_time: as it came.
    """

    line: bytes | memoryview
    identity: str | bytes
    start_time: Any


class Page(msgspec.Struct, frozen=True):
    """One page.

    :param records: in the order in which they came.
    :param next_page_token: None on the last page.
    :param total_records: of all pages, as Zoom counts; None if it does not say.
    :param range: ``from`` and ``to`` as Zoom understood them.
    """

    records: list[Record]
    next_page_token: str | None
    total_records: int | None
    range: tuple[Any, Any]


#: Any escape in a string: a surrogate pair, half of one, or another.
_HEX = rb"[0-9a-fA-F]{2}"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b\\u[dD][c-fC-F]%b|(?P<half>u[dD][89a-fA-F]%b)|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)

_PIECE = 1 << 10
_read_page = msgspec.json.Decoder(_Page).decode
_read_head = msgspec.json.Decoder(_Head).decode


def parse_page(body: bytes) -> Page:
    """Cut a page into its records.

    :param body: the answer.
    :raises TransientError: if it is not a page of engagements in UTF-8 encoded JSON.
    """
    try:
        _require_utf8(body)
        page, slices = _cut_out(body)
        total = None if page.total_records is None else int(page.total_records)
        if page.engagements is None and total != 0:
            raise TransientError(_unreadable("it holds no list of engagements"))
        # A JSON string has no bare line break, so those that are there stand between tokens.
        broken = b"\n" in body or b"\r" in body
        lines: list[bytes | memoryview] = [_on_one_line(piece) if broken else piece for piece in slices]
        records = [_record(raw, line) for raw, line in zip(page.engagements or (), lines, strict=True)]
    except (UnicodeDecodeError, msgspec.DecodeError, ValueError, RecursionError) as error:
        # The decoder's words name a type or a position, never a value.
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is not text in UTF-8 or not a number"
        raise TransientError(_unreadable(reason)) from None
    return Page(records, page.next_page_token or None, total, (page.echoed_from, page.echoed_to))


def _require_utf8(body: bytes) -> None:
    """Read the page as text, in small pieces: as a whole it could take four times its size."""
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(body)
    for start in range(0, len(body), _PIECE):
        decoder.decode(view[start : start + _PIECE])
    decoder.decode(b"", final=True)


def _cut_out(body: bytes) -> tuple[_Page, list[memoryview]]:
    """Return the page and the bytes of its engagements."""
    try:
        page = _read_page(body)
        return page, [memoryview(raw) for raw in page.engagements or ()]
    except msgspec.DecodeError:
        # The decoder refuses the escape of half a character, which text cut by JavaScript ends with. A stand-in of
        # the same length lets it find where the engagements begin and end.
        readable = _ESCAPE.sub(_stand_in, body)
        if readable == body:
            raise
    page, slices, end = _read_page(readable), [], 0
    for raw in page.engagements or ():
        start = readable.index(bytes(raw), end)
        end = start + len(bytes(raw))
        slices.append(memoryview(body)[start:end])
    return page, slices


def _stand_in(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["half"] else escape[0]


def _on_one_line(text: memoryview) -> bytes:
    return bytes(text).translate(None, b"\r\n")


def _record(raw: msgspec.Raw, line: bytes | memoryview) -> Record:
    head = _read_head(raw)
    identity = head.engagement_id
    return Record(line, identity if isinstance(identity, str) and identity else bytes(line), head.start_time)


def _unreadable(reason: str) -> str:
    return f"Zoom's answer is not a page of engagements: {reason}. Look at Zoom's status page if this goes on."
