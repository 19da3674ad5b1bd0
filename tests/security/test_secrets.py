"""Nothing secret or personal leaves the package but for its two destinations, and the masker knows each secret."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest
import structlog
from airflow.providers.common.compat.sdk import AirflowException, Asset, TaskDeferred
from airflow.sdk._shared.secrets_masker import reset_secrets_masker
from airflow.sdk.log import redact
from pytest_mock import MockerFixture

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from airflow_provider_zcc.triggers.engagements import EngagementsTrigger
from airflow_provider_zcc.zoom.errors import ZoomError
from tests.s3_server import PASSWORD, S3Fault, S3Server
from tests.unit.conftest import END, START, Bucket, ConnectZoom, StartZoom, context_of
from tests.zoom_simulator.data import Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

# Values that occur nowhere else: whatever contains one has leaked it.

CLIENT_ID = "the-app"
SECRET = "kanarie/Secret+9=vogel&Q7"
BASIC = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
TOKEN = "eyJhbGciOiJIUzUxMiJ9.kanarie-Token_7Hq3xVb2.w0Z-sig"
FILTER_NUMBER = "+4930123454321"
NUMBER = "+4915799988776"
CONSUMER = "Zephyrine Øuillfeather"
AGENT = "Balthasar Nightjar-Okonkwo"
NOTE = 'Owes 7,411 kroner; call "Kanarievogel" after nine, 李雷'

PERSONAL = {NUMBER, CONSUMER, AGENT, NOTE}
CONFIDENTIAL = PERSONAL | {SECRET, BASIC, TOKEN, FILTER_NUMBER, PASSWORD}


def leaks(text: str) -> set[str]:
    """Return the confidential values in a text, in whatever notation they are written."""
    notations = (str, quote_plus, ascii, json.dumps, lambda value: value.lstrip("+"))
    return {value for value in CONFIDENTIAL if any(write(value).strip("\"'") in text for write in notations)}


# What leaves the package: logs, errors, and what Airflow stores

#: The simulator and moto run in this process too, and log what they receive.
SERVER_LOGGERS = ("uvicorn", "werkzeug", "moto", "asyncio")
#: The one logger whose lines only Airflow's masker cleans: it logs the path of each request.
PATH_LOGGER = "urllib3.connectionpool"

Logged = Callable[[], dict[str, str]]


@pytest.fixture
def logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Logged]:
    """What is logged, by logger, all of them at DEBUG, with a masker that knows no secret yet; and what is printed."""
    reset_secrets_masker()
    caplog.set_level(logging.DEBUG)
    for logger in filter(lambda found: isinstance(found, logging.Logger), logging.root.manager.loggerDict.values()):
        monkeypatch.setattr(logger, "disabled", False)
        monkeypatch.setattr(logger, "level", logging.NOTSET)
        if not logger.propagate:
            monkeypatch.setattr(logger, "handlers", [*logger.handlers, caplog.handler])
        logger._cache.clear()

    def logged() -> dict[str, str]:
        logs = {"printed": "".join(capfd.readouterr()), "airflow": str(structured)}
        for record in caplog.get_records("call"):
            if not record.name.startswith(SERVER_LOGGERS):
                line = f"{caplog.handler.format(record)} {record.args!r}\n"
                logs[record.name] = logs.get(record.name, "") + line
        return logs

    with structlog.testing.capture_logs() as structured:
        yield logged
    reset_secrets_masker()


def assert_nothing_leaked(stored: Iterable[object], logs: dict[str, str]) -> None:
    """All is clean as it is, and what urllib3 logs is after Airflow's masker has processed it."""
    by_logger = {name: leaks(text) for name, text in logs.items()}
    assert by_logger.pop(PATH_LOGGER, set()) <= {FILTER_NUMBER}
    assert set().union(*by_logger.values(), *(leaks(f"{one!r} {one}") for one in stored)) == set()
    assert leaks(str(redact(logs.get(PATH_LOGGER, "")))) == set()


# Zoom, whose records and whose responses hold confidential values


class ConfidentialEngagements(Engagements):
    """Engagements of one consumer and one agent; all of them pass any filter."""

    def between(self, first: int, last: int, passes: object = None) -> list[int] | range:  # noqa: ARG002
        return super().between(first, last)

    def render(self, number: int, style: TimeStyle) -> str:
        return json.dumps(
            {
                "engagement_id": self.identity(number),
                "start_time": style.write(self.starts[number]),
                "consumers": [{"consumer_display_name": CONSUMER, "consumer_number": NUMBER}],
                "agents": [{"display_name": AGENT}],
                "notes": [{"note": NOTE}],
            },
            ensure_ascii=number % 2 == 0,
        )


