"""
Operator and sensor as tasks of an Airflow, against the simulator and an S3 server.

One Airflow runs all of it: the example Dags, those that a reader copies out of README and documentation, and those of
the tests. Setting it up takes most of the time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.airflow_process import EXAMPLE_DAGS, KNOWING_ASSETS, AirflowProcess
from tests.airflow_version import AIRFLOW
from tests.conftest import END
from tests.documentation.texts import python_samples
from tests.integration.conftest import (
    BUCKET,
    COMPONENTS_RUN,
    DAILY_KEY,
    DAY,
    MANIFEST_KEY,
    TEST_DAGS,
    connections_of,
    copy_dags,
    etags_of,
    exact,
    lineage_of,
    lines_of,
    make_due,
    openlineage,
    write,
)
from tests.s3_server import S3Server
from tests.zoom_simulator.app import ZoomSimulator
from tests.zoom_simulator.server import SimulatorServer

#: What the Dags of the documentation are for.
DOCUMENTED_BUCKET = "my-lake"
#: Of the two weeks before END, ``zcc_backfill`` has the first three days, and ``zcc_daily`` looks at the others.
DAYS = [END - number * DAY for number in range(14, 0, -1)]
BACKFILL = DAYS[:3]
BACKFILL_PARAMS = json.dumps({"from": f"{BACKFILL[0]:%Y-%m-%d}", "to": f"{BACKFILL[-1]:%Y-%m-%d}"})
#: What the days are, before a Dag runs. All others are complete, but for the two that ``zcc_daily`` is run for.
NOT_YET = BACKFILL[::2]
MISSING, SHORT, BY_HAND, DUE, *DAILY = DAYS[-6:]
#: The days that each task reads, and whether its object changes.
READ = {
    ("zcc_daily", "engagements_to_s3"): dict.fromkeys(DAILY, True),
    ("zcc_daily", "read_again"): {MISSING: True, SHORT: True, BY_HAND: True, DUE: False},
    ("zcc_backfill", "engagements_to_s3"): dict.fromkeys(NOT_YET, True),
}
#: Those that ``zcc_hourly`` looks at. The last is the one that it is run for.
HOURS = [datetime(2026, 11, 3, 12, tzinfo=UTC) + timedelta(hours=number) for number in range(24)]
MISSING_HOUR, HOUR = HOURS[5], HOURS[-1]
HOURLY_KEY = "zoom/engagements/date={0:%Y-%m-%d}/hour={0:%H}/engagements.jsonl.gz"
#: A run of each documented Dag, the interval that it is for, and the object that it writes.
DOCUMENTED = {
    "zoom@2026-11-03T00:00:00Z": (
        "2026-11-02T00:00:00Z/2026-11-03T00:00:00Z",
        "zoom/engagements/date=2026-11-02/engagements.jsonl.gz",
    ),
    "zoom_check_and_read@2026-11-02T00:00:00Z": (
        "2026-11-01T00:00:00Z/2026-11-02T00:00:00Z",
        "zoom/engagements/date=2026-11-01/engagements.jsonl.gz",
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
RUNS = {
    "daily": f"zcc_daily@{DAILY[1].isoformat()}",
    "next daily": f"zcc_daily@{END.isoformat()}",
    "hourly": f"zcc_hourly@{(HOUR + timedelta(hours=1)).isoformat()}",
    "backfill": f"zcc_backfill@@{BACKFILL_PARAMS}",
    # At another time, or it would replace the first one.
    "same backfill": f"zcc_backfill@{END.isoformat()}@{BACKFILL_PARAMS}",
    "parquet": f'zcc_parquet@@{{"uri": "s3://{BUCKET}/{DAILY_KEY.format(DAILY[0])}"}}',
    **{run: run for run in DOCUMENTED},
    "wrong": "wrong@2026-11-04T00:00:00Z",
    "sensor modes": "sensor_modes@2026-11-05T00:00:00Z",
}
#: Runs in which a task is to fail.
FAILING = ("wrong", "sensor modes")
#: What a task that is given something wrong reports: the cause, and the remedy.
REPORTED = {
    "wrong_secret": ("Invalid client_id or client_secret", "Check the connection's login"),
    "unknown_queue": ("code 1201: Queue does not exist", "Check queue_id"),
    "no_bucket": ("The bucket not-made does not exist", "Create it"),
    "one_sided": ("end is missing", "Use start and end together"),
    "incomplete_connection": ("lacks password (Client Secret), account_id (in extra)", "Fill in"),
}
#: Of the filter in the Dag of the sensor.
CONSUMER_NUMBER = "+12059300905"


@pytest.fixture(scope="module")
def zoom_of_wrong_tasks(zoom: SimulatorServer) -> Iterator[SimulatorServer]:
    with SimulatorServer(ZoomSimulator(zoom.simulator.engagements)) as server:
        yield server


@pytest.fixture(scope="module")
def wrong_connections(zoom: SimulatorServer, zoom_of_wrong_tasks: SimulatorServer) -> dict[str, str]:
    return connections_of(
        {
            "ZCC_WRONG": zoom_of_wrong_tasks.connection,
            "ZCC_WRONG_SECRET": {**zoom.connection, "password": "not-the-secret"},
            "ZCC_INCOMPLETE": {"conn_type": "zcc", "login": "only-this"},
        }
    )


@pytest.fixture(scope="module")
def lineage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where OpenLineage's events go, a line each."""
    return tmp_path_factory.mktemp("lineage") / "events.jsonl"


