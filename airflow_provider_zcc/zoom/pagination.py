"""One window, page after page: each record once, and all of them, over as many readings as that takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from operator import itemgetter

import msgspec
from msgspec.structs import replace

from airflow_provider_zcc.zoom.errors import IncompleteResponse, PageTokenExpired, TransientError
from airflow_provider_zcc.zoom.page import Page, Record
from airflow_provider_zcc.zoom.window import Place, Window, possible_instants

log = logging.getLogger(__name__)

#: Pages in a row without a new record that are taken for a loop.
_MOST_FUTILE_PAGES = 10
#: Readings in a row without a new record after which a window that stays short is given up.
_SHORT_READINGS = 1
#: The same for a window whose page tokens die.
_DEAD_READINGS = 3
#: Bytes from which on lines wait in memory of their own, which goes back to the system when they leave. In the heaps of
#: the threads, where they wait among much that is gone soon, they would leave holes behind as large as themselves.
_SMALLEST_APART = 1 << 14


class RecordBatch(msgspec.Struct, frozen=True, gc=False):
    """Records that belong to the window.

    :param lines: their JSON, each with a line break behind it.
    :param count: how many.
    :param unsure: the record, if it is one that another window may deliver as well.
    """

    lines: bytes | mmap
    count: int
    unsure: Record | None


class Pagination:
    """Follows the pages of one window.

    :param ask: fetches a page: the first for None, the one behind a page token otherwise.
    :param window: the window.
    :param fail_if_incomplete: raise, rather than warn, when Zoom's own count says that records are missing
        although the window was read again.
    """

    def __init__(self, ask: Callable[[str | None], Page], window: Window, *, fail_if_incomplete: bool) -> None:
        self.duplicates = 0
        self._ask = ask
        self._window = window
        self._fail_if_incomplete = fail_if_incomplete
        self._seen: set[str | bytes] = set()
        self._left_to_others: set[str | bytes] = set()
        self._page: Page

    def batches(self, first_page: Page) -> Iterator[list[RecordBatch]]:
        """Yield the window's records, a page at a time.

        :param first_page: the first page.
        :raises IncompleteResponse: if records are missing for good.
        :raises TransientError: if pages lead in a circle, or page tokens die again and again.
        """
        self._page = first_page
        return self._readings()

    def _readings(self) -> Iterator[list[RecordBatch]]:
        yield from self._reading()
        short = dead = 0
        while problem := self._problem():
            log.warning("%s Reading the window again from its first page.", problem)
            known, died_before = len(self._seen), self._died
            self._page = self._ask(None)
            yield from self._reading()
            if len(self._seen) > known:
                short = dead = 0
            elif self._died:
                dead += 1
            elif not died_before:
                short += 1
            if dead == _DEAD_READINGS or short == _SHORT_READINGS:
                self._give_up()
                return

    def has_kept(self, record: Record) -> bool:
        """Tell whether a record was among those of this window.

        :param record: a record of the next window.
        """
        return record.identity in self._seen and record.identity not in self._left_to_others

    def _reading(self) -> Iterator[list[RecordBatch]]:
        """Follow the page tokens from the first page to the last, or to where a token dies."""
        self._died = False
        self._total: int | None = None
        delivered: set[str | bytes] = set()
        tokens: set[str] = set()
        futile = 0
        while True:
            before = len(delivered)
            if self._page.total_records is not None:
                # A page that takes back what the one before has said does not make the rest of it forgotten.
                self._total = max(self._total or 0, self._page.total_records)
            yield self._new_records(delivered)
            futile = 0 if len(delivered) > before else futile + 1
            token = self._page.next_page_token
            if token is None:
                return
            if token in tokens or futile == _MOST_FUTILE_PAGES:
                raise TransientError(
                    f"Zoom's pages from {self._span} lead in a circle: they bring nothing new and do not end. "
                    "Try again later; if it goes on, read a shorter interval."
                )
            tokens.add(token)
            try:
                self._page = self._ask(token)
            except PageTokenExpired:
                self._died = True
                return

    def _new_records(self, delivered: set[str | bytes]) -> list[RecordBatch]:
        chosen: list[tuple[Record, bool]] = []
        for record in self._page.records:
            if record.identity in delivered:
                self.duplicates += 1
                continue
            delivered.add(record.identity)
            if record.identity in self._seen:
                continue
            self._seen.add(record.identity)
            place = self._window.place(record.start_time)
            if place is Place.LATER:
                self._left_to_others.add(record.identity)
            else:
                chosen.append((record, place is Place.UNSURE))
        # Between its turns the window would hold the bytes of a page, once more than what waits.
        self._page = replace(self._page, records=[])
        return [kept for unsure, run in groupby(chosen, key=itemgetter(1)) for kept in _kept(run, unsure=unsure)]

    def _problem(self) -> str | None:
        if self._died:
            return f"Zoom's page token for {self._span} ended early."
        if self._total is not None and len(self._seen) < self._total:
            return f"Zoom reports {self._total} engagements from {self._span} and delivered {len(self._seen)}."
        if self._range_was_cut():
            return f"Zoom answered for a part of {self._span} only."
        return None

    def _range_was_cut(self) -> bool:
        starts, ends = (possible_instants(echo, self._window.timezone) for echo in self._page.range)
        return _all_after(starts, self._window.start) or _all_before(ends, self._window.end)

    def _give_up(self) -> None:
        problem = self._problem()
        if problem is None:
            return
        if self._died:
            raise TransientError(
                f"{problem} So did {_DEAD_READINGS} more. Try again later, or read a shorter interval."
            )
        if self._fail_if_incomplete:
            raise IncompleteResponse(
                f"{problem} Reading again brought no more. Try again later, or accept it with on_incomplete='warn'."
            )
        log.warning("%s Reading again brought no more; going on without the rest.", problem)

    @property
    def _span(self) -> str:
        return f"{self._window.start:%Y-%m-%dT%H:%M:%SZ} to {self._window.end:%Y-%m-%dT%H:%M:%SZ}"


def _kept(chosen: Iterable[tuple[Record, bool]], *, unsure: bool) -> list[RecordBatch]:
    """Join the lines of records, so that a page waits for its turn in one piece; those in doubt stand alone."""
    records = [record for record, _ in chosen]
    if unsure:
        return [RecordBatch(_lines([record]), 1, replace(record, line=bytes(record.line))) for record in records]
    return [RecordBatch(_lines(records), len(records), None)]


def _lines(records: list[Record]) -> bytes | mmap:
    size = sum(len(record.line) + 1 for record in records)
    if size < _SMALLEST_APART:
        return b"\n".join([*(record.line for record in records), b""])
    apart = mmap(-1, size, MAP_PRIVATE | MAP_ANONYMOUS)
    for record in records:
        apart.write(record.line)
        apart.write(b"\n")
    return apart


def _all_after(instants: tuple[datetime, ...], bound: datetime) -> bool:
    return bool(instants) and min(instants) > bound


def _all_before(instants: tuple[datetime, ...], bound: datetime) -> bool:
    return bool(instants) and max(instants) < bound
