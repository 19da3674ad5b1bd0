"""Whether an interval's engagements are there: one answer for sensor and trigger."""

from __future__ import annotations

import logging
from datetime import timedelta

import pendulum

from airflow_provider_zcc.interval import Interval

log = logging.getLogger(__name__)


class Availability:
    """
    Judges, check by check, whether the engagements of an interval are there.

    :param interval: the interval.
    :param min_engagements: how many there have to be at least.
    :param settle: how long after the end of the interval its engagements may still be on their way.
    :param stable_checks: how many checks in a row have to count the same.
    """

    def __init__(self, interval: Interval, *, min_engagements: int, settle: timedelta, stable_checks: int) -> None:
        self._interval = interval
        self._min_engagements = min_engagements
        self._settles = pendulum.instance(interval.end) + settle
        self._stable_checks = stable_checks
        self._last_count = -1
        self._same = 0

    def seconds_to_settle(self) -> float:
        """Return how long to wait before Zoom is asked for the first time; 0 if it may be asked now."""
        seconds: float = (self._settles - pendulum.now("UTC")).total_seconds()
        if seconds > 0:
            log.info("The interval that ends at %s settles at %s.", self._interval.end, self._settles)
        return max(seconds, 0.0)

    def is_reached(self, count: int) -> bool:
        """Take note of what Zoom counts now, and judge.

        :param count: Zoom's engagements in the interval.
        """
        self._same = self._same + 1 if count == self._last_count else 1
        self._last_count = count
        same = f"; the same for {self._same} checks, wanted are {self._stable_checks}"
        log.info(
            "Zoom counts %d engagements from %s to %s, wanted are %d%s.",
            count,
            self._interval.start,
            self._interval.end,
            self._min_engagements,
            same if self._stable_checks > 1 else "",
        )
        return count >= self._min_engagements and self._same >= self._stable_checks
