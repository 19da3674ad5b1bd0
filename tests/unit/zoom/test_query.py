from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.errors import InvalidQuery, PermanentError
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import ALLOWED, PATH, Filters, Query
from airflow_provider_zcc.zoom.window import Place, Window
from tests.conftest import client_for
from tests.zoom_simulator.server import SimulatorServer

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
        ("VOICE", ("voice",)),
        ("Voice, SMS", ("voice", "sms")),
        (["In_App_Chat", " KIOSK "], ("in_app_chat", "kiosk")),
        (("sms", "voice", "SMS"), ("sms", "voice")),
        ({"video"}, ("video",)),
        (None, ()),
    ],
)
def test_channel_types_take_lists_and_text_in_any_letter_case(given_value: Any, spelled: tuple[str, ...]) -> None:
    assert Filters.validated(channel_types=given_value).channel_types == spelled


def test_channel_types_take_what_can_be_read_only_once() -> None:
    assert Filters.validated(channel_types=iter(["chat", "in_app_video"])).channel_types == ("chat", "in_app_video")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ALLOWED.items() for value in values])
def test_every_value_that_zoom_knows_is_accepted_in_any_letter_case(name: str, value: str) -> None:
    spellings = {
        spelling if isinstance(spelling, str) else ",".join(spelling)
        for spelling in (
            getattr(Filters.validated(**{name: variant}), name)
            for variant in (value, value.upper(), value.title(), f" {value} ")
        )
    }

    assert spellings == {value}


@pytest.mark.parametrize(
    ("name", "value", "unknown"),
    [
        ("channel_types", "voice,fax", "'fax'"),
        ("channel_types", ["voice", "whatsapp"], "'whatsapp'"),
        ("channel_types", "", "''"),
        ("channel_types", [7], "7"),
        ("channel_types", 5, "5"),
        ("channel_sources", True, "True"),
        ("channel", "fax", "'fax'"),
        ("channel", "voice,video", "'voice,video'"),
        ("channel", ["voice"], "['voice']"),
        ("channel", "", "''"),
        ("channel_sources", "telegram", "'telegram'"),
        ("direction", "sideways", "'sideways'"),
        ("direction", True, "True"),
    ],
)
def test_a_value_that_zoom_does_not_know_is_refused_and_the_known_are_named(
    name: str, value: object, unknown: str
) -> None:
    with pytest.raises(InvalidQuery) as error:
        Filters.validated(**{name: value})  # type: ignore[arg-type]

    assert str(error.value) == f"Invalid {name} {unknown}. Use one of: {', '.join(ALLOWED[name])}."


@pytest.mark.parametrize("name", ["channel_types", "channel_sources"])
def test_an_empty_list_is_refused_rather_than_read_as_all(name: str) -> None:
    with pytest.raises(InvalidQuery) as error:
        Filters.validated(**{name: []})

    assert str(error.value) == (
        f"{name} is empty. Use one or more of: {', '.join(ALLOWED[name])}, or remove the argument."
    )


@pytest.mark.parametrize("name", ["queue_id", "user_id", "consumer_number"])
@pytest.mark.parametrize("value", ["", "  ", "two\nlines", 7, ["a", "b"]])
def test_a_single_value_that_is_empty_or_not_text_is_refused_and_not_repeated(name: str, value: object) -> None:
    with pytest.raises(InvalidQuery) as error:
        Filters.validated(**{name: value})  # type: ignore[arg-type]

    assert str(error.value).startswith(f"{name} is ")
    assert str(value) not in str(error.value) or not str(value).strip()


def test_channel_and_channel_types_exclude_each_other() -> None:
    with pytest.raises(InvalidQuery) as error:
        Filters.validated(channel="voice", channel_types="sms")

    assert str(error.value) == "Zoom ignores channel_types when channel is given. Use one of the two."


@pytest.mark.parametrize(("name", "canonical"), [(LOS_ANGELES, LOS_ANGELES), (" utc ", "UTC"), (None, "UTC")])
def test_a_timezone_is_known_by_its_iana_name(name: str | None, canonical: str) -> None:
    assert Filters.validated(timezone=name).timezone == canonical


