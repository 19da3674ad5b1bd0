"""Finds the intervals that are not in S3, or not as Zoom has them now."""

from __future__ import annotations

import math
import queue
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, Stats, conf

from airflow_provider_zcc.arguments import (
    FILTERS,
    TemplatedArguments,
    check_aws_arguments,
    filters_of,
    invalid_argument,
    redacted_filters_of,
)
from airflow_provider_zcc.coverage import (
    Finding,
    Plan,
    Status,
    assess,
    intervals_between,
    last_reread,
    plan,
    rereads,
)
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, airflow_errors
from airflow_provider_zcc.interval import (
    CLOCK_SKEW,
    Interval,
    dag_timezone,
    parse_length,
    resolve_range,
    wait_until_over,
)
from airflow_provider_zcc.killable import KillableTask
from airflow_provider_zcc.s3.location import Location, fill_placeholders
from airflow_provider_zcc.s3.lookup import StoredObject, locate, look_up, require_bucket
from airflow_provider_zcc.zoom.background import BackgroundThreads
from airflow_provider_zcc.zoom.errors import InvalidQuery

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from pendulum import FixedTimezone, Timezone

#: Seconds between two log lines on progress.
_PROGRESS_INTERVAL = 5.0
#: Intervals that are named: in the log and the XCom, and in an error.
_MOST_NAMED, _MOST_IN_MESSAGE = 100, 20
_ON_GAPS = ("return", "fail")


