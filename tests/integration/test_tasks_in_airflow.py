"""Operator and sensor as tasks of a running Airflow."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_process import AirflowProcess
from tests.airflow_version import AIRFLOW
from tests.integration.conftest import BUCKET, exact, keys_of, lineage_of, lines_of
from tests.s3_server import S3Server
from tests.zoom_simulator.server import SimulatorServer

NO_LENGTH, NO_INTERVAL = "data interval has no length", "The run has no data interval"
#: What a task that is given something wrong says: the cause, and the cure.
SAID = {
    "wrong_secret": ("Invalid client_id or client_secret", "Check the connection's login"),
    "missing_scope": ("code 4711", "Add the scope contact_center:read:list_engagements:admin"),
    "no_permission": ("code 9001", "Give the owner of the OAuth app a Contact Center role"),
    "unknown_queue": ("code 1201: Queue does not exist", "Check queue_id"),
    "unknown_timezone": ("Unknown timezone 'Mars/Olympus'", "Use an IANA name"),
    "unknown_channel": ("Invalid channel 'pigeon'", "Use one of: voice, video, messaging, email"),
    "no_bucket": ("The bucket not-made does not exist", "Create it"),
    "one_sided": ("end is missing", "Give start and end together"),
    "naive": ("start has no timezone", "Give an offset"),
    "key_exists": ("s3://lake/exists exists and replace is False", "Delete the object"),
    "incomplete_connection": ("lacks password (Client Secret), account_id (in extra)", "Fill in"),
}


@pytest.fixture(scope="module")
def wrong(airflow: AirflowProcess, zoom: SimulatorServer, s3: S3Server) -> dict[str, Any]:
    s3.client.put_object(Bucket=BUCKET, Key="exists", Body=b"before")
    before = zoom.simulator.stats.api_requests
    report = airflow.run_dags(
        "wrong@2026-11-04T00:00:00Z", "wrong_zero_length_interval@2026-11-04T00:00:00Z", "wrong_no_interval@"
    )
    return {
        "runs": list(report.values()),
        "log": airflow.log,
        "requests": zoom.simulator.stats.api_requests - before,
        "keys": keys_of(s3),
    }


def says(log: str, cause: str, cure: str) -> bool:
    """Look for an error's cause and cure, one after the other. Airflow 3.0 colours errors and breaks their lines."""
    words = " ".join(re.sub(r"\x1b\[[\d;]*m", "", log).split())
    return re.search(f"{re.escape(cause)}.{{0,400}}?{re.escape(cure)}", words) is not None


def without_requests_to_mask(log: str) -> str:
    """Leave out the lines in which ``dag.test()`` of Airflow 3.0 shows what it is asked to mask."""
    return "\n".join(line for line in log.splitlines() if "msg=MaskSecret(" not in line)


@pytest.mark.parametrize("task_id", SAID)
def test_a_task_given_something_wrong_fails_at_once_and_says_what_to_do(wrong: dict[str, Any], task_id: str) -> None:
    assert wrong["runs"][0]["tasks"][task_id] == {"state": "failed", "tries": 1}
    cause, cure = SAID[task_id]
    assert says(wrong["log"], cause, cure)


@pytest.mark.parametrize(("run", "cause"), [(1, NO_LENGTH), (2, NO_INTERVAL if AIRFLOW >= (3, 0) else NO_LENGTH)])
def test_a_run_without_an_interval_fails_at_once_and_says_what_to_do(
    wrong: dict[str, Any], run: int, cause: str
) -> None:
    assert wrong["runs"][run]["tasks"]["write"] == {"state": "failed", "tries": 1}
    assert says(wrong["log"], cause, "CronDataIntervalTimetable")


def test_what_is_known_beforehand_costs_no_request_and_nothing_is_written(wrong: dict[str, Any], s3: S3Server) -> None:
    # Of the tasks that ask the account of zcc_default, only the one with an unknown queue needs Zoom to tell.
    assert wrong["requests"] == 1
    assert not {key for key in wrong["keys"] if key.startswith("wrong/")}
    assert s3.client.get_object(Bucket=BUCKET, Key="exists")["Body"].read() == b"before"
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=BUCKET)


def test_no_secret_reaches_the_log(wrong: dict[str, Any], zoom: SimulatorServer) -> None:
    log = without_requests_to_mask(wrong["log"])
    secrets = ("not-the-secret", zoom.simulator.config.client_secret, "simulated.")
    assert [secret for secret in secrets if secret in log] == []


@pytest.mark.usefixtures("wrong")
def test_lineage_of_a_failure_has_no_output(lineage: Path, zoom: SimulatorServer) -> None:
    [told] = lineage_of(lineage, "wrong.unknown_queue", "FAIL")
    [read] = told["inputs"]
    assert (read["namespace"], read["name"]) == (zoom.url, "v2/contact_center/engagements")
    assert told["outputs"] == []
    assert "code 1201" in told["run"]["facets"]["errorMessage"]["message"]


@pytest.fixture(scope="module")
def sensor_modes(airflow: AirflowProcess) -> dict[str, Any]:
    [run] = airflow.run_dags("sensor_modes@2026-11-05T00:00:00Z").values()
    return {**run, "log": airflow.log}


def test_the_sensor_waits_in_both_modes_and_filters_are_templated(
    sensor_modes: dict[str, Any], zoom: SimulatorServer, s3: S3Server
) -> None:
    states = {task_id: task["state"] for task_id, task in sensor_modes["tasks"].items()}
    assert states == {
        "poke": "success",
        "reschedule": "success",
        "too_many": "skipped",
        "refused": "failed",
        "write": "success",
    }
    assert sensor_modes["tasks"]["refused"]["tries"] == 1
    start = datetime(2026, 11, 4, tzinfo=UTC)
    truth = zoom.simulator.truth(start, start + timedelta(days=1), channel="voice", consumer_number="+12059300905")
    assert truth
    assert exact(lines_of(s3, "voice/2026-11-04.jsonl")) == exact(truth)
    assert "+12059300905" not in without_requests_to_mask(sensor_modes["log"])


def test_lineage_of_a_success_has_one_input_and_one_output_with_statistics(
    sensor_modes: dict[str, Any], lineage: Path, zoom: SimulatorServer
) -> None:
    [told] = lineage_of(lineage, "sensor_modes.write", "COMPLETE")
    summary = sensor_modes["xcoms"]["write.summary"]
    # S3Hook has lineage of its own, which would name the object once more.
    [read], [written] = told["inputs"], told["outputs"]
    assert (read["namespace"], read["name"]) == (zoom.url, "v2/contact_center/engagements")
    assert (written["namespace"], written["name"]) == (f"s3://{BUCKET}", "voice/2026-11-04.jsonl")
    statistics = written["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (summary["records"], summary["bytes"])


@pytest.mark.usefixtures("wrong", "sensor_modes")
def test_no_secret_and_nothing_of_a_person_reaches_lineage(lineage: Path, zoom: SimulatorServer) -> None:
    assert lineage_of(lineage, "sensor_modes.write", "COMPLETE")
    told = lineage.read_text()
    config = zoom.simulator.config
    for secret in (config.client_id, config.client_secret, config.account_id, "not-the-secret", "simulated."):
        assert secret not in told
    assert "2059300905" not in told
