"""Whatever started when, however intervals meet: each has the engagements that started in it, without duplicates."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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
from tests.properties.profile import examples
from tests.properties.zones import ANCHORS, PUT_BACK, PUT_FORWARD, ZONES
from tests.zoom_simulator.app import PAGE_TOKEN_DIED, Config
from tests.zoom_simulator.data import Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

MOST_RECORDS, MOST_PAGES = 300, 40
EXPIRED = {"status": 400, "body": PAGE_TOKEN_DIED}
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
    gzip: bool

    @property
    def intervals(self) -> list[tuple[datetime, datetime]]:
        return list(pairwise(self.bounds))

    @property
    def style(self) -> TimeStyle:
        # Zoom knows UTC by its Z alone.
        return TimeStyle(ZoneInfo(self.zone), self.offset_times and self.zone != "UTC")


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Draw clusters: many in one second, one or two at either side of a bound, some spread between bounds."""
    zone = draw(st.sampled_from(ZONES))
    anchor = int(draw(st.sampled_from((PUT_BACK.get(zone, ANCHORS[-1]), PUT_FORWARD))).timestamp())
    # Seconds; minutes; the half hours around a change of the clock; a few days; more than one request may ask for.
    unit, most = draw(st.sampled_from([(1, 90), (60, 200), (1_800, 4), (1_800, 4), (3_600, 100), (86_400, 35)]))
    bound = st.builds(
        lambda step, rest: anchor + unit * step + rest,
        st.integers(-most, most),
        st.sampled_from((0, 0, 0, 1, -1, 37)),
    )
    seconds = draw(st.lists(bound, min_size=2, max_size=6, unique=True))
    # Half an hour or an hour away, local time may be the same again.
    near = st.builds(
        lambda base, half_hours, offset: base + half_hours * 1_800 + offset,
        st.sampled_from((*seconds, *seconds, anchor)),
        st.sampled_from((0, 0, 0, -2, -1, 1, 2)),
        st.sampled_from((0, 0, 0, 1, -1, 2, 36, 37, 38, 59)),
    )
    clusters = st.tuples(
        near | st.integers(min(seconds) - unit, max(seconds) + unit),
        st.sampled_from((1, 1, 2, 3, 10, 60, 130)),
        st.sampled_from((0, 0, 1, 60, 600, 1_800, 3_600)),
    )
    starts = [
        centre + gap * number for centre, count, gap in draw(st.lists(clusters, max_size=14)) for number in range(count)
    ]
    page_size = draw(st.sampled_from((1, 2, 3, 7, 25, 100)))
    starts = starts[: min(MOST_RECORDS, MOST_PAGES * page_size)]
    # Bounds between two seconds move to the later one.
    part = timedelta(microseconds=draw(st.sampled_from((0, 0, 0, 1, 999_999))))
    return Reading(
        zone,
        tuple(datetime.fromtimestamp(second, UTC) + part for second in sorted(seconds)),
        tuple(starts),
        order=draw(st.sampled_from(("ascending", "descending", "shuffled"))),
        offset_times=draw(st.booleans()),
        page_size=page_size,
        max_concurrency=draw(st.integers(1, 8)),
        window_size=draw(st.sampled_from((1, 2, 5, 20, 60, 100, max(1, len(starts) // 3)))),
        gzip=draw(st.booleans()),
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
def client_of(server: SimulatorServer, reading: Reading) -> Iterator[ZoomClient]:
    """Set the simulator up anew, and make pages and windows small, so that few records fill many of them."""
    config = Config(order=reading.order, offset_times=reading.offset_times)
    server.simulator.__init__(Engagements(reading.starts), config)  # type: ignore[misc]
    settings = settings_for(server, requests_per_second=1_000_000.0)
    # The simulator knows no token of an earlier example.
    client = ZoomClient(settings, token_source=TokenSource(settings.credentials), retry_timeout=10.0)
    with client.session, pytest.MonkeyPatch.context() as patch:
        patch.setitem(Query.parameters.__kwdefaults__, "page_size", reading.page_size)
        patch.setattr(reader_module, "records_per_window", lambda *_: reading.window_size)
        yield client


def reader_for(client: ZoomClient, reading: Reading, start: datetime, end: datetime) -> EngagementReader:
    query = Query(start, end, Filters(timezone=reading.zone))
    return EngagementReader(client, query, max_concurrency=reading.max_concurrency, gzip=reading.gzip)


def read(client: ZoomClient, reading: Reading, start: datetime, end: datetime) -> tuple[list[bytes], int | None]:
    """Return the lines, and how many Zoom reports."""
    reader = reader_for(client, reading, start, end)
    output = b"".join(reader.chunks())
    lines = (gzip.decompress(output) if reading.gzip else output).split(b"\n")
    assert lines.pop() == b""
    assert reader.counts.records == len(lines)
    return lines, reader.counts.reported


def count(client: ZoomClient, reading: Reading, start: datetime, end: datetime) -> int:
    queries = Query(start, end, Filters(timezone=reading.zone)).counting_parameters()
    return sum(client.get(PATH, parameters, parse_page).total_records or 0 for parameters in queries)


def truth(reading: Reading, start: datetime, end: datetime) -> list[bytes]:
    return [line.encode() for line in Engagements(reading.starts).truth(start, end, reading.style)]


@examples(150, 3_000)
@given(reading=readings(), faults=FAULTS)
def test_intervals_that_meet_have_each_the_engagements_that_started_in_it(
    server: SimulatorServer, reading: Reading, faults: list[Fault]
) -> None:
    with client_of(server, reading) as client:
        server.simulator.faults = [replace(fault) for fault in faults]
        found, reported = zip(*(read(client, reading, *interval) for interval in reading.intervals), strict=True)
        counted = [count(client, reading, *interval) for interval in reading.intervals]

    assert counted == list(reported) == [len(lines) for lines in found]
    assert [sorted(lines) for lines in found] == [sorted(truth(reading, *interval)) for interval in reading.intervals]
    whole = truth(reading, reading.bounds[0], reading.bounds[-1])
    assert Counter(chain.from_iterable(found)) == Counter(whole)
    assert len(set(whole)) == len(whole)


@examples(30, 400)
@given(reading=readings(), late=st.lists(st.integers(0, 40), min_size=2, max_size=2))
def test_reading_again_gives_the_same_bytes_whichever_page_is_late(
    server: SimulatorServer, reading: Reading, late: list[int]
) -> None:
    with client_of(server, reading) as client:
        interval = reading.bounds[0], reading.bounds[-1]
        first = list(reader_for(client, reading, *interval).chunks())
        server.simulator.faults = [Fault("delay", after=after, details={"seconds": 0.02}) for after in late]
        second = list(reader_for(client, reading, *interval).chunks())

    assert b"".join(first) == b"".join(second)
