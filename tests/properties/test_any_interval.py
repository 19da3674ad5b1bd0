"""Whatever the interval: its windows tile it, and any time of a record is read or in doubt."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.query import Filters, Query
from airflow_provider_zcc.zoom.window import LONGEST_WINDOW, Place, Window, possible_instants
from tests.properties.profile import examples
from tests.properties.zones import ANCHORS, ZONES

SECOND = timedelta(seconds=1)


def instants() -> st.SearchStrategy[datetime]:
    """Draw whole seconds, many of them near each other's readings of a clock."""
    seconds = st.builds(
        lambda unit, number, rest: unit * number + rest,
        st.sampled_from((1, 60, 900, 1_800, 3_600, 86_400)),
        st.integers(-40, 40),
        st.sampled_from((0, 0, 1, -1, 37)),
    )
    return st.builds(lambda anchor, after: anchor + after * SECOND, st.sampled_from(ANCHORS), seconds)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    start, end = draw(st.lists(instants(), min_size=2, max_size=2, unique=True).map(sorted))
    part = timedelta(microseconds=draw(st.integers(0, 999_999)))
    offset = timezone(timedelta(minutes=draw(st.integers(-840, 840))))
    return Query(
        start.astimezone(offset), end.astimezone(offset) + part, Filters(timezone=draw(st.sampled_from(ZONES)))
    )


def cut_again(draw: st.DataObject, windows: list[Window]) -> list[Window]:
    """Split windows as a reader may, some of them more than once."""
    for _ in range(draw.draw(st.integers(0, 3))):
        place = draw.draw(st.integers(0, len(windows) - 1))
        windows[place : place + 1] = windows[place].split(draw.draw(st.integers(1, 40)))
    return windows


@examples(200, 8_000)
@given(query=queries(), data=st.data())
def test_the_windows_of_an_interval_tile_it_however_they_are_split(query: Query, data: st.DataObject) -> None:
    windows = cut_again(data, query.windows())

    assert windows[0].start == query.start
    assert windows[-1].end == query.end
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert all(window.start < window.end for window in windows)
    assert all(window.end - window.start <= LONGEST_WINDOW for window in windows)
    assert all(bound.microsecond == 0 for window in windows for bound in (window.start, window.end))
    assert all(window.timezone is query.tz for window in windows)


TIMES = st.one_of(
    st.text(),
    st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.none()),
    st.sampled_from(("0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00")),
    st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)


@examples(500, 10_000)
@given(text=TIMES, zone=st.sampled_from(ZONES))
def test_any_text_is_a_time_with_an_instant_or_two_or_none(text: object, zone: str) -> None:
    tz = Query(ANCHORS[0], ANCHORS[0] + SECOND, Filters(timezone=zone)).tz
    window = Window(ANCHORS[0], ANCHORS[0] + timedelta(days=1), tz)

    found = possible_instants(text, tz)

    assert len(found) <= 2
    assert all(instant.utcoffset() == timedelta(0) for instant in found)
    assert list(found) == sorted(found)
    assert window.place(text) in Place
