"""One page of Zoom's answer: its records as the bytes they came in, and little else read."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_zcc.zoom.errors import PassingError


class _Page(msgspec.Struct):
    next_page_token: str | None = None
    total_records: int | str | None = None
    echoed_from: Any = msgspec.field(default=None, name="from")
    echoed_to: Any = msgspec.field(default=None, name="to")
    engagements: list[msgspec.Raw] | None = None


class _Head(msgspec.Struct):
    engagement_id: Any = None
    start_time: Any = None


class Record(msgspec.Struct, frozen=True):
    """One engagement.

    :param line: its JSON as Zoom sent it, without the line breaks between its tokens.
    :param identity: its ``engagement_id``; without one, the line.
    :param start_time: as it came.
    """

    line: bytes
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


_read_page = msgspec.json.Decoder(_Page).decode
_read_head = msgspec.json.Decoder(_Head).decode


def parse_page(body: bytes) -> Page:
    """Cut a page into its records.

    :param body: the answer.
    :raises PassingError: if it is not a page of engagements in UTF-8 encoded JSON.
    """
    try:
        body.decode()
        page = _read_page(body)
        total = None if page.total_records is None else int(page.total_records)
        if page.engagements is None and total != 0:
            raise PassingError(_unreadable("it holds no list of engagements"))
        records = [_record(raw) for raw in page.engagements or ()]
    except (UnicodeDecodeError, msgspec.DecodeError, ValueError) as error:
        # The decoder's words name a type or a position, never a value.
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is not text in UTF-8 or not a number"
        raise PassingError(_unreadable(reason)) from None
    return Page(records, page.next_page_token or None, total, (page.echoed_from, page.echoed_to))


def _record(raw: msgspec.Raw) -> Record:
    head = _read_head(raw)
    # A JSON string has no bare line break, so those that are there stand between tokens.
    line = bytes(raw).translate(None, b"\r\n")
    identity = head.engagement_id
    return Record(line, identity if isinstance(identity, str) and identity else line, head.start_time)


def _unreadable(reason: str) -> str:
    return f"Zoom's answer is not a page of engagements: {reason}. Look at Zoom's status page if this goes on."
