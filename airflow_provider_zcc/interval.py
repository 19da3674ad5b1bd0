"""Finds the ``[start, end)`` that a run is for: in one way for all operators."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pendulum
from pendulum import FixedTimezone, Timezone

from airflow_provider_zcc.zoom.errors import InvalidQuery

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DURATION = re.compile(r"P[\dYMWDTHS.]+")
#: How far the clocks of scheduler and worker may differ: an interval that ends within it is waited for.
CLOCK_SKEW = timedelta(seconds=60)
_LENGTH = "Use a positive timedelta, or an ISO 8601 duration such as P1D or PT1H."
_REMEDY = """Schedule the Dag with a timetable whose runs have a data interval:

    from airflow.timetables.interval import CronDataIntervalTimetable

    schedule=CronDataIntervalTimetable("@daily", timezone="UTC")

or keep the schedule, and set the length of the interval that ends when the run is due, with a key named after it:

    interval_length="P1D",
    s3_key="zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",

or set both start and end."""
_REMEDY_WITHOUT_A_DATE = """Set both start and end, for example from params:

    start="{{ params.start }}",
    end="{{ params.end }}",

or trigger the Dag with a logical date, and schedule it with CronDataIntervalTimetable("@daily", timezone="UTC")."""
_PARTITION_REMEDY = """Set the length of a partition, which starts at the partition_date:

    interval_length="P1D",
    s3_key="zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",

