"""First page of a window -> all of its records, without duplicates, however often that requires reading it again."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

import msgspec

from airflow_provider_zcc.zoom.errors import IncompleteResponse, PageTokenExpired, TransientError
from airflow_provider_zcc.zoom.page import Identity, Page, Record
from airflow_provider_zcc.zoom.window import Place, Window, possible_instants

log = logging.getLogger(__name__)

#: Pages in a row without a new record that are taken for a loop.
_MAX_PAGES_WITHOUT_NEW_RECORDS = 10
#: Readings in a row that reach the last page, find no new record and are incomplete, after which a window is given up.
_MAX_INCOMPLETE_READINGS = 2
#: Readings in a row that find no new record and end at an expired page token, after which a window is given up.
_MAX_EXPIRED_READINGS = 4


class RecordBatch(msgspec.Struct, frozen=True, gc=False):
    """New records of a window, in order.

    :param records: at least one.
    :param in_doubt: whether another window may return them too.
    """

    records: list[Record]
    in_doubt: bool


@dataclass(frozen=True)
class Returned:
    """What Zoom returned for one window, small enough to be kept for many.

    :param hashes: of the identities of the records, in any reading.
    :param left_to_next: how many of these start in the second of the window's end, and belong to the next one.
    :param duplicates: records that Zoom returned more than once in the same reading.
    """

    hashes: array[int]
    left_to_next: int
    duplicates: int


@dataclass(frozen=True)
class _Reading:
    """How it ended to read a window once, from its first page on.

    :param problem: why the window has to be read again; None if all of it was read.
    :param expired: whether the page token expired before the last page was reached.
    """

    problem: str | None
    expired: bool = False


class Pagination:
    """Follows the page tokens of one window.

    A window that stays short of Zoom's ``total_records``, that Zoom read a smaller range for, or whose page token
    expired is read again from its first page. Records that are known by then are not returned again.

    :param request: returns the first page for None, and the next page for a page token.
    :param window: the window.
    :param fail_if_incomplete: raise, rather than log a warning, if records are still missing after reading again.
    """

    def __init__(self, request: Callable[[str | None], Page], window: Window, *, fail_if_incomplete: bool) -> None:
        self._identities: set[Identity] = set()
        self._left_to_next = 0
        self._duplicates = 0
        self._request = request
        self._window = window
        self._fail_if_incomplete = fail_if_incomplete

    @property
    def returned(self) -> Returned:
        """What Zoom has returned so far."""
        return Returned(array("q", map(hash, self._identities)), self._left_to_next, self._duplicates)

    def pages(self, page: Page) -> Iterator[list[RecordBatch]]:
        """Yield the new records of each page, before the next page is requested.

        :param page: the first page.
        :raises IncompleteResponse: if records are still missing after reading again.
        :raises TransientError: if pagination is looping, or page tokens keep expiring.
        """
        expired_readings = incomplete_readings = 0
        while True:
            known = len(self._identities)
            reading = yield from self._read_once(page)
            if reading.problem is None:
                return
            if len(self._identities) > known:
                expired_readings = incomplete_readings = 0
            if reading.expired:
                expired_readings += 1
            else:
                incomplete_readings += 1
            if expired_readings == _MAX_EXPIRED_READINGS:
                raise TransientError(
                    f"{reading.problem} It did so in {expired_readings} attempts. "
                    "Try again later, or read a shorter interval."
                )
            if incomplete_readings == _MAX_INCOMPLETE_READINGS:
                self._give_up(reading.problem)
                return
            log.warning("%s Reading the window again from its first page.", reading.problem)
            page = self._request(None)

    def _read_once(self, page: Page) -> Generator[list[RecordBatch], None, _Reading]:
        in_this_reading: set[Identity] = set()
        tokens: set[str] = set()
        total = pages_without_new_records = 0
        while True:
            records_before = len(in_this_reading)
            # A later page with a lower total does not make the records that an earlier page promised less missing.
            total = max(total, page.total_records or 0)
            yield self._new_records(page, in_this_reading)
            has_new_records = len(in_this_reading) > records_before
            pages_without_new_records = 0 if has_new_records else pages_without_new_records + 1
            token = page.next_page_token
            if token is None:
                return _Reading(self._problem(page, total))
            if token in tokens or pages_without_new_records == _MAX_PAGES_WITHOUT_NEW_RECORDS:
                raise TransientError(
                    f"Pagination of {self._span} is looping: no new records were returned. "
                    "Try again later; if it persists, read a shorter interval."
                )
            tokens.add(token)
            try:
                page = self._request(token)
            except PageTokenExpired:
                return _Reading(f"Zoom's page token for {self._span} expired early.", expired=True)

    def _new_records(self, page: Page, in_this_reading: set[Identity]) -> list[RecordBatch]:
        """Return the records of a page that no reading has returned, in batches that are in doubt or not."""
        new: list[tuple[bool, Record]] = []
        for record in page.records:
            if record.identity in in_this_reading:
                self._duplicates += 1
                continue
            in_this_reading.add(record.identity)
            if record.identity in self._identities:
                continue
            self._identities.add(record.identity)
            place = self._window.place(record.start_time)
            if place is Place.NEXT:
                self._left_to_next += 1
            else:
                new.append((place is Place.IN_DOUBT, record))
        return [
            RecordBatch([record for _, record in run], in_doubt) for in_doubt, run in groupby(new, key=itemgetter(0))
        ]

    def _problem(self, page: Page, total: int) -> str | None:
        if len(self._identities) < total:
            return f"Zoom reports {total} engagements from {self._span} but returned {len(self._identities)}."
        starts, ends = (possible_instants(echo, self._window.timezone) for echo in page.range)
        if _all_after(starts, self._window.start) or _all_before(ends, self._window.end):
            return f"Zoom returned only a part of {self._span}."
        return None

    def _give_up(self, problem: str) -> None:
        if self._fail_if_incomplete:
            raise IncompleteResponse(
                f"{problem} Reading again returned no more. Try again later, or accept it with on_incomplete='warn'."
            )
        log.warning("%s Reading again returned no more. Continuing without the rest.", problem)

    @property
    def _span(self) -> str:
        return f"{self._window.start:%Y-%m-%dT%H:%M:%SZ} to {self._window.end:%Y-%m-%dT%H:%M:%SZ}"


def _all_after(instants: tuple[datetime, ...], bound: datetime) -> bool:
    return bool(instants) and min(instants) > bound


def _all_before(instants: tuple[datetime, ...], bound: datetime) -> bool:
    return bool(instants) and max(instants) < bound
