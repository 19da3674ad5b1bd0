from __future__ import annotations

import gzip
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from airflow_provider_zcc.zoom.errors import (
    IncompleteResponse,
    PermanentError,
    RateLimitedUntil,
    ReadCancelled,
    TransientError,
    ZoomError,
)
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import PATH, Filters, Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from airflow_provider_zcc.zoom.tally import Counts
from tests.conftest import END, StartSimulator, client_for
from tests.zoom_simulator.data import SHAPES, Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
#: A Thursday of some 370 engagements, on four pages.
START = END - 4 * DAY
#: More than fits into one window.
BUSY = Engagements.of_a_contact_centre(6_000, 10, end=END)
EXPIRED = {"status": 400, "body": {"code": 300, "message": "The next page token is invalid or expired."}}


def reader_for(
    server: SimulatorServer,
    start: datetime = START,
    end: datetime = START + DAY,
    *,
    max_concurrency: int = 8,
    fail_if_incomplete: bool = True,
    gzip: bool = False,
    retry_timeout: float = 10.0,
    requests_per_second: float = 1_000.0,
    **filters: Any,
) -> EngagementReader:
    return EngagementReader(
        client_for(server, retry_timeout=retry_timeout, requests_per_second=requests_per_second),
        Query(start, end, Filters.validated(**filters)),
        max_concurrency=max_concurrency,
        fail_if_incomplete=fail_if_incomplete,
        gzip=gzip,
    )


def lines_of(reader: EngagementReader) -> list[bytes]:
    return b"".join(reader.chunks()).splitlines()


def read(server: SimulatorServer, start: datetime = START, end: datetime = START + DAY, **options: Any) -> list[bytes]:
    return lines_of(reader_for(server, start, end, **options))


def ids_of(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["engagement_id"] for line in lines]


def truth(server: SimulatorServer, start: datetime = START, end: datetime = START + DAY, **options: Any) -> list[bytes]:
    return [line.replace("\n", "").encode() for line in server.simulator.truth(start, end, **options)]


def truth_in(server: SimulatorServer, style: TimeStyle, start: datetime, end: datetime) -> list[bytes]:
    return [line.replace("\n", "").encode() for line in server.simulator.engagements.truth(start, end, style)]


def requests_of(server: SimulatorServer) -> int:
    return server.simulator.stats.api_requests


def requested_from(server: SimulatorServer) -> list[str]:
    """Return where the window of each request starts."""
    return [dict(query)["from"] for query in server.simulator.stats.queries]


def listing(*records: dict[str, Any], **head: Any) -> Fault:
    """Return these records for every window."""
    body = {"total_records": len(records), "engagements": records, **head}
    return Fault("answer", times=-1, details={"status": 200, "body": body})


# All of it, without duplicates


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_days_that_meet_at_midnight_give_each_engagement_once_to_the_later_day(
    start_simulator: StartSimulator, order: str
) -> None:
    server = start_simulator(order=order)
    midnights = [START + n * DAY for n in range(4)]

    days = [read(server, *day) for day in pairwise(midnights)]

    assert [sorted(day) for day in days] == [sorted(truth(server, *day)) for day in pairwise(midnights)]
    assert sorted(chain(*days)) == sorted(truth(server, midnights[0], midnights[3]))
    assert all(truth(server, midnight, midnight + SECOND) for midnight in midnights)


@pytest.mark.parametrize("max_concurrency", [1, 2, 8])
def test_thousands_of_engagements_are_read_in_several_windows_and_leave_in_order(
    start_simulator: StartSimulator, max_concurrency: int
) -> None:
    server = start_simulator(BUSY, order="ascending")

    lines = read(server, END - 10 * DAY, END, max_concurrency=max_concurrency)

    assert lines == truth(server, END - 10 * DAY, END)
    assert len(set(requested_from(server))) > 1


@pytest.mark.parametrize("bound", [timedelta(hours=10, minutes=30), timedelta(hours=10, minutes=30, microseconds=1)])
def test_a_burst_in_the_second_of_a_bound_belongs_to_one_side(simulator: SimulatorServer, bound: timedelta) -> None:
    first = END - 10 * DAY

    before, after = read(simulator, first, first + bound), read(simulator, first + bound, first + DAY)

    burst = truth(simulator, first + timedelta(hours=10.5), first + timedelta(hours=10.5) + SECOND)
    assert sorted(before + after) == sorted(truth(simulator, first, first + DAY))
    assert set(burst) <= set(before if bound.microseconds else after)
    assert len(burst) == 75


