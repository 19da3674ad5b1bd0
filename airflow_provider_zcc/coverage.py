"""Which intervals are in S3 as Zoom has them now, which have to be read, and what that takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pendulum
from pendulum import FixedTimezone, Timezone

from airflow_provider_zcc.interval import Interval, is_of_days, midnight, shift
from airflow_provider_zcc.zoom.errors import InvalidQuery
from airflow_provider_zcc.zoom.query import PAGE_SIZE

if TYPE_CHECKING:
    from airflow_provider_zcc.s3.lookup import StoredObject

#: Intervals that are looked at: eleven years of hours, or more than an hour of requests.
_MOST_INTERVALS = 100_000
#: Pages that are read one after the other, about.
_MOST_UNSPLIT_PAGES = 8


class Status(StrEnum):
    """What an interval's object is, compared with what Zoom counts now."""

    MISSING = "missing"
    UNTRACKED = "untracked"
    SHORT = "short"
    DUE = "due"
    SURPLUS = "surplus"
    COMPLETE = "complete"

    @property
    def is_gap(self) -> bool:
        """Whether engagements are missing from S3, or may be."""
        return self in (Status.MISSING, Status.UNTRACKED, Status.SHORT)

    @property
    def needs_read(self) -> bool:
        """Whether the interval has to be read."""
        return self.is_gap or self is Status.DUE


@dataclass(frozen=True)
class Finding:
    """What was found out about an interval.

    :param interval: the interval.
    :param status: what follows from the two numbers, and the manifest.
    :param in_s3: engagements in the object; None if that is unknown.
    :param in_zoom: engagements that Zoom counts now.
    """

    interval: Interval
    status: Status
    in_s3: int | None
    in_zoom: int


@dataclass(frozen=True)
class Plan:
    """What reading takes.

    :param engagements: how many Zoom counts.
    :param requests: to Zoom, about.
    :param requests_per_second: the rate at which they are sent.
    """

    engagements: int
    requests: int
    requests_per_second: float

    @property
    def seconds(self) -> float:
        """How long the requests take."""
        return round(self.requests / self.requests_per_second, 1)


def intervals_between(
    start: datetime,
    end: datetime,
    every: timedelta,
    timezone: Timezone | FixedTimezone,
    *,
    backwards: bool = False,
) -> list[Interval]:
    """Return the whole intervals in ``[start, end)``, oldest first, in UTC.

    Bound n is n lengths after ``start``, or before ``end``, so months that begin on the 31st do not drift.

    :param start: start of the first interval, or the earliest that is possible.
    :param end: end of the last interval, or the latest that is possible.
    :param every: length of an interval.
    :param timezone: whose days and months these are.
    :param backwards: count from ``end``, rather than from ``start``.
    :raises InvalidQuery: if these are more than anybody reads.
    """
    origin = pendulum.instance(end if backwards else start).in_timezone(timezone)
    earliest, latest = start.timestamp(), end.timestamp()
    # Where daylight saving skips midnight, the day starts an hour later.
    is_midnight = origin == midnight(origin, timezone) and is_of_days(every)
    bounds = [origin.in_timezone("UTC")]
    while True:
        bound = shift(origin, every, -len(bounds) if backwards else len(bounds), name="every")
        if is_midnight:
            bound = midnight(bound, timezone)
        if not earliest <= bound.timestamp() <= latest:
            break
        bounds.append(bound.in_timezone("UTC"))
        if len(bounds) > _MOST_INTERVALS:
            raise InvalidQuery(
                f"From {start} to {end} there are more than {_MOST_INTERVALS:,} intervals of {every}. Use a later "
                "start or a longer every."
            )
    return [Interval(*pair) for pair in pairwise(reversed(bounds) if backwards else bounds)]


def last_reread(
    end: datetime, ages: Sequence[timedelta], timezone: Timezone | FixedTimezone, now: datetime
) -> datetime | None:
    """Return when an interval was due for another read for the last time; None if it never was.

    :param end: end of the interval.
    :param ages: how old an interval is each time that it is due.
    :param timezone: whose days and months these are.
    :param now: the time.
    """
    return max((reread for reread in rereads(end, ages, timezone) if reread <= now), default=None)


def rereads(end: datetime, ages: Sequence[timedelta], timezone: Timezone | FixedTimezone) -> list[datetime]:
    """Return when an interval is due for another read, in UTC.

    :param end: end of the interval.
    :param ages: how old an interval is each time that it is due.
    :param timezone: whose days and months these are.
    """
    local = pendulum.instance(end).in_timezone(timezone)
    return [shift(local, age, 1, name="reread_after").in_timezone("UTC") for age in ages]


def assess(
    interval: Interval,
    stored: StoredObject | None,
    in_zoom: int,
    *,
    filters: Mapping[str, Any],
    reread: datetime | None,
) -> Finding:
    """Compare an object with what Zoom counts.

    Where Zoom counts fewer engagements than the object holds, reading could only lose some, whatever else is wrong.

    :param interval: the interval.
    :param stored: its object; None if there is none.
    :param in_zoom: engagements that Zoom counts now.
    :param filters: those of the count, as a manifest has them.
    :param reread: when the interval was due for another read for the last time; None if it never was.
    """
    manifest = stored.manifest if stored else None
    if stored is None:
        return Finding(interval, Status.MISSING, 0, in_zoom)
    if manifest is None:
        status = Status.UNTRACKED if in_zoom or stored.is_empty else Status.SURPLUS
        return Finding(interval, status, None, in_zoom)
    known = manifest.records if manifest.reported is None else manifest.reported
    if in_zoom < max(known, manifest.records):
        status = Status.SURPLUS
    elif not manifest.interval.is_same(interval) or not manifest.has_filters(filters):
        status = Status.UNTRACKED
    elif in_zoom > known:
        status = Status.SHORT
    elif reread and manifest.read_at < reread:
        status = Status.DUE
    else:
        status = Status.COMPLETE
    return Finding(interval, status, manifest.records, in_zoom)


def plan(findings: Iterable[Finding], requests_per_second: float) -> Plan:
    """Return what it takes to read the intervals that have to be.

    :param findings: what was found out.
    :param requests_per_second: the rate at which requests are sent.
    """
    counts = [finding.in_zoom for finding in findings if finding.status.needs_read]
    return Plan(sum(counts), sum(map(_requests_for, counts)), requests_per_second)


def _requests_for(count: int) -> int:
    pages = max(1, math.ceil(count / PAGE_SIZE))
    # More engagements are read in parts: the first page twice, and several last pages that are not full.
    return pages + 2 if pages > _MOST_UNSPLIT_PAGES else pages
