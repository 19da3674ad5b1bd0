from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pendulum
import pytest

from airflow_provider_zcc.zoom.errors import InvalidQuery
from airflow_provider_zcc.zoom.query import ALLOWED, Filters, Query
from airflow_provider_zcc.zoom.window import Window

START = datetime(2026, 11, 5, tzinfo=UTC)
END = datetime(2026, 11, 6, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
LOS_ANGELES = "America/Los_Angeles"
#: The clock of Los Angeles repeats 01:00 to 02:00 from 08:00 to 10:00 UTC.
REPEATED = datetime(2026, 11, 1, 8, tzinfo=UTC)


def query(start: datetime = START, end: datetime = END, **filters: Any) -> Query:
    return Query(start, end, Filters.validated(**filters))


def bounds(windows: list[Window]) -> list[tuple[datetime, datetime]]:
    return [(window.start, window.end) for window in windows]


# Filters


@pytest.mark.parametrize(
    ("given_value", "spelled"),
    [
        ("Voice, SMS", ("voice", "sms")),
        (["In_App_Chat", " KIOSK "], ("in_app_chat", "kiosk")),
        ({"chat": 1, "in_app_video": 2}, ("chat", "in_app_video")),
        (None, ()),
        (ALLOWED["channel_types"], ALLOWED["channel_types"]),
    ],
)
def test_channel_types_take_lists_and_text_in_any_letter_case(given_value: Any, spelled: tuple[str, ...]) -> None:
    assert Filters.validated(channel_types=given_value).channel_types == spelled


def test_one_value_may_have_any_letter_case() -> None:
    filters = Filters.validated(channel=" MESSAGING", direction="Inbound", channel_sources="Web_Chat", timezone=" utc ")

    assert filters == Filters(channel="messaging", direction="inbound", channel_sources=("web_chat",))


@pytest.mark.parametrize(
    ("given_value", "problem"),
    [
        ({"channel_types": "voice,fax"}, "Invalid channel_types 'fax'"),
        ({"channel_types": [7]}, "Invalid channel_types 7"),
        ({"channel_sources": 7}, "Invalid channel_sources 7"),
        ({"channel_types": []}, "channel_types is empty"),
        ({"channel": "voice,video"}, "Invalid channel 'voice,video'"),
        ({"channel": ""}, "Invalid channel ''"),
        ({"direction": "sideways"}, "Invalid direction 'sideways'"),
    ],
)
def test_a_value_unknown_to_zoom_is_rejected_and_the_known_are_named(given_value: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidQuery) as error:
        Filters.validated(**given_value)

    [name] = given_value
    assert str(error.value).startswith(problem)
    assert ", ".join(ALLOWED[name]) in str(error.value)


@pytest.mark.parametrize("name", ["queue_id", "user_id", "consumer_number"])
@pytest.mark.parametrize("value", ["  ", "two\nlines", 7, ["a", "b"]])
def test_a_single_value_that_is_empty_or_not_text_is_rejected_and_not_repeated(name: str, value: Any) -> None:
    with pytest.raises(InvalidQuery, match=f"^{name} is ") as error:
        Filters.validated(**{name: value})

    assert str(value) not in str(error.value) or value == "  "
    assert str(error.value).endswith((" only becomes a number.", " to read all."))


def test_channel_and_channel_types_exclude_each_other() -> None:
    with pytest.raises(InvalidQuery, match=r"^Zoom ignores channel_types .*\. Use one of the two\.$"):
        Filters.validated(channel="voice", channel_types="sms")


@pytest.mark.parametrize("name", ["", "Mars/Base", "America", "../passwd", "\0", 3600])
def test_an_unknown_timezone_is_rejected(name: Any) -> None:
    with pytest.raises(InvalidQuery, match="Unknown timezone"):
        Filters.validated(timezone=name)


def test_a_consumers_number_is_in_no_repr() -> None:
    filters = Filters.validated(consumer_number="+12059300900", direction="INBOUND")

    assert repr(filters) == "Filters(consumer_number='***', direction='inbound')"
    assert "2059300900" not in repr(Query(START, END, filters))


# Bounds


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        (datetime(2026, 11, 5), END, "start has no timezone"),  # noqa: DTZ001
        (START, "2026-11-06T00:00:00Z", "end has no timezone"),
        (START, None, "end has no timezone"),
        (END + timedelta(microseconds=1), END, "is not after start"),
        (datetime(1, 12, 31, tzinfo=UTC), END, "start is 0001-12-31.* the years 2 to 9998"),
        (START, datetime(9999, 1, 1, tzinfo=UTC), "end is 9999-01-01.* the years 2 to 9998"),
        (START, datetime.max.replace(tzinfo=timezone(-DAY / 2)), "end is 9999-12-31.* the years 2 to 9998"),
    ],
)
def test_an_interval_that_is_naive_or_does_not_go_forward_is_rejected(start: Any, end: Any, problem: str) -> None:
    with pytest.raises(InvalidQuery, match=problem):
        Query(start, end)


