"""The body of a response -> the engagements in it, as the bytes that Zoom sent."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from airflow_provider_zcc.zoom.errors import TransientError

Identity = str | int | bytes


class _Page(msgspec.Struct):
    next_page_token: str | None = None
    total_records: Any = None
    echoed_from: Any = msgspec.field(default=None, name="from")
    echoed_to: Any = msgspec.field(default=None, name="to")
    engagements: list[msgspec.Raw] | None = None


class _Head(msgspec.Struct, gc=False):
    engagement_id: Any = None
    start_time: Any = None


# There are hundreds of thousands of records, and they hold nothing that the garbage collector would have to follow.
class Record(msgspec.Struct, frozen=True, gc=False):
    """One engagement.

    :param line: its JSON as Zoom sent it, without line breaks between tokens.
    :param identity: its ``engagement_id``, or the line if it has none. A number is not the same identity as a
        string of the same digits: a record is only dropped if it certainly is a duplicate.
    :param start_time: unchanged, whatever its type.
    """

    line: bytes
    identity: Identity
    start_time: Any


class Page(msgspec.Struct, frozen=True):
    """One page of engagements.

    :param records: in the order of the response.
    :param next_page_token: None on the last page.
    :param total_records: Zoom's count for all pages; None if it is missing, negative or unreadable.
    :param range: ``from`` and ``to`` as Zoom understood them.
    """

    records: list[Record]
    next_page_token: str | None
    total_records: int | None
    range: tuple[Any, Any]


#: Any escape in a JSON string: a surrogate pair, a lone surrogate, or another.
_HEX = rb"[0-9a-fA-F]{2}"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b\\u[dD][c-fC-F]%b|(?P<lone>u[dD][89a-fA-F]%b)|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)

_decode_page = msgspec.json.Decoder(_Page).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def parse_page(body: bytes) -> Page:
    """Split a page into its records.

    :param body: of the response.
    :raises TransientError: if it is not a page of engagements in UTF-8 encoded JSON.
    """
    try:
        # The decoder skips over the engagements without checking their encoding.
        body.decode()
        page, lines = _page_and_lines(body)
        total = _total(page.total_records)
        if page.engagements is None and total != 0:
            raise TransientError(_unreadable("it has no list of engagements"))
        if total is None and page.total_records is not None and not (page.engagements or page.next_page_token):
            raise TransientError(_unreadable("it has no engagements, and total_records is not a count"))
        # JSON strings contain no bare line breaks, so those in the body are between tokens.
        if b"\n" in body or b"\r" in body:
            lines = [line.translate(None, b"\r\n") for line in lines]
        records = [_record(raw, line) for raw, line in zip(page.engagements or (), lines, strict=True)]
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        # The decoder's messages name a type or a position, never a value.
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is not JSON in UTF-8"
        raise TransientError(_unreadable(reason)) from None
    return Page(records, page.next_page_token or None, total, (page.echoed_from, page.echoed_to))


def _page_and_lines(body: bytes) -> tuple[_Page, list[bytes]]:
    """Decode the page, and return it with the bytes of its engagements."""
    try:
        page = _decode_page(body)
        return page, [bytes(raw) for raw in page.engagements or ()]
    except msgspec.DecodeError:
        # The decoder rejects lone surrogates, which JavaScript leaves when it cuts a text within an emoji. With a
        # placeholder of the same length in their place, it finds where each engagement begins and ends.
        readable = _ESCAPE.sub(lambda escape: b"\\ufffd" if escape["lone"] else escape[0], body)
        if readable == body:
            raise
    page, lines, end = _decode_page(readable), [], 0
    for raw in page.engagements or ():
        start = readable.index(bytes(raw), end)
        end = start + len(bytes(raw))
        lines.append(body[start:end])
    return page, lines


def _total(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        total = int(value)
    except ValueError:
        return None
    return total if total >= 0 else None


def _record(raw: msgspec.Raw, line: bytes) -> Record:
    head = _decode_head(raw)
    identity = head.engagement_id
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        identity = line
    return Record(line, identity, head.start_time)


def _unreadable(reason: str) -> str:
    return f"Zoom's response is not a page of engagements: {reason}. Look at Zoom's status page if this goes on."
