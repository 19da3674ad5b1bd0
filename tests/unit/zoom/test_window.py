from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_zcc.zoom.window import Place, Window

START = datetime(2026, 11, 5, tzinfo=UTC)
END = datetime(2026, 11, 6, tzinfo=UTC)
LOS_ANGELES = ZoneInfo("America/Los_Angeles")
#: In Los Angeles, it is 01:00 now, and an hour later once more.
REPEATED = datetime(2026, 11, 1, 8, tzinfo=UTC)


def after(hours: float) -> datetime:
    return REPEATED + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2026-11-04T23:59:59Z", Place.IN_DOUBT),
        ("2026-11-05T00:00:00Z", Place.INSIDE),
        ("2026-11-05T23:59:59.999Z", Place.INSIDE),
        ("2026-11-06T00:00:00Z", Place.NEXT),
        ("2026-11-06T00:00:01Z", Place.IN_DOUBT),
        ("2026-11-06T01:00:00+01:00", Place.NEXT),
        ("2026-11-05", Place.INSIDE),
        ("0001-01-01T00:00:00+14:00", Place.IN_DOUBT),
        *((unreadable, Place.IN_DOUBT) for unreadable in (None, 1_762_300_800, "", "Z", "soon")),
    ],
)
def test_only_what_certainly_starts_in_the_second_of_the_end_is_left_to_the_next(text: object, place: Place) -> None:
    assert Window(START, END).place(text) is place


@pytest.mark.parametrize(
    ("hours", "text", "place"),
    [
        ((0, 1), "2026-11-01T01:30:00Z", Place.IN_DOUBT),
        ((0, 2), "2026-11-01T01:30:00z", Place.INSIDE),
        ((-1, 0), "2026-11-01T01:00:00Z", Place.NEXT),
        ((-1, 1.5), "2026-11-01T01:30:00Z", Place.IN_DOUBT),
        ((-1, 1.5), "2026-11-01T01:30:00-07:00", Place.INSIDE),
        ((-1, 1.5), "2026-11-01T01:30:00-08:00", Place.NEXT),
    ],
)
def test_in_a_repeated_hour_a_record_is_in_doubt_unless_the_window_or_an_offset_decides(
    hours: tuple[float, float], text: str, place: Place
) -> None:
    window = Window(after(hours[0]), after(hours[1]), LOS_ANGELES)

    assert window.place(text) is place


def test_windows_are_not_split_at_full_minutes_when_most_engagements_start() -> None:
    windows = Window(START, END, LOS_ANGELES).split(7)

    assert len(windows) == 7
    assert all(window.end.second != 0 == window.end.microsecond for window in windows[:-1])
    assert all(abs(window.end - window.start - (END - START) / 7) < timedelta(minutes=2) for window in windows)
    assert {window.timezone for window in windows} == {LOS_ANGELES}
    minute = Window(windows[0].end, windows[0].end + timedelta(minutes=1))
    assert minute.split(4) == [minute]
