from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.window import Place, Window, after_first_pass, possible_instants, windows_between

START = datetime(2026, 11, 5, tzinfo=UTC)
END = datetime(2026, 11, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LOS_ANGELES = ZoneInfo("America/Los_Angeles")
#: The clock of Los Angeles reads 01:00 to 02:00 from here on, and an hour later once more.
REPEATED = datetime(2026, 11, 1, 8, tzinfo=UTC)


def after(hours: float) -> datetime:
    return REPEATED + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("text", "clock", "instants"),
    [
        ("2026-11-05T00:00:00Z", UTC, (START,)),
        ("2026-11-05T00:00:00z", UTC, (START,)),
        ("2026-11-05T00:00:00", UTC, (START,)),
        ("2026-11-05", UTC, (START,)),
        ("2026-11-05T00:00:00.250Z", UTC, (START + timedelta(milliseconds=250),)),
        ("2026-11-05T01:00:00+01:00", UTC, (START,)),
        ("2026-11-04T16:00:00Z", LOS_ANGELES, (START,)),
        ("2026-11-04T16:00:00-08:00", LOS_ANGELES, (START,)),
        ("2026-11-05T00:00:00+00:00", LOS_ANGELES, (START,)),
        ("2026-11-01T00:59:59Z", LOS_ANGELES, (after(0) - SECOND,)),
        ("2026-11-01T01:00:00Z", LOS_ANGELES, (after(0), after(1))),
        ("2026-11-01T01:30:00Z", LOS_ANGELES, (after(0.5), after(1.5))),
        ("2026-11-01T02:00:00Z", LOS_ANGELES, (after(2),)),
        ("2026-11-01T01:30:00-07:00", LOS_ANGELES, (after(0.5),)),
        ("2026-11-01T01:30:00-08:00", LOS_ANGELES, (after(1.5),)),
    ],
)
def test_a_time_is_the_reading_of_a_clock_unless_it_has_an_offset(
    text: str, clock: tzinfo, instants: tuple[datetime, ...]
) -> None:
    assert possible_instants(text, clock) == instants


@pytest.mark.parametrize(
    "text",
    [None, "", "Z", "soon", 1_762_300_800, 1.5, True, [], {}, "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00"],
)
@pytest.mark.parametrize("clock", [UTC, LOS_ANGELES])
def test_an_unreadable_time_has_no_instant(text: object, clock: tzinfo) -> None:
    assert possible_instants(text, clock) == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2026-11-04T23:59:59Z", Place.UNSURE),
        ("2020-01-01T00:00:00Z", Place.UNSURE),
        ("2026-11-05T00:00:00Z", Place.INSIDE),
        ("2026-11-05T23:59:59Z", Place.INSIDE),
        ("2026-11-05T23:59:59.999Z", Place.INSIDE),
        ("2026-11-06T00:00:00Z", Place.LATER),
        ("2026-11-06T00:00:01Z", Place.UNSURE),
        ("2030-01-01T00:00:00Z", Place.UNSURE),
        ("2026-11-06T01:00:00+01:00", Place.LATER),
        ("2026-11-06T00:00:00+01:00", Place.INSIDE),
        (None, Place.UNSURE),
        ("soon", Place.UNSURE),
        (7, Place.UNSURE),
    ],
)
def test_only_what_begins_at_the_end_or_later_is_left_to_the_next_window(text: object, place: Place) -> None:
    assert Window(START, END).place(text) is place


@pytest.mark.parametrize(
    ("hours", "text", "place"),
    [
        ((0, 1), "2026-11-01T01:30:00Z", Place.UNSURE),
        ((1, 2), "2026-11-01T01:30:00Z", Place.UNSURE),
        ((0, 2), "2026-11-01T01:30:00Z", Place.INSIDE),
        ((-1, 0), "2026-11-01T01:00:00Z", Place.LATER),
        ((-1, 3), "2026-11-01T01:30:00Z", Place.INSIDE),
        ((-1, 1.5), "2026-11-01T01:30:00Z", Place.UNSURE),
        ((-1, 1.5), "2026-11-01T01:30:00-07:00", Place.INSIDE),
        ((-1, 1.5), "2026-11-01T01:30:00-08:00", Place.LATER),
        ((1, 2), "2026-11-01T02:00:00Z", Place.LATER),
    ],
)
def test_a_repeated_hour_is_told_apart_by_the_window_or_kept(
    hours: tuple[float, float], text: str, place: Place
) -> None:
    window = Window(after(hours[0]), after(hours[1]), LOS_ANGELES)

    assert window.place(text) is place