@pytest.mark.parametrize("name", ["", "Mars/Base", "America", "../passwd", "+02:00", "\0", 3600, "x" * 300])
def test_an_unknown_timezone_is_refused(name: object) -> None:
    with pytest.raises(InvalidQuery) as error:
        Filters.validated(timezone=name)  # type: ignore[arg-type]

    assert str(error.value) == (
        f"Unknown timezone {name!r}. Use an IANA name such as America/Los_Angeles, or remove the argument for UTC."
    )


def test_a_consumers_number_is_in_no_repr() -> None:
    filters = Filters.validated(consumer_number="+12059300900", direction="INBOUND")

    assert repr(filters) == "Filters(consumer_number='***', direction='inbound')"
    assert "2059300900" not in repr(Query(START, END, filters))


def test_wrong_queries_are_a_permanent_error_and_a_value_error() -> None:
    assert issubclass(InvalidQuery, PermanentError)
    assert issubclass(InvalidQuery, ValueError)


# Bounds


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        (datetime(2026, 11, 5), END, "start"),  # noqa: DTZ001
        (START, datetime(2026, 11, 6), "end"),  # noqa: DTZ001
        (date(2026, 11, 5), END, "start"),
        (START, "2026-11-06T00:00:00Z", "end"),
        (START, None, "end"),
    ],
)
def test_a_bound_without_a_timezone_is_refused(start: Any, end: Any, name: str) -> None:
    with pytest.raises(InvalidQuery) as error:
        Query(start, end)

    value = {"start": start, "end": end}[name]
    assert str(error.value) == f"{name} has no timezone: {value!r}. Use a timezone-aware datetime."


@pytest.mark.parametrize("start", [END, END + timedelta(microseconds=1), END + DAY])
def test_an_interval_that_does_not_go_forward_is_refused(start: datetime) -> None:
    with pytest.raises(InvalidQuery) as error:
        Query(start, END)

    assert str(error.value) == f"end ({END}) is not after start ({start}). Use an interval [start, end)."


@pytest.mark.parametrize(
    ("moment", "second"),
    [
        (START, START),
        (START + timedelta(microseconds=1), START + SECOND),
        (START + timedelta(microseconds=999_999), START + SECOND),
        (START.astimezone(timezone(timedelta(hours=5, minutes=30))), START),
        (START.astimezone(ZoneInfo(LOS_ANGELES)), START),
        (pendulum.datetime(2026, 11, 5, 0, 0, 0, 5), START + SECOND),
    ],
)
def test_bounds_move_to_the_next_whole_second_in_utc(moment: datetime, second: datetime) -> None:
    as_start, as_end = Query(moment, END).start, Query(START - DAY, moment).end

    assert (as_start, as_end) == (second, second)
    assert (type(as_start), as_start.tzinfo) == (datetime, UTC)


def test_bounds_of_a_repeated_hour_keep_their_instants() -> None:
    first, second = (datetime(2026, 11, 1, 1, tzinfo=ZoneInfo(LOS_ANGELES), fold=fold) for fold in (0, 1))

    hour = Query(first.astimezone(UTC), second.astimezone(UTC))

    assert (hour.start, hour.end) == (REPEATED, REPEATED + timedelta(hours=1))


def test_an_interval_within_one_second_is_one_window_without_room_for_a_record() -> None:
    within = Query(START + timedelta(microseconds=1), START + timedelta(microseconds=2))

    assert bounds(within.windows()) == [(START + SECOND, START + SECOND)]
    assert within.counting_parameters() == []


# Windows


@pytest.mark.parametrize(
    ("days", "lengths"),
    [(1, [1]), (28, [28]), (29, [28, 1]), (56, [28, 28]), (70, [28, 28, 14]), (366, [28] * 13 + [2])],
)
def test_an_interval_is_cut_into_windows_of_at_most_28_days_that_meet(days: int, lengths: list[int]) -> None:
    windows = query(START, START + days * DAY).windows()

    assert [window.end - window.start for window in windows] == [length * DAY for length in lengths]
    assert windows[0].start == START
    assert [window.start for window in windows[1:]] == [window.end for window in windows[:-1]]
    assert windows[-1].end == START + days * DAY


