"""First page of a window -> all of its records, without duplicates, however often that requires reading it again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter

import msgspec

from airflow_provider_zcc.zoom.errors import IncompleteResponse, PageTokenExpired, TransientError
from airflow_provider_zcc.zoom.page import Page, Record
from airflow_provider_zcc.zoom.window import Place, Window, possible_instants

log = logging.getLogger(__name__)

#: Pages in a row without a new record that are taken for a loop.
_MAX_PAGES_WITHOUT_NEWS = 10
#: Readings of a window since its last new record after which it is given up: those that reached the last page...
_MAX_COMPLETE_READINGS = 2
#: ...and those that ended at an expired page token.
_MAX_EXPIRED_READINGS = 4


class RecordBatch(msgspec.Struct, frozen=True, gc=False):
    """New records of a window, in order.

    :param records: at least one.
    :param in_doubt: whether another window may return them too.
    """

    records: list[Record]
    in_doubt: bool


class Pagination:
    """Follows the page tokens of one window.

    A window that stays short of Zoom's ``total_records``, that Zoom read a smaller range for, or whose page token
    expired is read again from its first page. Records that are known by then are not returned again.

    :param request: returns the first page for None, and the next page for a page token.
    :param window: the window.
    :param fail_if_incomplete: raise, rather than log a warning, if records are still missing after reading again.
    :ivar duplicates: records that were returned more than once in the same reading.
    """

    def __init__(self, request: Callable[[str | None], Page], window: Window, *, fail_if_incomplete: bool) -> None:
        self.duplicates = 0
        self._request = request
        self._window = window
        self._fail_if_incomplete = fail_if_incomplete
        self._seen: set[str | int | bytes] = set()
        self._left_to_next: set[str | int | bytes] = set()

    @property
    def left_to_next(self) -> int:
        """How many records start in the second of the window's end, and belong to the next one."""
        return len(self._left_to_next)

    def has_returned(self, record: Record) -> bool:
        """Return whether this window has returned a record.

        :param record: a record of the next window.
        """
        return record.identity in self._seen and record.identity not in self._left_to_next

    def pages(self, page: Page) -> Iterator[list[RecordBatch]]:
        """Yield the new records of each page, before the next page is requested.

        :param page: the first page.
        :raises IncompleteResponse: if records are still missing after reading again.
        :raises TransientError: if pagination is looping, or page tokens keep expiring.
        """
        readings: Counter[bool] = Counter()
        while True:
            known = len(self._seen)
            expired, problem = yield from self._read_once(page)
            if problem is None:
                return
            if len(self._seen) > known:
                readings.clear()
            readings[expired] += 1
            if readings[True] == _MAX_EXPIRED_READINGS:
                raise TransientError(
                    f"{problem} It did so in {readings[True]} attempts. Try again later, or read a shorter interval."
                )
            if readings[False] == _MAX_COMPLETE_READINGS:
                self._give_up(problem)
                return
            log.warning("%s Reading the window again from its first page.", problem)
            page = self._request(None)

    def _read_once(self, page: Page) -> Generator[list[RecordBatch], None, tuple[bool, str | None]]:
        """Yield pages from the first to the last; return whether a page token expired, and what is wrong, if anything.

        :param page: the first page.
        """
        delivered: set[str | int | bytes] = set()
        tokens: set[str] = set()
        total = without_news = 0
        while True:
            before = len(delivered)
            # A later page with a lower total does not make the records that an earlier page promised less missing.
            total = max(total, page.total_records or 0)
            yield self._new_records(page, delivered)
            without_news = 0 if len(delivered) > before else without_news + 1
            token = page.next_page_token
            if token is None:
                return False, self._problem(page, total)
            if token in tokens or without_news == _MAX_PAGES_WITHOUT_NEWS:
                raise TransientError(
                    f"Pagination of {self._span} is looping: no new records were returned. "
                    "Try again later; if it persists, read a shorter interval."
                )
            tokens.add(token)
            try:
                page = self._request(token)
            except PageTokenExpired:
                return True, f"Zoom's page token for {self._span} expired early."

    def _new_records(self, page: Page, delivered: set[str | int | bytes]) -> list[RecordBatch]:
        new: list[tuple[bool, Record]] = []
        for record in page.records:
            if record.identity in delivered:
                self.duplicates += 1
                continue
            delivered.add(record.identity)
            if record.identity in self._seen:
                continue
            self._seen.add(record.identity)
            place = self._window.place(record.start_time)
            if place is Place.NEXT:
                self._left_to_next.add(record.identity)
            else:
                new.append((place is Place.IN_DOUBT, record))
        return [
            RecordBatch([record for _, record in run], in_doubt) for in_doubt, run in groupby(new, key=itemgetter(0))
        ]

    def _problem(self, page: Page, total: int) -> str | None:
        if len(self._seen) < total:
            return f"Zoom reports {total} engagements from {self._span} but returned {len(self._seen)}."
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