@pytest.mark.parametrize(("offset", "max_concurrency"), [(0, 8), (43_217, 1), (43_237, 8), (86_399, 8), (86_400, 8)])
def test_thousands_in_one_second_are_read_without_trying_to_split_it_for_ever(
    start_simulator: StartSimulator, offset: int, max_concurrency: int
) -> None:
    second = int(START.timestamp()) + offset
    server = start_simulator(Engagements([second - 1, *[second] * 4_000, second + 1]), order="ascending")

    lines = read(server, max_concurrency=max_concurrency)

    assert lines == truth(server)
    assert requests_of(server) < 150


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (40, 1), (100, 1), (101, 2), (200, 2)])
def test_few_engagements_cost_no_request_beyond_their_pages(
    start_simulator: StartSimulator, count: int, requests: int
) -> None:
    server = start_simulator(Engagements(int(START.timestamp()) + n for n in range(count)), order="ascending")

    assert read(server) == truth(server)
    assert requests_of(server) == requests


# Timezones


@pytest.mark.parametrize("offset_times", [False, True])
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Etc/UTC"])
def test_a_timezone_changes_how_times_are_written_and_not_which_are_read(
    start_simulator: StartSimulator, zone: str, offset_times: bool
) -> None:
    server = start_simulator(order="ascending", offset_times=offset_times)

    lines = read(server, START, START + 2 * DAY, timezone=zone)

    assert lines == truth_in(server, TimeStyle(ZoneInfo(zone), offset_times), START, START + 2 * DAY)


@pytest.mark.parametrize("offset_times", [False, True])
@pytest.mark.parametrize("minutes", [60, 20, 90])
def test_an_hour_that_daylight_saving_repeats_gives_each_engagement_once_to_its_interval(
    start_simulator: StartSimulator, minutes: int, offset_times: bool
) -> None:
    repeated = datetime(2026, 11, 1, 8, tzinfo=UTC)
    bounds = [repeated + timedelta(minutes=minutes * n) for n in range(-2, 8)]
    quarters = [int(repeated.timestamp()) + 900 * n for n in range(-8, 24)]
    starts = [epoch + near for epoch in [int(b.timestamp()) for b in bounds] + quarters for near in (-1, 0, 0, 1)]
    server = start_simulator(Engagements(starts), order="shuffled", offset_times=offset_times)
    style = TimeStyle(ZoneInfo("America/Los_Angeles"), offset_times)

    for interval in pairwise(bounds):
        lines = read(server, *interval, timezone="America/Los_Angeles")

        assert sorted(lines) == sorted(truth_in(server, style, *interval))


@pytest.mark.parametrize("compressed", [False, True])
def test_windows_that_meet_in_a_repeated_hour_do_not_return_a_record_twice(
    start_simulator: StartSimulator, compressed: bool
) -> None:
    start, end = datetime(2026, 11, 1, 7, tzinfo=UTC), datetime(2026, 11, 1, 12, tzinfo=UTC)
    base, half_past = int(start.timestamp()), int(start.timestamp()) + 9_000
    server = start_simulator(Engagements([half_past, *(base + 4 * n + 1 for n in range(4_400))]), order="ascending")

    output = b"".join(reader_for(server, start, end, gzip=compressed, timezone="America/Los_Angeles").chunks())

    lines = (gzip.decompress(output) if compressed else output).splitlines()
    assert lines == truth(server, start, end, timezone="America/Los_Angeles")
    assert len(set(requested_from(server))) > 2


# The same output again


@pytest.mark.parametrize("shape", ["contact-centre", "one-hour"])
@pytest.mark.parametrize("after", [1, 5])
def test_the_output_does_not_depend_on_which_window_arrives_first(
    start_simulator: StartSimulator, shape: str, after: int
) -> None:
    # So many in five days that windows are split again, and in an order that shows each bound.
    server = start_simulator(SHAPES[shape](9_000, 5, end=END), order="descending")
    undisturbed = b"".join(reader_for(server, END - 5 * DAY, END, gzip=True).chunks())
    server.simulator.faults = [
        Fault("delay", on="first", after=after, details={"seconds": 0.3}),
        Fault("delay", on="next", after=after + 7, times=2, details={"seconds": 0.2}),
    ]

    assert b"".join(reader_for(server, END - 5 * DAY, END, gzip=True).chunks()) == undisturbed