@pytest.fixture(scope="module")
def before(environment: dict[str, str], zoom: SimulatorServer, s3: S3Server) -> dict[str, str]:
    """The etags of what is in S3 before a Dag runs."""
    zoom.simulator.history.now = SHORT + DAY / 2
    write(environment, [SHORT])
    zoom.simulator.history.now = None
    write(environment, [day for day in DAYS if day not in (*NOT_YET, MISSING, SHORT, *DAILY)])
    make_due(s3, DUE)
    write(environment, [hour for hour in HOURS if hour not in (MISSING_HOUR, HOUR)], HOURLY_KEY, timedelta(hours=1))
    s3.client.create_bucket(Bucket=DOCUMENTED_BUCKET)
    s3.client.put_object(Bucket=BUCKET, Key=DAILY_KEY.format(BY_HAND), Body=b"as it was before an agent edited a note")
    return etags_of(s3)


@pytest.fixture(scope="module")
def airflow(
    before: dict[str, str],  # noqa: ARG001
    environment: dict[str, str],
    wrong_connections: dict[str, str],
    lineage: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowProcess]:
    """An Airflow that has run all Dags, over buckets that held something already."""
    folder = tmp_path_factory.mktemp("airflow") / "dags"
    copy_dags(folder, *EXAMPLE_DAGS.glob("*.py"), TEST_DAGS / "wrong.py", TEST_DAGS / "sensor_modes.py")
    for number, (_, sample) in enumerate(python_samples()):
        if any(f'"{run.partition("@")[0]}"' in sample for run in RUNS.values()):
            (folder / f"sample_{number}.py").write_text(sample)
    everything = environment | wrong_connections | openlineage(lineage)
    with AirflowProcess(folder, everything, commands=KNOWING_ASSETS, runs=[*RUNS.values()]) as process:
        yield process


@pytest.fixture(scope="module")
def report(airflow: AirflowProcess) -> dict[str, dict[str, Any]]:
    """The result of each run."""
    return {name: airflow.report[run] for name, run in RUNS.items()}


