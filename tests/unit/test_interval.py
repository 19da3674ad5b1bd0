from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from pytest_mock import MockerFixture

from airflow_provider_zcc.interval import Interval, parse_length, resolve_interval, resolve_range, wait_until_over
from airflow_provider_zcc.zoom.errors import InvalidQuery

DAY = timedelta(days=1)
FIRST = pendulum.datetime(2026, 11, 2)
NEXT = pendulum.datetime(2026, 11, 3)
REAL = {"data_interval_start": FIRST, "data_interval_end": NEXT}
NO_LENGTH = {"data_interval_start": NEXT, "data_interval_end": NEXT}
ABSENT: dict[str, Any] = {}
NONE = {"data_interval_start": None, "data_interval_end": None}
PARTITIONED = {"partition_key": "2026-11-02", "partition_date": FIRST}


@pytest.mark.parametrize(
    ("context", "length"),
    [
        pytest.param(REAL, None, id="CronDataIntervalTimetable, CronTriggerTimetable with an interval, cron on 2.11"),
        pytest.param(REAL, timedelta(hours=1), id="a real interval, whatever the length"),
        pytest.param(NO_LENGTH, DAY, id="cron or timedelta on 3.x, manual, @once"),
        pytest.param(PARTITIONED, DAY, id="CronPartitionTimetable"),
        pytest.param(PARTITIONED | NONE, DAY, id="CronPartitionTimetable, with empty keys"),
    ],
)
def test_the_interval_is_that_of_the_run(context: dict[str, Any], length: timedelta | None):
    assert resolve_interval(context, interval_length=length) == (FIRST, NEXT)


@pytest.mark.parametrize(
    ("context", "length", "words"),
    [
        pytest.param(NO_LENGTH, None, "2026-11-03.*\n    interval_length=", id="cron or timedelta on 3.x"),
        pytest.param(ABSENT, None, "no data interval.*\n    start=", id="asset-triggered"),
        pytest.param(ABSENT, DAY, "no data interval", id="asset-triggered, whatever the length"),
        pytest.param(PARTITIONED, None, "partition_date.*\n    interval_length=", id="CronPartitionTimetable"),
        pytest.param({"data_interval_start": FIRST}, None, "no data interval", id="one side"),
        pytest.param({"data_interval_start": NEXT, "data_interval_end": FIRST}, None, "not after start", id="reversed"),
    ],
)
def test_a_run_without_an_interval_is_an_error_with_lines_to_copy(
    context: dict[str, Any], length: timedelta | None, words: str
):
    with pytest.raises(InvalidQuery, match=f"(?s){words}"):
        resolve_interval(context, interval_length=length)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (FIRST, NEXT),
        ("2026-11-02 00:00:00+00:00", "2026-11-03T00:00:00.000000Z"),
        (" 2026-11-02T00:00:00+00:00\n", NEXT),
        ("2026-11-01T16:00:00-08:00", datetime(2026, 11, 3, 5, 30, tzinfo=timezone(timedelta(hours=5.5)))),
    ],
)
@pytest.mark.parametrize("context", [ABSENT, {"data_interval_start": NEXT, "data_interval_end": NEXT + DAY}])
def test_start_and_end_win_over_the_run(start: datetime | str, end: datetime | str, context: dict[str, Any]):
    assert resolve_interval(context, start=start, end=end, interval_length=DAY) == (FIRST, NEXT)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        pytest.param(FIRST, None, "end is missing", id="start alone"),
        pytest.param(None, NEXT, "start is missing", id="end alone"),
        pytest.param(NEXT, FIRST, "is not after start", id="reversed"),
        pytest.param(FIRST, "2026-11-02T01:00:00+01:00", "is not after start", id="equal in other words"),
        pytest.param(FIRST, "2026-11-03 00:00:00", "end has no timezone", id="naive"),
        pytest.param(date(2026, 11, 2), NEXT, "start has no timezone", id="a date"),
        pytest.param("yesterday", NEXT, "start is not an ISO 8601 time: 'yesterday'", id="unreadable"),
        pytest.param(0, NEXT, "start has no timezone", id="a number"),
    ],
)
def test_bounds_that_make_no_interval_are_rejected(start: Any, end: Any, words: str):
    with pytest.raises(InvalidQuery, match=words):
        resolve_interval(REAL, start=start, end=end)


