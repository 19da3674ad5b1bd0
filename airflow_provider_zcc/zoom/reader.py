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
to be split; then a straggler, which would otherwise be read alone at the end; then the earliest, which is output next.

**Records in doubt.** A record whose time is ambiguous, unreadable or outside of the window may be returned for another
window too. Its thread passes it on as it is. The consumer encodes it, unless the tally knows it from an earlier window,
or the window in which it starts returns it as well.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from airflow_provider_zcc.zoom.background import BackgroundThreads
from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import ReadCancelled
from airflow_provider_zcc.zoom.jsonl import Chunk, JsonLinesEncoder
from airflow_provider_zcc.zoom.page import Page, Record, parse_page
from airflow_provider_zcc.zoom.pagination import Pagination, Returned
from airflow_provider_zcc.zoom.query import PATH, Query
from airflow_provider_zcc.zoom.rate_limiter import Priority
from airflow_provider_zcc.zoom.splitting import records_per_window, split_if_large, windows_to_fill_rate
from airflow_provider_zcc.zoom.tally import Counts, Tally
from airflow_provider_zcc.zoom.window import Window

#: Bytes of output that may wait for the consumer, of all windows together.
_MAX_WAITING_BYTES = 12 * 2**20
#: Seconds between checks whether there is room for more of them.
_POLL_INTERVAL = 0.05
#: Which requests start first: see Priority, above.
_FIRST_PAGE, _STRAGGLER, _OTHER_PAGE = range(3)


@dataclass(eq=False)
class _WindowState:
    """A window and what was read of it. Only the thread that reads the window changes it.

    :param is_part: whether a larger window was split into it and others; if not, it is a window of the query.
    :param target_records: records that a part should hold.
    :param first_page_read: whether its first page has arrived.
    :param total: Zoom's count of its records; None if it is unknown.
    :param records_left: records that are still to be read.
    :param output: chunks; after them, what Zoom returned, or else the parts to read instead.
    """

    window: Window
    is_part: bool = False
    target_records: float = 0.0
    first_page_read: bool = False
    total: int | None = None
    records_left: int = 0
    output: queue.SimpleQueue[Chunk | Returned | list[_WindowState]] = field(default_factory=queue.SimpleQueue)


class EngagementReader:
    """Reads all engagements of a query, without duplicates. An instance reads once.

    :param client: sends the requests.
    :param query: what to read.
    :param max_concurrency: threads, each of which reads one window at a time.
    :param fail_if_incomplete: raise, rather than log a warning, if engagements are missing after reading again.
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
        self._windows_to_fill_rate = windows_to_fill_rate(client.requests_per_second, max_concurrency)
        self._windows = [_WindowState(window) for window in query.windows()]
        self._threads = BackgroundThreads()
        self.counts = Counts()
        # Only the consumer changes these.
        self._tally = Tally(query, self.counts)
        self._awaited: _WindowState | None = None
        self._taken_bytes = 0
        # Only the threads change these, with the lock.
        self._lock = threading.Lock()
        self._to_read = list(self._windows)
        self._read_records = 0
        self._put_bytes = 0
        self._live_threads = 1

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
        """Stop reading: no further request is sent, and the iterator of chunks raises ReadCancelled."""
        self._threads.stop()

    # The consumer

    def _in_order(self, windows: list[_WindowState]) -> Iterator[Chunk]:
        for state in windows:
            self._awaited = state
            while isinstance(item := self._threads.get(state.output), Chunk):
                self._taken_bytes += item.waiting_bytes
                yield item
                yield from self._encoded(self._tally.new_records(state.window, item.in_doubt))
            if isinstance(item, Returned):
                yield from self._encoded(self._tally.close(state.window, state.total, item))
            else:
                yield from self._in_order(item)

    def _encoded(self, records: list[Record]) -> Iterable[Chunk]:
        encoder = JsonLinesEncoder(gzip=self._gzip)
        return (encoder.encode(records), encoder.flush()) if records else ()

    def _check_counts(self) -> None:
        totals = [state.total for state in self._windows]
        if not self._tally.counts_at_least(totals):
            # A count that was too high once does not mean that anything is missing.
            lower_totals: queue.SimpleQueue[list[int | None]] = queue.SimpleQueue()
            self._threads.start(partial(self._count_again, lower_totals))
            totals = self._threads.get(lower_totals)
        self._tally.finish(totals, fail_if_incomplete=self._fail_if_incomplete)

    # The threads

    def _read_windows(self) -> None:
        while state := self._take_window():
            page = self._request(state, None)
            self._note_first_page(state, page)
            if parts := self._parts_of(state, page):
                with self._lock:
                    self._to_read = sorted([*self._to_read, *parts], key=lambda part: part.window.start)
                state.output.put(parts)
            else:
                self._read_to_end(state, page)

    def _take_window(self) -> _WindowState | None:
        """Take the earliest window that is to be read. If there are more of them, start one more thread."""
        with self._lock:
            if self._threads.stopped.is_set() or not self._to_read:
                self._live_threads -= 1
                return None
            state = self._to_read.pop(0)
            if self._to_read and self._live_threads < self._max_concurrency:
                self._live_threads += 1
                self._threads.start(self._read_windows)
            return state

    def _note_first_page(self, state: _WindowState, page: Page) -> None:
        state.total, state.records_left = page.total_records, page.total_records or 0
        with self._lock:
            state.first_page_read = True
            if not state.is_part:
                self.counts.expected += page.total_records or 0
                self.counts.all_counted = all(window.first_page_read for window in self._windows)

    def _count_again(self, lower_totals: queue.SimpleQueue[list[int | None]]) -> None:
        pairs = [(state.total, self._request(state, None).total_records) for state in self._windows]
        lower_totals.put([min((total for total in pair if total is not None), default=None) for pair in pairs])

    def _parts_of(self, state: _WindowState, page: Page) -> list[_WindowState]:
        if page.next_page_token is None:
            return []  # There is nothing more to come, whatever the total is.
        total, target = page.total_records or 0, state.target_records
        if not state.is_part:
            estimated_total = total * len(self._windows)
            target = records_per_window(estimated_total, self._windows_to_fill_rate)
        parts = split_if_large(state.window, total, target)
        return [_WindowState(part, is_part=True, target_records=target) for part in parts]

    def _read_to_end(self, state: _WindowState, page: Page) -> None:
        request = partial(self._request, state)
        pagination = Pagination(request, state.window, fail_if_incomplete=self._fail_if_incomplete)
        encoder = JsonLinesEncoder(gzip=self._gzip)
        for batches in pagination.pages(page):
            for batch in batches:
                with self._lock:
                    self._read_records += len(batch.records)
                state.records_left -= len(batch.records)
                for chunk in encoder.encode_batch(batch):
                    self._put(state, chunk)
        self._put(state, encoder.flush())
        state.output.put(pagination.returned)

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
        priority = partial(self._priority, state)
        return self._client.get(PATH, parameters, parse_page, self._threads.stopped, priority)

    def _priority(self, state: _WindowState) -> Priority:
        if not state.first_page_read:
            return _FIRST_PAGE, 0.0
        if self._is_straggler(state):
            return _STRAGGLER, -state.records_left
        return _OTHER_PAGE, state.window.start.timestamp()

    def _is_straggler(self, state: _WindowState) -> bool:
        """Return whether a window holds more than its share of all records that are still to be read."""
        left = self.counts.expected - self._read_records
        return self.counts.all_counted and 0 < left < state.records_left * self._windows_to_fill_rate
