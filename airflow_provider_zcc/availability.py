"""Whether an interval's engagements are available: the same rule for sensor and trigger."""

from __future__ import annotations

import logging
import math
from datetime import timedelta

import pendulum

from airflow_provider_zcc.interval import Interval
from airflow_provider_zcc.zoom.errors import InvalidQuery

log = logging.getLogger(__name__)


class Availability:
    """
    Decides, check by check, whether the engagements of an interval are available.

    :param interval: the interval.
    :param min_engagements: how many engagements it needs to have: a whole number, 0 or more.
    :param settle: how long after the end of the interval its engagements may still arrive: a timedelta or seconds.
    :param stable_checks: how many consecutive checks need to return the same count; 0 and 1 require none.
    :raises InvalidQuery: if one of them has another type or is out of range.
    """

    def __init__(
        self, interval: Interval, *, min_engagements: int, settle: timedelta | float, stable_checks: int
    ) -> None:
        self._interval = interval
        self._min_engagements = whole_number("min_engagements", min_engagements)
        self._stable_checks = whole_number("stable_checks", stable_checks)
        try:
            self._settles = pendulum.instance(interval.end) + timedelta(
                seconds=seconds("settle", settle, least=-math.inf)
            )
        except OverflowError:
            raise InvalidQuery(f"settle is {settle!r}. Set a timedelta or a number of seconds.") from None
        self._last_count = -1
        self._same = 0
        self._logged_settling = False

    def seconds_to_settle(self) -> float:
        """Return how long to wait before the first check; 0 if it may be made now."""
        left: float = (self._settles - pendulum.now("UTC")).total_seconds()
        if left > 0 and not self._logged_settling:
            log.info("Waiting until %s: the interval ended or ends at %s.", self._settles, self._interval.end)
            self._logged_settling = True
        return max(left, 0.0)

    def is_reached(self, count: int) -> bool:
        """Record what Zoom counts now, and decide.

        :param count: Zoom's engagements in the interval.
        """
        self._same = self._same + 1 if count == self._last_count else 1
        self._last_count = count
        stable = f"; the same in {self._same} of {self._stable_checks} checks" if self._stable_checks > 1 else ""
        log.info(
            "Zoom counts %d engagements from %s to %s, %d are required%s.",
            count,
            self._interval.start,
            self._interval.end,
            self._min_engagements,
            stable,
        )
        return count >= self._min_engagements and self._same >= self._stable_checks


def whole_number(name: str, value: object) -> int:
    """Return an argument that has to be a whole number, 0 or more; a boolean is none.

    :param name: of the argument.
    :param value: its value.
    :raises InvalidQuery: if it is anything else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidQuery(f"{name} is {value!r}. Set a whole number, 0 or more.")
    return value


def seconds(name: str, value: object, least: float = 0.0) -> float:
    """Return an argument that is a timedelta, or a number of seconds, as seconds.

    :param name: of the argument.
    :param value: its value.
    :param least: seconds that it needs to be.
    :raises InvalidQuery: if it is anything else, or less.
    """
    length = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(length, int | float) and not isinstance(length, bool) and least <= length < math.inf:
        return length
    bound = ", 0 or more" if least == 0 else ""
    raise InvalidQuery(f"{name} is {value!r}. Set a timedelta or a number of seconds{bound}.")