@pytest.mark.parametrize(
    ("given", "length"),
    [
        (timedelta(hours=36), timedelta(hours=36)),
        (pendulum.duration(hours=36), timedelta(hours=36)),
        (" PT1H\n", timedelta(hours=1)),
        ("P1DT12H", timedelta(hours=36)),
        ("P1W", timedelta(days=7)),
    ],
)
def test_the_length_ends_at_the_run_or_begins_at_the_date_of_a_partition(given: timedelta | str, length: timedelta):
    assert resolve_interval(NO_LENGTH, interval_length=given) == (NEXT - length, NEXT)
    assert resolve_interval(PARTITIONED, interval_length=given) == (FIRST, FIRST + length)


BERLIN = pendulum.timezone("Europe/Berlin")
BERLIN_DAG = {"dag": SimpleNamespace(timezone=BERLIN)}


@pytest.mark.parametrize("length", ["P1D", DAY])
@pytest.mark.parametrize("saturday", ["2026-10-24", "2026-03-28"])
def test_daily_runs_adjoin_where_daylight_saving_makes_a_day_of_25_or_23_hours(saturday: str, length: timedelta | str):
    first = pendulum.parse(saturday, tz=BERLIN)
    for day, next_day in pairwise(first.add(days=number).in_timezone("UTC") for number in range(4)):
        for run in ({"data_interval_start": next_day, "data_interval_end": next_day}, {"partition_date": day}):
            assert resolve_interval(run | BERLIN_DAG, interval_length=length) == (day, next_day)


@pytest.mark.parametrize(
    ("length", "first"),
    [
        (timedelta(hours=23), pendulum.datetime(2026, 10, 25, tz="UTC")),
        ("P1DT1H", pendulum.datetime(2026, 10, 24, 23, tz=BERLIN)),
        (timedelta(days=1, hours=1), pendulum.datetime(2026, 10, 24, 23, tz=BERLIN)),
        ("P1W", pendulum.datetime(2026, 10, 19, tz=BERLIN)),
        ("P1M", pendulum.datetime(2026, 9, 26, tz=BERLIN)),
    ],
)
def test_days_are_those_of_the_calendar_and_hours_those_of_the_clock(length: timedelta | str, first: pendulum.DateTime):
    midnight = pendulum.datetime(2026, 10, 26, tz=BERLIN)
    run = {"data_interval_start": midnight, "data_interval_end": midnight}
    interval = resolve_interval(run | BERLIN_DAG, interval_length=length)
    # Python calls times of a repeated hour unequal in two timezones, and equal in one, whatever they mean.
    assert [moment.timestamp() for moment in interval] == [first.timestamp(), midnight.timestamp()]
    assert resolve_interval(run, interval_length="P1D") == (midnight.subtract(hours=24), midnight), "UTC without a Dag"


@pytest.mark.parametrize("length", ["P0D", "-P1D", "P", "1 day", "P1D/P2D", 86_400, "P9999Y", "P" + "9" * 400 + "D"])
def test_what_is_no_length_is_rejected(length: Any):
    with pytest.raises(InvalidQuery, match="interval_length is "):
        resolve_interval(NO_LENGTH, interval_length=length)


@pytest.mark.parametrize("seconds_left", [-86_400.0, -0.1, 0.3, 55.0])
def test_an_interval_that_ends_within_a_minute_is_waited_for(seconds_left: float, mocker: MockerFixture):
    sleep = mocker.patch("time.sleep")
    end = datetime.now(UTC) + timedelta(seconds=seconds_left)
    wait_until_over(Interval(end - DAY, end))
    [slept] = sleep.call_args.args
    assert max(seconds_left, 0.0) - 5 < slept <= max(seconds_left, 0.0)


