"""Query -> windows, several read at once -> their records, in order.

Each window is read by one thread that follows its pages. What the threads deliver leaves in the order of the
windows, so that the same data gives the same output. A window that holds far more than a few thousand records
is cut into smaller ones first: they keep all threads busy, and what waits for its turn stays small.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import Stopped
from airflow_provider_zcc.zoom.page import Page, Record, parse_page
from airflow_provider_zcc.zoom.pagination import Kept, Pagination
from airflow_provider_zcc.zoom.query import PATH, Query
from airflow_provider_zcc.zoom.window import Window, possible_instants

log = logging.getLogger(__name__)

#: Records that a window is cut down to: enough that its half-filled last page costs little.
_WINDOW_RECORDS = 2_500
#: How far above that a window may be and still be read as it is.
_TOLERANCE = 1.5
#: Pages that may wait for their turn, of all windows together.
_MOST_WAITING_PAGES = 256
#: Seconds that a reading which is stopped waits for its threads to notice.
_FAREWELL = 2.0


@dataclass
class Counts:
    """What a reading has come to so far.

    :param records: records handed out.
    :param expected: records that Zoom reports, of the windows asked for so far.
    :param all_asked: whether that is all windows, so that ``expected`` stands for the whole interval.
    :param duplicates_dropped: records that came more than once and left once.
    :param outside_interval: records handed out although they began before the interval.
    """

    records: int = 0
    expected: int = 0
    all_asked: bool = False
    duplicates_dropped: int = 0
    outside_interval: int = 0


@dataclass
class _Section:
    """A window on its way through the reader."""

    window: Window
    taken: bool = False
    finished: bool = False
    batches: deque[list[Kept]] = field(default_factory=deque)


class EngagementReader:
    """Reads all engagements of a query, each once. An instance reads once.

    :param client: how to ask.
    :param query: what to ask for.
    :param max_concurrency: windows read at the same time.
    :param fail_if_incomplete: what to do when Zoom's ``total_records`` says that records are missing after
        their window was read again: raise, or log a warning.
    """

    def __init__(
        self, client: ZoomClient, query: Query, *, max_concurrency: int = 8, fail_if_incomplete: bool = True
    ) -> None:
        self.counts = Counts()
        self._client = client
        self._query = query
        self._max_concurrency = max_concurrency
        self._fail_if_incomplete = fail_if_incomplete
        self._sections = [_Section(window) for window in query.windows()]
        self._uncounted = len(self._sections)
        self._unsure: set[str | bytes] = set()
        self._waiting_pages = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._first_error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def batches(self) -> Iterator[list[bytes]]:
        """Yield the records in order, a page or less at a time: each one line of JSON without a line break.

        :raises ZoomError: the first error of any window; nothing more is read then.
        """
        try:
            self._start_threads()
            while (batch := self._next_batch()) is not None:
                lines = [kept.line for kept in batch if kept.unsure is None or self._is_first_copy(kept.unsure)]
                self.counts.records += len(lines)
                if lines:
                    yield lines
        finally:
            self.stop()
        if self.counts.outside_interval:
            log.warning(
                "%d of the engagements began before the interval, and Zoom lists them in it all the same: kept.",
                self.counts.outside_interval,
            )

    def stop(self) -> None:
        """Stop reading: no further request is sent, and an iterator of batches raises Stopped."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        deadline = time.monotonic() + _FAREWELL
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _next_batch(self) -> list[Kept] | None:
        with self._changed:
            while True:
                if self._first_error:
                    raise self._first_error
                if self._stop.is_set():
                    raise Stopped("Reading was stopped.")
                if not self._sections:
                    return None
                head = self._sections[0]
                if head.batches:
                    self._waiting_pages -= 1
                    self._changed.notify_all()
                    return head.batches.popleft()
                if head.finished:
                    del self._sections[0]
                    self._changed.notify_all()
                else:
                    self._changed.wait()

    def _is_first_copy(self, record: Record) -> bool:
        if record.identity in self._unsure:
            self.counts.duplicates_dropped += 1
            return False
        self._unsure.add(record.identity)
        instants = possible_instants(record.start_time, self._query.clock)
        if instants and max(instants) < self._query.start:
            self.counts.outside_interval += 1
        return True

    # From here on, what the threads do.

    def _start_threads(self) -> None:
        with self._changed:
            untaken = sum(not section.taken for section in self._sections)
            for _ in range(min(untaken, self._max_concurrency - len(self._threads))):
                thread = threading.Thread(target=self._work, name="zcc-reader", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        try:
            while section := self._take():
                self._read(section)
        except Stopped:
            return
        except BaseException as error:
            with self._changed:
                self._first_error = self._first_error or error
                self._stop.set()
                self._changed.notify_all()

    def _take(self) -> _Section | None:
        """Return the first window that nobody reads; wait while one may still be cut."""
        with self._changed:
            while not self._stop.is_set() and not all(section.finished for section in self._sections):
                for section in self._sections:
                    if not section.taken:
                        section.taken = True
                        return section
                self._changed.wait()
            return None

    def _read(self, section: _Section) -> None:
        ask = partial(self._ask, section.window)
        page = ask(None)
        parts = section.window.split(self._parts(page.total_records))
        if len(parts) > 1:
            self._replace(section, parts)
            return
        pagination = Pagination(ask, section.window, fail_if_incomplete=self._fail_if_incomplete)
        self._count(page)
        for batch in pagination.batches(page):
            self._deliver(section, batch)
        with self._changed:
            section.finished = True
            self.counts.duplicates_dropped += pagination.duplicates
            self._changed.notify_all()

    def _ask(self, window: Window, page_token: str | None) -> Page:
        parameters = self._query.parameters(window, next_page_token=page_token)
        return self._client.get(PATH, parameters, parse_page, self._stop)

    def _parts(self, total: int | None) -> int:
        if total is None or total <= _WINDOW_RECORDS * _TOLERANCE or self._max_concurrency == 1:
            return 1
        return math.ceil(total / _WINDOW_RECORDS)

    def _replace(self, section: _Section, parts: list[Window]) -> None:
        with self._changed:
            place = self._sections.index(section)
            self._sections[place : place + 1] = [_Section(window) for window in parts]
            self._uncounted += len(parts) - 1
            self._changed.notify_all()
        self._start_threads()

    def _count(self, page: Page) -> None:
        with self._changed:
            self._uncounted -= 1
            self.counts.expected += page.total_records or 0
            self.counts.all_asked = self._uncounted == 0

    def _deliver(self, section: _Section, batch: list[Kept]) -> None:
        """Put a page where it waits for its turn; the window whose turn it is waits for the consumer alone."""
        with self._changed:
            section.batches.append(batch)
            self._waiting_pages += 1
            self._changed.notify_all()
            while not self._stop.is_set() and self._waiting_pages >= _MOST_WAITING_PAGES:
                if section is self._sections[0] and len(section.batches) <= 1:
                    return
                self._changed.wait()
