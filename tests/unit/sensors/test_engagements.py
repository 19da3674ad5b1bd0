from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from pytest_mock import MockerFixture

from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.triggers.engagements import EngagementsTrigger
from tests.unit.conftest import END, START, StartZoom, context_of, hours_from_now, no_request_was_sent, rejecting
from tests.zoom_simulator.data import NUMBERS, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer


def sensor(**arguments: Any) -> EngagementsSensor:
    """A sensor for the chosen day by default."""
    return EngagementsSensor(task_id="task", **({"start": START, "end": END} | arguments))


@pytest.mark.parametrize(
    ("minutes_after_end", "arguments", "requests"),
    [
        pytest.param(3, {}, 0, id="three minutes of five"),
        pytest.param(6, {}, 1, id="six minutes of five"),
        pytest.param(120, {"settle": timedelta(hours=3)}, 0, id="two hours of three"),
    ],
)
def test_no_request_is_sent_before_the_interval_has_settled(
    start_zoom: StartZoom, minutes_after_end: float, arguments: dict[str, Any], requests: int
):
    end = hours_from_now(-minutes_after_end / 60)
    server = start_zoom(Engagements([int(end.timestamp()) - 60]))
    waiting = sensor(start=end - timedelta(hours=1), end=end, **arguments)
    assert waiting.poke(context_of()) is (requests == 1)
    assert server.simulator.stats.api_requests == requests


@pytest.mark.parametrize(
    ("arguments", "counts", "available"),
    [
        ({"min_engagements": 0}, [0], [True]),
        ({"min_engagements": 3}, [2, 3], [False, True]),
        ({"stable_checks": 3}, [3, 3, 4, 4, 4], [False, False, False, False, True]),
    ],
)
def test_enough_engagements_are_required_and_their_count_has_to_stay_the_same(
    zoom: SimulatorServer, arguments: dict[str, int], counts: list[int], available: list[bool]
):
    zoom.simulator.faults = [Fault("page", details={"total_records": count}) for count in counts]
    waiting = sensor(**arguments)
    assert [waiting.poke(context_of()) for _ in counts] == available
    assert zoom.simulator.stats.api_requests == len(counts)


def test_the_interval_ends_where_that_of_the_run_does(zoom: SimulatorServer):
    sensor(start=None, end=None, interval_length="P1D").poke(context_of(END, END))
    [query] = map(dict, zoom.simulator.stats.queries)
    assert (query["from"], query["to"]) == ("2026-11-03T00:00:00Z", "2026-11-03T23:59:59Z")


def deferral_of(waiting: EngagementsSensor, context: dict[str, Any]) -> TaskDeferred:
    """Return what a deferrable sensor raises when it leaves its worker slot."""
    with pytest.raises(TaskDeferred) as raised:
        waiting.execute(context)
    return raised.value


class TestDeferring:
    def test_available_engagements_need_no_deferral(self, zoom: SimulatorServer):
        assert sensor(deferrable=True).execute(context_of()) is None
        assert zoom.simulator.stats.api_requests == 1

    def test_it_checks_once_and_hands_over_to_the_trigger(self, zoom: SimulatorServer):
        arguments = {
            "channel": "voice",
            "min_engagements": 10**9,
            "settle": timedelta(hours=1),
            "stable_checks": 3,
            "poke_interval": 180.0,
            "exponential_backoff": True,
            "max_wait": timedelta(minutes=30),
        }
        waiting = sensor(start=None, end=None, deferrable=True, mode="reschedule", **arguments)
        deferral = deferral_of(waiting, context_of(START, END))
        assert zoom.simulator.stats.api_requests == 1
        assert isinstance(deferral.trigger, EngagementsTrigger)
        handed_over = {name: value for name, value in deferral.trigger.serialize()[1].items() if value is not None}
        bounds = {"start": START.isoformat(), "end": END.isoformat()}
        assert handed_over == arguments | bounds | {"zcc_conn_id": "zcc_default"}
        assert deferral.method_name == "execute_complete"

    def test_the_timeout_counts_from_the_beginning(self, zoom: SimulatorServer):
        zoom.simulator.faults = [Fault("delay", details={"seconds": 0.5})]
        timeout = deferral_of(sensor(min_engagements=10**9, deferrable=True, timeout=3_600), context_of()).timeout
        assert timeout is not None
        assert 0 < timeout.total_seconds() <= 3_599.5

    @pytest.mark.usefixtures("zoom")
    def test_a_timeout_that_is_over_already_is_not_waited_for(self):
        with pytest.raises(AirflowSensorTimeout):
            sensor(min_engagements=10**9, deferrable=True, timeout=0).execute(context_of())

    def test_a_transient_error_is_left_to_the_trigger(self, zoom: SimulatorServer, mocker: MockerFixture):
        mocker.patch("airflow_provider_zcc.sensors.engagements.CHECK_RETRY_TIMEOUT", 0.0)
        zoom.simulator.faults = [rejecting(503, 503, "Unavailable.")]
        assert isinstance(deferral_of(sensor(deferrable=True), context_of()).trigger, EngagementsTrigger)

    @pytest.mark.parametrize("deferrable", [True, False])
    @pytest.mark.usefixtures("zoom")
    def test_a_permanent_error_ends_it_at_once_in_either_mode(self, deferrable: bool):
        for soft_fail, error in ((False, AirflowFailException), (True, AirflowSkipException)):
            with pytest.raises(error):
                sensor(deferrable=deferrable, soft_fail=soft_fail, queue_id="nobody").execute(context_of())

    def test_a_consumers_number_is_not_handed_to_the_trigger(self, zoom: SimulatorServer):
        zoom.simulator.faults = [Fault("page", details={"total_records": count}) for count in (0, 1)]
        waiting = sensor(deferrable=True, consumer_number=NUMBERS[3], poke_interval=0)
        assert waiting.execute(context_of()) is None
        assert zoom.simulator.stats.api_requests == 2


