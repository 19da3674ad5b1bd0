"""What windows returned, in their order -> counts, records in doubt without duplicates, and whether any are missing."""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_zcc.zoom.errors import IncompleteResponse
from airflow_provider_zcc.zoom.jsonl import Chunk
from airflow_provider_zcc.zoom.page import Identity, Record
from airflow_provider_zcc.zoom.pagination import Returned
from airflow_provider_zcc.zoom.query import Query
from airflow_provider_zcc.zoom.window import Window, possible_instants

log = logging.getLogger(__name__)

#: Windows of which the records are remembered, by a hash of 8 bytes each: about a megabyte.
_REMEMBERED_WINDOWS = 50


@dataclass
class Counts:
    """What has been read so far. The reader's threads count what is expected, the consumer counts the rest.

    :param expected: Zoom's count for the query's windows, as far as they were requested.
    :param all_counted: whether all of them were.
    :param records: engagements in the output.
    :param reported: Zoom's count for ``[start, end)``, once all of it was read; None if Zoom did not report it.
    :param duplicates_dropped: records that were returned more than once.
    :param outside_interval: engagements in the output although they did not start in the interval.
    :param uncompressed_bytes: length of the output before compression.
    """

    expected: int = 0
    all_counted: bool = False
    records: int = 0
    reported: int | None = None
    duplicates_dropped: int = 0
    outside_interval: int = 0
    uncompressed_bytes: int = 0


class Tally:
    """Counts what the output consists of, while it is put together window by window.

    :param query: what is read.
    :param counts: where to count it.
    """

    def __init__(self, query: Query, counts: Counts) -> None:
        self._query = query
        self._counts = counts
        self._ends_of_query_windows = {window.end for window in query.windows()}
        self._records_at_these_ends = 0
        self._records_in_parts = 0
        self._in_doubt: set[Identity] = set()
        self._held_back: list[Record] = []
        self._closed: deque[tuple[Window, array[int]]] = deque(maxlen=_REMEMBERED_WINDOWS)

    def add(self, chunk: Chunk) -> None:
        """Count a chunk of the output.

        :param chunk: the next one.
        """
        self._counts.records += chunk.records
        self._counts.uncompressed_bytes += chunk.uncompressed_bytes

    def new_records(self, window: Window, in_doubt: Iterable[Record]) -> list[Record]:
        """Return those records in doubt that no window has returned so far.

        A record that starts in a later window of the query is held back until that window was read.

        :param window: the window that returned them.
        :param in_doubt: the next ones.
        """
        new = []
        for record in in_doubt:
            instants = self._instants(record)
            if record.identity in self._in_doubt or self._was_returned(record, instants):
                self._counts.duplicates_dropped += 1
                continue
            self._in_doubt.add(record.identity)
            if instants and window.end <= instants[0] and instants[-1] < self._query.end:
                self._held_back.append(record)
                continue
            new.append(record)
            if instants and (instants[-1] < self._query.start or instants[0] >= self._query.end):
                self._counts.outside_interval += 1
        return new

    def close(self, window: Window, total: int | None, returned: Returned) -> list[Record]:
        """Count a window that was read and has no more chunks.

        :param window: the window.
        :param total: Zoom's count for it; None if it is unknown.
        :param returned: what Zoom returned for it.
        :return: records that were held back until now, and that this window has not returned.
        """
        self._counts.duplicates_dropped += returned.duplicates
        self._records_in_parts += max(total or 0, len(returned.hashes))
        # Zoom's bounds are inclusive, so what starts at the end of a window is counted in the next one too.
        if window.end in self._ends_of_query_windows:
            self._records_at_these_ends += returned.left_to_next
        else:
            self._records_in_parts -= returned.left_to_next
        self._closed.append((window, returned.hashes))
        return self._no_longer_held_back(window)

    def counts_at_least(self, totals: Sequence[int | None]) -> bool:
        """Return whether the windows that were read hold no fewer records than Zoom counts.

        :param totals: Zoom's counts for the query's windows; None where they are unknown.
        """
        return self._records_in_parts >= _sum_of_known(totals)

    def finish(self, totals: Sequence[int | None], *, fail_if_incomplete: bool) -> None:
        """Complete the counts, and check them.

        :param totals: Zoom's counts for the query's windows; None where they are unknown.
        :param fail_if_incomplete: raise, rather than log a warning, if records are missing.
        :raises IncompleteResponse: if records are missing.
        """
        if None in totals:
            log.warning("Zoom does not report total_records. Whether engagements are missing cannot be checked.")
        else:
            self._counts.reported = _sum_of_known(totals) - self._records_at_these_ends
        if self._counts.outside_interval:
            log.warning(
                "%d engagements did not start in the interval although Zoom returned them for it. They were kept.",
                self._counts.outside_interval,
            )
        if self.counts_at_least(totals):
            return
        problem = (
            f"Zoom reports {_sum_of_known(totals)} engagements for the whole interval, "
            f"but {self._records_in_parts} for its parts."
        )
        if fail_if_incomplete:
            raise IncompleteResponse(f"{problem} Try again later, or accept it with on_incomplete='warn'.")
        log.warning("%s Continuing without the rest.", problem)

    def _instants(self, record: Record) -> tuple[datetime, ...]:
        return possible_instants(record.start_time, self._query.tz)

    def _was_returned(self, record: Record, instants: tuple[datetime, ...]) -> bool:
        """Return whether the window in which a record certainly starts has been read and has returned it."""
        for window, hashes in self._closed:
            if instants and window.start <= instants[0] and instants[-1] < window.end:
                return hash(record.identity) in hashes
        return False

    def _no_longer_held_back(self, window: Window) -> list[Record]:
        new, self._held_back, waiting = [], [], self._held_back
        for record in waiting:
            instants = self._instants(record)
            if instants[-1] >= window.end:
                self._held_back.append(record)
            elif self._was_returned(record, instants):
                self._counts.duplicates_dropped += 1
            else:
                new.append(record)
        return new


def _sum_of_known(totals: Iterable[int | None]) -> int:
    return sum(total or 0 for total in totals)