# Compression


def test_all_readers_of_gzip_accept_the_output(start_simulator: StartSimulator, tmp_path: Path) -> None:
    server = start_simulator(BUSY, order="ascending")
    reader = reader_for(server, END - 10 * DAY, END, gzip=True)
    path = tmp_path / "engagements.jsonl.gz"

    path.write_bytes(b"".join(reader.chunks()))

    lines = b"".join(line + b"\n" for line in truth(server, END - 10 * DAY, END))
    assert path.read_bytes().count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") > 1
    assert gzip.decompress(path.read_bytes()) == lines
    assert subprocess.run(["/bin/zcat", path], check=True, capture_output=True).stdout == lines
    [(rows,)] = duckdb.sql(f"SELECT count(DISTINCT engagement_id) FROM read_json('{path}')").fetchall()
    assert rows == reader.counts.records == lines.count(b"\n")
    assert reader.counts.uncompressed_bytes == len(lines)


@pytest.mark.parametrize(("compressed", "chunks"), [(True, 1), (False, 0)])
def test_an_empty_interval_gives_no_line_or_one_empty_gzip_member(
    start_simulator: StartSimulator, compressed: bool, chunks: int
) -> None:
    reader = reader_for(start_simulator(Engagements([])), gzip=compressed)

    output = list(reader.chunks())

    assert len(output) == chunks
    assert [gzip.decompress(chunk) for chunk in output] == [b""] * chunks
    assert reader.counts == Counts(all_counted=True, reported=0)


# What can be wrong with a response


@pytest.mark.parametrize(
    ("faults", "duplicates"),
    [
        pytest.param([Fault("doubled", times=-1)], None, id="every record twice"),
        pytest.param([Fault("again", on="next", after=2)], 100, id="a page again"),
        pytest.param([Fault("page", details={"next_page_token": ""})], 0, id="lost pages"),
        pytest.param([Fault("page", details={"next_page_token": "<absent>"})], 0, id="page token absent"),
        pytest.param([Fault("page", times=-1, details={"total_records": "<absent>"})], 0, id="total absent"),
        pytest.param([Fault("page", times=-1, details={"total_records": -1})], 0, id="total negative"),
        pytest.param([Fault("page", times=-1, details={"total_records": "7"})], 0, id="total as text, too low"),
        pytest.param([Fault("page", times=-1, details={"total_records": "many"})], 0, id="total unreadable"),
        pytest.param(
            [Fault("page", details={"to": "2026-11-05T12:00:00Z", "next_page_token": "", "total_records": 100})],
            0,
            id="early to, total to match",
        ),
        pytest.param([Fault("page", times=-1, details={"from": None, "to": None, "timezone": None})], 0, id="no echo"),
        pytest.param([Fault("answer", on="next", after=1, details=EXPIRED)], 0, id="page token expired"),
        pytest.param([Fault("cut", on="next", after=1), Fault("reset", on="next")], 0, id="cut and reset"),
    ],
)
def test_a_response_that_is_wrong_for_a_while_gives_the_exact_lines(
    start_simulator: StartSimulator, faults: list[Fault], duplicates: int | None
) -> None:
    server = start_simulator(order="shuffled")
    undisturbed = read(server)
    server.simulator.faults = [replace(fault) for fault in faults]
    reader = reader_for(server)

    lines = lines_of(reader)

    returned = len(server.simulator.truth(START, START + DAY + SECOND))
    assert lines == undisturbed
    assert sorted(undisturbed) == sorted(truth(server))
    assert reader.counts.duplicates_dropped == (returned if duplicates is None else duplicates)


@pytest.mark.parametrize("total", [799, "799", 3_000])
def test_records_that_stay_missing_fail_or_warn_as_configured(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture, total: object
) -> None:
    simulator.simulator.faults = [Fault("page", times=-1, details={"total_records": total})]

    with pytest.raises(IncompleteResponse, match=str(total)):
        read(simulator)
    accepted = read(simulator, fail_if_incomplete=False)

    assert str(total) in caplog.text
    assert sorted(ids_of(accepted)) == sorted(ids_of(truth(simulator)))


