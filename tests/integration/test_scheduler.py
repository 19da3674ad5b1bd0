"""What Airflow's own components do: an asset triggers a run, and sensors are deferred while a triggerer dies."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.airflow_services import ASSET_TRIGGERED
from tests.integration.conftest import Components, lineage_of
from tests.s3_server import S3Server
from tests.unit.conftest import rejecting
from tests.zoom_simulator.server import SimulatorServer

#: Those of the sensors that wait until something happens on Zoom's side.
LONG_WAITING = ("stable", "rejected", "rejected_softly", "longest")


@dataclass(frozen=True)
class Counted:
    """What came of three runs: see the fixture."""

    daily: dict[str, Any]
    triggered: dict[str, Any]
    untriggered: dict[str, Any]
    log: str


@pytest.fixture(scope="module")
def counted(components: Components) -> Counted:
    """The daily Dag, the one that its asset event triggers, and the latter without an event."""
    airflow = components.airflow
    return Counted(
        daily=airflow.outcome("zcc_daily", "scheduled"),
        triggered=airflow.outcome("zcc_counts", ASSET_TRIGGERED),
        untriggered=airflow.outcome("zcc_counts"),
        log="\n".join(airflow.logs().values()),
    )


@pytest.fixture(scope="module")
def waited(
    components: Components, zoom: SimulatorServer, closing: SimulatorServer, filling: SimulatorServer
) -> dict[str, Any]:
    """What came of the sensors, where the triggerer died after the first checks."""
    airflow = components.airflow

    def are_deferred() -> bool:
        states = airflow.states("deferrable", "scheduled")
        return all(states.get(task_id) == "deferred" for task_id in LONG_WAITING)

    stats = filling.simulator.stats
    airflow.wait_until("the sensors to be deferred", are_deferred)
    # The task itself checks once.
    airflow.wait_until("checks of the triggerer", lambda: stats.api_requests >= 3)
    airflow.kill("triggerer")
    before = stats.api_requests
    closing.simulator.faults = [rejecting(403, 9001, "No permission.")]
    airflow.start("second-triggerer", "triggerer")
    airflow.wait_until("checks of the second triggerer", lambda: stats.api_requests >= before + 2)
    filling.simulator.__init__(zoom.simulator.engagements)  # type: ignore[misc]
    return airflow.outcome("deferrable", "scheduled")


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
        assert counts
        log = " ".join(counted.log.split())
        assert "start channel queue engagements" in log
        for (channel, queue), engagements in counts.items():
            assert f"{start} {channel} {queue} {engagements:,}" in log

    @pytest.mark.usefixtures("counted")
    def test_what_was_read_again_without_a_change_is_not_counted(self, components: Components) -> None:
        query = """
            select task_instance.state from task_instance join dag_run using (dag_id, run_id)
            where dag_id = 'zcc_counts' and run_type = ? order by dag_run.id
        """

        def states() -> list[str]:
            return [state for [state] in components.airflow.rows(query, ASSET_TRIGGERED)]

        # The day that the run is for, and the one that was due for another read.
        components.airflow.wait_until(
            "two runs of zcc_counts", lambda: sum(state in ("success", "failed", "skipped") for state in states()) == 2
        )
        assert states() == ["success", "skipped"]

    def test_without_an_event_it_fails_at_once_and_says_what_to_do(self, counted: Counted) -> None:
        assert counted.untriggered["tasks"] == {"count_by_channel_and_queue": {"state": "failed", "tries": 1}}
        assert "No event names an object to count. Let zcc_daily run" in counted.log

    @pytest.mark.usefixtures("counted")
    def test_what_the_daily_one_wrote_is_what_the_counts_read(self, components: Components) -> None:
        [daily] = completed(components, "zcc_daily.engagements_to_s3")
        counts = completed(components, "zcc_counts.count_by_channel_and_queue")
        # Days that were read again are counted in a run of their own.
        assert names(daily["outputs"])[0] in {name for count in counts for name in names(count["inputs"])}


def completed(components: Components, job: str) -> list[dict[str, Any]]:
    """Return the events of a task that is complete, which are sent after its state is set."""
    lineage = components.lineage
    components.airflow.wait_until(f"the lineage of {job}", lambda: lineage_of(lineage, job, "COMPLETE"))
    return lineage_of(lineage, job, "COMPLETE")


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


class TestTriggerer:
    @pytest.mark.parametrize(
        ("task_id", "state"),
        [
            pytest.param("stable", "success", id="the count is the same in so many checks"),
            pytest.param("timed_out", "failed", id="timeout"),
            pytest.param("timed_out_softly", "skipped", id="timeout and soft_fail"),
            pytest.param("rejected", "failed", id="a permanent error while it waits"),
            pytest.param("rejected_softly", "skipped", id="a permanent error and soft_fail"),
            pytest.param("longest", "success", id="the triggerer was killed meanwhile"),
        ],
    )
    def test_waiting_ends_as_it_should_and_is_not_tried_again(
        self, waited: dict[str, Any], task_id: str, state: str
    ) -> None:
        assert waited["tasks"][task_id] == {"state": state, "tries": 1}


@pytest.mark.usefixtures("counted", "waited")
def test_no_secret_reaches_a_log(components: Components, zoom: SimulatorServer, s3: S3Server) -> None:
    logs = components.airflow.logs()
    assert any("No permission" in text for text in logs.values())
    assert any(" records, " in text for text in logs.values())
    secrets = (zoom.simulator.config.client_secret, "simulated.", str(s3.connection["password"]))
    assert [log for log, text in logs.items() for secret in secrets if secret in text] == []


def test_airflow_requests_the_link_to_the_object_of_a_task(counted: Counted) -> None:
    pytest.importorskip("airflow.sdk", reason="Airflow 2 computes links when it shows them")
    # The S3 server has no console.
    assert counted.daily["xcoms"]["engagements_to_s3._link_S3ObjectLink"] == ""
