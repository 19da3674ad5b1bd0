from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from airflow.providers.common.compat.sdk import AirflowException
from asgiref.sync import async_to_sync
from pytest_mock import MockerFixture

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.triggers.engagements import CHECKS_IN_FLIGHT, EngagementsTrigger
from tests.conftest import StartSimulator
from tests.unit.conftest import (
    END,
    START,
    ConnectZoom,
    StartZoom,
    daily_limit_until,
    hours_from_now,
    no_request_was_sent,
    rejecting,
)
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

#: Far more than any test waits.
LONG = 3_600.0


def trigger(**arguments: Any) -> EngagementsTrigger:
    """A trigger for the chosen day that checks at once and often."""
    return EngagementsTrigger(**({"start": START, "end": END, "poke_interval": 0.0} | arguments))


def restarted(before: EngagementsTrigger) -> EngagementsTrigger:
    """The trigger as another triggerer finds it in Airflow's database."""
    row = Trigger.from_object(before)
    module, _, name = row.classpath.rpartition(".")
    again: EngagementsTrigger = getattr(import_module(module), name)(**row.kwargs)
    return again


async def event_of(running: EngagementsTrigger) -> Any:
    events = [event.payload async for event in running.run()]
    assert len(events) == 1
    return events[0]


def outcome(running: EngagementsTrigger) -> Any:
    """The payload of a trigger's event, which has to come soon."""
    return asyncio.run(asyncio.wait_for(event_of(running), 30))


