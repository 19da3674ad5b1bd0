"""The deferrable sensor in a triggerer of Airflow, which is killed and started again while it waits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_process import AirflowProcess, end
from tests.airflow_version import AIRFLOW
from tests.conftest import ENGAGEMENTS
from tests.integration.conftest import TEST_DAGS
from tests.zoom_simulator.app import ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 3), reason="the triggerer is handed its triggers as Airflow 3.3 does it")

RUN = "deferrable@2026-11-04T00:00:00Z"
SECONDS = 240


def wait_until(true: Callable[[], bool], airflow: AirflowProcess) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, airflow.said("triggerer")[-5_000:]
        time.sleep(0.05)


@pytest.fixture(scope="module")
def waited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of the sensors, where the triggerer died after the first checks."""
    report: Path = tmp_path_factory.mktemp("triggerer") / "report.json"
    with (
        SimulatorServer(ZoomSimulator(ENGAGEMENTS)) as zoom,
        SimulatorServer(ZoomSimulator(ENGAGEMENTS)) as closing,
        SimulatorServer(ZoomSimulator(Engagements([]))) as filling,
    ):
        connections = {"DEFAULT": zoom.connection, "CLOSING": closing.connection, "FILLING": filling.connection}
        environment = {
            **{f"AIRFLOW_CONN_ZCC_{name}": json.dumps(connection) for name, connection in connections.items()},
            # So long a triggerer may be silent before another one takes its triggers.
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "3",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
        }
        with AirflowProcess(TEST_DAGS, environment) as airflow, ThreadPoolExecutor(1) as beside:
            run = beside.submit(airflow.call, "tests.integration.run_with_triggerer", "--report", str(report), RUN)
            first = airflow.start("triggerer", "triggerer")
            # The task itself checks once.
            wait_until(lambda: run.done() or filling.simulator.stats.api_requests >= 3, airflow)
            end(first)
            before = filling.simulator.stats.api_requests
            closing.simulator.config.refusal = (403, {"code": 9001, "message": "No permission."})
            airflow.start("second", "triggerer")
            wait_until(lambda: run.done() or filling.simulator.stats.api_requests >= before + 2, airflow)
            filling.simulator.__init__(ENGAGEMENTS)  # type: ignore[misc]
            log = run.result(SECONDS)
            triggers = airflow.said("triggerer") + airflow.said("second")
        yield {**json.loads(report.read_text())[RUN], "log": log, "triggers": triggers}


@pytest.mark.parametrize(
    ("task_id", "state"),
    [
        pytest.param("stable", "success", id="the count is the same in so many checks"),
        pytest.param("timed_out", "failed", id="timeout"),
        pytest.param("timed_out_softly", "skipped", id="timeout and soft_fail"),
        pytest.param("refused", "failed", id="a permanent error while it waits"),
        pytest.param("refused_softly", "skipped", id="a permanent error and soft_fail"),
        pytest.param("longest", "success", id="the triggerer was killed meanwhile"),
    ],
)
def test_waiting_ends_as_it_should_and_is_not_tried_again(waited: dict[str, Any], task_id: str, state: str) -> None:
    assert waited["tasks"][task_id] == {"state": state, "tries": 1}


def test_no_secret_reaches_the_log(waited: dict[str, Any]) -> None:
    written = waited["log"] + waited["triggers"]
    assert "No permission" in written
    assert "simulated-secret" not in written
    assert "simulated." not in written