@pytest.mark.parametrize("name", [name for name in RUNS if name not in FAILING])
def test_a_run_succeeds(report: dict[str, dict[str, Any]], name: str) -> None:
    assert report[name]["state"] == "success"


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize("day", DAYS, ids=lambda day: f"{day:%d %b}")
def test_a_day_holds_every_engagement_once(zoom: SimulatorServer, s3: S3Server, day: datetime) -> None:
    written = exact(lines_of(s3, DAILY_KEY.format(day)))
    assert written == exact(zoom.simulator.truth(day, day + DAY))
    assert [record["start_time"] for record in written].count(f"{day:%Y-%m-%d}T00:00:00Z") == 3


@pytest.mark.usefixtures("report")
def test_what_is_complete_is_not_read_again(before: dict[str, str], s3: S3Server) -> None:
    now = etags_of(s3)
    assert {key for key, etag in before.items() if now[key] != etag} == {
        *map(DAILY_KEY.format, (SHORT, BY_HAND)),
        *map(MANIFEST_KEY.format, (SHORT, BY_HAND, DUE)),
    }


@pytest.mark.parametrize(("name", "task_id"), [("next daily", "read_again"), ("same backfill", "engagements_to_s3")])
def test_where_everything_is_complete_nothing_is_read(
    report: dict[str, dict[str, Any]], name: str, task_id: str
) -> None:
    coverage = report[name]["xcoms"]["check.coverage"]
    assert coverage["intervals"] == coverage["complete"] > 0
    assert report[name]["tasks"][task_id]["state"] == "skipped"


def test_the_hourly_one_writes_its_hour_and_one_that_is_missing(
    report: dict[str, dict[str, Any]], zoom: SimulatorServer, s3: S3Server
) -> None:
    for hour in (MISSING_HOUR, HOUR):
        truth = zoom.simulator.truth(hour, hour + timedelta(hours=1))
        assert exact(lines_of(s3, HOURLY_KEY.format(hour))) == exact(truth) != []
    to_read = report["hourly"]["xcoms"]["check.coverage"]["to_read"]
    assert [found["start"] for found in to_read] == [MISSING_HOUR.isoformat()]


@pytest.mark.usefixtures("report")
def test_a_day_becomes_parquet(zoom: SimulatorServer, s3: S3Server, tmp_path: Path) -> None:
    key = f"parquet/{DAILY_KEY.format(DAILY[0])}".replace(".jsonl.gz", ".parquet")
    s3.client.download_file(BUCKET, key, str(tmp_path / "day.parquet"))
    written = duckdb.sql(f"SELECT engagement_id FROM '{tmp_path}/day.parquet'").fetchall()
    truth = exact(zoom.simulator.truth(DAILY[0], DAILY[0] + DAY))
    assert sorted(written) == [(record["engagement_id"],) for record in truth]


@pytest.mark.parametrize(("dag_id", "task_id"), READ)
def test_each_day_that_is_read_has_an_asset_event_and_a_mapped_task_its_name(
    airflow: AirflowProcess, dag_id: str, task_id: str
) -> None:
    read = READ[dag_id, task_id]
    table = "asset_event" if AIRFLOW >= (3, 0) else "dataset_event"
    events = airflow.rows(f"select extra from {table} where source_dag_id = ? and source_task_id = ?", dag_id, task_id)
    summaries = [json.loads(extra) for [extra] in events]
    assert sorted((summary["start"], summary["uri"], summary["changed"]) for summary in summaries) == [
        (day.isoformat(), f"s3://{BUCKET}/{DAILY_KEY.format(day)}", changed) for day, changed in read.items()
    ]
    mapped = "select rendered_map_index from task_instance where dag_id = ? and task_id = ? and map_index >= 0"
    names = [name for [name] in airflow.rows(mapped, dag_id, task_id)]
    assert sorted(names) == ([] if set(read) == set(DAILY) else [f"{day:%Y-%m-%d}" for day in read])


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize("run", DOCUMENTED)
def test_a_documented_dag_writes_its_interval(zoom: SimulatorServer, s3: S3Server, run: str) -> None:
    interval, key = DOCUMENTED[run]
    truth = zoom.simulator.truth(*map(datetime.fromisoformat, interval.split("/")))
    ids = [record["engagement_id"] for record in exact(lines_of(s3, key, DOCUMENTED_BUCKET))]
    assert ids == [record["engagement_id"] for record in exact(truth)]


