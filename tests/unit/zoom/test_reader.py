from __future__ import annotations

import gzip
import json
import subprocess
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_zcc.zoom.errors import IncompleteResponse, PermanentError, ReadCancelled, ZoomError
from airflow_provider_zcc.zoom.query import Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from airflow_provider_zcc.zoom.tally import Counts
from tests.conftest import END, StartSimulator, client_for
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
#: A Thursday of some 370 engagements, on four pages.
START = END - 4 * DAY
#: More than fits into one window.
BUSY = Engagements.of_a_contact_centre(6_000, 10, end=END)
#: Hundreds at the end of each part into which a window is split, which the next part counts too.
AT_BOUNDS = Engagements(int(START.timestamp()) + 60 * minute + 37 for minute in range(20) for _ in range(200))


def reader_for(
    server: SimulatorServer,
    start: datetime = START,
    end: datetime = START + DAY,
    *,
    requests_per_second: float = 1_000.0,
    **options: Any,
) -> EngagementReader:
    return EngagementReader(client_for(server, requests_per_second=requests_per_second), Query(start, end), **options)


def lines_of(reader: EngagementReader) -> list[bytes]:
    return b"".join(reader.chunks()).splitlines()


def read(server: SimulatorServer, start: datetime = START, end: datetime = START + DAY, **options: Any) -> list[bytes]:
    return lines_of(reader_for(server, start, end, **options))


def truth(server: SimulatorServer, start: datetime = START, end: datetime = START + DAY, **options: Any) -> list[bytes]:
    return [line.replace("\n", "").encode() for line in server.simulator.truth(start, end, **options)]


def requests_of(server: SimulatorServer) -> int:
    return server.simulator.stats.api_requests


def listing(*records: dict[str, Any], **head: Any) -> Fault:
    """Return these records for every window."""
    body = {"total_records": len(records), "engagements": records, **head}
    return Fault("answer", times=-1, details={"status": 200, "body": body})


# All of it, without duplicates


@pytest.mark.parametrize("max_concurrency", [1, 2, 3])
def test_thousands_are_read_with_the_given_concurrency_and_leave_in_order(
    start_simulator: StartSimulator, max_concurrency: int
) -> None:
    server = start_simulator(BUSY, order="ascending")
    server.simulator.faults = [Fault("delay", on="first", times=3, details={"seconds": 0.5})]

    lines = read(server, END - 10 * DAY, END + 60 * DAY, max_concurrency=max_concurrency)

    assert lines == truth(server, END - 10 * DAY, END + 60 * DAY)
    assert server.simulator.stats.most_at_once == max_concurrency
    assert len({dict(query)["from"] for query in server.simulator.stats.queries}) > 1


@pytest.mark.parametrize("offset", [0, 43_237, 86_400])
def test_thousands_in_a_second_are_read_without_splitting_it_forever(
    start_simulator: StartSimulator, offset: int
) -> None:
    second = int(START.timestamp()) + offset
    server = start_simulator(Engagements([second - 1, *[second] * 4_000, second + 1]), order="ascending")

    assert read(server) == truth(server)
    assert requests_of(server) < 150


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
def test_an_empty_interval_gives_no_line(start_simulator: StartSimulator, compressed: bool, chunks: int) -> None:
    reader = reader_for(start_simulator(Engagements([])), gzip=compressed)

    output = list(reader.chunks())

    assert [(len(chunk) > 0, gzip.decompress(chunk)) for chunk in output] == [(True, b"")] * chunks
    assert reader.counts == Counts(all_counted=True, reported=0)


# What can be wrong with a response


