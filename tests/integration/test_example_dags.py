"""The example Dags, run in Airflow, against the simulator and an S3 server."""

from __future__ import annotations

import json
import runpy
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_process import EXAMPLE_DAGS, AirflowProcess
from tests.airflow_version import AIRFLOW
from tests.integration.conftest import BUCKET, exact, keys_of, lineage_of, lines_of
from tests.s3_server import S3Server
from tests.zoom_simulator.server import SimulatorServer


@dataclass(frozen=True)
class Counted:
    """What came of three runs: see the fixture."""

    daily: dict[str, Any]
    triggered: dict[str, Any]
    untriggered: dict[str, Any]
    log: str


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
        with closing(sqlite3.connect(airflow_with_examples.home / "airflow.db")) as database:
            names = database.execute("select rendered_map_index from task_instance where map_index >= 0").fetchall()
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


#: The run that an asset triggers is made as Airflow 3.3 does it.
OF_AN_ASSET = pytest.mark.skipif(AIRFLOW < (3, 3), reason="tests.run_dag lets no asset trigger a run there")


@pytest.fixture(scope="module")
def counted(environment: dict[str, str], openlineage: dict[str, str]) -> Counted:
    """The daily Dag, the one that its asset event triggers, and the latter without an event."""
    # An asset triggers no Dag that is paused.
    unpaused = {"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False"}
    with AirflowProcess(EXAMPLE_DAGS, environment | openlineage | unpaused) as airflow:
        report = airflow.run_dags("zcc_daily@2026-11-03T00:00:00Z", "zcc_counts@assets", "zcc_counts@")
        return Counted(*report.values(), log=airflow.log)


@OF_AN_ASSET
class TestCounts:
    def test_what_the_daily_one_wrote_is_counted_when_its_asset_event_comes(
        self, counted: Counted, zoom: SimulatorServer
    ) -> None:
        assert {counted.daily["state"], counted.triggered["state"]} == {"success"}
        start = counted.daily["xcoms"]["engagements_to_s3.summary"]["start"]
        counts = {
            (row["channel"], row["queue"]): row["engagements"]
            for row in counted.triggered["xcoms"]["count_by_channel_and_queue.return_value"]
            if row["start"] == start
        }
        day = datetime.fromisoformat(start)
        assert counts == Counter(
            (channel["channel"], queue["queue_name"])
            for record in map(json.loads, zoom.simulator.truth(day, day + timedelta(days=1)))
            for channel in record["channels"]
            for queue in record["queues"] or [{"queue_name": "(none)"}]
        )
        for pair, engagements in counts.items():
            assert f"{start}  {pair[0]:12} {pair[1]:32} {engagements:8}" in counted.log

    def test_without_an_event_it_fails_at_once_and_says_what_to_do(self, counted: Counted) -> None:
        assert counted.untriggered["tasks"] == {"count_by_channel_and_queue": {"state": "failed", "tries": 1}}
        assert "No event names an object to count. Let zcc_daily run" in counted.log


@OF_AN_ASSET
class TestLineage:
    def test_a_run_has_one_input_with_the_interval_and_one_output_with_statistics(
        self, counted: Counted, lineage: Path, zoom: SimulatorServer
    ) -> None:
        [told] = lineage_of(lineage, "zcc_daily.engagements_to_s3", "COMPLETE")
        summary = counted.daily["xcoms"]["engagements_to_s3.summary"]
        [read], [written] = told["inputs"], told["outputs"]
        assert (read["namespace"], read["name"]) == (zoom.url, "v2/contact_center/engagements")
        assert (written["namespace"], written["name"]) == (f"s3://{BUCKET}", summary["uri"].removeprefix("s3://lake/"))
        statistics = written["outputFacets"]["outputStatistics"]
        assert (statistics["rowCount"], statistics["size"]) == (summary["records"], summary["bytes"])
        bounds = read["inputFacets"]["subset"]["inputCondition"]
        assert bounds["left"]["right"]["value"] == summary["start"]
        assert bounds["right"]["right"]["value"] == summary["end"]

    @pytest.mark.usefixtures("counted")
    def test_what_the_daily_one_wrote_is_what_the_counts_read(self, lineage: Path) -> None:
        [daily] = lineage_of(lineage, "zcc_daily.engagements_to_s3", "COMPLETE")
        [counts] = lineage_of(lineage, "zcc_counts.count_by_channel_and_queue", "COMPLETE")
        assert names(daily["outputs"]) == names(counts["inputs"])


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


def test_they_parse_without_connections() -> None:
    with AirflowProcess(EXAMPLE_DAGS, {}) as airflow:
        airflow.call("airflow", "dags", "reserialize")
        assert "No data found" in airflow.call("airflow", "dags", "list-import-errors")
        listed = airflow.call("airflow", "dags", "list")
    assert "zcc_backfill_month" in listed
    assert "zcc_counts" in listed
    assert "zcc_daily" in listed
    assert "zcc_hourly" in listed
    assert "zcc_trailing_week" in listed


def test_airflow_discovers_the_provider() -> None:
    with AirflowProcess(EXAMPLE_DAGS, {}) as airflow:
        assert "airflow-provider-zcc" in airflow.call("airflow", "providers", "list", "--output", "plain")
        hooks = airflow.call("airflow", "providers", "hooks", "--output", "plain")
    assert "airflow_provider_zcc.hooks.zoom_contact_center.ZoomContactCenterHook" in hooks


@pytest.mark.parametrize("path", sorted(EXAMPLE_DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_each_says_on_its_page_what_it_does(path: Path) -> None:
    content = runpy.run_path(str(path))
    assert content["dag"].doc_md == content["__doc__"]