def test_every_example_is_run() -> None:
    run = {run.partition("@")[0] for run in RUNS.values()}
    assert {path.stem for path in EXAMPLE_DAGS.glob("*.py")} <= run | {path.stem for path in COMPONENTS_RUN}


def log_contains(log: str, cause: str, remedy: str) -> bool:
    """Look for an error's cause and remedy, one after the other. Airflow 3.0 colours errors and breaks their lines."""
    words = " ".join(re.sub(r"\x1b\[[\d;]*m", "", log).split())
    return re.search(f"{re.escape(cause)}.{{0,400}}?{re.escape(remedy)}", words) is not None


@pytest.mark.parametrize("task_id", REPORTED)
def test_a_task_given_something_wrong_fails_at_once_and_says_what_to_do(
    report: dict[str, dict[str, Any]], airflow: AirflowProcess, task_id: str
) -> None:
    assert report["wrong"]["tasks"][task_id] == {"state": "failed", "tries": 1}
    assert log_contains(airflow.log, *REPORTED[task_id])


@pytest.mark.usefixtures("report")
def test_what_is_known_beforehand_costs_no_request_and_nothing_is_written(
    zoom_of_wrong_tasks: SimulatorServer, s3: S3Server
) -> None:
    # Only the unknown queue is known to Zoom alone.
    assert zoom_of_wrong_tasks.simulator.stats.api_requests == 1
    assert not {key for key in etags_of(s3) if key.startswith("wrong/")}
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=BUCKET)


def test_the_sensor_waits_in_both_modes_and_filters_are_templated(
    report: dict[str, dict[str, Any]], zoom: SimulatorServer, s3: S3Server
) -> None:
    tasks = report["sensor modes"]["tasks"]
    assert {task_id: task["state"] for task_id, task in tasks.items()} == {
        "poke": "success",
        "reschedule": "success",
        "too_many": "skipped",
        "rejected": "failed",
        "write": "success",
    }
    assert tasks["rejected"]["tries"] == 1
    start = datetime(2026, 11, 4, tzinfo=UTC)
    truth = zoom.simulator.truth(start, start + DAY, channel="voice", consumer_number=CONSUMER_NUMBER)
    assert truth
    assert exact(lines_of(s3, "voice/2026-11-04.jsonl")) == exact(truth)


@pytest.mark.usefixtures("report")
def test_lineage_of_a_failure_has_no_output(lineage: Path, zoom_of_wrong_tasks: SimulatorServer) -> None:
    [event] = lineage_of(lineage, "wrong.unknown_queue", "FAIL")
    [read] = event["inputs"]
    assert (read["namespace"], read["name"]) == (zoom_of_wrong_tasks.url, "v2/contact_center/engagements")
    assert event["outputs"] == []
    assert "code 1201" in event["run"]["facets"]["errorMessage"]["message"]


@pytest.mark.usefixtures("report")
def test_nothing_secret_or_personal_reaches_log_or_lineage(
    airflow: AirflowProcess, lineage: Path, zoom: SimulatorServer
) -> None:
    assert lineage_of(lineage, "sensor_modes.write", "COMPLETE")
    # dag.test() of Airflow 3.0 shows what it is to mask.
    log = "\n".join(line for line in airflow.log.splitlines() if "msg=MaskSecret(" not in line)
    config = zoom.simulator.config
    secrets = ("not-the-secret", config.client_secret, "simulated.", CONSUMER_NUMBER.lstrip("+"))
    assert [secret for secret in secrets if secret in log] == []
    account = (config.client_id, config.account_id)
    assert [secret for secret in (*secrets, *account) if secret in lineage.read_text()] == []