@pytest.mark.parametrize("fail_if_incomplete", [True, False])
def test_a_part_of_a_window_that_is_reported_as_empty_is_noticed(
    start_simulator: StartSimulator, caplog: pytest.LogCaptureFixture, fail_if_incomplete: bool
) -> None:
    server = start_simulator(AT_BOUNDS, order="ascending")
    nothing = {"next_page_token": "", "total_records": 0, "engagements": []}
    server.simulator.faults = [Fault("page", on="first", after=4, times=1, details=nothing)]

    with pytest.raises(IncompleteResponse, match="for its parts") if fail_if_incomplete else nullcontext():
        read(server, START, START + DAY / 72, fail_if_incomplete=fail_if_incomplete)

    assert ("for its parts" in caplog.text) is not fail_if_incomplete


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("records", "outside"),
    [
        pytest.param([{"engagement_id": "a"}, {"engagement_id": "b", "start_time": "soon"}], 0, id="unknown times"),
        pytest.param([{"engagement_id": 7}, {"engagement_id": "7"}, {"engagement_id": 8}], 0, id="numeric ids"),
        pytest.param([{"engagement_id": "long", "start_time": "2026-09-01T12:00:00Z"}], 0, id="in the first window"),
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


class Astray(Engagements):
    """Engagements some of which Zoom lists for another epoch second too: ``seconds``, by their number."""

    seconds: dict[int, int]

    def between(self, first: int, last: int, passes: Any = None) -> list[int]:
        astray = [number for number, second in self.seconds.items() if first <= second <= last]
        return sorted({*super().between(first, last, passes), *astray})


def test_a_record_that_is_also_returned_for_another_window_is_written_once(start_simulator: StartSimulator) -> None:
    engagements = Astray(BUSY.starts)
    first, last = int(engagements.starts[0]), int(engagements.starts[5_990])
    engagements.seconds = {0: last, 1: (first + last) // 2, 5_000: first, 5_990: first + 1}
    server = start_simulator(engagements, order="ascending")
    reader = reader_for(server, END - 10 * DAY, END)

    assert sorted(lines_of(reader)) == sorted(truth(server, END - 10 * DAY, END))
    assert reader.counts.duplicates_dropped == 4


def test_the_first_output_and_the_expected_count_do_not_wait_for_later_windows(start_simulator: StartSimulator) -> None:
    server = start_simulator(BUSY, order="ascending")
    reader = reader_for(server, END - 35 * DAY, END, requests_per_second=20.0, gzip=True)

    next(reader.chunks())

    assert requests_of(server) < 30
    assert reader.counts.all_counted
    assert len(BUSY.starts) <= reader.counts.expected < len(BUSY.starts) + 10


# The end


@pytest.mark.parametrize("on", ["first", "next"])
@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault("answer", details={"status": 403, "body": {"code": 9001}}), PermanentError),
        (Fault("page", details={"next_page_token": "", "from": "2026-11-09T00:00:00Z"}), IncompleteResponse),
    ],
)
def test_the_first_error_of_any_window_ends_the_reading_with_its_type(
    start_simulator: StartSimulator, on: str, fault: Fault, error_type: type[ZoomError]
) -> None:
    server = start_simulator(BUSY)
    server.simulator.faults = [replace(fault, on=on, after=3, times=-1)]
    chunks = reader_for(server, END - 10 * DAY, END).chunks()

    with pytest.raises(error_type):
        list(chunks)

    assert list(chunks) == []
    assert_no_more_is_requested(server)


def assert_no_more_is_requested(server: SimulatorServer) -> None:
    sent = requests_of(server)
    time.sleep(0.15)
    assert requests_of(server) == sent


def test_a_reader_that_is_stopped_before_its_first_chunk_is_wanted_requests_nothing(simulator: SimulatorServer) -> None:
    reader = reader_for(simulator)
    chunks = reader.chunks()
    assert_no_more_is_requested(simulator)
    reader.stop()

    with pytest.raises(ReadCancelled):
        list(chunks)

    assert requests_of(simulator) == 0


@pytest.mark.parametrize("how", ["stopped", "closed", "abandoned"])
def test_reading_ends_when_it_is(start_simulator: StartSimulator, how: str) -> None:
    server = start_simulator(BUSY)
    reader = reader_for(server, END - 10 * DAY, END, requests_per_second=50.0)
    chunks = reader.chunks()
    next(chunks)

    if how == "stopped":
        reader.stop()
        with pytest.raises(ReadCancelled):
            next(chunks)
    elif how == "closed":
        chunks.close()
    else:
        del chunks

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


def test_a_missing_total_is_warned_of_once(simulator: SimulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    simulator.simulator.faults = [Fault("page", times=-1, details={"total_records": None})]
    reader = reader_for(simulator, END - 60 * DAY, END)

    lines_of(reader)

    assert reader.counts.reported is None
    assert len(caplog.messages) == 1
