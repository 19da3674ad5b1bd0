"""Whatever started when, however intervals meet: each has the engagements that started in it, without duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom import reader as reader_module
from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.oauth import TokenSource
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import PATH, Filters, Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from tests.conftest import settings_for
from tests.properties.arrivals import Arrivals
from tests.properties.profile import examples
from tests.zoom_simulator.app import Config
from tests.zoom_simulator.data import Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

ZONES = ("America/Los_Angeles", "UTC", "Australia/Lord_Howe", "Europe/London", "Asia/Kathmandu", "Etc/UTC")
SOME_DAY = datetime(2026, 11, 5, tzinfo=UTC)
MOST_RECORDS, MOST_PAGES = 300, 40
EXPIRED = {"status": 400, "body": {"code": 300, "message": "The next page token is invalid or expired."}}
TOKEN_EXPIRED = {"status": 401, "body": {"code": 124, "message": "Invalid access token."}}


@dataclass(frozen=True)
class Reading:
    """What is read, and how.

    :param zone: the query's timezone.
    :param bounds: of intervals that meet.
    :param starts: epoch seconds at which engagements start.
    :param window_size: records of a window, instead of thousands.
    """

    zone: str
    bounds: tuple[datetime, ...]
    starts: tuple[int, ...]
    order: str
    offset_times: bool
    page_size: int
    max_concurrency: int
    window_size: int

    @property
    def config(self) -> dict[str, object]:
        return {"order": self.order, "offset_times": self.offset_times}

    @property
    def style(self) -> TimeStyle:
        # Zoom knows UTC by its Z alone.
        return TimeStyle(ZoneInfo(self.zone), self.offset_times and self.zone != "UTC")


@cache
def changes_of_the_clock(zone: str) -> tuple[tuple[datetime, ...], tuple[datetime, ...]]:
    """Return when the clock of a timezone is put forward within a year, and when it is put back."""
    clock = ZoneInfo(zone)
    half_hours = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=30) * n for n in range(365 * 48)]
    readings = [moment.astimezone(clock).replace(tzinfo=None) for moment in half_hours]
    steps = [
        (moment, later - earlier) for moment, (earlier, later) in zip(half_hours[1:], pairwise(readings), strict=True)
    ]
    usual = timedelta(minutes=30)
    return tuple(moment for moment, step in steps if step > usual), tuple(
        moment for moment, step in steps if step < usual
    )


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    zone = draw(st.sampled_from(ZONES))
    forward, back = changes_of_the_clock(zone)
    anchor = int(draw(st.sampled_from((*back, *back, *forward) or (SOME_DAY,))).timestamp())
    # Seconds; minutes; the half hours around a change of the clock; a few days; more than one request may ask for.
    unit, most = draw(st.sampled_from([(1, 90), (60, 200), (1_800, 4), (1_800, 4), (3_600, 100), (86_400, 35)]))
    steps = draw(st.lists(st.integers(-most, most), min_size=2, max_size=6, unique=True))
    seconds = {anchor + unit * step + draw(st.sampled_from((0, 0, 0, 1, -1, 37))) for step in steps}
    if len(seconds) == 1:
        seconds.add(anchor + unit * (most + 1))
    # Bounds between two seconds move to the later one.
    part = timedelta(microseconds=draw(st.sampled_from((0, 0, 0, 1, 999_999))))
    bounds = tuple(datetime.fromtimestamp(second, UTC) + part for second in sorted(seconds))
    page_size = draw(st.sampled_from((1, 2, 3, 7, 25, 100)))
    starts = draw(clusters(tuple(sorted(seconds)), anchor, unit))
    return Reading(
        zone,
        bounds,
        starts[: min(MOST_RECORDS, MOST_PAGES * page_size)],
        order=draw(st.sampled_from(("ascending", "descending", "shuffled"))),
        offset_times=draw(st.sampled_from((False, False, True))),
        page_size=page_size,
        max_concurrency=draw(st.integers(1, 8)),
        window_size=draw(st.sampled_from((500, 100, 1, 2, 5, 20, 60))),
    )


@st.composite
def clusters(draw: st.DrawFn, bounds: tuple[int, ...], anchor: int, unit: int) -> tuple[int, ...]:
    """Draw clusters: many in one second, one or two at either side of a bound, some spread between bounds."""
    # Half an hour or an hour away, local time may be the same again.
    near = st.builds(
        lambda base, half_hours, offset: base + half_hours * 1_800 + offset,
        st.sampled_from((*bounds, *bounds, anchor)),
        st.sampled_from((0, 0, 0, -2, -1, 1, 2)),
        st.sampled_from((0, 0, 0, 1, -1, 2, 36, 37, 38, 59)),
    )
    anywhere = st.integers(bounds[0] - unit, bounds[-1] + unit)
    starts: list[int] = []
    for centre, count, gap in draw(
        st.lists(
            st.tuples(
                near | anywhere,
                st.sampled_from((1, 1, 2, 3, 10, 60, 130)),
                st.sampled_from((0, 0, 1, 60, 600, 1_800, 3_600)),
            ),
            max_size=14,
        )
    ):
        starts += [centre + gap * number for number in range(count)]
    return tuple(starts)


@st.composite
def readings_of_repeated_hours(draw: st.DrawFn) -> Reading:
    """Draw bounds and engagements many of which have the same local time in a repeated hour."""
    zone = draw(st.sampled_from(("America/Los_Angeles", "Europe/London", "Australia/Lord_Howe")))
    (change,) = changes_of_the_clock(zone)[1]
    put_back = 1_800 if zone == "Australia/Lord_Howe" else 3_600
    quarters = draw(
        st.lists(st.sampled_from(range(-8, 9)), min_size=2, max_size=4, unique=True)
        | st.tuples(st.sampled_from(range(-8, -3)), st.sampled_from(range(2, 9)))
    )
    seconds = [
        int(change.timestamp()) + 900 * quarter + draw(st.sampled_from((0, 0, 37))) for quarter in sorted(quarters)
    ]
    beside = st.builds(
        lambda bound, times, offset: bound + times * put_back + offset,
        st.sampled_from(seconds),
        st.sampled_from((0, -1, 1)),
        st.sampled_from((0, 0, 1, -1)),
    )
    starts = draw(st.lists(beside, min_size=1, max_size=20))
    # Windows are split at second 37 of a minute.
    first, minutes = int(change.timestamp()) + 900 * min(quarters) + 37, draw(st.sampled_from((240, 0, 60, 120)))
    starts += [first + 60 * number for number in range(minutes)]
    return Reading(
        zone,
        tuple(datetime.fromtimestamp(second, UTC) for second in seconds),
        tuple(starts),
        order=draw(st.sampled_from(("ascending", "descending", "shuffled"))),
        offset_times=draw(st.sampled_from((False, False, False, True))),
        page_size=draw(st.sampled_from((7, 25, 100))),
        max_concurrency=draw(st.integers(1, 8)),
        window_size=max(1, len(starts) // draw(st.sampled_from((1, 2, 2, 3, 3, 4, 5, 50)))),
    )


#: All may affect several requests, and none prevents reading everything.
FAULTS = st.lists(
    st.builds(
        replace,
        st.sampled_from(
            [
                Fault("doubled"),
                Fault("again", on="next"),
                Fault("answer", on="next", details=EXPIRED),
                Fault("answer", details=TOKEN_EXPIRED),
                Fault("delay", details={"seconds": 0.005}),
            ]
        ),
        after=st.integers(0, 25),
        times=st.integers(1, 2),
    ),
    max_size=3,
    # Three tokens in a row that expire are an error.
    unique_by=lambda fault: (fault.kind, fault.details.get("status")),
)


@contextmanager
def in_small_portions(reading: Reading) -> Iterator[None]:
    """Make pages and windows small, so that few records fill many of them."""
    defaults = Query.parameters.__kwdefaults__
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(defaults, "page_size", reading.page_size)
        patch.setattr(reader_module, "window_size", lambda *_: reading.window_size)
        yield


@contextmanager
def client_of(server: SimulatorServer) -> Iterator[ZoomClient]:
    """Return a client with a token of its own, since simulators that were set up anew know none."""
    settings = settings_for(server, requests_per_second=1_000_000.0)
    client = ZoomClient(settings, token_source=TokenSource(settings.credentials), retry_timeout=10.0)
    with client.session:
        yield client


def reader_of(client: ZoomClient, reading: Reading, start: datetime, end: datetime) -> EngagementReader:
    query = Query(start, end, Filters(timezone=reading.zone))
    return EngagementReader(client, query, max_concurrency=reading.max_concurrency)


def read(client: ZoomClient, reading: Reading, start: datetime, end: datetime) -> list[bytes]:
    reader = reader_of(client, reading, start, end)
    with in_small_portions(reading):
        lines = b"".join(reader.chunks()).split(b"\n")
    assert lines.pop() == b""
    assert reader.counts.records == len(lines)
    return lines


def count(client: ZoomClient, reading: Reading, start: datetime, end: datetime) -> int:
    questions = Query(start, end, Filters(timezone=reading.zone)).counting_parameters()
    return sum(client.get(PATH, question, parse_page).total_records or 0 for question in questions)


def on_one_line(text: str) -> bytes:
    return text.replace("\n", "").replace("\r", "").encode()


def truth(engagements: Engagements, reading: Reading, start: datetime, end: datetime) -> list[bytes]:
    return [on_one_line(text) for text in engagements.truth(start, end, reading.style)]


def assert_each_interval_has_its_own(server: SimulatorServer, reading: Reading, faults: list[Fault]) -> None:
    engagements = Engagements(reading.starts)
    server.simulator.__init__(engagements, Config(**reading.config))  # type: ignore[misc, arg-type]
    server.simulator.faults = [replace(fault) for fault in faults]
    intervals = list(pairwise(reading.bounds))

    with client_of(server) as client:
        found = [read(client, reading, *interval) for interval in intervals]

    assert [sorted(lines) for lines in found] == [
        sorted(truth(engagements, reading, *interval)) for interval in intervals
    ]
    whole = truth(engagements, reading, reading.bounds[0], reading.bounds[-1])
    assert Counter(chain.from_iterable(found)) == Counter(whole)
    assert len(set(whole)) == len(whole)


@examples(80, 1_500)
@given(reading=readings(), faults=FAULTS)
def test_intervals_that_meet_have_each_the_engagements_that_started_in_it(
    server: SimulatorServer, reading: Reading, faults: list[Fault]
) -> None:
    assert_each_interval_has_its_own(server, reading, faults)


@examples(100, 1_500)
@given(reading=readings_of_repeated_hours(), faults=FAULTS)
def test_intervals_that_meet_in_a_repeated_hour_have_each_their_own(
    server: SimulatorServer, reading: Reading, faults: list[Fault]
) -> None:
    assert_each_interval_has_its_own(server, reading, faults)


@examples(30, 400)
@given(reading=readings() | readings_of_repeated_hours())
def test_what_is_counted_in_an_interval_is_what_is_read_from_it_and_reported(
    server: SimulatorServer, reading: Reading
) -> None:
    engagements = Engagements(reading.starts)
    server.simulator.__init__(engagements, Config(**reading.config))  # type: ignore[misc, arg-type]

    with client_of(server) as client:
        for interval in pairwise(reading.bounds):
            reader = reader_of(client, reading, *interval)
            with in_small_portions(reading):
                list(reader.chunks())

            expected = len(truth(engagements, reading, *interval))
            assert (count(client, reading, *interval), reader.counts.reported) == (expected, expected)


@examples(30, 400)
@given(reading=readings() | readings_of_repeated_hours(), late=st.lists(st.integers(0, 40), min_size=2, max_size=2))
def test_reading_again_gives_the_same_bytes_whichever_page_is_late(
    server: SimulatorServer, reading: Reading, late: list[int]
) -> None:
    server.simulator.__init__(Engagements(reading.starts), Config(**reading.config))  # type: ignore[misc, arg-type]

    with client_of(server) as client:
        first = read(client, reading, reading.bounds[0], reading.bounds[-1])
        server.simulator.faults = [Fault("delay", after=after, details={"seconds": 0.02}) for after in late]
        second = read(client, reading, reading.bounds[0], reading.bounds[-1])

    assert first == second


@examples(60, 800)
@given(reading=readings() | readings_of_repeated_hours(), data=st.data())
def test_engagements_that_arrive_during_the_reading_neither_displace_nor_repeat_others(
    growing_server: SimulatorServer, reading: Reading, data: st.DataObject
) -> None:
    numbers = st.integers(0, max(0, len(reading.starts) - 1))
    engagements = Arrivals(
        reading.starts, data.draw(st.dictionaries(numbers, st.integers(0, 60), max_size=40), label="later")
    )
    growing_server.simulator.__init__(engagements, Config(**reading.config))  # type: ignore[misc, arg-type]
    intervals = list(pairwise(reading.bounds))

    with client_of(growing_server) as client:
        found = [read(client, reading, *interval) for interval in intervals]

    lines = {
        number: on_one_line(engagements.render(number, reading.style)) for number in range(len(engagements.starts))
    }
    assert len(set(lines.values())) == len(lines)
    for (start, end), interval_lines in zip(intervals, found, strict=True):
        began = {
            number
            for number, epoch in enumerate(engagements.starts)
            if start <= datetime.fromtimestamp(epoch, UTC) < end
        }
        there = {lines[number] for number in began if engagements.there_from_the_beginning(number)}
        assert len(set(interval_lines)) == len(interval_lines)
        assert there <= set(interval_lines) <= {lines[number] for number in began}
