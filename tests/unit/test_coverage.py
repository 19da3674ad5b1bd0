from __future__ import annotations

from datetime import timedelta

import pendulum
import pytest

from airflow_provider_zcc.coverage import Finding, Status, intervals_between, last_reread, plan
from airflow_provider_zcc.interval import Interval

UTC = pendulum.timezone("UTC")
BERLIN = pendulum.timezone("Europe/Berlin")
#: Where a midnight of 2018 did not exist.
SAO_PAULO = pendulum.timezone("America/Sao_Paulo")
DAY = timedelta(days=1)
MONTH = pendulum.duration(months=1)


@pytest.mark.parametrize(
    ("every", "start", "bounds"),
    [
        pytest.param(MONTH, "2026-01-31", ["02-28", "03-31", "04-30"], id="months do not drift"),
        pytest.param(DAY, "2026-10-24", ["10-25", "10-26"], id="a day of 25 hours"),
        pytest.param(DAY, "2026-03-28", ["03-29", "03-30"], id="a day of 23 hours"),
    ],
)
def test_intervals_are_the_calendars(every: timedelta, start: str, bounds: list[str]):
    first, last = (pendulum.parse(date, tz=BERLIN) for date in (start, f"2026-{bounds[-1]}"))
    intervals = [interval.in_timezone(BERLIN) for interval in intervals_between(first, last, every, BERLIN)]
    assert [f"{interval.end:%m-%d %H:%M}" for interval in intervals] == [f"{bound} 00:00" for bound in bounds]
    assert [interval.start for interval in intervals] == [first, *(interval.end for interval in intervals[:-1])]


@pytest.mark.parametrize(
    ("every", "lookback", "starts"),
    [(MONTH, timedelta(days=90), ["09-01", "10-01"]), (DAY, timedelta(hours=60), ["10-30", "10-31"])],
)
def test_counted_backwards_intervals_meet_the_end(every: timedelta, lookback: timedelta, starts: list[str]):
    end = pendulum.datetime(2026, 11, 1, tz=BERLIN)
    intervals = intervals_between(end - lookback, end, every, BERLIN, backwards=True)
    assert [f"{interval.in_timezone(BERLIN).start:%m-%d}" for interval in intervals] == starts
    assert intervals[-1].end == end


def test_a_midnight_that_does_not_exist_moves_one_bound_only():
    first, last = (pendulum.datetime(2018, 11, day, tz=SAO_PAULO) for day in (3, 5))
    [saturday, sunday] = intervals_between(first, last, DAY, SAO_PAULO)
    assert saturday.end == sunday.start == pendulum.datetime(2018, 11, 4, 3)
    assert sunday.end == last
    assert intervals_between(first, sunday.start, DAY, SAO_PAULO, backwards=True) == [saturday]


def test_only_whole_intervals_are_looked_at():
    start = pendulum.datetime(2026, 11, 2)
    assert intervals_between(start, start + 1.9 * DAY, DAY, UTC) == [(start, start + DAY)]
    assert intervals_between(start, start + 0.9 * DAY, DAY, UTC) == []


@pytest.mark.parametrize(
    ("hours", "expected"),
    [(23, None), (24.5, None), (25, 25), (24 * 7, 25), (24 * 7 + 1, 24 * 7 + 1), (24 * 900, 24 * 7 + 1)],
)
def test_the_ages_of_an_interval_are_counted_in_days_of_the_calendar(hours: float, expected: float | None):
    end = pendulum.datetime(2026, 10, 25, tz=BERLIN).in_timezone("UTC")
    reread = last_reread(end, [DAY, 7 * DAY], BERLIN, end + timedelta(hours=hours))
    assert reread == (None if expected is None else end + timedelta(hours=expected))


def test_the_plan_is_about_what_is_to_be_read():
    interval = Interval(pendulum.datetime(2026, 11, 2), pendulum.datetime(2026, 11, 3))
    counts = {Status.MISSING: 0, Status.SHORT: 101, Status.DUE: 10_000, Status.SURPLUS: 500, Status.COMPLETE: 500}
    cost = plan([Finding(interval, status, None, count) for status, count in counts.items()], 20)
    assert cost.engagements == 10_101
    assert 103 <= cost.requests <= 110
    assert cost.seconds == pytest.approx(cost.requests / 20, abs=0.1)
