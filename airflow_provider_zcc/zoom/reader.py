"""Query -> windows, several read at once -> their records, in order.

Within a window one page leads to the next, so threads work on several windows at once: each takes the window that is
most urgent, fetches a page of it, and looks again. What they deliver leaves in the order of the windows, so that the
same data gives the same output. A window that holds more than some hundreds of records is cut into smaller ones first,
of 500 to 3,000: they keep as many threads busy as the pace needs, and what waits for its turn stays small.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import IncompleteResponse, ReadCancelled
from airflow_provider_zcc.zoom.page import Page, Record, parse_page
from airflow_provider_zcc.zoom.pagination import Pagination, RecordBatch
from airflow_provider_zcc.zoom.query import PAGE_SIZE, PATH, Query
from airflow_provider_zcc.zoom.window import Window, possible_instants

log = logging.getLogger(__name__)

#: Records that a window is cut down to: at least so many that its half-filled last page costs little...
_SMALL = 500
#: ...and at most so many, since those of the windows behind it wait for them.
_LARGE = 3_000
#: Records of all windows that are read at the same time. The more there are, the more wait for the first of them.
_AT_ONCE = 16_000
#: How far above its size a window may turn out to be and still be read as it is.
_TOLERANCE = 1.7
#: Seconds that an answer may take if as many windows as the pace needs at the same time are to be left to the end.
_USUAL_LATENCY = 0.2
#: Bytes of records that may wait for their turn, of all windows together.
_MOST_WAITING_BYTES = 16 * 2**20
#: Seconds that a read which is stopped waits for its threads. One that is stuck in a read is left to its timeout.
_FAREWELL = 2.0


@dataclass
class Counts:
    """What a reading has come to so far.

    :param records: records handed out.
    :param expected: records that Zoom reports, of the months of the interval asked for so far.
    :param all_asked: whether that is all of them, so that ``expected`` stands for the whole interval.
    :param duplicates_dropped: records that came more than once and left once.
    :param outside_interval: records handed out although they began before or after the interval.
    """

    records: int = 0
    expected: int = 0
    all_asked: bool = False
    duplicates_dropped: int = 0
    outside_interval: int = 0


@dataclass
class _WindowState:
    """A window on its way through the reader.

    :param size: records that it should hold; None for the whole of what the query asks for.
    :param expected: records that it is thought to hold, until Zoom has said how many it does.
    :param rank: of the requests that wait for their turn, the lowest is sent first.
    """

    window: Window
    size: float | None = None
    expected: float = math.inf
    rank: float = -math.inf
    busy: bool = False
    finished: bool = False
    pagination: Pagination | None = None
    pages: Iterator[list[RecordBatch]] | None = None
    delivered: int = 0
    batches: deque[list[RecordBatch]] = field(default_factory=deque)

    @property
    def left(self) -> float:
        """Pages that are still to be read, as far as is known."""
        return max(0.0, (self.expected - self.delivered) / PAGE_SIZE)


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
        self.killed = False
        self._client = client
        self._query = query
        self._max_concurrency = max_concurrency
        self._fail_if_incomplete = fail_if_incomplete
        self._sections = [_WindowState(window) for window in query.windows()]
        self._months = self._unasked = len(self._sections)
        self._in_parts: float = 0
        self._without_total = False
        self._streams = min(max_concurrency, math.ceil(client.requests_per_second * _USUAL_LATENCY))
        self._largest = max(min(_LARGE, _AT_ONCE / self._streams), _SMALL)
        self._unsure: set[str | bytes] = set()
        self._window_before: Pagination | None = None
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._farewell = math.inf
        self._first_error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def batches(self) -> Generator[bytes, None, None]:
        """Yield the records in order, a page or less at a time: each one line of JSON with a line break behind it.

        :raises ZoomError: the first error of any window; nothing more is read then.
        """
        try:
            self._start_threads()
            while (batch := self._next_batch()) is not None:
                new = [kept for kept in batch if kept.unsure is None or self._is_first_copy(kept.unsure)]
                self.counts.records += sum(kept.count for kept in new)
                if new:
                    yield b"".join(kept.lines for kept in new)
            self._check_parts()
        finally:
            self.stop()
        if self.counts.outside_interval:
            log.warning(
                "%d of the engagements did not begin in the interval, and Zoom lists them in it all the same: kept.",
                self.counts.outside_interval,
            )

    def kill(self) -> None:
        """Stop reading because all has to end soon: whoever waits for what becomes of it should not wait long."""
        self.killed = True
        self.stop()

    def stop(self) -> None:
        """Stop reading: send no further request, and make an iterator of batches raise ReadCancelled."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
            threads = list(self._threads)
        self._farewell = min(self._farewell, time.monotonic() + _FAREWELL)
        this = threading.current_thread()
        for thread in threads:
            if thread is not this:
                thread.join(max(0.0, self._farewell - time.monotonic()))

    def _next_batch(self) -> list[RecordBatch] | None:
        with self._changed:
            while True:
                if self._first_error:
                    raise self._first_error
                if self._stop.is_set():
                    raise ReadCancelled
                if not self._sections:
                    return None
                head = self._sections[0]
                if head.batches:
                    batch = head.batches.popleft()
                    self._waiting_bytes -= _size_of(batch)
                    self._changed.notify_all()
                    return batch
                if head.finished:
                    # Without these two, what it holds would wait for the garbage collector.
                    self._window_before, head.pagination, head.pages = head.pagination, None, None
                    del self._sections[0]
                    self._changed.notify_all()
                else:
                    self._changed.wait()

    def _check_parts(self) -> None:
        """Hold what the parts of the windows were said to hold against what the whole windows were."""
        if self._in_parts >= self.counts.expected:
            return
        # A count that was too high once is no loss.
        totals = [self._ask(_WindowState(window), None).total_records for window in self._query.windows()]
        reported = min(self.counts.expected, sum(math.inf if total is None else total for total in totals))
        if self._in_parts >= reported:
            return
        problem = f"Zoom reports {reported} engagements, and {self._in_parts} when asked for parts."
        if self._fail_if_incomplete:
            raise IncompleteResponse(f"{problem} Try again later, or accept it with on_incomplete='warn'.")
        log.warning("%s Going on without the rest.", problem)

    def _is_first_copy(self, record: Record) -> bool:
        # Should Zoom list what goes on, rather than what begins, in a window, one after the other delivers it.
        if record.identity in self._unsure or (self._window_before and self._window_before.has_kept(record)):
            with self._changed:
                self.counts.duplicates_dropped += 1
            return False
        self._unsure.add(record.identity)
        instants = possible_instants(record.start_time, self._query.tz)
        if instants and (max(instants) < self._query.start or min(instants) >= self._query.end):
            self.counts.outside_interval += 1
        return True

    # From here on, what the threads do.

    def _start_threads(self) -> None:
        with self._changed:
            unfinished = 0 if self._stop.is_set() else sum(not section.finished for section in self._sections)
            for _ in range(min(unfinished, self._max_concurrency) - len(self._threads)):
                thread = threading.Thread(target=self._work, name="zcc-reader", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self) -> None:
        try:
            while section := self._take():
                self._read_on(section)
        except ReadCancelled:
            return
        except BaseException as error:
            with self._changed:
                self._first_error = self._first_error or error
                self._stop.set()
                self._changed.notify_all()

    def _take(self) -> _WindowState | None:
        """Return the most urgent window; wait while there may be one later."""
        with self._changed:
            while not self._stop.is_set() and not all(section.finished for section in self._sections):
                if section := self._most_urgent():
                    section.busy = True
                    return section
                self._changed.wait()
            return None

    def _most_urgent(self) -> _WindowState | None:
        """Choose a window to read a page of: the one of the lowest rank. If too much waits, only the one awaited."""
        near = self._near()
        if self._waiting_bytes >= _MOST_WAITING_BYTES:
            near = [section for section in near[:1] if len(section.batches) <= 1]
        free = (section for section in near if not (section.busy or section.finished))
        return min(free, key=attrgetter("rank"), default=None)

    def _rank(self) -> None:
        """Rank the windows by urgency.

        First come those of which nothing is known: they may have to be cut. Then one that would be read alone in the
        end, because it holds more than its share of what is left. Then what comes first in the output, so that little
        waits for its turn.
        """
        near = self._near()
        # Of many windows, none holds more than its share: adding them up for every page would be in vain.
        is_late = len(self._sections) <= 4 * len(near)
        left = sum(section.left for section in self._sections) if is_late else math.inf
        for section in near:
            if section.pages is None:
                continue
            if section.left * self._streams > left:
                section.rank = -section.left
            else:
                section.rank = section.window.start.timestamp()

    def _near(self) -> list[_WindowState]:
        return self._sections[: 2 * self._max_concurrency]

    def _read_on(self, section: _WindowState) -> None:
        """Read the next page of a window."""
        pages = section.pages or self._open(section)
        if pages is None:
            return
        batch = next(pages, None)
        with self._changed:
            section.busy = False
            if batch is None:
                section.finished = True
                self.counts.duplicates_dropped += section.pagination.duplicates if section.pagination else 0
            else:
                section.batches.append(batch)
                section.delivered += sum(kept.count for kept in batch)
                self._waiting_bytes += _size_of(batch)
            self._rank()
            self._changed.notify_all()

    def _open(self, section: _WindowState) -> Iterator[list[RecordBatch]] | None:
        """Ask for a window's first page. Return its pages, or None if the first shows that the window has to be cut."""
        ask = partial(self._ask, section)
        page = ask(None)
        if section.size is None:
            self._count_whole(page)
        # Without a page token there is nothing more to come, whatever the total says.
        if self._cut(section, page.total_records or 0 if page.next_page_token else 0):
            return None
        section.pagination = Pagination(ask, section.window, fail_if_incomplete=self._fail_if_incomplete)
        section.expected = page.total_records or 0
        section.pages = section.pagination.batches(page)
        with self._changed:
            # Of a sum with a part that is not known nothing can be said. A whole that is not known is not expected.
            unknown = 0 if section.size is None else math.inf
            self._in_parts += unknown if page.total_records is None else page.total_records
            if page.total_records is None and not self._without_total:
                self._without_total = True
                log.warning("Zoom does not say how many engagements there are: whether all came cannot be checked.")
        return section.pages

    def _ask(self, section: _WindowState, page_token: str | None) -> Page:
        parameters = self._query.parameters(section.window, next_page_token=page_token)
        return self._client.get(PATH, parameters, parse_page, self._stop, priority=lambda: section.rank)

    def _cut(self, section: _WindowState, total: int) -> bool:
        """Cut a window that holds too much into smaller ones.

        The cuts depend on what Zoom counts, and not on the order in which threads get there: the same data gives
        the same windows, and the same output.
        """
        size = section.size or min(max(total * self._months / self._streams, _SMALL), self._largest)
        if total <= size * _TOLERANCE:
            return False
        windows = section.window.split(math.ceil(total / size))
        if len(windows) == 1:
            return False
        density = total / (section.window.end - section.window.start).total_seconds()
        parts = [
            _WindowState(window, size, expected=density * (window.end - window.start).total_seconds())
            for window in windows
        ]
        with self._changed:
            place = self._sections.index(section)
            self._sections[place : place + 1] = parts
            self._changed.notify_all()
        self._start_threads()
        return True

    def _count_whole(self, page: Page) -> None:
        with self._changed:
            self._unasked -= 1
            self.counts.expected += page.total_records or 0
            self.counts.all_asked = self._unasked == 0


def _size_of(batch: list[RecordBatch]) -> int:
    return sum(len(kept.lines) for kept in batch)