ENGAGEMENTS = ConfidentialEngagements.of_a_contact_centre(2_000, 10, end=END)


@pytest.fixture
def zoom(start_zoom: StartZoom, connect_zoom: ConnectZoom) -> SimulatorServer:
    """A simulator whose token and records are confidential; ``zcc_default`` leads to it."""
    server = start_zoom(ConfidentialEngagements(ENGAGEMENTS.starts), client_id=CLIENT_ID, client_secret=SECRET)
    connect_zoom(server, {"timeout": 1.0})
    server.simulator._tokens[TOKEN] = float("inf")
    details = {"status": 200, "body": {"access_token": TOKEN, "expires_in": 3_599}}
    server.simulator.faults = [Fault("answer", "token", times=-1, details=details)]
    return server


# Everything that calls Zoom

KEY = "day.jsonl"
DAY: dict[str, Any] = {"task_id": "task", "start": START, "end": END}
FILTERED = DAY | {"consumer_number": "{{ params.number }}"}


def run(task: Any, method: str = "execute") -> Iterator[object]:
    """Run a task, and yield all that Airflow stores or shows of it."""
    context = context_of(params={"number": FILTER_NUMBER})
    task.render_template_fields(context)
    try:
        yield getattr(task, method)(context)
    except TaskDeferred as deferral:
        yield from (deferral.trigger, deferral.trigger.serialize(), deferral.kwargs)
    except AirflowException as error:
        yield from (error, *traceback.format_exception(error))
    yield from (task, {name: getattr(task, name) for name in task.template_fields}, context["ti"].xcoms)
    yield from (context["outlet_events"][asset].extra for asset in task.outlets)


def operator(bucket: Bucket) -> Iterator[object]:
    assets = [Asset("s3://lake/day.jsonl")]
    return run(EngagementsToS3Operator(s3_bucket=bucket.name, s3_key=KEY, outlets=assets, deferrable=True, **FILTERED))


def check(bucket: Bucket) -> Iterator[object]:
    return run(EngagementsCheckOperator(s3_bucket=bucket.name, s3_key=KEY, **FILTERED))


def sensor(_: Bucket) -> Iterator[object]:
    return run(EngagementsSensor(**FILTERED), "poke")


def deferrable_sensor(_: Bucket) -> Iterator[object]:
    # With a number, it would not be deferred.
    return run(EngagementsSensor(min_engagements=10**9, deferrable=True, **DAY))


def trigger(_: Bucket) -> Iterator[object]:
    trigger = EngagementsTrigger(consumer_number=FILTER_NUMBER, start=START, end=END)

    async def first_event() -> object:
        return await asyncio.wait_for(anext(trigger.run()), 2.0)

    with suppress(TimeoutError):
        yield asyncio.run(first_event())
    yield trigger


def connection_test(_: Bucket) -> Iterator[object]:
    yield ZoomContactCenterHook().test_connection()


def hook(_: Bucket) -> Iterator[object]:
    hook = ZoomContactCenterHook()
    try:
        yield from (hook, hook.reader(START, END, consumer_number=FILTER_NUMBER))
        yield hook.count_engagements(START, END, consumer_number=FILTER_NUMBER)
    except ZoomError as error:
        yield from (error, *traceback.format_exception(error))


Caller = Callable[[Bucket], Iterator[object]]
WITHOUT_NUMBER = (deferrable_sensor, connection_test)
CALLERS = (operator, check, sensor, trigger, hook, *WITHOUT_NUMBER)


# What may happen

#: What a server may repeat of the request that it received.
ECHO = f"{FILTER_NUMBER} {quote_plus(FILTER_NUMBER)} {TOKEN} Bearer {TOKEN}"
#: What a page may hold, or a server's error.
PEOPLE = f"{CONSUMER} {AGENT} {NUMBER} {NOTE} {ECHO} {SECRET} {BASIC}"


def fault(kind: str, on: str = "api", **details: object) -> Fault:
    return Fault(kind, on, times=-1, details=details)


