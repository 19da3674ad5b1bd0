from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_zcc.zoom.errors import IncompleteResponse
from airflow_provider_zcc.zoom.page import Record
from airflow_provider_zcc.zoom.pagination import Returned
from airflow_provider_zcc.zoom.query import Filters, Query
from airflow_provider_zcc.zoom.tally import Counts, Tally
from airflow_provider_zcc.zoom.window import Window

START = datetime(2026, 11, 5, tzinfo=UTC)
NOON, END = START + timedelta(hours=12), START + timedelta(days=1)
#: In Los Angeles, it is 01:00 for the second time.
SECOND_PASS = datetime(2026, 11, 1, 9, tzinfo=UTC)
MORNING, AFTERNOON = Window(START, NOON), Window(NOON, END)


def returned(*identities: str, left_to_next: int = 0, duplicates: int = 0) -> Returned:
    return Returned(array("q", map(hash, identities)), left_to_next, duplicates)


@pytest.mark.parametrize(
    ("start_time", "is_late", "outside"),
    [
        *((f"2026-11-{time}", False, 3) for time in ("04T23:59:59Z", "06T00:00:00Z")),
        *((f"2026-11-{time}", False, 0) for time in ("05T00:00:00Z", "05T11:59:59Z", "soon")),
        *((f"2026-11-{time}", True, 0) for time in ("05T12:00:00Z", "05T23:59:59Z")),
    ],
)
def test_a_record_of_a_later_window_waits_for_it_and_one_of_none_is_warned_of(
    caplog: pytest.LogCaptureFixture, start_time: str, is_late: bool, outside: int
) -> None:
    tally = Tally(Query(START, END), counts := Counts())
    one, two, three = (Record(b"{}", name, start_time) for name in ("one", "two", "three"))

    assert tally.new_records(MORNING, [one, two, three, one]) == ([] if is_late else [one, two, three])
    assert tally.close(MORNING, 4, returned("two", duplicates=2)) == []
    assert tally.close(AFTERNOON, 1, returned("one", "two", duplicates=3)) == ([three] if is_late else [])
    assert counts.duplicates_dropped == 6 + 2 * is_late
    assert counts.outside_interval == outside
    tally.finish([5], fail_if_incomplete=True)
    assert ("3 engagements did not start in the interval although Zoom" in caplog.text) == (outside > 0)


@pytest.mark.parametrize(("start", "end"), [(SECOND_PASS, END), (SECOND_PASS - timedelta(days=1), SECOND_PASS)])
def test_a_record_that_may_have_started_in_the_interval_is_not_outside_of_it(start: datetime, end: datetime) -> None:
    query = Query(start, end, Filters(timezone="America/Los_Angeles"))
    tally, record = Tally(query, counts := Counts()), Record(b"{}", "a", "2026-11-01T01:00:00Z")

    assert tally.new_records(query.windows()[-1], [record]) == [record]
    assert counts.outside_interval == 0


@pytest.mark.parametrize(
    ("start_time", "is_known"),
    [("05T00:00:00Z", True), ("05T11:59:59Z", True), ("05T12:00:00Z", False), ("04T23:59:59Z", False), ("", False)],
)
def test_a_record_that_an_earlier_window_certainly_returned_is_dropped(start_time: str, is_known: bool) -> None:
    tally = Tally(Query(START, END), counts := Counts())
    record, new = (Record(b"{}", name, f"2026-11-{start_time}") for name in ("known", "new"))
    tally.close(Window(START - timedelta(days=1), START), 1, returned("another"))
    tally.close(MORNING, 1, returned("known"))

    assert tally.new_records(AFTERNOON, [record, new]) == ([new] if is_known else [record, new])
    assert counts.duplicates_dropped == is_known


def test_parts_are_compared_with_the_whole_and_ends_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    query = Query(NOON - timedelta(days=56), NOON)
    tally, (first, second) = Tally(query, counts := Counts()), query.windows()
    left, right = first.split(2)
    tally.close(left, 3, returned("a", "b", left_to_next=1))
    tally.close(right, None, returned("b", "c", "d", "e", left_to_next=1))
    tally.close(second, 5, returned(left_to_next=2))
    tally.close(Window(NOON, NOON + timedelta(hours=1)), None, returned())

    tally.finish([6, 5], fail_if_incomplete=True)

    assert counts.reported == 8
    with pytest.raises(IncompleteResponse, match=r"^Zoom reports 12 engagements .*, but 11 for its parts\."):
        tally.finish([7, 5], fail_if_incomplete=True)
    tally.finish([7, 5], fail_if_incomplete=False)
    assert caplog.messages[0].endswith(", but 11 for its parts. Continuing without the rest.")
    tally.finish([None, 11], fail_if_incomplete=True)