def cuts_of(windows: list[Window]) -> list[str]:
    """Return the times of day at which windows meet, after looking whether they do."""
    assert [window.start for window in windows[1:]] == [window.end for window in windows[:-1]]
    return [f"{window.end:%H:%M:%S}" for window in windows[:-1]]


@pytest.mark.parametrize(
    ("parts", "cuts"),
    [
        (1, []),
        (2, ["12:00:37"]),
        (4, ["06:00:37", "12:00:37", "18:00:37"]),
        (7, ["03:25:37", "06:51:37", "10:17:37", "13:42:37", "17:08:37", "20:34:37"]),
    ],
)
def test_a_window_is_split_into_equal_parts_at_second_37_of_a_minute(parts: int, cuts: list[str]) -> None:
    windows = Window(START, END, LOS_ANGELES).split(parts)

    assert cuts_of(windows) == cuts
    assert (windows[0].start, windows[-1].end) == (START, END)
    assert {window.timezone for window in windows} == {LOS_ANGELES}


@pytest.mark.parametrize(
    ("start", "seconds", "parts", "cuts"),
    [
        pytest.param(0, 0, 5, [], id="no time"),
        pytest.param(0, 50, 1, [], id="a part of a minute, in one"),
        pytest.param(0, 1, 5, [], id="a second"),
        pytest.param(0, 37, 5, [], id="up to the quiet second"),
        pytest.param(37, 60, 5, [], id="from one quiet second to the next"),
        pytest.param(0, 120, 5, ["00:00:37", "00:01:37"], id="two minutes"),
        pytest.param(0, 300, 1_000, [f"00:0{n}:37" for n in range(5)], id="more parts than minutes"),
        pytest.param(50, 120, 4, ["00:01:37", "00:02:37"], id="from within a minute"),
    ],
)
def test_a_short_window_is_split_into_minutes_at_most(start: int, seconds: int, parts: int, cuts: list[str]) -> None:
    first = START + start * SECOND
    windows = Window(first, first + seconds * SECOND).split(parts)

    assert cuts_of(windows) == cuts
    assert (windows[0].start, windows[-1].end) == (first, first + seconds * SECOND)


@settings(deadline=None, derandomize=True)
@given(
    first=st.integers(0, 59),
    minutes=st.integers(1, 3_000),
    parts=st.integers(1, 40),
)
def test_a_window_is_split_into_no_more_parts_than_asked_for_and_inner_ones_last_a_minute_or_more(
    first: int, minutes: int, parts: int
) -> None:
    window = Window(START + first * SECOND, START + minutes * timedelta(minutes=1))

    windows = window.split(parts)

    assert all(cut.endswith(":37") for cut in cuts_of(windows))
    assert (windows[0].start, windows[-1].end) == (window.start, window.end)
    assert len(windows) <= parts
    assert all(part.end - part.start >= timedelta(minutes=1) for part in windows[1:-1])
    assert all(part.start < part.end for part in windows)


@settings(deadline=None, derandomize=True)
@given(first=st.integers(0, 59), seconds=st.integers(1, 300), parts=st.integers(1, 40))
def test_of_the_parts_of_a_window_exactly_one_takes_a_record(first: int, seconds: int, parts: int) -> None:
    start = START + first * SECOND
    windows = Window(start, start + seconds * SECOND).split(parts)

    for second in range(seconds):
        moment = start + second * SECOND
        listing = [window for window in windows if window.start <= moment <= window.end]
        takers = [window for window in listing if window.place(f"{moment:%Y-%m-%dT%H:%M:%SZ}") is Place.INSIDE]

        assert takers == [window for window in windows if window.start <= moment < window.end]


def test_windows_between_carry_the_timezone() -> None:
    windows = windows_between(START, START + timedelta(days=40), LOS_ANGELES)

    assert windows == [
        Window(START, START + timedelta(days=28), LOS_ANGELES),
        Window(START + timedelta(days=28), START + timedelta(days=40), LOS_ANGELES),
    ]


@pytest.mark.parametrize(
    ("hours", "cut"),
    [
        (-0.5, None),
        (0, None),
        (0.5, None),
        (1, after(0) + SECOND),
        (1.5, after(0.5) + SECOND),
        (2, None),
    ],
)
def test_an_end_that_the_clock_reads_for_the_second_time_has_a_first_pass(hours: float, cut: datetime | None) -> None:
    assert after_first_pass(after(hours), LOS_ANGELES) == cut
    assert after_first_pass(after(hours), UTC) is None