class TestResuming:
    def test_an_event_that_they_are_available_is_success(self):
        event = {"status": "available", "engagements": 7}
        assert sensor(deferrable=True).execute_complete(context_of(), event) is None

    def test_a_permanent_error_of_the_trigger_fails_permanently(self):
        event = {"status": "failed", "message": "Zoom's own words."}
        with pytest.raises(AirflowFailException, match="Zoom's own words"):
            sensor(deferrable=True).execute_complete(context_of(), event)

    @pytest.mark.parametrize("event", [None, {"status": "available"}, {"engagements": 7}])
    def test_an_unknown_event_fails(self, event: Any):
        with pytest.raises(AirflowException, match="does not know"):
            sensor(deferrable=True).execute_complete(context_of(), event)

    @pytest.mark.parametrize(
        ("method", "arguments", "is_timeout"),
        [
            ("execute_complete", {"event": None}, False),
            ("__fail__", {"error": "Trigger timeout"}, True),
            ("__fail__", {"error": "Trigger/execution timeout"}, True),
            ("__fail__", {"error": "Trigger failure", "traceback": []}, False),
        ],
        ids=["unknown event", "timeout in Airflow 3", "timeout in Airflow 2", "failure"],
    )
    def test_a_timeout_is_not_retried_and_soft_fail_and_never_fail_skip_whatever_went_wrong(
        self, method: str, arguments: dict[str, Any], is_timeout: bool
    ):
        with pytest.raises(AirflowException) as raised:
            sensor(deferrable=True, timeout=3_600).resume_execution(method, arguments, context_of())
        assert isinstance(raised.value, AirflowSensorTimeout) == is_timeout
        for choice in ("soft_fail", "never_fail"):
            with pytest.raises(AirflowSkipException):
                sensor(deferrable=True, **{choice: True}).resume_execution(method, arguments, context_of())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"deferrable": "yes"}, "deferrable 'yes'"),
        ({"settle": "PT5M"}, "settle is 'PT5M'"),
        ({"channel": "fax"}, "channel"),
        ({"stable_checks": 2, "mode": "reschedule"}, "'reschedule'"),
        ({"stable_checks": 2, "mode": "reschedule", "deferrable": True, "consumer_number": NUMBERS[3]}, "'reschedule'"),
    ],
)
def test_a_wrong_argument_fails_permanently(zoom: SimulatorServer, arguments: dict[str, Any], words: str):
    with pytest.raises(AirflowFailException, match=words):
        sensor(**arguments).poke(context_of())
    assert no_request_was_sent(zoom)


def test_a_sensor_that_airflow_kills_between_two_checks_ends_at_once(zoom: SimulatorServer, mocker: MockerFixture):
    waiting = sensor(min_engagements=10**9, deferrable=False)
    # Airflow's handler of SIGTERM calls it in the middle of whatever the task does.
    mocker.patch("time.sleep", side_effect=lambda _: waiting.on_kill())
    with pytest.raises(AirflowException, match="Airflow ended the task"):
        waiting.execute(context_of())
    assert zoom.simulator.stats.api_requests == 1