class EngagementsCheckOperator(TemplatedArguments, KillableTask, BaseOperator):
    """
    Finds the intervals whose engagements are missing from S3, fewer than Zoom counts, or due for another read.

    It looks at every interval of the length ``every`` that is over: at its object, the manifest beside that, and Zoom's
    count, with one request for each 28 days. It reads no engagement and writes nothing. Returns
    ``[{"start": ..., "end": ...}, ...]``, oldest first, which
    :class:`~airflow_provider_zcc.transfers.engagements_to_s3.EngagementsToS3Operator` is mapped over; no more than
    ``[core] max_map_length``, so the next run finds the rest.

    .. code-block:: python

        where = {"s3_bucket": "my-lake", "s3_key": "zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz"}
        check = EngagementsCheckOperator(task_id="check", **where)
        EngagementsToS3Operator.partial(task_id="read", **where).expand_kwargs(check.output)

    ============= ======================================================================================= =========
    status        when                                                                                    returned
    ============= ======================================================================================= =========
    ``missing``   there is no object                                                                      yes
    ``untracked`` it has no manifest, or one of another object, another interval or other filters         yes
    ``short``     Zoom counts more engagements than when the object was read                              yes
    ``due``       it was not read since its interval reached an age in ``reread_after``                   yes
    ``surplus``   Zoom counts fewer, whatever else holds: their retention ended, or they were deleted.    no
                  It is not read again, so that nothing is lost, and a warning is logged.
    ``complete``  none of these                                                                           no
    ============= ======================================================================================= =========

    An interval without engagements needs an object too, which ``on_empty="skip"`` does not write.

    The XCom ``coverage`` (unless ``do_xcom_push=False``) holds the number of ``intervals`` and of those with each
    status, ``engagements`` (what Zoom counts in all), ``requests`` and ``seconds`` (what reading takes at the
    connection's rate, about) and ``to_read``, the first 100 intervals that have to be read, each with start, end,
    status, in_s3 (None if that is unknown) and in_zoom.

    All arguments are template fields.

    :param s3_key: key of the objects, as it is given to ``EngagementsToS3Operator``: with ``{start}`` or ``{end}``.
    :param s3_bucket: bucket. By default the bucket of the URL, or that of the AWS connection.
    :param start: first instant: a timezone-aware datetime, ISO 8601 with an offset, or a date such as ``2026-11-02``,
        whose midnight in the Dag's timezone is meant. Intervals are counted from it. By default, they are counted
        backwards from ``end``, as far as ``lookback`` goes.
    :param end: the instant after the last, likewise. By default, the end of the run's data interval. If that has no
        length or another one than ``every``, it is rounded down to an hour, a midnight, a Monday or the first of a
        month; without one, the current time is.
    :param lookback: how far to look back without ``start``: a timedelta or an ISO 8601 duration, 8 days by default.
        For each interval to be found due, it has to be longer than the greatest ``reread_after`` by one ``every``.
    :param every: length of an interval: a timedelta, or an ISO 8601 duration such as ``PT1H``, ``P1D``, ``P1W`` or
        ``P1M``; 1 day by default. Days, weeks and months are those of the calendar in the Dag's timezone.
    :param queue_id: see :class:`~airflow_provider_zcc.zoom.query.Filters`, as all filters.
    :param user_id: only this agent.
    :param consumer_number: only this consumer's phone number. It is kept out of the rendered template fields that
        Airflow shows, because it is personal. Objects of two numbers cannot be told apart by their manifests.
    :param channel_types: only these channel types.
    :param channel: only this channel.
    :param channel_sources: only these channel sources.
    :param direction: inbound or outbound.
    :param timezone: in which the times in the objects are written.
    :param reread_after: ages at which an interval is due for another read, since notes and dispositions are edited
        later: timedeltas or ISO 8601 durations, also as text separated by commas; none for never. 1 and 7 days by
        default.
    :param on_gaps: ``return`` the intervals (default), or ``fail`` if any is missing, untracked or short, with a
        message for an alert.
    :param zcc_conn_id: connection to Zoom.
    :param aws_conn_id: connection to AWS. None, or one that does not exist, means boto3's default chain.
    :param verify: whether, or with which CA bundle, the certificate of S3 is verified, as in S3Hook.
    """

    template_fields: Sequence[str] = (
        "s3_key",
        "s3_bucket",
        "start",
        "end",
        "lookback",
        "every",
        *FILTERS,
        "reread_after",
        "on_gaps",
        "zcc_conn_id",
        "aws_conn_id",
        "verify",
    )
    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        s3_key: str,
        s3_bucket: str | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        lookback: timedelta | str = timedelta(days=8),
        every: timedelta | str = timedelta(days=1),
        queue_id: str | None = None,
        user_id: str | None = None,
        consumer_number: str | None = None,
        channel_types: str | Sequence[str] | None = None,
        channel: str | None = None,
        channel_sources: str | Sequence[str] | None = None,
        direction: str | None = None,
        timezone: str | None = None,
        reread_after: timedelta | str | Sequence[timedelta | str] | None = (timedelta(days=1), timedelta(days=7)),
        on_gaps: str = "return",
        zcc_conn_id: str = ZoomContactCenterHook.default_conn_name,
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_key = s3_key
        self.s3_bucket = s3_bucket
        self.start = start
        self.end = end
        self.lookback = lookback
        self.every = every
        self.queue_id = queue_id
        self.user_id = user_id
        self.consumer_number = consumer_number
        self.channel_types = channel_types
        self.channel = channel
        self.channel_sources = channel_sources
        self.direction = direction
        self.timezone = timezone
        self.reread_after = reread_after
        self.on_gaps = on_gaps
        self.zcc_conn_id = zcc_conn_id
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        self._hide_literal_number()

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Look at the intervals, and return those that have to be read.

        :param context: the task's context.
        :return: their bounds in the Dag's timezone, as ISO 8601, oldest first.
        """
        with self._killable(), airflow_errors():
            return self._check(context)

    def _check(self, context: Context) -> list[dict[str, str]]:
        self._require_arguments(context)
        self._check_arguments()
        ages, timezone = self._ages(), dag_timezone(context)
        intervals = self._intervals(context, ages)
        wait_until_over(intervals[-1])
        now = pendulum.now("UTC")
        last_rereads = [last_reread(interval.end, ages, timezone, now) for interval in intervals]
        filters = redacted_filters_of(self)
        hook = ZoomContactCenterHook(self.zcc_conn_id)
        s3_hook = S3Hook(self.aws_conn_id, verify=self.verify)
        # This makes the client whose rate limiter all threads share.
        rate = hook.requests_per_second
        locations = self._locations(s3_hook, intervals, timezone)
        require_bucket(s3_hook, locations[0], {})
        first, last = intervals[0].in_timezone(timezone).start, intervals[-1].in_timezone(timezone).end
        self.log.info("Looking at %d intervals from %s to %s.", len(intervals), first, last)
        found = self._look_up(intervals, locations, hook, s3_hook)
        findings = [
            assess(interval.in_timezone(timezone), stored, in_zoom, filters=filters, reread=reread)
            for interval, (stored, in_zoom), reread in zip(intervals, found, last_rereads, strict=True)
        ]
        cost = plan(findings, rate)
        self._report(findings, cost)
        if self.do_xcom_push:
            context["ti"].xcom_push(key="coverage", value=_coverage(findings, cost))
        gaps = sum(finding.status.is_gap for finding in findings)
        Stats.gauge("zcc.gaps", gaps, tags={"dag_id": self.dag_id, "task_id": self.task_id})
        return self._result(findings)

    def _check_arguments(self) -> None:
        if self.on_gaps not in _ON_GAPS:
            raise invalid_argument("on_gaps", self.on_gaps, f"one of {', '.join(map(repr, _ON_GAPS))}")
        check_aws_arguments(self.aws_conn_id, self.verify)

    def _ages(self) -> list[timedelta]:
        given = self.reread_after
        if isinstance(given, str):
            given = given.split(",")
        elif isinstance(given, timedelta):
            given = [given]
        if not isinstance(given, Sequence | None):
            raise invalid_argument("reread_after", given, "lengths of time such as ('P1D', 'P7D')")
        return [parse_length("reread_after", age) for age in given or ()]

    def _intervals(self, context: Context, ages: Sequence[timedelta]) -> list[Interval]:
        every, lookback = parse_length("every", self.every), parse_length("lookback", self.lookback)
        now, timezone = pendulum.now("UTC"), dag_timezone(context)
        start, end = resolve_range(context, start=self.start, end=self.end, lookback=lookback, every=every, now=now)
        if self.start is None:
            intervals = intervals_between(start, end, every, timezone, backwards=True)
            self._warn_if_never_due(intervals, ages, timezone)
        else:
            intervals = intervals_between(start, min(end, now + CLOCK_SKEW), every, timezone)
        intervals = [interval for interval in intervals if interval.end <= now + CLOCK_SKEW]
        if not intervals:
            raise InvalidQuery(
                f"From {start} to {end} there is no whole interval of {every} that is over, so there is nothing to "
                "look at. Use an earlier start, a longer lookback or a shorter every, or run the check later."
            )
        return intervals

    def _warn_if_never_due(
        self, intervals: Sequence[Interval], ages: Sequence[timedelta], timezone: Timezone | FixedTimezone
    ) -> None:
        """Warn if nightly checks stop looking at an interval before it is due for the last time."""
        if intervals and ages:
            due = max(rereads(intervals[0].end, ages, timezone))
            if due > intervals[-1].end:
                self.log.warning(
                    "lookback is too short: it ends before the oldest interval is due for the last time, %s. Use a "
                    "lookback that is longer than the greatest reread_after by at least one interval.",
                    due,
                )

    def _locations(
        self, s3_hook: S3Hook, intervals: Sequence[Interval], timezone: Timezone | FixedTimezone
    ) -> list[Location]:
        found: dict[Location, Interval] = {}
        for interval in intervals:
            location = locate(s3_hook, self.s3_bucket, fill_placeholders(self.s3_key, interval, timezone))
            if location in found:
                raise InvalidQuery(
                    f"s3_key {self.s3_key!r} gives the intervals that start at {found[location].start} and "
                    f"{interval.start} the same name: {location.uri}. Put their start into it, as in "
                    "{start:%Y-%m-%d} for days or {start:%Y-%m-%dT%H%z} for hours."
                )
            found[location] = interval
        return list(found)

    def _look_up(
        self, intervals: Sequence[Interval], locations: Sequence[Location], hook: ZoomContactCenterHook, s3_hook: S3Hook
    ) -> list[tuple[StoredObject | None, int]]:
        """Return the object of each interval, and Zoom's count."""
        filters, threads = filters_of(self), BackgroundThreads()
        numbers = iter(range(len(intervals)))
        results: queue.SimpleQueue[tuple[int, StoredObject | None, int]] = queue.SimpleQueue()

        def work() -> None:
            for number in numbers:
                if threads.stopped.is_set():
                    return
                stored = look_up(s3_hook, locations[number], {})
                results.put((number, stored, hook.count_engagements(*intervals[number], **filters)))

        found: dict[int, tuple[StoredObject | None, int]] = {}
        started = logged = time.monotonic()
        try:
            for _ in range(hook.max_concurrency):
                threads.start(work)
            while len(found) < len(intervals):
                number, stored, in_zoom = threads.get(results)
                found[number] = stored, in_zoom
                if (now := time.monotonic()) - logged >= _PROGRESS_INTERVAL:
                    logged = now
                    rate = hook.requests_sent / (now - started)
                    self.log.info("%d of %d intervals, %.1f requests/s", len(found), len(intervals), rate)
        finally:
            threads.stop()
        return [found[number] for number in range(len(intervals))]

    def _report(self, findings: Sequence[Finding], cost: Plan) -> None:
        """Log what reading takes, and a table of what was found."""
        counts = Counter(finding.status for finding in findings)
        self.log.info("Found: %s.", ", ".join(f"{counts[status]} {status}" for status in Status if counts[status]))
        if to_read := sum(finding.status.needs_read for finding in findings):
            self.log.info(
                "To read: %d of %d intervals, %s engagements, about %s requests, %s at %g requests/s.",
                to_read,
                len(findings),
                f"{cost.engagements:,}",
                f"{cost.requests:,}",
                pendulum.duration(seconds=max(1, math.ceil(cost.seconds))).in_words(),
                cost.requests_per_second,
            )
        for line in _table([finding for finding in findings if finding.status is not Status.COMPLETE], _MOST_NAMED):
            self.log.info("%s", line)
        if counts[Status.SURPLUS]:
            self.log.warning(
                "For %d intervals, S3 holds more engagements than Zoom counts now: their retention may have ended, "
                "they may have been deleted, or the objects were read with fewer filters. These intervals are not "
                "returned, so that nothing is lost. To replace an object all the same, read it with replace='any'.",
                counts[Status.SURPLUS],
            )

    def _result(self, findings: Sequence[Finding]) -> list[dict[str, str]]:
        gaps = [finding for finding in findings if finding.status.is_gap]
        if gaps and self.on_gaps == "fail":
            table = "\n".join(_table(gaps, _MOST_IN_MESSAGE))
            raise AirflowFailException(
                f"{len(gaps)} of {len(findings)} intervals of {self.s3_key} are missing, untracked or short:\n{table}\n"
                f"Read them from {_bounds(gaps[0])['start']} to {_bounds(gaps[-1])['end']}: run a "
                "Dag with this check, on_gaps='return', and "
                "EngagementsToS3Operator.partial(...).expand_kwargs(check.output)."
            )
        to_read = [_bounds(finding) for finding in findings if finding.status.needs_read]
        limit = conf.getint("core", "max_map_length", fallback=1024)
        if rest := to_read[limit:]:
            self.log.warning(
                "Only the first %d intervals are returned, as many as [core] max_map_length allows. The next run finds "
                "the other %d, from %s to %s.",
                limit,
                len(rest),
                rest[0]["start"],
                rest[-1]["end"],
            )
        return to_read[:limit]


