"""Which days the example Dag ``zcc_backfill_month`` maps to tasks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pendulum
import pytest
from pytest_mock import MockerFixture

from example_dags import zcc_backfill_month


@pytest.fixture
def days_of(mocker: MockerFixture) -> Any:
    """Call the task that lists the days, at noon of a day."""
    task: Any = zcc_backfill_month.dag.get_task("days")

    def days(today: str, month: str, first_day: int = 1, last_day: int = 31) -> list[dict[str, str]]:
        noon = pendulum.parse(f"{today}T12:00:00+00:00")
        mocker.patch.object(pendulum, "now", return_value=noon)
        listed: list[dict[str, str]] = task.python_callable(
            {"month": month, "first_day": first_day, "last_day": last_day}
        )
        return listed

    return days


@pytest.mark.parametrize(("month", "length"), [("2026-02", 28), ("2028-02", 29), ("2026-04", 30), ("2026-12", 31)])
def test_a_month_is_all_its_days_without_gap_or_overlap(days_of: Any, month: str, length: int) -> None:
    days = days_of("2030-01-01", month)
    assert len(days) == length
    assert days[0]["start"] == f"{month}-01T00:00:00+00:00"
    assert all(day["end"] == following["start"] for day, following in pairwise(days))
    assert pendulum.parse(days[-1]["end"]) == pendulum.parse(f"{month}-01").add(months=1)


def test_a_month_that_is_not_over_ends_with_yesterday(days_of: Any) -> None:
    days = days_of("2026-11-09", "2026-11")
    assert [day["start"][:10] for day in days] == [f"2026-11-{number:02}" for number in range(1, 9)]


def test_a_part_of_a_month_is_these_days_alone(days_of: Any) -> None:
    assert [day["start"][:10] for day in days_of("2026-11-09", "2026-10", 30, 31)] == ["2026-10-30", "2026-10-31"]


@pytest.mark.parametrize(
    ("month", "first_day", "last_day"), [("2026-12", 1, 31), ("2026-11", 9, 31), ("2026-10", 5, 4)]
)
def test_days_that_are_not_over_or_do_not_exist_are_an_error(
    days_of: Any, month: str, first_day: int, last_day: int
) -> None:
    with pytest.raises(ValueError, match="None of these days is over"):
        days_of("2026-11-09", month, first_day, last_day)