@pytest.mark.parametrize("fail_if_incomplete", [True, False])
def test_a_part_of_a_window_that_is_reported_as_empty_is_noticed(
    start_simulator: StartSimulator, caplog: pytest.LogCaptureFixture, fail_if_incomplete: bool
) -> None:
    server = start_simulator(BUSY, order="ascending")
    nothing = {"next_page_token": "", "total_records": 0, "engagements": []}
    server.simulator.faults = [Fault("page", on="first", after=4, times=1, details=nothing)]

    with pytest.raises(IncompleteResponse, match="for its parts") if fail_if_incomplete else nullcontext():
        read(server, END - 10 * DAY, END, fail_if_incomplete=fail_if_incomplete)

    assert ("for its parts" in caplog.text) is not fail_if_incomplete


def test_a_count_that_was_too_high_once_is_no_error(start_simulator: StartSimulator) -> None:
    server = start_simulator(BUSY, order="ascending")
    server.simulator.faults = [Fault("page", details={"total_records": 11_000})]

    assert read(server, END - 10 * DAY, END) == truth(server, END - 10 * DAY, END)


def test_a_total_that_never_changes_does_not_split_a_window_of_one_page(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements(int(START.timestamp()) + 600 * n for n in range(100)), order="ascending")
    server.simulator.faults = [Fault("page", times=-1, details={"total_records": 10_000})]

    assert read(server, fail_if_incomplete=False) == truth(server)
    assert len(set(requested_from(server))) == 1


def test_pagination_that_loops_is_an_error_in_any_window(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements.of_a_contact_centre(3_600, 1, end=START + DAY))
    server.simulator.faults = [Fault("again", on="next", times=-1)]

    with pytest.raises(TransientError, match="looping"):
        read(server)

    assert requests_of(server) < 150


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("records", "outside"),
    [
        pytest.param([{"engagement_id": "a"}, {"engagement_id": "b", "start_time": "soon"}], 0, id="unknown times"),
        pytest.param([{"engagement_id": 7}, {"engagement_id": "7"}, {"engagement_id": 8}], 0, id="numeric ids"),
        pytest.param([{"engagement_id": "long", "start_time": "2026-09-01T12:00:00Z"}], 0, id="in the first window"),
        pytest.param([{"engagement_id": "long", "start_time": "2026-08-31T12:00:00Z"}], 1, id="before all windows"),
        pytest.param([{"engagement_id": "late", "start_time": "2027-01-01T12:00:00Z"}], 1, id="after all windows"),
    ],
)
def test_a_record_that_is_returned_for_every_window_is_written_once(
    simulator: SimulatorServer, records: list[dict[str, Any]], outside: int, compressed: bool
) -> None:
    simulator.simulator.faults = [listing(*records)]
    reader = reader_for(simulator, START - 65 * DAY, START + 25 * DAY, gzip=compressed)

    output = b"".join(reader.chunks())

    lines = (gzip.decompress(output) if compressed else output).splitlines()
    assert [json.loads(line) for line in lines] == records
    assert reader.counts.records == len(records)
    assert reader.counts.duplicates_dropped == len(records) * (requests_of(simulator) - 1) > 0
    assert reader.counts.outside_interval == outside
    assert reader.counts.uncompressed_bytes == sum(len(line) + 1 for line in lines)


def test_a_record_in_doubt_that_windows_far_apart_return_is_written_once(simulator: SimulatorServer) -> None:
    found, nothing = listing({"engagement_id": "a"}), replace(listing(), times=1)
    simulator.simulator.faults = [replace(found, times=1), nothing, found]

    lines = read(simulator, START - 65 * DAY, START + 25 * DAY, max_concurrency=1)

    assert ids_of(lines) == ["a"]