def _coverage(findings: Sequence[Finding], cost: Plan) -> dict[str, Any]:
    counts = Counter(finding.status for finding in findings)
    to_read = [finding for finding in findings if finding.status.needs_read]
    return {
        "intervals": len(findings),
        **{status.value: counts[status] for status in Status},
        "engagements": sum(finding.in_zoom for finding in findings),
        "requests": cost.requests,
        "seconds": cost.seconds,
        "to_read": [
            {
                **_bounds(finding),
                "status": finding.status.value,
                "in_s3": finding.in_s3,
                "in_zoom": finding.in_zoom,
            }
            for finding in to_read[:_MOST_NAMED]
        ],
    }


def _table(findings: Sequence[Finding], most: int) -> list[str]:
    lines = [f"{'start':25}  {'status':9}  {'in S3':>9}  {'in Zoom':>9}"] if findings else []
    for finding in findings[:most]:
        in_s3 = "unknown" if finding.in_s3 is None else f"{finding.in_s3:,}"
        start = finding.interval.start.isoformat()
        lines.append(f"{start:25}  {finding.status:9}  {in_s3:>9}  {finding.in_zoom:>9,}")
    return [*lines, f"and {len(findings) - most} more"] if len(findings) > most else lines


def _bounds(finding: Finding) -> dict[str, str]:
    return {name: bound.isoformat() for name, bound in finding.interval._asdict().items()}
