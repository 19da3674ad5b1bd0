"""Zoom, S3 and Airflow, each a server or a process of its own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import END
from tests.s3_server import S3Server
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

BUCKET = "lake"
TEST_DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="module")
def engagements() -> Engagements:
    """12,000 engagements over the two weeks before END."""
    return Engagements.of_a_contact_centre(12_000, 14, end=END)


@pytest.fixture(scope="module")
def zoom(engagements: Engagements) -> Iterator[SimulatorServer]:
    with SimulatorServer(ZoomSimulator(engagements)) as server:
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        server.client.create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def lineage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where OpenLineage's events go, a line each, of an Airflow that has ``openlineage`` in its environment."""
    return tmp_path_factory.mktemp("lineage") / "events.jsonl"


@pytest.fixture(scope="module")
def openlineage(lineage: Path) -> dict[str, str]:
    """What turns OpenLineage on in an Airflow process."""
    transport = {"type": "file", "log_file_path": str(lineage), "append": True}
    return {
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        # An event that takes longer is dropped.
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "120",
    }


@pytest.fixture(scope="module")
def environment(zoom: SimulatorServer, s3: S3Server) -> Iterator[dict[str, str]]:
    """What an Airflow process needs to know: the right connections, and wrong ones."""
    scopeless = Config(scopes=("user:read:admin",))
    powerless = Config(refusal=(403, {"code": 9001, "message": "The user is missing privileges on their role."}))
    with (
        SimulatorServer(ZoomSimulator(zoom.simulator.engagements, scopeless)) as without_scope,
        SimulatorServer(ZoomSimulator(zoom.simulator.engagements, powerless)) as without_role,
    ):
        connections = {
            "ZCC_DEFAULT": zoom.connection,
            "ZCC_WRONG_SECRET": {**zoom.connection, "password": "not-the-secret"},
            "ZCC_MISSING_SCOPE": without_scope.connection,
            "ZCC_NO_PERMISSION": without_role.connection,
            "ZCC_INCOMPLETE": {"conn_type": "zcc", "login": "only-this"},
            "AWS_DEFAULT": s3.connection,
        }
        yield {
            "AIRFLOW_VAR_ZCC_BUCKET": BUCKET,
            **{f"AIRFLOW_CONN_{name}": json.dumps(connection) for name, connection in connections.items()},
        }


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


def keys_of(s3: S3Server) -> set[str]:
    """List the objects."""
    return {item["Key"] for item in s3.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}