def test_records_that_did_not_start_in_the_interval_are_kept_in_their_place_and_warned_of(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    times = {"first": "05T00:00:00Z", "early": "04T23:59:59Z", "inside": "05T00:00:01Z", "next": "06T00:00:00Z"}
    simulator.simulator.faults = [
        listing(*({"engagement_id": name, "start_time": f"2026-11-{time}"} for name, time in times.items()))
    ]
    reader = reader_for(simulator)

    assert ids_of(lines_of(reader)) == ["first", "early", "inside"]
    assert (reader.counts.records, reader.counts.reported, reader.counts.outside_interval) == (3, 3, 1)
    assert "1 engagements did not start in the interval" in caplog.text


# What is requested first


def test_the_first_output_and_the_expected_number_do_not_wait_for_later_windows(
    start_simulator: StartSimulator,
) -> None:
    server = start_simulator(BUSY, order="ascending")
    reader = reader_for(server, END - 10 * DAY, END, requests_per_second=20.0, gzip=True)

    next(reader.chunks())

    assert requests_of(server) < 30
    assert reader.counts.all_counted
    assert len(BUSY.starts) <= reader.counts.expected < len(BUSY.starts) + 10


def test_what_is_next_in_the_output_is_requested_first(start_simulator: StartSimulator) -> None:
    begin = int((END - 336 * DAY).timestamp())
    every = int(336 * DAY.total_seconds()) // 6_900
    server = start_simulator(
        Engagements(begin + every * n for n in range(6_900)), order="ascending", requests_per_second=50
    )

    lines = read(server, END - 336 * DAY, END, requests_per_second=25.0)

    assert lines == truth(server, END - 336 * DAY, END)
    requested = requested_from(server)
    # If the windows took turns, the first one would be requested for longer.
    assert min(requested) not in requested[len(requested) // 2 :]


def test_a_window_that_would_be_read_alone_in_the_end_is_begun_earlier(start_simulator: StartSimulator) -> None:
    begin = int((END - 140 * DAY).timestamp())
    a_window = 28 * 86_400
    few = [begin + window * a_window + 10_000 * n for window in range(4) for n in range(1, 151)]
    many = [begin + 4 * a_window + 1_000 * n for n in range(1, 801)]
    server = start_simulator(Engagements([*few, *many]), order="ascending", requests_per_second=50)

    lines = read(server, END - 140 * DAY, END, requests_per_second=25.0)

    assert lines == truth(server, END - 140 * DAY, END)
    assert len(set(requested_from(server)[-4:])) > 1


# The end


@pytest.mark.parametrize("on", ["first", "next"])
@pytest.mark.parametrize(
    ("kind", "details", "error_type"),
    [
        ("answer", {"status": 403, "body": {"code": 9001, "message": "Role lacks privileges."}}, PermanentError),
        ("answer", {"status": 500}, TransientError),
        ("answer", {"status": 429, "headers": {"Retry-After": "2099-01-01T00:00:00Z"}}, RateLimitedUntil),
        ("page", {"next_page_token": "", "from": "2026-11-09T00:00:00Z"}, IncompleteResponse),
    ],
)
def test_the_first_error_of_any_window_ends_the_reading_with_its_type(
    start_simulator: StartSimulator, on: str, kind: str, details: dict[str, Any], error_type: type[ZoomError]
) -> None:
    server = start_simulator(BUSY)
    server.simulator.faults = [Fault(kind, on=on, after=3, times=-1, details=details)]
    chunks = reader_for(server, END - 10 * DAY, END, retry_timeout=0.0).chunks()

    with pytest.raises(ZoomError) as error:
        list(chunks)

    assert type(error.value) is error_type
    assert list(chunks) == []
    assert_no_more_is_requested(server)


def assert_no_more_is_requested(server: SimulatorServer) -> None:
    sent = requests_of(server)
    time.sleep(0.15)
    assert requests_of(server) == sent


def test_nothing_is_requested_before_the_first_chunk_is_wanted(simulator: SimulatorServer) -> None:
    reader_for(simulator).chunks()

    assert_no_more_is_requested(simulator)
    assert requests_of(simulator) == 0


def test_a_reader_that_was_stopped_before_it_began_requests_nothing(simulator: SimulatorServer) -> None:
    reader = reader_for(simulator)
    reader.stop()

    with pytest.raises(ReadCancelled):
        list(reader.chunks())

    assert requests_of(simulator) == 0


@pytest.mark.parametrize("how", ["stopped", "closed", "abandoned"])
def test_reading_ends_when_it_is(start_simulator: StartSimulator, how: str) -> None:
    server = start_simulator(BUSY)
    reader = reader_for(server, END - 10 * DAY, END, requests_per_second=50.0)
    chunks: Iterator[bytes] | None = reader.chunks()
    assert chunks is not None
    next(chunks)

    if how == "stopped":
        reader.stop()
        with pytest.raises(ReadCancelled):
            next(chunks)
    elif how == "closed":
        chunks.close()  # type: ignore[attr-defined]
    else:
        chunks = None

    assert_no_more_is_requested(server)


@pytest.fixture
def hold() -> Iterator[Callable[..., Fault]]:
    """Return a fault that holds back responses until the test is over."""
    over = threading.Event()
    yield lambda **where: Fault("hold", times=-1, details={"until": over.is_set}, **where)
    over.set()


def stop_when(it_is_time: Callable[[], bool], reader: EngagementReader) -> threading.Thread:
    """Stop a reader from another thread."""

    def stop() -> None:
        while not it_is_time():
            time.sleep(0.01)
        reader.stop()

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("on", "requests"), [("token", 0), ("first", 1), ("next", 10)])
def test_a_stop_does_not_wait_for_responses_that_do_not_come(
    start_simulator: StartSimulator, hold: Callable[..., Fault], on: str, requests: int
) -> None:
    server = start_simulator(BUSY)
    server.simulator.faults = [hold(on=on)]
    reader = reader_for(server, END - 10 * DAY, END)
    stats = server.simulator.stats
    stopping = stop_when(lambda: stats.token_requests > 0 and requests_of(server) >= requests, reader)

    with pytest.raises(ReadCancelled):
        lines_of(reader)

    stopping.join()


class Interrupted(BaseException):
    """What Airflow's signal handlers raise."""


@pytest.fixture
def interrupt_after() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """Return a function that calls another, and interrupts it after some seconds."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    def call(seconds: float, function: Callable[[], object]) -> None:
        with suppress(Interrupted, ReadCancelled):
            signal.setitimer(signal.ITIMER_REAL, seconds)
            function()
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, interrupt)
    yield call
    signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_handler_that_raises_at_any_point_leaves_no_lock_that_a_stop_waits_for(
    start_simulator: StartSimulator, interrupt_after: Callable[[float, Callable[[], object]], None]
) -> None:
    server = start_simulator(BUSY)

    for attempt in range(60):
        reader = reader_for(server, END - 10 * DAY, END)
        interrupt_after(0.0005 + attempt * 0.001, partial(lines_of, reader))
        interrupt_after(0.00002 + attempt * 0.000005, reader.stop)
        reader.stop()

        with pytest.raises(ReadCancelled):
            next(reader.chunks())

    assert_no_more_is_requested(server)


def test_output_that_nobody_takes_is_not_read_without_end(start_simulator: StartSimulator) -> None:
    # The first window takes longest, so the others alone reach the limit.
    seconds = [0] * 8_000 + list(range(24_000))
    server = start_simulator(Engagements(int(START.timestamp()) + n for n in seconds), order="ascending")
    chunks = reader_for(server).chunks()
    first = next(chunks)
    before, requests = -1, requests_of(server)
    while requests > before:
        time.sleep(0.3)
        before, requests = requests, requests_of(server)

    assert requests < 290
    assert b"".join([first, *chunks]).splitlines() == truth(server)


# Counts


def test_counts_are_those_of_the_output_and_of_zoom(start_simulator: StartSimulator) -> None:
    # In every second there is one, so also in those where windows meet, and in that of the end.
    server = start_simulator(Engagements(int(START.timestamp()) + n for n in range(6_000)))
    end = START + 5_000 * SECOND
    reader = reader_for(server, START, end)

    lines = lines_of(reader)

    [query] = Query(START, end).counting_parameters()
    counted = client_for(server).get(PATH, query, parse_page).total_records
    assert reader.counts == Counts(
        records=len(lines),
        expected=reader.counts.expected,
        all_counted=True,
        reported=counted,
        uncompressed_bytes=sum(len(line) + 1 for line in lines),
    )


def test_a_total_that_zoom_does_not_report_is_unknown_and_warned_of_once(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.simulator.faults = [Fault("page", times=-1, details={"total_records": None})]
    reader = reader_for(simulator, END - 60 * DAY, END)

    lines_of(reader)

    assert reader.counts.reported is None
    assert len(caplog.messages) == 1
