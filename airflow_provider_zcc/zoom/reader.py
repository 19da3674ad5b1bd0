"""Query -> its engagements as JSON Lines, in order and without duplicates, read by several threads.

**Windows.** The pages of a window (a range of time) can only be read one after the other, so several windows are read
at once. The first page of a window contains Zoom's count for all of it. If that is far more than one thread should
read, the thread splits the window and adds the parts to the windows that are to be read. Each thread takes the
earliest of these, reads it to the end, and takes the next. Where windows are split depends only on Zoom's counts and
not on timing, so the same data gives the same output.

**Output.** Each window has a queue. The thread that reads the window encodes its records, as a gzip member of their
own if the output is compressed, and puts chunks of the result into that queue; if it has split the window, it puts
the parts there instead. The consumer follows the queues in order of time: it passes chunks on as they arrive, and
descends into parts. What later windows contain waits in their queues, up to a limit in bytes.

**Priority.** When threads compete for the rate limit, first pages come first, since they may show that a window has
to be split; then a window that would otherwise be read alone at the end; then the earliest, which is output next.

**Records in doubt.** A record whose time is ambiguous, unreadable or outside of the window may be returned for another
window too. It reaches the consumer unencoded, which knows all earlier windows and drops duplicates.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import partial

from airflow_provider_zcc.zoom.background import BackgroundThreads
from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import ReadCancelled
from airflow_provider_zcc.zoom.jsonl import Chunk, JsonLinesEncoder
from airflow_provider_zcc.zoom.page import Page, parse_page
from airflow_provider_zcc.zoom.pagination import Pagination
from airflow_provider_zcc.zoom.query import PATH, Query
from airflow_provider_zcc.zoom.splitting import concurrent_windows, split, window_size
from airflow_provider_zcc.zoom.tally import Tally
from airflow_provider_zcc.zoom.window import Window

#: Bytes of output that may wait for the consumer, of all windows together.
_MAX_WAITING_BYTES = 16 * 2**20
#: Seconds between checks whether there is room for more of them.
_POLL_INTERVAL = 0.05


@dataclass(eq=False)
class _WindowState:
    """A window and what was read of it.

    :param size: records that a part of a larger window should hold; None for a window of the query.
    :param total: Zoom's count of its records; None if it is unknown.
    :param left: records that are still to be read.
    :param pagination: what reads it, unless it was split.
    :param output: chunks, or the parts that it was split into; None at the end.
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
        self._concurrent = concurrent_windows(client.requests_per_second, max_concurrency)
        self._windows = [_WindowState(window) for window in query.windows()]
        self._threads = BackgroundThreads()
        self._tally = Tally(query)
        self.counts = self._tally.counts
        self._awaited: _WindowState | None = None
        self._taken_bytes = 0
        # What follows is changed by the threads, with the lock; the consumer only reads it.
        self._lock = threading.Lock()
        self._to_read = list(self._windows)
        self._to_count = len(self._windows)
        self._read_records = 0
        self._put_bytes = 0
        self._running = 1

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the output: whole lines of JSON or, with ``gzip``, pieces of one or more gzip members.

        Reading starts with the first chunk, and stops when the iterator is closed.

        :raises ZoomError: the first error of any window; nothing follows it.
        :raises ReadCancelled: after a call of :meth:`stop`.
        """
        try:
            self._threads.start(self._read_windows)
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
        self._threads.stop()

    # The consumer

    def _in_order(self, windows: list[_WindowState]) -> Iterator[Chunk]:
        for state in windows:
            self._awaited = state
            while (item := self._threads.get(state.output)) is not None:
                if isinstance(item, list):
                    yield from self._in_order(item)
                    continue
                self._taken_bytes += item.waiting_bytes
                yield item
                if new := self._tally.new_records(item.in_doubt):
                    encoder = JsonLinesEncoder(gzip=self._gzip)
                    yield from (encoder.encode(new), encoder.flush())
            if state.pagination:
                self._tally.close(state.window, state.total, state.pagination)
                state.pagination = None

    def _check_counts(self) -> None:
        if not self._tally.agrees_with([state.total for state in self._windows]):
            # A count that was too high once does not mean that anything is missing.
            counted: queue.SimpleQueue[None] = queue.SimpleQueue()
            self._threads.start(partial(self._count_again, counted))
            self._threads.get(counted)
        totals = [state.total for state in self._windows]
        self._tally.finish(totals, fail_if_incomplete=self._fail_if_incomplete)

    # The threads

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
            if self._threads.stopped.is_set() or not self._to_read:
                self._running -= 1
                return None
            state = self._to_read.pop(0)
            if self._to_read and self._running < self._max_concurrency:
                self._running += 1
                self._threads.start(self._read_windows)
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
        # Without a page token there is nothing more to come, whatever the total is.
        total = page.total_records or 0 if page.next_page_token else 0
        size = state.size or window_size(total * len(self._windows), self._concurrent)
        return [_WindowState(window, size) for window in split(state.window, total, size)]

    def _read_to_end(self, state: _WindowState, page: Page) -> None:
        state.total, state.left = page.total_records, page.total_records or 0
        request = partial(self._request, state)
        state.pagination = Pagination(request, state.window, fail_if_incomplete=self._fail_if_incomplete)
        encoder = JsonLinesEncoder(gzip=self._gzip)
        for batches in state.pagination.pages(page):
            for batch in batches:
                with self._lock:
                    self._read_records += len(batch.records)
                    state.left -= len(batch.records)
                for chunk in encoder.encode_batch(batch):
                    self._put(state, chunk)
        self._put(state, encoder.flush())

    def _put(self, state: _WindowState, chunk: Chunk) -> None:
        """Hand a chunk to the consumer; if too much waits already, only when the consumer has nothing else to take."""
        while self._put_bytes - self._taken_bytes >= _MAX_WAITING_BYTES and not (
            state is self._awaited and state.output.empty()
        ):
            if self._threads.stopped.wait(_POLL_INTERVAL):
                raise ReadCancelled
        with self._lock:
            self._put_bytes += chunk.waiting_bytes
        state.output.put(chunk)

    def _request(self, state: _WindowState, page_token: str | None) -> Page:
        parameters = self._query.parameters(state.window, next_page_token=page_token)
        return self._client.get(
            PATH, parameters, parse_page, self._threads.stopped, priority=partial(self._priority, state)
        )

    def _priority(self, state: _WindowState) -> float:
        """Return when a window's next request should be sent, relative to those of others: the lowest comes first."""
        if state.pagination is None:
            return -math.inf
        left = self.counts.expected - self._read_records if self.counts.all_counted else math.inf
        if 0 < left < state.left * self._concurrent:
            return -state.left
        return state.window.start.timestamp()
