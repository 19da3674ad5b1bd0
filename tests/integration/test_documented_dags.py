"""Dags that a reader copies out of README and documentation, run in Airflow, against the simulator and an S3 server."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.airflow_process import AirflowProcess
from tests.documentation.texts import python_samples
from tests.integration.conftest import exact
from tests.s3_server import S3Server
from tests.zoom_simulator.server import SimulatorServer

BUCKET = "my-lake"
#: A run of each, the interval that it is for, and the object that it writes.
RUNS = {
    "zoom@2026-11-03T00:00:00Z": (
        "2026-11-02T00:00:00Z/2026-11-03T00:00:00Z",
        "zoom/engagements/date=2026-11-02/engagements.jsonl.gz",
    ),
    "zoom_on_demand@": (
        "2026-11-02T00:00:00Z/2026-11-03T00:00:00Z",
        "zoom/on-demand/2026-11-02T00:00:00+00:00_2026-11-03T00:00:00+00:00.jsonl.gz",
    ),
    "zoom_tokyo@2026-11-04T15:00:00Z": (
        "2026-11-03T15:00:00Z/2026-11-04T15:00:00Z",
        "zoom/date=2026-11-04/engagements.jsonl.gz",
    ),
}


@pytest.fixture(scope="module")
def report(
    environment: dict[str, str], s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, Any]]]:
    """What came of the runs."""
    folder = tmp_path_factory.mktemp("dags")
    for number, (_, sample) in enumerate(python_samples()):
        (folder / f"sample_{number}.py").write_text(sample)
    s3.client.create_bucket(Bucket=BUCKET)
    with AirflowProcess(folder, environment) as airflow:
        yield airflow.run_dags(*RUNS)


@pytest.mark.parametrize("run", RUNS)
def test_a_documented_dag_brings_its_interval(
    run: str, report: dict[str, dict[str, Any]], zoom: SimulatorServer, s3: S3Server
) -> None:
    interval, key = RUNS[run]
    assert report[run]["state"] == "success"
    body = s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    written = exact(gzip.decompress(body).decode().removesuffix("\n").split("\n"))
    truth = exact(zoom.simulator.truth(*map(datetime.fromisoformat, interval.split("/"))))
    assert [record["engagement_id"] for record in written] == [record["engagement_id"] for record in truth]