def response(status: int, body: object, on: str = "api", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return fault("answer", on, status=status, body=body, headers=named)


#: What every caller meets: each shows an error in its own way.
COMMON = {
    "credentials rejected": response(401, {"error": f"not_{SECRET}", "reason": f"Bad: {SECRET} {BASIC}"}, "token"),
    "page is HTML": response(200, f"<html>{PEOPLE}</html>"),
}
#: A number that was not sent cannot be repeated.
REJECTED = response(400, {"code": 300, "message": ECHO, "errors": [{"field": ECHO, "message": ECHO}, ECHO]})
#: What ends in the same code, whatever calls Zoom: the operator represents all.
OTHERS = {
    "token unusable": response(200, {"access_token": f"{TOKEN}\n", "refresh_token": TOKEN}, "token"),
    "code of words": response(403, {"code": ECHO, "message": ECHO}),
    "throttled until an unreadable time": response(429, {"message": ECHO}, Retry_After=TOKEN),
    "engagement is a word": response(200, {"total_records": 1, "engagements": [PEOPLE]}),
    "total is words": response(200, {"total_records": PEOPLE, "engagements": []}),
    "range unreadable": fault("page", **{"from": PEOPLE, "to": ECHO, "timezone": CONSUMER}),
    "reset": fault("reset"),
    "no response": fault("stall", seconds=2.0),
    "redirect": response(307, b"", location=f"https://example.com/?{quote_plus(ECHO)}"),
    "records are missing": fault("page", total_records=2_000),
}


@pytest.mark.parametrize(
    ("caller", "outcome"),
    [
        *((caller, name) for caller in CALLERS for name in COMMON),
        *((caller, "query rejected") for caller in CALLERS if caller not in WITHOUT_NUMBER),
        *((operator, name) for name in OTHERS),
    ],
)
def test_nothing_secret_or_personal_leaves_the_package_whatever_happens(
    zoom: SimulatorServer, bucket: Bucket, logged: Logged, caller: Caller, outcome: str
) -> None:
    fault = replace((COMMON | OTHERS | {"query rejected": REJECTED})[outcome])
    # Before the fault that issues the confidential token.
    zoom.simulator.faults.insert(0, fault)
    stored = list(caller(bucket))
    assert_nothing_leaked(stored, logged())
    assert fault.affected


def test_the_output_of_a_success_is_really_searched(zoom: SimulatorServer, bucket: Bucket, logged: Logged) -> None:
    assert zoom
    stored = list(operator(bucket))
    logs = logged()
    assert_nothing_leaked(stored, logs)
    assert {"urllib3", "botocore", "airflow"} <= {name.split(".")[0] for name in logs}
    # The masker is needed here.
    assert leaks(logs[PATH_LOGGER]) == {FILTER_NUMBER}
    # The XCom and the asset event.
    assert sum("outside_interval" in str(one) for one in stored) == 2
    assert leaks(bucket.body(KEY).decode()) == PERSONAL
    assert leaks(str(bucket.manifest(KEY))) == set()


@pytest.mark.usefixtures("zoom")
def test_an_upload_that_s3_rejects_reports_nothing_of_its_content(
    bucket: Bucket, s3_server: S3Server, logged: Logged, mocker: MockerFixture
) -> None:
    mocker.patch.object(s3_server, "faults", [S3Fault("PutObject", status=403, code="AccessDenied")])
    stored = list(operator(bucket))
    assert any("AccessDenied" in str(one) for one in stored)
    assert_nothing_leaked(stored, logged())


# The masker


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize("caller", CALLERS)
def test_secret_token_and_number_are_masked_before_they_are_used(
    zoom: SimulatorServer, bucket: Bucket, caller: Caller
) -> None:
    simulator, seen = zoom.simulator, dict[str, str]()

    def note(place: str, *values: str) -> bool:
        seen[place] = str(redact(" ".join([*values, quote_plus(FILTER_NUMBER), FILTER_NUMBER])))
        return True

    simulator._tokens.clear()
    simulator.faults = [
        Fault("hold", on="token", details={"until": lambda: note("token", SECRET)}),
        Fault("hold", on="api", details={"until": lambda: note("api", SECRET, *simulator._tokens)}),
    ]
    list(caller(bucket))
    number = f"{quote_plus(FILTER_NUMBER)} {FILTER_NUMBER}" if caller in WITHOUT_NUMBER else "*** ***"
    assert seen == {"token": f"*** {number}", "api": f"*** *** {number}"}