def test_one_second_more_than_28_days_is_another_window() -> None:
    windows = query(START, START + 28 * DAY + SECOND).windows()

    assert bounds(windows) == [(START, START + 28 * DAY), (START + 28 * DAY, START + 28 * DAY + SECOND)]


@pytest.mark.parametrize(
    ("hours", "cut"),
    [
        ((-1.0, 0.0), None),
        ((-1.0, 0.5), None),
        ((0.0, 1.0), 0.0),
        ((0.5, 1.0), None),
        ((-6.0, 1.5), 0.5),
        ((0.0, 1.5), 0.5),
        ((0.75, 1.5), None),
        ((1.0, 2.0), None),
        ((-24.0, 24.0), None),
    ],
)
def test_an_end_that_the_clock_reads_twice_is_cut_off_after_its_first_pass(
    hours: tuple[float, float], cut: float | None
) -> None:
    start, end = (REPEATED + timedelta(hours=hour) for hour in hours)
    windows = query(start, end, timezone=LOS_ANGELES).windows()

    cuts = [] if cut is None else [REPEATED + timedelta(hours=cut) + SECOND]
    assert [start, *cuts] == [window.start for window in windows]
    assert [*cuts, end] == [window.end for window in windows]
    assert {window.timezone for window in windows} == {pendulum.timezone(LOS_ANGELES)}


def test_without_daylight_saving_nothing_is_cut_off() -> None:
    assert bounds(query(REPEATED, REPEATED + timedelta(hours=1)).windows()) == [
        (REPEATED, REPEATED + timedelta(hours=1))
    ]


def holds(interval: Query, instant: datetime, *, with_offset: bool) -> bool:
    """Tell whether a record of an instant leaves a reading of the interval, from a server with inclusive bounds."""
    clock = ZoneInfo(interval.filters.timezone)
    text = instant.astimezone(clock).isoformat() if with_offset else f"{instant.astimezone(clock):%Y-%m-%dT%H:%M:%SZ}"
    answering = [window for window in interval.windows() if window.start <= instant <= window.end]
    return any(window.place(text) is not Place.NEXT for window in answering)


@settings(deadline=None, derandomize=True)
@given(
    zone=st.sampled_from([LOS_ANGELES, "Europe/Berlin", "Australia/Lord_Howe", "UTC"]),
    minutes=st.lists(st.integers(-200, 200), min_size=3, max_size=6, unique=True),
    second=st.sampled_from([-1, 0, 1]),
    with_offset=st.booleans(),
)
def test_of_intervals_that_meet_exactly_one_keeps_a_record_whatever_the_clock_reads(
    zone: str, minutes: list[int], second: int, *, with_offset: bool
) -> None:
    change = {
        LOS_ANGELES: datetime(2026, 11, 1, 9, tzinfo=UTC),
        "Europe/Berlin": datetime(2026, 10, 25, 1, tzinfo=UTC),
        "Australia/Lord_Howe": datetime(2026, 4, 4, 15, tzinfo=UTC),
        "UTC": START,
    }[zone]
    *cuts, record = (change + timedelta(minutes=minute) for minute in minutes)
    cuts = [change - DAY, *sorted(cuts), change + DAY]
    intervals = [query(start, end, timezone=zone) for start, end in pairwise(cuts)]
    for instant in (*cuts[1:-1], record):
        moment = instant + timedelta(seconds=second)
        kept_by = [i for i, interval in enumerate(intervals) if holds(interval, moment, with_offset=with_offset)]

        assert kept_by == [i for i, interval in enumerate(intervals) if interval.start <= moment < interval.end]


# On the wire


@pytest.fixture
def worker_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("worker_in_tokyo")
def test_the_timezone_of_the_worker_does_not_reach_the_wire() -> None:
    interval = query()

    assert interval.format_timestamp(interval.start) == "2026-11-05T00:00:00Z"


