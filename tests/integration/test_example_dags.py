"""The example Dags, run in Airflow, against the simulator and an S3 server."""

from __future__ import annotations

import json
import re
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.airflow_process import EXAMPLE_DAGS, AirflowProcess
from tests.airflow_version import AIRFLOW
from tests.integration.conftest import BUCKET, exact, keys_of, lines_of
from tests.s3_server import S3Server
from tests.zoom_simulator.server import SimulatorServer


@pytest.mark.usefixtures("s3")
class TestInAirflow:
    def test_three_days_hold_every_engagement_once(
        self, airflow_with_examples: AirflowProcess, zoom: SimulatorServer, s3: S3Server
    ) -> None:
        days = [datetime(2026, 11, day, tzinfo=UTC) for day in (3, 4, 5)]
        report = airflow_with_examples.run_dags(
            *(f"zcc_daily@{day + timedelta(days=1):%Y-%m-%d}T00:00:00Z" for day in days)
        )
        assert {run["state"] for run in report.values()} == {"success"}
        lines = {day: lines_of(s3, f"zoom/engagements/date={day:%Y-%m-%d}/engagements.jsonl.gz") for day in days}
        for day in days:
            assert exact(lines[day]) == exact(zoom.simulator.truth(day, day + timedelta(days=1)))
            midnight = [record for record in exact(lines[day]) if record["start_time"] == f"{day:%Y-%m-%d}T00:00:00Z"]
            assert len(midnight) == 3
        together = [line for day in days for line in lines[day]]
        assert exact(together) == exact(zoom.simulator.truth(days[0], days[-1] + timedelta(days=1)))

    def test_the_hourly_one_waits_and_then_writes(
        self, airflow_with_examples: AirflowProcess, zoom: SimulatorServer, s3: S3Server
    ) -> None:
        end = datetime(2026, 11, 4, 12, tzinfo=UTC)
        [run] = airflow_with_examples.run_dags(f"zcc_hourly@{end.isoformat()}").values()
        assert run["state"] == "success"
        assert list(run["tasks"]) == ["wait_for_engagements", "engagements_to_s3"]
        truth = zoom.simulator.truth(end - timedelta(hours=1), end)
        assert exact(lines_of(s3, "zoom/engagements/date=2026-11-04/hour=11/engagements.jsonl.gz")) == exact(truth)
        summary = run["xcoms"]["engagements_to_s3.summary"]
        assert summary["records"] == len(truth) > 0
        assert summary["start"] == "2026-11-04T11:00:00+00:00"
        assert run["xcoms"]["engagements_to_s3.return_value"].startswith("s3://lake/zoom/engagements/date=2026-11-04/")

    def test_the_trailing_week_replaces_what_each_day_was_before(
        self, airflow_with_examples: AirflowProcess, zoom: SimulatorServer, s3: S3Server
    ) -> None:
        end = datetime(2026, 11, 8, tzinfo=UTC)
        days = [end - timedelta(days=number) for number in range(7, 0, -1)]
        key = "zoom/engagements/date={:%Y-%m-%d}/engagements.jsonl.gz"
        for day in days:
            s3.client.put_object(Bucket=BUCKET, Key=key.format(day), Body=b"as it was before an agent edited a note")
        [run] = airflow_with_examples.run_dags(f"zcc_trailing_week@{end.isoformat()}").values()
        assert run["state"] == "success"
        for day in days:
            assert exact(lines_of(s3, key.format(day))) == exact(zoom.simulator.truth(day, day + timedelta(days=1)))
        # What the page calls the mapped tasks.
        names = airflow_with_examples.rows("select rendered_map_index from task_instance where map_index >= 0")
        assert sorted(names) == [(f"{day:%Y-%m-%d}",) for day in days]

    def test_the_backfill_writes_each_wanted_day_of_the_month_and_no_other(
        self, airflow_with_examples: AirflowProcess, zoom: SimulatorServer, s3: S3Server
    ) -> None:
        conf = {"month": "2026-10", "first_day": 30, "last_day": 31}
        before = keys_of(s3)
        [run] = airflow_with_examples.run_dags(f"zcc_backfill_month@@{json.dumps(conf)}").values()
        assert run["state"] == "success"
        days = [datetime(2026, 10, day, tzinfo=UTC) for day in (30, 31)]
        keys = {day: f"zoom/engagements/date={day:%Y-%m-%d}/engagements.jsonl.gz" for day in days}
        assert keys_of(s3) - before == set(keys.values())
        for day in days:
            assert exact(lines_of(s3, keys[day])) == exact(zoom.simulator.truth(day, day + timedelta(days=1)))
        # What counts the days anew is told of each, in an event of its own.
        events = airflow_with_examples.rows(
            f"select extra from {'asset' if AIRFLOW >= (3, 0) else 'dataset'}_event where source_dag_id = ?",
            "zcc_backfill_month",
        )
        told = {summary["start"]: summary["uri"] for summary in (json.loads(extra) for [extra] in events)}
        assert told == {day.isoformat(): f"s3://{BUCKET}/{keys[day]}" for day in days}


@pytest.fixture(scope="module")
def told_without_connections() -> str:
    """What Airflow says of the example Dags and of its providers."""
    commands = (
        "dags reserialize",
        "dags list-import-errors",
        "dags list --output plain",
        "providers list --output plain",
        "providers hooks --output plain",
    )
    with AirflowProcess(EXAMPLE_DAGS, {}) as airflow:
        return airflow.call("tests.airflow_commands", *commands)


def test_they_parse_without_connections(told_without_connections: str) -> None:
    # No error of an import, that is.
    assert "No data found" in told_without_connections
    listed = {line.split()[0] for line in told_without_connections.splitlines() if line.startswith("zcc_")}
    assert listed == {path.stem for path in EXAMPLE_DAGS.glob("*.py")}


def test_airflow_discovers_the_provider(told_without_connections: str) -> None:
    assert re.search(r"^airflow-provider-zcc\s", told_without_connections, re.MULTILINE)
    assert "airflow_provider_zcc.hooks.zoom_contact_center.ZoomContactCenterHook" in told_without_connections


@pytest.mark.parametrize("path", sorted(EXAMPLE_DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_each_says_on_its_page_what_it_does(path: Path) -> None:
    content = runpy.run_path(str(path))
    assert content["dag"].doc_md == content["__doc__"]