#: A Wednesday.
NOW = pendulum.datetime(2026, 11, 18, 9, 47, 31, 5)


def range_of(context: dict[str, Any], **given: Any) -> Interval:
    lengths = {name: parse_length(name, given.pop(name, "P1D")) for name in ("lookback", "every")}
    return resolve_range(context, **{"start": None, "end": None, "now": NOW} | lengths | given)


@pytest.mark.parametrize(
    ("context", "end"),
    [
        pytest.param(REAL, NEXT, id="a real interval"),
        pytest.param(NO_LENGTH, NEXT, id="no length"),
        pytest.param({"data_interval_start": NOW, "data_interval_end": NOW}, NOW.start_of("day"), id="manual"),
        pytest.param(ABSENT, NOW.start_of("day"), id="asset-triggered"),
    ],
)
def test_the_range_ends_where_the_runs_interval_does_or_now(context: dict[str, Any], end: datetime):
    assert range_of(context, lookback="P7D") == (end - 7 * DAY, end)


@pytest.mark.parametrize(
    ("every", "end"),
    [
        ("PT15M", "2026-11-18T09:45:00+00:00"),
        ("PT1H", "2026-11-18T09:00:00+00:00"),
        ("P1D", "2026-11-17T23:00:00+00:00"),
        (timedelta(days=7), "2026-11-15T23:00:00+00:00"),
        ("P1M", "2026-10-31T23:00:00+00:00"),
        ("P3M", "2026-09-30T22:00:00+00:00"),
    ],
)
def test_an_end_that_is_not_given_is_rounded_down_in_the_timezone_of_the_dag(every: Any, end: str):
    assert range_of(BERLIN_DAG, every=every).end.isoformat() == end


@pytest.mark.parametrize(
    "end", ["2026-10-26", " 2026-10-26\n", "2026-10-25T23:00:00Z", pendulum.datetime(2026, 10, 26, tz=BERLIN)]
)
@pytest.mark.parametrize(
    ("given", "start"),
    [
        ({"start": "2026-10-20"}, "2026-10-19T22:00:00+00:00"),
        ({"lookback": "P1D"}, "2026-10-24T22:00:00+00:00"),
        ({"lookback": "P1M"}, "2026-09-25T22:00:00+00:00"),
    ],
)
def test_a_date_is_a_midnight_in_the_timezone_of_the_dag(end: Any, given: dict[str, Any], start: str):
    found = range_of(BERLIN_DAG, end=end, **given)
    assert [bound.isoformat() for bound in found] == [start, "2026-10-25T23:00:00+00:00"]


@pytest.mark.parametrize("every", ["PT5H", "PT6H", "P2D", "P2W", "P5M", "P1DT1H"])
def test_a_length_that_no_calendar_anchors_needs_a_start(every: str):
    with pytest.raises(InvalidQuery, match="Set start"):
        range_of(BERLIN_DAG, every=every)
    assert range_of(BERLIN_DAG, every=every, end="2026-10-26")


def test_the_end_of_a_run_of_another_length_is_rounded_down_too():
    hour = {"data_interval_start": NEXT.add(hours=5), "data_interval_end": NEXT.add(hours=6)}
    assert range_of(hour, every="P1D").end == NEXT
    assert range_of(hour, every="PT1H").end == NEXT.add(hours=6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"start": "2026-02-30"}, "start is not a date: '2026-02-30'"),
        ({"end": "2026-11-01T00:00:00"}, "end has no timezone"),
        ({"lookback": "P9999Y"}, "lookback is .* too long"),
    ],
)
def test_a_range_that_is_none_is_an_error(given: dict[str, Any], words: str):
    with pytest.raises(InvalidQuery, match=words):
        range_of(REAL, **given)
