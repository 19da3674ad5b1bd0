"""What windows returned, in their order -> counts, records in doubt without duplicates, and whether any are missing."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_zcc.zoom.errors import IncompleteResponse
from airflow_provider_zcc.zoom.jsonl import Chunk
from airflow_provider_zcc.zoom.page import Record
from airflow_provider_zcc.zoom.pagination import Pagination
from airflow_provider_zcc.zoom.query import Query
from airflow_provider_zcc.zoom.window import Window, possible_instants

log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What has been read so far.

    :param records: engagements in the output.
    :param expected: Zoom's count for the query's windows, as far as they were requested.
    :param all_counted: whether all of them were.
    :param reported: Zoom's count for ``[start, end)``, once all of it was read; None if Zoom did not report it.
    :param duplicates_dropped: records that were returned more than once.
    :param outside_interval: engagements in the output although they did not start in the interval.
    :param uncompressed_bytes: length of the output before compression.
    """

    records: int = 0
    expected: int = 0
    all_counted: bool = False
    reported: int | None = None
    duplicates_dropped: int = 0
    outside_interval: int = 0
    uncompressed_bytes: int = 0


class Tally:
    """Counts what the output consists of, while it is put together window by window.

    :param query: what is read.
    """

    def __init__(self, query: Query) -> None:
        self.counts = Counts()
        self._query = query
        # Zoom's bounds are inclusive: these windows also count what starts at their end, and belongs to the next.
        self._ends = {window.end for window in query.windows()}
        self._counted_beyond = 0
        self._counted_in_parts: float = 0
        self._before: Pagination | None = None
        self._identities: set[str | int | bytes] = set()

    def add(self, chunk: Chunk) -> None:
        """Count a chunk of the output.

        :param chunk: the next one.
        """
        self.counts.records += chunk.records
        self.counts.uncompressed_bytes += chunk.uncompressed_bytes

    def new_records(self, in_doubt: Iterable[Record]) -> list[Record]:
        """Return those records in doubt that neither this window nor one before it has returned.

        :param in_doubt: the next ones.
        """
        new = []
        for record in in_doubt:
            if record.identity in self._identities or (self._before and self._before.has_returned(record)):
                self.counts.duplicates_dropped += 1
                continue
            self._identities.add(record.identity)
            new.append(record)
            instants = possible_instants(record.start_time, self._query.tz)
            if instants and (max(instants) < self._query.start or min(instants) >= self._query.end):
                self.counts.outside_interval += 1
        return new

    def close(self, window: Window, total: int | None, pagination: Pagination) -> None:
        """Count a window that was read and has no more chunks.

        :param window: the window.
        :param total: Zoom's count for it; None if it is unknown.
        :param pagination: what it returned.
        """
        if total is None and self._counted_in_parts < math.inf:
            log.warning("Zoom does not report total_records. Whether engagements are missing cannot be checked.")
        self._counted_in_parts += math.inf if total is None else total
        self.counts.duplicates_dropped += pagination.duplicates
        if window.end in self._ends:
            self._counted_beyond += pagination.left_to_next
        self._before = pagination

    def agrees_with(self, totals: list[int | None]) -> bool:
        """Return whether the windows that were read count no fewer records than the query's windows did.

        :param totals: Zoom's counts for the query's windows; None where they are unknown.
        """
        return self._counted_in_parts >= sum(total or 0 for total in totals)

    def finish(self, totals: list[int | None], *, fail_if_incomplete: bool) -> None:
        """Complete the counts, and check them.

        :param totals: Zoom's counts for the query's windows; None where they are unknown.
        :param fail_if_incomplete: raise, rather than log a warning, if records are missing.
        :raises IncompleteResponse: if records are missing.
        """
        if None not in totals:
            self.counts.reported = sum(total or 0 for total in totals) - self._counted_beyond
        if self.counts.outside_interval:
            log.warning(
                "%d engagements did not start in the interval although Zoom returned them for it. They were kept.",
                self.counts.outside_interval,
            )
        if self.agrees_with(totals):
            return
        problem = (
            f"Zoom reports {sum(total or 0 for total in totals)} engagements for the whole interval, "
            f"but {self._counted_in_parts} for its parts."
        )
        if fail_if_incomplete:
            raise IncompleteResponse(f"{problem} Try again later, or accept it with on_incomplete='warn'.")
        log.warning("%s Continuing without the rest.", problem)
