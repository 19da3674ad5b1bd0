"""Whatever the interval: its windows tile it, and every engagement has one of them, or is in doubt."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.query import Filters, Query
from airflow_provider_zcc.zoom.window import LONGEST_WINDOW, Place, Window, possible_instants
from tests.properties.profile import examples
from tests.properties.zones import ANCHORS, PUT_BACK, ZONES

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
    parts = draw(st.tuples(*[st.integers(0, 999_999) | st.just(0)] * 2))
    if draw(st.booleans()):
        end = min(end, start + timedelta(seconds=draw(st.integers(1, 90_000))))
    bounds = [bound + timedelta(microseconds=part) for bound, part in zip((start, end), parts, strict=True)]
    if bounds[0] >= bounds[1]:
        bounds = [start, end]
    offset = timezone(timedelta(minutes=draw(st.integers(-840, 840))))
    return Query(*(bound.astimezone(offset) for bound in bounds), Filters(timezone=draw(st.sampled_from(ZONES))))


def cut_again(draw: st.DataObject, windows: list[Window]) -> list[Window]:
    """Split windows as a reader may, some of them more than once."""
    for _ in range(draw.draw(st.integers(0, 3))):
        place = draw.draw(st.integers(0, len(windows) - 1))
        windows[place : place + 1] = windows[place].split(draw.draw(st.integers(1, 40)))
    return windows


def spellings(instant: datetime, zone: str) -> list[str]:
    """Return the ways in which Zoom may write an instant."""
    here = instant.astimezone(ZoneInfo(zone))
    return [f"{here:%Y-%m-%dT%H:%M:%SZ}", here.isoformat(), instant.isoformat()]


@examples(200, 8_000)
@given(query=queries(), data=st.data())
def test_the_windows_of_an_interval_tile_it_however_they_are_split(query: Query, data: st.DataObject) -> None:
    windows = cut_again(data, query.windows())

    assert windows[0].start == query.start
    assert windows[-1].end == query.end
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert all(window.start < window.end for window in windows) or windows == [Window(query.start, query.end, query.tz)]
    assert all(window.end - window.start <= LONGEST_WINDOW for window in windows)
    assert all(bound.microsecond == 0 for window in windows for bound in (window.start, window.end))
    assert all(window.timezone is query.tz for window in windows)


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Query, Query]:
    """Draw two intervals that meet, many of them where a clock is put back."""
    zone, put_back = draw(st.sampled_from([*PUT_BACK.items(), *PUT_BACK.items(), *((zone, None) for zone in ZONES)]))
    moments = (
        instants() if put_back is None else st.sampled_from(range(-10, 7)).map(lambda n: put_back + 900 * n * SECOND)
    )
    first, middle, last = draw(st.lists(moments, min_size=3, max_size=3, unique=True).map(sorted))
    near = draw(st.tuples(*[st.none() | st.integers(1, 12)] * 2))
    first = first if near[0] is None else max(first, middle - near[0] * timedelta(minutes=30))
    last = last if near[1] is None else min(last, middle + near[1] * timedelta(minutes=30))
    part = timedelta(microseconds=draw(st.integers(0, 999_999) | st.just(0)))
    filters = Filters(timezone=zone)
    return Query(first + part, middle + part, filters), Query(middle + part, last + part, filters)


@examples(300, 8_000)
@given(queries=neighbours(), data=st.data())
def test_an_engagement_belongs_to_one_window_of_the_interval_it_began_in_or_is_in_doubt(
    queries: tuple[Query, Query], data: st.DataObject
) -> None:
    windows = [cut_again(data, query.windows()) for query in queries]
    bounds = [bound for window in windows[0] + windows[1] for bound in (window.start, window.end)]
    put_back = data.draw(st.sampled_from((0, 0, 0, 1_800, -1_800, 3_600, -3_600)))
    beside = data.draw(st.sampled_from((0, 0, 0, 1, -1)))
    began = data.draw(st.sampled_from([*bounds, queries[0].end])) + (put_back + beside) * SECOND
    local, *others = spellings(began, queries[0].filters.timezone)
    text = data.draw(st.sampled_from((local, local, *others)))

    for query, of_query in zip(queries, windows, strict=True):
        listing = [window for window in of_query if window.start <= began <= window.end]
        keepers = [window for window in listing if window.place(text) is not Place.NEXT]
        in_doubt = [window for window in listing if window.place(text) is Place.IN_DOUBT]
        if query.start <= began < query.end:
            # A reader keeps the first copy of those in doubt, and the one that is certain.
            assert keepers
            assert len(keepers) == 1 or keepers == in_doubt
            assert len(keepers) == 1 or len(possible_instants(text, query.tz)) == 2
        else:
            assert not keepers


JSON_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)
TIMES = st.one_of(
    st.text(),
    st.sampled_from(("0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00")),
    st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.from_regex(r"\A\d{1,5}-?[W\d]\d-?\d{1,2}[T \ud800z]?[\d:.,]{0,15}([+-][\d:.]{1,12})?[Zz]?\Z"),
)


@examples(500, 10_000)
@given(text=TIMES | JSON_VALUES, zone=st.sampled_from(ZONES))
def test_any_text_is_a_time_with_an_instant_or_two_or_none(text: object, zone: str) -> None:
    tz = Query(ANCHORS[0], ANCHORS[0] + SECOND, Filters(timezone=zone)).tz
    window = Window(ANCHORS[0], ANCHORS[0] + timedelta(days=1), tz)

    found = possible_instants(text, tz)

    assert len(found) <= 2
    assert all(instant.utcoffset() == timedelta(0) for instant in found)
    assert list(found) == sorted(found)
    assert window.place(text) in Place


@examples(200, 8_000)
@given(instant=instants(), zone=st.sampled_from(ZONES))
def test_an_instant_is_among_those_that_its_spelling_can_mean(instant: datetime, zone: str) -> None:
    tz = Query(instant, instant + SECOND, Filters(timezone=zone)).tz

    meanings = [possible_instants(text, tz) for text in spellings(instant, zone)]

    assert all(instant in found for found in meanings)
    assert [len(found) for found in meanings[1:]] == [1, 1]
