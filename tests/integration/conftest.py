"""Zoom, S3 and Airflow, each a server or a process of its own."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.airflow_process import EXAMPLE_DAGS
from tests.airflow_services import RunningAirflow, today
from tests.conftest import END
from tests.intervals import runs
from tests.intervals.read import Read
from tests.s3_server import S3Server
from tests.zoom_simulator.app import ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

BUCKET = "lake"
DAY = timedelta(days=1)
#: What ``zcc_daily`` and ``zcc_backfill`` write for a day.
DAILY_KEY = "zoom/engagements/date={:%Y-%m-%d}/engagements.jsonl.gz"
MANIFEST_KEY = "zoom/engagements/date={:%Y-%m-%d}/_engagements.jsonl.gz.manifest.json"
TEST_DAGS = Path(__file__).parent / "dags"
#: The files of Dags whose runs Airflow's own components make, or take part in.
COMPONENTS_RUN = (EXAMPLE_DAGS / "zcc_daily.py", EXAMPLE_DAGS / "zcc_counts.py", TEST_DAGS / "deferrable.py", runs.DAGS)


@pytest.fixture(scope="package")
def zoom() -> Iterator[SimulatorServer]:
    """12,000 engagements over the two weeks before END, and 3,000 over the three days before today."""
    past = Engagements.of_a_contact_centre(12_000, 14, end=END)
    recent = Engagements.of_a_contact_centre(3_000, 3, end=today())
    with SimulatorServer(ZoomSimulator(Engagements([*past.starts, *recent.starts]))) as server:
        yield server


@pytest.fixture(scope="package")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        server.client.create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="package")
def environment(zoom: SimulatorServer, s3: S3Server) -> dict[str, str]:
    """What every Airflow needs to know."""
    connections = connections_of({"ZCC_DEFAULT": zoom.connection, "AWS_DEFAULT": s3.connection})
    # On a busy machine a task may fail before it starts. Airflow's own delay is five minutes.
    return {"AIRFLOW_VAR_ZCC_BUCKET": BUCKET, "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1", **connections}


@pytest.fixture(scope="package")
def closing(zoom: SimulatorServer) -> Iterator[SimulatorServer]:
    """A Zoom that is to refuse."""
    with SimulatorServer(ZoomSimulator(zoom.simulator.engagements)) as server:
        yield server


@pytest.fixture(scope="package")
def filling() -> Iterator[SimulatorServer]:
    """A Zoom in which engagements are to arrive."""
    with SimulatorServer(ZoomSimulator(Engagements([]))) as server:
        yield server


@dataclass(frozen=True)
class Components:
    """The Airflow that runs by itself.

    :param begun: when the first run was requested, on a day that lasts.
    :param lineage: where OpenLineage's events go, a line each.
    :param reported: where the Dags of ``intervals`` write down what they read.
    """

    airflow: RunningAirflow
    begun: datetime
    lineage: Path
    reported: Path


@pytest.fixture(scope="package")
def components(
    environment: dict[str, str],
    s3: S3Server,
    closing: SimulatorServer,
    filling: SimulatorServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Components]:
    """One Airflow whose components run all Dags that need them: to start it takes longest.

    Of the connections, those of the sensors that wait until something happens are in its database.
    """
    folder = tmp_path_factory.mktemp("components")
    dags, connections, lineage, reported = (
        folder / name for name in ("dags", "connections.json", "lineage.jsonl", "reported")
    )
    reported.mkdir()
    copy_dags(dags, *COMPONENTS_RUN)
    connections.write_text(json.dumps({"zcc_closing": closing.connection, "zcc_filling": filling.connection}))
    more = {
        # It would start two processes for each of these.
        "AIRFLOW__OPENLINEAGE__DISABLED_FOR_OPERATORS": ";".join(
            f"{kind.__module__}.{kind.__name__}" for kind in (EngagementsSensor, Read)
        ),
        # So long a triggerer may be silent before another one takes its triggers.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "3",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "ZCC_REPORTED": str(reported),
    }
    midnight = today()
    write(environment, [midnight - number * DAY for number in range(2, 11)])
    make_due(s3, midnight - 2 * DAY)
    begun = datetime.now(UTC)
    commands = (f"connections import {connections}", *runs.COMMANDS)
    everything = environment | openlineage(lineage) | more
    with RunningAirflow(dags, everything, commands=commands, runs=runs.TESTED) as airflow:
        airflow.start_components(triggerer=True)
        airflow.trigger("zcc_counts")
        for way in runs.TRIGGERED:
            airflow.trigger(way, runs.DATE)
        yield Components(airflow, begun, lineage, reported)


def connections_of(connections: dict[str, dict[str, object]]) -> dict[str, str]:
    """Write connections as environment variables."""
    return {f"AIRFLOW_CONN_{name}": json.dumps(connection) for name, connection in connections.items()}


def copy_dags(folder: Path, *files: Path) -> None:
    """Make a folder of Dags."""
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)


def openlineage(events: Path) -> dict[str, str]:
    """Return what turns OpenLineage on in an Airflow process.

    :param events: where its events go, a line each.
    """
    transport = {"type": "file", "log_file_path": str(events), "append": True}
    return {
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        # An event that takes longer is dropped.
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "120",
    }


def write(environment: dict[str, str], starts: list[datetime], key: str = DAILY_KEY, length: timedelta = DAY) -> None:
    """Write the objects of intervals, without an Airflow."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for start in starts:
            EngagementsToS3Operator(
                task_id="write",
                s3_bucket=BUCKET,
                s3_key=key.format(start),
                start=start,
                end=start + length,
                do_xcom_push=False,
            ).execute({})


def make_due(s3: S3Server, day: datetime) -> None:
    """Make the object of a day as old as the day."""
    key = MANIFEST_KEY.format(day)
    manifest = json.loads(s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(manifest | {"read_at": manifest["end"]}))


def exact(lines: list[str]) -> list[dict[str, Any]]:
    """Parse engagements with every number as it is spelled, in the order of their ids."""
    records = [json.loads(line, parse_int=str, parse_float=str) for line in lines]
    return sorted(records, key=lambda record: str(record["engagement_id"]))


def lines_of(s3: S3Server, key: str, bucket: str = BUCKET) -> list[str]:
    """Read an object of JSON lines."""
    body = s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    text = (gzip.decompress(body) if key.endswith(".gz") else body).decode()
    assert text == "" or text.endswith("\n")
    return text.split("\n")[:-1]


def lineage_of(events: Path, job: str, event_type: str) -> list[dict[str, Any]]:
    """Read OpenLineage's events of a task."""
    found = [json.loads(line) for line in events.read_text().splitlines()]
    return [event for event in found if (event["job"]["name"], event["eventType"]) == (job, event_type)]


def etags_of(s3: S3Server) -> dict[str, str]:
    """List the objects with their etags, by key."""
    return {item["Key"]: item["ETag"] for item in s3.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}
