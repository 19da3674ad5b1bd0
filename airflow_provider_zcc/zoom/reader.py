"""Query -> the engagements of its interval as JSON Lines: in order, without duplicates, read by several threads.

**Windows.** Within a window (a range of time) pages can only be read one after the other, so several windows are read
at once. The first page of a window contains Zoom's count for all of it. If that is far above what one thread should
read, the thread splits the window into smaller ones and puts those onto the list of windows to read. Each thread takes
the earliest window from that list, reads it to the end, and takes the next. Where windows are split depends on
Zoom's counts only, never on timing, so the same data gives the same output.

**Output.** Each window has a queue of its own. The thread that reads the window encodes its records, compressing them
as a gzip member if asked to, and puts chunks of the result into that queue. If it splits the window, it puts the list
of smaller windows there instead. The consumer follows the queues in order of time: it passes on chunks as they arrive
and descends into the smaller windows. What later windows have read waits in their queues, up to a limit in bytes.

**Priority.** When threads compete for the rate limit, first pages come first (they may reveal windows to split), then
the window that would otherwise be read alone at the end, then the earliest one, since its output is next.

**Records in doubt.** A record whose time is ambiguous, unreadable or outside of its window may be returned for another
window too. Such records reach the consumer unencoded. It knows what came before and drops duplicates.

**Stopping.** The consumer runs in the main thread, where a signal handler may raise at any point, even while a lock is
being acquired. So the consumer takes no lock that the threads use: ``SimpleQueue`` can be interrupted anywhere.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import ReadCancelled
from airflow_provider_zcc.zoom.jsonl import Chunk, JsonLinesEncoder
from airflow_provider_zcc.zoom.page import Page, parse_page
from airflow_provider_zcc.zoom.pagination import Pagination
from airflow_provider_zcc.zoom.query import PATH, Query
from airflow_provider_zcc.zoom.tally import Tally
from airflow_provider_zcc.zoom.window import Window

Item = TypeVar("Item")

#: Records that a window is split down to. In smaller ones the half-filled last page wastes more, in larger ones more
#: output of later windows waits...
_MIN_SIZE, _MAX_SIZE = 500, 3_000
#: ...and it waits for all windows that are read at once, so these share that many.
_MAX_AT_ONCE = 16_000
#: How far a window may exceed its size before it is split again.
_TOLERANCE = 1.7
#: Seconds that most responses take at most: as many requests as start in them are needed at once to use all the rate.
_USUAL_LATENCY = 0.2
#: Bytes of lines that may wait for the consumer, of all windows together.
_MAX_WAITING_BYTES = 16 * 2**20
#: Seconds between checks whether there is room for more of them, and whether reading was stopped.
_POLL_INTERVAL = 0.05
#: Seconds that ``stop`` waits for threads to end.
_GRACE_PERIOD = 1.0


@dataclass(eq=False)
class _WindowState:
    """A window and what was read of it.

    :param size: records that it was split down to; None for a window of the query.
    :param total: Zoom's count of its records; None if it is unknown.
    :param left: records that are still to be read.
    :param pagination: what reads it, unless it was split.
    :param output: chunks, or the windows that it was split into, and None at the end.
    """

    window: Window
    size: float | None = None
    total: int | None = None
    left: int = 0
    pagination: Pagination | None = None
    output: queue.SimpleQueue[Chunk | list[_WindowState] | None] = field(default_factory=queue.SimpleQueue)


class EngagementReader:
    """Reads all engagements of a query, without duplicates. An instance reads once.

    :param client: sends the requests.
    :param query: what to read.
    :param max_concurrency: threads, each of which reads one window at a time.
    :param fail_if_incomplete: raise, rather than log a warning, if Zoom's ``total_records`` shows that engagements
        are missing after their window was read again.
    :param gzip: compress the output.
    :ivar counts: what has been read so far.
    """

    def __init__(
        self,
        client: ZoomClient,
        query: Query,
        *,
        max_concurrency: int = 8,
        fail_if_incomplete: bool = True,
        gzip: bool = False,
    ) -> None:
        self._client = client
        self._query = query
        self._max_concurrency = max_concurrency
        self._fail_if_incomplete = fail_if_incomplete
        self._gzip = gzip
        self._streams = min(max_concurrency, math.ceil(client.requests_per_second * _USUAL_LATENCY))
        self._windows = [_WindowState(window) for window in query.windows()]
        self._tally = Tally(query)
        self.counts = self._tally.counts
        self._awaited: _WindowState | None = None
        self._bytes_taken = 0
        # The lock protects what the threads change, from here on. The consumer only reads it.
        self._lock = threading.Lock()
        self._to_read = list(self._windows)
        self._to_count = len(self._windows)
        self._records_read = 0
        self._bytes_put = 0
        self._running = 1
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._error: BaseException | None = None

    def chunks(self) -> Iterator[bytes]:
        """Yield the output: whole lines of JSON or, with ``gzip``, pieces of one or more gzip members.

        Reading starts with the first chunk, and stops when the iterator is closed.

        :raises ZoomError: the first error of any window; nothing follows it.
        :raises ReadCancelled: after a call of :meth:`stop`.
        """
        try:
            self._start_thread(self._read_windows)
            for chunk in self._in_order(self._windows):
                self._tally.add(chunk)
                if chunk.data:
                    yield chunk.data
            self._check_counts()
            if self._gzip and not self.counts.records:
                encoder = JsonLinesEncoder(gzip=True)
                yield encoder.encode([]).data + encoder.flush().data
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop reading: no further request is sent, and the iterator of chunks raises ReadCancelled.

        Threads get a second to end. One that waits for a response ends when that arrives, or at its timeout.
        """
        # Setting an event takes its lock, and a signal may have interrupted this thread while it held that very lock.
        setter = threading.Thread(target=self._stop.set, name="zcc-stop", daemon=True)
        setter.start()
        deadline = time.monotonic() + _GRACE_PERIOD
        for thread in (setter, *self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    # The consumer

    def _in_order(self, windows: list[_WindowState]) -> Iterator[Chunk]:
        for state in windows:
            self._awaited = state
            while (item := self._get(state.output)) is not None:
                if isinstance(item, list):
                    yield from self._in_order(item)
                    continue
                self._bytes_taken += item.size
                yield item
                if new := self._tally.new_records(item.in_doubt):
                    encoder = JsonLinesEncoder(gzip=self._gzip)
                    yield from (encoder.encode(new), encoder.flush())
            if state.pagination:
                self._tally.close(state.window, state.total, state.pagination)
                state.pagination = None

    def _get(self, items: queue.SimpleQueue[Item]) -> Item:
        while True:
            if self._error:
                raise self._error
            if self._stop.is_set():
                raise ReadCancelled
            try:
                return items.get(timeout=_POLL_INTERVAL)
            except queue.Empty:
                continue

    def _check_counts(self) -> None:
        if not self._tally.agrees_with([state.total for state in self._windows]):
            # A count that was too high once does not mean that anything is missing.
            counted: queue.SimpleQueue[None] = queue.SimpleQueue()
            self._start_thread(partial(self._count_again, counted))
            self._get(counted)
        totals = [state.total for state in self._windows]
        self._tally.finish(totals, fail_if_incomplete=self._fail_if_incomplete)

    # The threads

    def _start_thread(self, target: Callable[[], None]) -> None:
        def run() -> None:
            try:
                target()
            except ReadCancelled:
                return
            except BaseException as error:
                self._error = self._error or error
                self._stop.set()

        thread = threading.Thread(target=run, name="zcc-reader", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _read_windows(self) -> None:
        while state := self._take_window():
            page = self._request(state, None)
            if state.size is None:
                self._count(state, page)
            if parts := self._split(state, page):
                with self._lock:
                    self._to_read = sorted([*self._to_read, *parts], key=lambda part: part.window.start)
                state.output.put(parts)
            else:
                self._read_to_end(state, page)
            state.output.put(None)

    def _take_window(self) -> _WindowState | None:
        """Take the earliest window that is to be read. If there are more of them, start one more thread."""
        with self._lock:
            if self._stop.is_set() or not self._to_read:
                self._running -= 1
                return None
            state = self._to_read.pop(0)
            if self._to_read and self._running < self._max_concurrency:
                self._running += 1
                self._start_thread(self._read_windows)
            return state

    def _count(self, state: _WindowState, page: Page) -> None:
        state.total = page.total_records
        with self._lock:
            self._to_count -= 1
            self.counts.expected += page.total_records or 0
            self.counts.all_counted = self._to_count == 0

    def _count_again(self, counted: queue.SimpleQueue[None]) -> None:
        for state in self._windows:
            total = self._request(state, None).total_records
            if total is not None and state.total is not None:
                state.total = min(state.total, total)
        counted.put(None)

    def _split(self, state: _WindowState, page: Page) -> list[_WindowState]:
        """Return the parts to read instead of a window that holds too much; none if it is to be read as it is."""
        # Without a page token there is nothing more to come, whatever the total is.
        total = page.total_records or 0 if page.next_page_token else 0
        largest = max(min(_MAX_SIZE, _MAX_AT_ONCE / self._streams), _MIN_SIZE)
        size = state.size or min(max(total * len(self._windows) / self._streams, _MIN_SIZE), largest)
        if total <= size * _TOLERANCE:
            return []
        windows = state.window.split(math.ceil(total / size))
        return [_WindowState(window, size) for window in windows] if len(windows) > 1 else []

    def _read_to_end(self, state: _WindowState, page: Page) -> None:
        request = partial(self._request, state)
        state.total, state.left = page.total_records, page.total_records or 0
        state.pagination = Pagination(request, state.window, fail_if_incomplete=self._fail_if_incomplete)
        encoder = JsonLinesEncoder(gzip=self._gzip)
        for batches in state.pagination.pages(page):
            for batch in batches:
                if batch.in_doubt:
                    self._put(state, encoder.flush())
                    self._put(state, Chunk(in_doubt=batch.records))
                else:
                    self._put(state, encoder.encode(batch.records))
                with self._lock:
                    self._records_read += len(batch.records)
                    state.left -= len(batch.records)
        self._put(state, encoder.flush())

    def _put(self, state: _WindowState, chunk: Chunk) -> None:
        """Hand a chunk to the consumer. Wait while too much waits, unless it has nothing else to take."""
        while self._bytes_put - self._bytes_taken >= _MAX_WAITING_BYTES and not (
            state is self._awaited and state.output.empty()
        ):
            if self._stop.wait(_POLL_INTERVAL):
                raise ReadCancelled
        with self._lock:
            self._bytes_put += chunk.size
        state.output.put(chunk)

    def _request(self, state: _WindowState, page_token: str | None) -> Page:
        parameters = self._query.parameters(state.window, next_page_token=page_token)
        return self._client.get(PATH, parameters, parse_page, self._stop, partial(self._priority, state))

    def _priority(self, state: _WindowState) -> float:
        """Return how soon a window's next request should be sent; the lowest comes first."""
        if state.pagination is None:
            return -math.inf
        left = self.counts.expected - self._records_read if self.counts.all_counted else math.inf
        if 0 < left < state.left * self._streams:
            return -state.left
        return state.window.start.timestamp()