and let the timetable run when the partition is over: CronPartitionTimetable("@daily", timezone="UTC", run_offset=-1).
Or set both start and end."""


class Interval(NamedTuple):
    """The half-open interval ``[start, end)``.

    :param start: first instant, timezone-aware.
    :param end: the instant after the last, timezone-aware.
    """

    start: datetime
    end: datetime

    def in_timezone(self, timezone: Timezone | FixedTimezone) -> Interval:
        """Return the same interval with its bounds in a timezone.

        Within one timezone, Python compares and subtracts times by what clocks show: compute in UTC.

        :param timezone: the timezone.
        """
        return Interval(*(pendulum.instance(bound).in_timezone(timezone) for bound in self))

    def is_same(self, other: Interval) -> bool:
        """Return whether both have the same bounds.

        In an hour that daylight saving repeats, Python never considers times of two timezones equal.

        :param other: the other one.
        """
        return [bound.timestamp() for bound in self] == [bound.timestamp() for bound in other]


def resolve_interval(
    context: Mapping[str, Any],
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    interval_length: timedelta | str | None = None,
) -> Interval:
    """Find the interval that a task is to read.

    ``start`` and ``end`` win; then the run's own data interval; then ``interval_length``, which ends at a
    zero-length data interval or begins at the ``partition_date`` of a partitioned run.
    Days of an ``interval_length`` are those of the calendar in the Dag's timezone, so that daily runs leave no gap
    where daylight saving makes a day of 23 or 25 hours.

    :param context: the task's context.
    :param start: first instant, timezone-aware or ISO 8601 with an offset.
    :param end: the instant after the last, likewise.
    :param interval_length: a timedelta, or an ISO 8601 duration such as ``P1D`` or ``PT1H``.
    :raises InvalidQuery: if that leaves no interval, or none that makes sense.
    """
    length = None if interval_length is None else parse_length("interval_length", interval_length)
    if start is not None or end is not None:
        if start is None or end is None:
            missing = "start" if start is None else "end"
            raise InvalidQuery(f"{missing} is missing. Use start and end together, or neither.")
        return _ordered(_instant("start", start), _instant("end", end))
    run_start, run_end = context.get("data_interval_start"), context.get("data_interval_end")
    if run_start is None or run_end is None:
        partition_date = context.get("partition_date")
        if partition_date is None:
            raise InvalidQuery(
                "The run has no data interval, so there is nothing to read: it was triggered by an asset, or manually "
                f"without a logical date, or it is one of a partition on Airflow 3.2. {_REMEDY_WITHOUT_A_DATE}"
            )
        if length is None:
            raise InvalidQuery(f"The run has a partition_date and no data interval. {_PARTITION_REMEDY}")
        first = _in_dag_timezone(partition_date, context)
        return _ordered(first, shift(first, length, 1, name="interval_length"))
    if run_start != run_end:
        return _ordered(run_start, run_end)
    if length is None:
        raise InvalidQuery(
            f"The run's data interval has no length: it starts and ends at {run_end}, as a cron string or timedelta "
            f"gives it on Airflow 3. Reading it would write an empty file. {_REMEDY}"
        )
    last = _in_dag_timezone(run_end, context)
    return _ordered(shift(last, length, -1, name="interval_length"), last)


def resolve_range(
    context: Mapping[str, Any],
    *,
    start: datetime | str | None,
    end: datetime | str | None,
    lookback: timedelta,
    every: timedelta,
    now: datetime,
) -> Interval:
    """Find the range of time whose intervals a task is to look at, in UTC.

    Unlike :func:`resolve_interval`, every run has one, and ``start`` and ``end`` may be given alone, also as dates.

    :param context: the task's context.
    :param start: first instant: timezone-aware, ISO 8601 with an offset, or a date, whose midnight in the Dag's
        timezone is meant. By default, ``lookback`` before the end.
    :param end: the instant after the last, likewise. By default, the end of the run's data interval. If that is not
        one ``every`` long, it is rounded down to an hour, a midnight, a Monday or the first of a month in the Dag's
        timezone; without one, ``now`` is.
    :param lookback: length of the range without ``start``.
    :param every: length of the intervals.
    :param now: the time.
    :raises InvalidQuery: if that leaves no range.
    """
    if end is not None:
        last = _midnight_or_instant("end", end, context)
    else:
        run_start, run_end = context.get("data_interval_start"), context.get("data_interval_end")
        last = _in_dag_timezone(run_end or now, context)
        if run_start is None or not _is_one(every, _in_dag_timezone(run_start, context), last):
            last = _floor(last, every)
    first = (
        shift(last, lookback, -1, name="lookback") if start is None else _midnight_or_instant("start", start, context)
    )
    return _ordered(first.in_timezone("UTC"), last.in_timezone("UTC"))


def wait_until_over(interval: Interval) -> None:
    """Return when an interval is over, if that is at most a minute away.

    Zoom would list the part of it that has passed, which looks like all of it.

    :param interval: the interval.
    :raises InvalidQuery: if it ends later than that.
    """
    now = datetime.now(UTC)
    left = interval.end - now
    if left > CLOCK_SKEW:
        raise InvalidQuery(
            f"The interval from {interval.start} to {interval.end} is not over: it is {now:%Y-%m-%d %H:%M:%S} UTC. "
            "What Zoom lists of it now is incomplete. Run the task after the end of the interval; with "
            "CronPartitionTimetable, run_offset=-1 does that."
        )
    time.sleep(max(left.total_seconds(), 0.0))


def dag_timezone(context: Mapping[str, Any]) -> Timezone | FixedTimezone:
    """Return the Dag's timezone; UTC without a Dag.

    :param context: the task's context.
    """
    return getattr(context.get("dag"), "timezone", None) or pendulum.UTC


def parse_length(name: str, value: timedelta | str) -> timedelta:
    """Read a length of time, which is positive.

    :param name: of the argument, for the message.
    :param value: a timedelta, or an ISO 8601 duration such as ``P1D``; days, weeks and months are the calendar's.
    :raises InvalidQuery: if it is anything else.
    """
    length: Any = value
    if isinstance(value, str):
        try:
            length = pendulum.parse(value.strip()) if _DURATION.fullmatch(value.strip()) else None
        except (ValueError, OverflowError):
            length = None
    if not isinstance(length, timedelta) or length <= timedelta():
        raise InvalidQuery(f"{name} is not a length of time: {value!r}. {_LENGTH}")
    return length


def shift(moment: pendulum.DateTime, length: timedelta, times: int, *, name: str) -> pendulum.DateTime:
    """Add a length so many times: days and months follow the calendar of the moment's timezone, the rest the clock.

    :param moment: where to start from.
    :param length: as returned by :func:`parse_length`.
    :param times: how many; negative to go back.
    :param name: of the argument with the length, for the message.
    :raises InvalidQuery: if that leaves the calendar.
    """
    months, days, seconds = _parts(length)
    try:
        return moment.add(months=times * months, days=times * days).add(
            seconds=times * seconds, microseconds=times * length.microseconds
        )
    except (OverflowError, ValueError):
        raise InvalidQuery(f"{name} is {length}, which is too long. {_LENGTH}") from None


def _instant(name: str, value: datetime | str) -> datetime:
    moment: Any = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise InvalidQuery(
                f"{name} is not an ISO 8601 time: {value!r}. Use one such as 2026-11-02T00:00:00+00:00."
            ) from None
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidQuery(f"{name} has no timezone: {value!r}. Add an offset, as in 2026-11-02T00:00:00+00:00.")
    return moment


def _midnight_or_instant(name: str, value: datetime | str, context: Mapping[str, Any]) -> pendulum.DateTime:
    if isinstance(value, str) and _DATE.fullmatch(value.strip()):
        try:
            date = datetime.fromisoformat(value.strip())
            return midnight(date, dag_timezone(context))
        except ValueError:
            raise InvalidQuery(f"{name} is not a date: {value!r}. Use one such as 2026-11-02.") from None
    return _in_dag_timezone(_instant(name, value), context)


def _in_dag_timezone(moment: datetime, context: Mapping[str, Any]) -> pendulum.DateTime:
    return pendulum.instance(moment).in_timezone(dag_timezone(context))


def _ordered(start: datetime, end: datetime) -> Interval:
    if end <= start:
        raise InvalidQuery(f"end ({end}) is not after start ({start}). Use an interval [start, end).")
    if start.year < 2 or end.year > 9998:
        raise InvalidQuery(f"start is {start} and end is {end}. Use times within the years 2 to 9998.")
    return Interval(start, end)


def _floor(moment: pendulum.DateTime, every: timedelta) -> pendulum.DateTime:
    """Round down to the start of an interval: the first of a month, a Monday, a midnight, a full hour."""
    months, days, seconds = _parts(every)
    if not (
        (months and 12 % months == 0 and not days and not seconds)
        or (days in (1, 7) and not months and not seconds)
        or (seconds and 3_600 % seconds == 0 and not months and not days)
    ):
        raise InvalidQuery(
            f"every is {every}, and nothing says when such an interval starts. Set start, or use one hour, day, week, "
            "month, quarter or year."
        )
    start_of_day = midnight(moment, moment.timezone or pendulum.UTC)
    if months:
        return start_of_day.subtract(days=moment.day - 1).subtract(months=(moment.month - 1) % months)
    if days:
        return start_of_day.subtract(days=moment.weekday() if days % 7 == 0 else 0)
    second_of_day = 3_600 * moment.hour + 60 * moment.minute + moment.second
    return moment.set(microsecond=0).subtract(seconds=second_of_day % max(seconds, 1))


def midnight(date: datetime, timezone: Timezone | FixedTimezone) -> pendulum.DateTime:
    """Return when a day starts: later where daylight saving skips midnight, the second time where it repeats it.

    :param date: a time of that day, as clocks show it.
    :param timezone: the timezone.
    """
    return pendulum.datetime(date.year, date.month, date.day, tz=timezone)


def is_of_days(length: timedelta) -> bool:
    """Return whether a length consists of days, weeks, months or years only.

    :param length: as returned by :func:`parse_length`.
    """
    return _parts(length)[2] == 0 and length.microseconds == 0


def _is_one(every: timedelta, start: pendulum.DateTime, end: pendulum.DateTime) -> bool:
    """Return whether a run's data interval is one of those that are looked at."""
    length = end.timestamp() - start.timestamp()
    return shift(start, every, 1, name="every").timestamp() == end.timestamp() or length == every.total_seconds()


def _parts(length: timedelta) -> tuple[int, int, int]:
    """Return the months, days and seconds of a length."""
    if not isinstance(length, pendulum.Duration):
        return 0, length.days, length.seconds
    return (
        12 * length.years + length.months,
        7 * length.weeks + length.remaining_days,
        3_600 * length.hours + 60 * length.minutes + length.remaining_seconds,
    )
