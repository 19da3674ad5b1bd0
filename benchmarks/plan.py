"""
What a backfill takes, and how large it is in S3: the tables of ``docs/plan.md``.

``.venv/bin/python -m benchmarks.plan`` measures a day of each size against the simulator, takes about a minute, and
writes ``benchmarks/results/plan.md``.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pendulum

from airflow_provider_zcc.coverage import Finding, Status, plan
from airflow_provider_zcc.interval import Interval
from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.query import Filters, Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from example_dags.zcc_parquet import write_parquet
from tests.conftest import settings_for
from tests.zoom_simulator.app import ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

RESULTS = Path(__file__).parent / "results" / "plan.md"
DAY = Interval(pendulum.datetime(2026, 11, 2), pendulum.datetime(2026, 11, 3))
A_DAY = (100, 1_000, 10_000, 100_000)
PERIODS = {"a month": 30, "a year": 365, "two years": 730}
MEASURED = (1_000, 10_000, 50_000)
#: Words of a note, where notes are to be long and all different.
WORDS = 60


@dataclass(frozen=True)
class Size:
    """Bytes that an engagement takes."""

    json_lines: float
    gzipped: float
    parquet: float


def requests_table() -> Iterator[str]:
    """Yield the lines of the table: what the check would log, if it found that all days are missing."""
    yield "| engagements a day | for | engagements | requests | at 10 requests/s | at 20 requests/s |"
    yield "|---:|---|---:|---:|---:|---:|"
    for count in A_DAY:
        for period, days in PERIODS.items():
            at_10, at_20 = (plan([Finding(DAY, Status.MISSING, 0, count)] * days, rate) for rate in (10, 20))
            yield (
                f"| {count:,} | {period} | {at_10.engagements:,} | {at_10.requests:,} "
                f"| {_duration(at_10.seconds)} | {_duration(at_20.seconds)} |"
            )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return "under 1 min"
    return f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{seconds / 3_600:.1f} h"


def read_day(count: int) -> tuple[bytes, int]:
    """Read a day's engagements as the operator does; return the object and the number of requests."""
    engagements = Engagements.of_a_contact_centre(count, 1, end=datetime(2026, 11, 3, tzinfo=UTC))
    with SimulatorServer(ZoomSimulator(engagements)) as server:
        client = ZoomClient(settings_for(server, requests_per_second=20.0))
        reader = EngagementReader(client, Query(DAY.start, DAY.end, Filters()), gzip=True)
        return b"".join(reader.chunks()), server.simulator.stats.api_requests


def with_long_notes(lines: bytes) -> bytes:
    """Replace the notes by long ones, no two alike, of made-up words that are as unequally common as real ones."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(3_000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    changed = []
    for line in lines.split(b"\n")[:-1]:
        record = json.loads(line)
        for note in record["notes"]:
            note["note"] = " ".join(rng.choices(words, weights, k=WORDS))
        changed.append(json.dumps(record, ensure_ascii=False))
    return "".join(f"{line}\n" for line in changed).encode()


def size_of(lines: bytes, gzipped: int, count: int) -> Size:
    """Return what an engagement takes, as a mean of a day."""
    with TemporaryDirectory() as folder:
        source, parquet = Path(folder, "engagements.jsonl"), Path(folder, "engagements.parquet")
        source.write_bytes(lines)
        write_parquet(source, parquet)
        return Size(len(lines) / count, gzipped / count, parquet.stat().st_size / count)


def measure() -> Iterator[str]:
    """Yield the lines of the tables that are measured, while they are."""
    sizes: dict[str, Size] = {}
    yield "| engagements of the day | pages of 100 | requests planned | requests sent |"
    yield "|---:|---:|---:|---:|"
    for count in MEASURED:
        body, requests = read_day(count)
        lines = gzip.decompress(body)
        records = lines.count(b"\n")
        planned = plan([Finding(DAY, Status.MISSING, 0, records)], 20).requests
        yield f"| {records:,} | {-(-records // 100):,} | {planned:,} | {requests:,} |"
        sizes[f"{count:,} a day, short notes that repeat"] = size_of(lines, len(body), records)
        if count == max(MEASURED):
            longer = with_long_notes(lines)
            name = f"{count:,} a day, notes of {WORDS} words, no two alike"
            sizes[name] = size_of(longer, len(gzip.compress(longer, 6)), records)
    yield "\n<!-- sizes -->\n"
    yield "| bytes for an engagement | JSON Lines | JSON Lines, gzip | Parquet, zstd |"
    yield "|---|---:|---:|---:|"
    for name, size in sizes.items():
        yield f"| {name} | {size.json_lines:,.0f} | {size.gzipped:,.0f} | {size.parquet:,.0f} |"
    yield "\n<!-- storage -->\n"
    low, high = sizes[f"{max(MEASURED):,} a day, short notes that repeat"], list(sizes.values())[-1]
    yield "| engagements a day | GB a year, JSON Lines, gzip | GB a year, Parquet |"
    yield "|---:|---:|---:|"
    for count in A_DAY[1:]:
        columns = ((low.gzipped, high.gzipped), (low.parquet, high.parquet))
        ranges = " | ".join(" to ".join(f"{size * count * 365 / 1e9:,.2g}" for size in pair) for pair in columns)
        yield f"| {count:,} | {ranges} |"


def main() -> None:
    """Measure, and write the tables."""
    tables = [*requests_table(), "\n<!-- measured -->\n", *measure()]
    RESULTS.write_text("\n".join([*tables, ""]))
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