def test_utc_goes_in_the_z_form_and_says_utc() -> None:
    interval = query(START.astimezone(ZoneInfo(LOS_ANGELES)), END)

    assert interval.parameters(interval.windows()[0]) == [
        ("page_size", "100"),
        ("timezone", "UTC"),
        ("from", "2026-11-05T00:00:00Z"),
        ("to", "2026-11-06T00:00:00Z"),
    ]


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        (LOS_ANGELES, "2026-11-01T01:00:00-07:00", "2026-11-01T01:00:00-08:00"),
        ("Asia/Kolkata", "2026-11-01T13:30:00+05:30", "2026-11-01T14:30:00+05:30"),
        ("Etc/UTC", "2026-11-01T08:00:00+00:00", "2026-11-01T09:00:00+00:00"),
    ],
)
def test_any_other_timezone_goes_in_the_offset_form_so_that_a_repeated_hour_is_one_instant(
    zone: str, first: str, last: str
) -> None:
    hour = query(REPEATED, REPEATED + timedelta(hours=1), timezone=zone)

    parameters = hour.parameters(Window(hour.start, hour.end))

    assert parameters == [("page_size", "100"), ("timezone", zone), ("from", first), ("to", last)]


def test_all_parameters_reach_the_server_in_zooms_spelling(simulator: SimulatorServer) -> None:
    interval = query(
        queue_id="BillJxo0OS_eV1QmTpj63PQ",
        user_id="ukAAkZKfROKMSw1bj_RD01",
        consumer_number="+12059300900",
        channel_types=["VOICE", "sms"],
        channel_sources="Web_Chat,SMS",
        direction="Inbound",
        timezone="Asia/Kolkata",
    )

    client_for(simulator).get(PATH, interval.parameters(interval.windows()[0]), parse_page)

    assert simulator.simulator.stats.queries[-1] == [
        ("page_size", "100"),
        ("timezone", "Asia/Kolkata"),
        ("from", "2026-11-05T05:30:00+05:30"),
        ("to", "2026-11-06T05:30:00+05:30"),
        ("channel_types", "voice"),
        ("channel_types", "sms"),
        ("channel_sources", "web_chat"),
        ("channel_sources", "sms"),
        ("queue_id", "BillJxo0OS_eV1QmTpj63PQ"),
        ("user_id", "ukAAkZKfROKMSw1bj_RD01"),
        ("consumer_number", "+12059300900"),
        ("direction", "inbound"),
    ]


def test_a_page_token_goes_with_the_same_parameters() -> None:
    interval = query(channel="Messaging")
    window = interval.windows()[0]

    first = interval.parameters(window)

    assert first[-1] == ("channel", "messaging")
    assert interval.parameters(window, next_page_token="a+b/c==") == [*first, ("next_page_token", "a+b/c==")]


def test_counting_asks_for_one_record_of_each_28_days_and_leaves_out_the_end() -> None:
    parameters = query(START, START + 29 * DAY, direction="outbound").counting_parameters()

    assert parameters == [
        [
            ("page_size", "1"),
            ("timezone", "UTC"),
            ("from", "2026-11-05T00:00:00Z"),
            ("to", "2026-12-02T23:59:59Z"),
            ("direction", "outbound"),
        ],
        [
            ("page_size", "1"),
            ("timezone", "UTC"),
            ("from", "2026-12-03T00:00:00Z"),
            ("to", "2026-12-03T23:59:59Z"),
            ("direction", "outbound"),
        ],
    ]


def test_counts_of_days_that_meet_add_up_to_what_began_in_them(simulator: SimulatorServer) -> None:
    client = client_for(simulator)
    days = [query(START + n * DAY, START + (n + 1) * DAY) for n in range(3)]

    counts = [client.get(PATH, day.counting_parameters()[0], parse_page).total_records for day in days]

    assert counts == [len(simulator.simulator.truth(day.start, day.end)) for day in days]