@pytest.fixture
def slept(mocker: MockerFixture) -> list[float]:
    """What a trigger sleeps, which takes no time."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def no_sleep(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    # For the trigger only: the simulator sleeps as well.
    without_sleep = SimpleNamespace(**vars(asyncio) | {"sleep": no_sleep})
    mocker.patch("airflow_provider_zcc.triggers.engagements.asyncio", without_sleep)
    return slept


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def one_request_a_check(mocker: MockerFixture) -> None:
    """A check is one request, so that a transient fault ends it."""
    mocker.patch("airflow_provider_zcc.triggers.engagements.CHECK_RETRY_TIMEOUT", 0.0)


def test_it_checks_until_enough_engagements_are_available_and_their_count_stays_the_same(zoom: SimulatorServer):
    counts = [3, 3, 4, 5, 5, 5]
    zoom.simulator.faults = [Fault("page", details={"total_records": count}) for count in [*counts, 5]]
    event = outcome(restarted(trigger(min_engagements=4, stable_checks=3, settle=600)))
    assert event == {"status": "available", "engagements": 5}
    assert zoom.simulator.stats.api_requests == len(counts)


def test_only_what_passes_the_filters_counts(zoom: SimulatorServer):
    event = outcome(restarted(trigger(channel_sources=("sms", "whatsapp"))))
    assert event["engagements"] == len(zoom.simulator.truth(START, END, channel_sources="sms,whatsapp")) > 0


@pytest.mark.parametrize(
    ("arguments", "first", "last"),
    [
        ({"poke_interval": timedelta(minutes=1)}, (60, 60), (60, 60)),
        ({"poke_interval": 60, "exponential_backoff": True, "max_wait": 100}, (30, 60), (100, 100)),
        ({"poke_interval": 0, "exponential_backoff": True}, (1, 2), (1, 2)),
    ],
)
def test_the_waits_are_those_of_a_sensor_in_poke_mode(
    zoom: SimulatorServer, slept: list[float], arguments: dict[str, Any], first: list[float], last: list[float]
):
    zoom.simulator.faults = [Fault("page", times=5, details={"total_records": 0})]
    assert outcome(restarted(trigger(**arguments)))["status"] == "available"
    assert len(slept) == 5
    assert first[0] <= slept[0] <= first[1]
    assert last[0] <= slept[-1] <= last[1]


def test_it_checks_as_soon_as_the_interval_has_settled(start_zoom: StartZoom):
    end = datetime.now(UTC) - timedelta(minutes=1)
    server = start_zoom(Engagements([int(end.timestamp()) - 60]))
    settle = datetime.now(UTC) + timedelta(seconds=0.5) - end
    waiting = trigger(start=end - timedelta(hours=1), end=end, settle=settle, poke_interval=LONG)
    assert outcome(waiting) == {"status": "available", "engagements": 1}
    assert datetime.now(UTC) >= end + settle
    assert server.simulator.stats.api_requests == 1


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"queue_id": "nobody"}, "Queue does not exist"),
            ({"channel": "fax"}, "channel"),
            ({"zcc_conn_id": "zcc_nowhere"}, "'zcc_nowhere'"),
            ({"min_engagements": True}, "min_engagements is "),
            # Airflow 3.0 serializes nan and inf as text.
            ({"settle": float("nan")}, "settle is "),
            ({"settle": 1e30}, "settle is "),
            ({"poke_interval": float("inf")}, "poke_interval is "),
            ({"exponential_backoff": "yes"}, "exponential_backoff is "),
            ({"max_wait": -1}, "max_wait is "),
        ],
    )
    @pytest.mark.usefixtures("zoom")
    def test_what_a_retry_cannot_help_ends_it_at_once(self, arguments: dict[str, Any], words: str):
        event = outcome(restarted(trigger(**{"poke_interval": LONG} | arguments)))
        assert event["status"] == "failed"
        assert words in event["message"]

    def test_any_other_error_is_for_airflow_and_ends_it_at_once(self, mocker: MockerFixture):
        count = mocker.patch.object(ZoomContactCenterHook, "count_engagements", side_effect=AirflowException("a bug"))
        with pytest.raises(AirflowException, match="a bug"):
            outcome(trigger(poke_interval=LONG))
        assert count.call_count == 1

    @pytest.mark.usefixtures("one_request_a_check")
    def test_a_corrected_connection_counts_from_the_next_check(self, zoom: SimulatorServer, connect_zoom: ConnectZoom):
        async def run() -> Any:
            connect_zoom(zoom, host="http://127.0.0.1:9/v2")
            task = asyncio.create_task(event_of(trigger(poke_interval=0.05)))
            await asyncio.sleep(0.1)
            connect_zoom(zoom)
            return await asyncio.wait_for(task, 30)

        assert asyncio.run(run())["status"] == "available"

    @pytest.mark.usefixtures("one_request_a_check")
    @pytest.mark.parametrize("status", [429, 503])
    def test_a_transient_error_is_followed_by_the_next_check(self, zoom: SimulatorServer, status: int):
        zoom.simulator.faults = [rejecting(status, status, "Not now.", times=2)]
        assert outcome(trigger())["status"] == "available"
        assert zoom.simulator.stats.api_requests == 3

    def test_a_short_outage_is_retried_within_a_check(self, zoom: SimulatorServer):
        zoom.simulator.faults = [rejecting(503, 503, "Unavailable.", times=1)]
        assert outcome(trigger(poke_interval=LONG))["status"] == "available"

    @pytest.mark.parametrize(("limit", "wait"), [(6, 6), (50_000, 24)])
    def test_the_next_check_is_made_at_the_time_that_zoom_names_or_within_a_day(
        self, zoom: SimulatorServer, slept: list[float], limit: float, wait: float
    ):
        zoom.simulator.faults = [daily_limit_until(hours_from_now(limit), times=1)]
        assert outcome(trigger())["status"] == "available"
        assert slept == [pytest.approx(3_600 * wait, abs=10)]


def test_another_triggerer_continues_with_the_same_checks():
    arguments = {
        "zcc_conn_id": "other",
        "start": START.isoformat(),
        "end": END.isoformat(),
        "consumer_number": "+15550001111",
        "channel_types": None,
        "channel_sources": ["sms", "whatsapp"],
        "min_engagements": 7,
        "settle": timedelta(minutes=7),
        "stable_checks": 3,
        "poke_interval": 17.5,
        "exponential_backoff": True,
        "max_wait": timedelta(minutes=1),
    }
    before = EngagementsTrigger(**arguments)
    assert arguments.items() <= before.serialize()[1].items()
    assert restarted(before).serialize() == before.serialize()


def test_a_cancelled_trigger_lets_the_look_up_of_the_connection_finish(zoom: SimulatorServer, mocker: MockerFixture):
    begun, ended = threading.Event(), threading.Event()

    async def query_process(_: str) -> None:
        begun.set()
        await asyncio.sleep(0.1)
        ended.set()

    # In Airflow 3.0 and 3.1 the thread queries the triggerer's other process, through the trigger's own loop.
    mocker.patch.object(ZoomContactCenterHook, "get_connection", side_effect=async_to_sync(query_process))

    async def run() -> None:
        task = asyncio.create_task(event_of(trigger()))
        await until(begun.is_set)
        await stop(task)
        assert task.cancelled()
        await until(ended.is_set)

    asyncio.run(run())
    assert no_request_was_sent(zoom)


def test_a_connection_that_hangs_blocks_no_other_one_and_what_is_cancelled_in_its_queue_sends_no_request(
    zoom: SimulatorServer, start_simulator: StartSimulator, monkeypatch: pytest.MonkeyPatch
):
    hanging, released = start_simulator(), threading.Event()
    stats = hanging.simulator.stats
    hanging.simulator.faults = [Fault("hold", times=-1, details={"until": released.is_set})]
    monkeypatch.setenv("AIRFLOW_CONN_HANGING", json.dumps(hanging.connection))

    async def run() -> None:
        stuck = [asyncio.create_task(event_of(trigger(zcc_conn_id="hanging"))) for _ in range(100)]
        try:
            await until(lambda: stats.api_requests == CHECKS_IN_FLIGHT)
            await asyncio.wait_for(event_of(trigger()), 30)
            await stop(*stuck)
        finally:
            released.set()
        await event_of(trigger(zcc_conn_id="hanging"))

    asyncio.run(run())
    assert zoom.simulator.stats.api_requests == 1
    assert stats.api_requests == CHECKS_IN_FLIGHT + 1