@pytest.mark.parametrize(
    ("moment", "second"),
    [
        (START, START),
        (START + timedelta(microseconds=1), START + SECOND),
        (START.astimezone(timezone(timedelta(hours=5, minutes=30))), START),
        (pendulum.datetime(2026, 11, 5, 0, 0, 0, 5), START + SECOND),
        (datetime(2, 1, 2, tzinfo=UTC), datetime(2, 1, 2, tzinfo=UTC)),
    ],
)
def test_bounds_move_to_the_next_whole_second_in_utc(moment: datetime, second: datetime) -> None:
    as_start, as_end = Query(moment, END).start, Query(moment - DAY, moment).end

    assert (as_start, as_end) == (second, second)
    assert (type(as_start), as_start.tzinfo) == (datetime, UTC)


def test_an_interval_within_one_second_is_one_window_without_room_for_a_record() -> None:
    within = Query(START + timedelta(microseconds=1), START + timedelta(microseconds=2))

    assert bounds(within.windows()) == [(START + SECOND, START + SECOND)]
    assert within.counting_parameters() == []


@pytest.mark.parametrize(
    ("hours", "cut"),
    [((-1.0, 0.5), None), ((0.0, 1.0), 0.0), ((-6.0, 1.5), 0.5), ((0.75, 1.5), None), ((1.0, 2.0), None)],
)
def test_an_end_that_occurs_twice_is_split_after_the_first(hours: tuple[float, float], cut: float | None) -> None:
    start, end = (REPEATED + timedelta(hours=hour) for hour in hours)
    windows = query(start, end, timezone=LOS_ANGELES).windows()

    cuts = [] if cut is None else [REPEATED + timedelta(hours=cut) + SECOND]
    assert [start, *cuts] == [window.start for window in windows]
    assert [*cuts, end] == [window.end for window in windows]
    assert {window.timezone for window in windows} == {pendulum.timezone(LOS_ANGELES)}


# Parameters


@pytest.fixture
def worker_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("worker_in_tokyo")
@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("UTC", "2026-11-01T08:00:00Z", "2026-11-01T09:00:00Z"),
        (LOS_ANGELES, "2026-11-01T01:00:00-07:00", "2026-11-01T01:00:00-08:00"),
        ("Asia/Kolkata", "2026-11-01T13:30:00+05:30", "2026-11-01T14:30:00+05:30"),
    ],
)
def test_other_timezones_are_sent_with_an_offset_so_that_no_hour_is_ambiguous(zone: str, first: str, last: str) -> None:
    hour = query(REPEATED, REPEATED + timedelta(hours=1), timezone=zone)

    parameters = hour.parameters(Window(hour.start, hour.end))

    assert parameters == [("page_size", "100"), ("timezone", zone), ("from", first), ("to", last)]


def test_each_filter_is_a_parameter_of_its_name_and_a_page_token_goes_with_them() -> None:
    single = {"queue_id": " a-queue ", "user_id": "a-user", "consumer_number": "+1205", "direction": "inbound"}
    filters = Filters.validated(**single, channel_types="sms,chat", channel_sources=["kiosk_video"])  # type: ignore[arg-type]
    interval = Query(START, END, replace(filters, channel="email"))
    [window] = interval.windows()

    first = interval.parameters(window)

    several = [("channel_types", "sms"), ("channel_types", "chat"), ("channel_sources", "kiosk_video")]
    others = [(name, value.strip()) for name, value in single.items()]
    assert sorted(first[4:]) == sorted([*several, *others, ("channel", "email")])
    assert interval.parameters(window, next_page_token="a+b/c==") == [*first, ("next_page_token", "a+b/c==")]


def test_counting_requests_one_record_of_each_28_days_and_leaves_out_the_end() -> None:
    requests = query(START, START + 29 * DAY, direction="outbound").counting_parameters()

    common = {"page_size": "1", "timezone": "UTC", "direction": "outbound"}
    assert [dict(parameters) for parameters in requests] == [
        {**common, "from": "2026-11-05T00:00:00Z", "to": "2026-12-02T23:59:59Z"},
        {**common, "from": "2026-12-03T00:00:00Z", "to": "2026-12-03T23:59:59Z"},
    ]
