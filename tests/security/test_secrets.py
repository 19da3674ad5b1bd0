"""Nothing secret or personal leaves the package but for its two destinations, and the masker knows each secret."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

import pytest
import structlog
from airflow.providers.common.compat.sdk import AirflowException, Asset, TaskDeferred
from airflow.sdk._shared.secrets_masker import reset_secrets_masker
from airflow.sdk.log import redact

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from airflow_provider_zcc.triggers.engagements import EngagementsTrigger
from airflow_provider_zcc.zoom.errors import ZoomError
from tests.s3_proxy import S3Fault, S3Proxy
from tests.unit.conftest import (
    END,
    START,
    Bucket,
    ConnectZoom,
    StartZoom,
    context_of,
    daily_limit_until,
    hours_from_now,
)
from tests.zoom_simulator.data import Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

# Values that occur nowhere else: whatever contains one has leaked it.

CLIENT_ID = "the-app"
SECRET = "kanarie/Secret+9=vogel&Q7"
BASIC = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
TOKEN = "eyJhbGciOiJIUzUxMiJ9.kanarie-Token_7Hq3xVb2.w0Z-sig"
WRONG_SECRET = "kanarie~Wrong~Secret~41"
FILTER_NUMBER = "+4930123454321"
NUMBER = "+4915799988776"
CONSUMER = "Zephyrine Øuillfeather"
AGENT = "Balthasar Nightjar-Okonkwo"
NOTE = 'Owes 7,411 kroner; call "Kanarievogel" after nine, 李雷'
AWS_SECRET = "kanarie/Aws+Secret/0123456789"

PERSONAL = {NUMBER, CONSUMER, AGENT, NOTE}
CONFIDENTIAL = PERSONAL | {SECRET, BASIC, TOKEN, WRONG_SECRET, FILTER_NUMBER, AWS_SECRET}


def leaks(text: str) -> set[str]:
    """Return the confidential values in a text, in whatever notation they are written."""
    notations = (str, quote_plus, ascii, json.dumps, lambda value: value.lstrip("+"))
    return {value for value in CONFIDENTIAL if any(write(value).strip("\"'") in text for write in notations)}


# What leaves the package: logs, errors, and what Airflow stores

#: The simulator and moto run in this process too, and log what they receive.
SERVER_LOGGERS = ("uvicorn", "werkzeug", "moto", "asyncio")
#: The one logger whose lines only Airflow's masker cleans: it logs the path of each request.
PATH_LOGGER = "urllib3.connectionpool"


@dataclass
class Output:
    """All that leaves the package but for its two destinations.

    :param caplog: the records of every logger.
    :param capfd: what is printed.
    :param structured: the entries of Airflow's own loggers.
    :param texts: the rest.
    """

    caplog: pytest.LogCaptureFixture
    capfd: pytest.CaptureFixture[str]
    structured: list[Any]
    texts: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)

    def add(self, *found: object) -> None:
        self.texts += [f"{one!r} {one}" for one in found]

    def add_error(self, error: BaseException) -> None:
        self.texts += traceback.format_exception(error)
        link: BaseException | None = error
        while link is not None:
            self.add(link, link.args)
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)

    def add_task(self, task: Any, context: dict[str, Any]) -> None:
        events = [context["outlet_events"][asset] for asset in task.outlets]
        rendered = {name: getattr(task, name) for name in task.template_fields}
        self.add(task, rendered, context["ti"].xcoms, *((event, event.extra) for event in events))

    def assert_nothing_leaked(self) -> None:
        """Everything is clean as it is, and what urllib3 logs is after Airflow's masker has processed it."""
        self.logs = {"printed": "".join(self.capfd.readouterr()), "airflow": str(self.structured)}
        for record in self.caplog.get_records("call"):
            if not record.name.startswith(SERVER_LOGGERS):
                line = f"{self.caplog.handler.format(record)} {record.args!r}\n"
                self.logs[record.name] = self.logs.get(record.name, "") + line
        by_logger = {name: leaks(text) for name, text in self.logs.items()}
        assert by_logger.pop(PATH_LOGGER, set()) <= {FILTER_NUMBER}
        assert set().union(*by_logger.values(), *map(leaks, self.texts)) == set()
        assert leaks(str(redact(self.logs.get(PATH_LOGGER, "")))) == set()


@pytest.fixture
def output(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Output]:
    """What leaves the package from now on, with every logger at DEBUG, and a masker that knows no secret yet."""
    reset_secrets_masker()
    caplog.set_level(logging.DEBUG)
    for logger in filter(lambda found: isinstance(found, logging.Logger), logging.root.manager.loggerDict.values()):
        monkeypatch.setattr(logger, "disabled", False)
        monkeypatch.setattr(logger, "level", logging.NOTSET)
        if not logger.propagate:
            monkeypatch.setattr(logger, "handlers", [*logger.handlers, caplog.handler])
        logger._cache.clear()
    with structlog.testing.capture_logs() as structured:
        yield Output(caplog, capfd, structured)
    reset_secrets_masker()


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
def zoom(start_zoom: StartZoom) -> SimulatorServer:
    """A simulator whose token and records are confidential; ``zcc_default`` leads to it."""
    server = start_zoom(ConfidentialEngagements(ENGAGEMENTS.starts), client_id=CLIENT_ID, client_secret=SECRET)
    server.simulator._tokens[TOKEN] = float("inf")
    details = {"status": 200, "body": {"access_token": TOKEN, "expires_in": 3_599}}
    server.simulator.faults = [Fault("answer", "token", times=-1, details=details)]
    return server


# Everything that calls Zoom


@dataclass
class Callers:
    """Everything in the package that calls Zoom, and what it needs.

    :param zoom: the simulator.
    :param bucket: where objects go.
    :param output: where the results of a call are collected.
    """

    zoom: SimulatorServer
    bucket: Bucket
    output: Output

    def operator(self, **arguments: Any) -> None:
        chosen = {"s3_bucket": self.bucket.name, "s3_key": "day.jsonl", "start": START, "end": END} | arguments
        assets = [Asset("s3://lake/day.jsonl")]
        task = EngagementsToS3Operator(
            task_id="task", consumer_number="{{ params.number }}", outlets=assets, deferrable=True, **chosen
        )
        self._run(task, task.execute)

    def check(self) -> None:
        task = EngagementsCheckOperator(
            task_id="task", consumer_number="{{ params.number }}", start=START, end=END, s3_bucket=self.bucket.name,
            s3_key="day.jsonl",
        )  # fmt: skip
        self._run(task, task.execute)

    def sensor(self) -> None:
        task = EngagementsSensor(task_id="task", consumer_number="{{ params.number }}", start=START, end=END)
        self._run(task, task.poke)

    def deferrable_sensor(self) -> None:
        # With a number, it would not be deferred.
        task = EngagementsSensor(task_id="task", start=START, end=END, min_engagements=10**9, deferrable=True)
        self._run(task, task.execute)

    def trigger(self) -> None:
        trigger = EngagementsTrigger(consumer_number=FILTER_NUMBER, start=START, end=END)

        async def first_event() -> object:
            return await asyncio.wait_for(anext(trigger.run()), 2.0)

        with suppress(TimeoutError):
            self.output.add(asyncio.run(first_event()))
        self.output.add(trigger)

    def connection_test(self) -> None:
        self.output.add(ZoomContactCenterHook().test_connection())

    def hook(self) -> None:
        hook = ZoomContactCenterHook()
        try:
            reader = hook.reader(START, END, consumer_number=FILTER_NUMBER)
            self.output.add(hook, reader, hook.count_engagements(START, END, consumer_number=FILTER_NUMBER))
        except ZoomError as error:
            self.output.add_error(error)

    def _run(self, task: Any, do: Callable[[Any], object]) -> None:
        context = context_of(params={"number": FILTER_NUMBER})
        task.render_template_fields(context)
        try:
            self.output.add(do(context))
        except TaskDeferred as deferral:
            self.output.add(deferral.trigger, deferral.trigger.serialize(), deferral.kwargs, deferral.method_name)
        except AirflowException as error:
            self.output.add_error(error)
        self.output.add_task(task, context)


CALLERS = [name for name in vars(Callers) if not name.startswith("_")]
WITHOUT_NUMBER = ("deferrable_sensor", "connection_test")


@pytest.fixture
def callers(zoom: SimulatorServer, bucket: Bucket, output: Output, monkeypatch: pytest.MonkeyPatch) -> Callers:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(bucket.client.meta.endpoint_url)))
    return Callers(zoom, bucket, output)


def aws_connection(url: str, **transfer: int) -> dict[str, Any]:
    extra = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "config_kwargs": {"retries": {"max_attempts": 0}},
        "service_config": {"s3": {"transfer_config_args": transfer}},
    }
    return {"conn_type": "aws", "login": "simulated", "password": AWS_SECRET, "extra": extra}


# What may happen

#: What a server may repeat of the request that it received.
ECHO = f"{FILTER_NUMBER} {quote_plus(FILTER_NUMBER)} {TOKEN} Bearer {TOKEN}"
#: What a page may hold, or a server's error.
PEOPLE = f"{CONSUMER} {AGENT} {NUMBER} {NOTE} {ECHO} {SECRET} {BASIC}"
HTML = f"<html>{PEOPLE}</html>"
PAGE = json.dumps({"total_records": 1, "engagements": [{"engagement_id": "e1", "consumer_number": NUMBER}]})


def fault(kind: str, on: str = "api", **details: object) -> Fault:
    return Fault(kind, on, times=-1, details=details)


def response(status: int, body: object, on: str = "api", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return fault("answer", on, status=status, body=body, headers=named)


def error(status: int, code: object, message: str = ECHO, on: str = "api", **more: object) -> Fault:
    return response(status, {"code": code, "message": f"Invalid: {message}", **more}, on)


#: A fault, or what is wrong with the connection, that every caller meets.
COMMON_OUTCOMES: dict[str, Fault | dict[str, str]] = {
    "credentials rejected": response(401, {"error": f"not_{SECRET}", "reason": f"Bad: {SECRET} {BASIC}"}, "token"),
    "query rejected": error(400, 300, errors=[{"field": ECHO, "message": ECHO}, ECHO]),
    "page is HTML": response(200, HTML),
    "API out of reach": {"host": "http://127.0.0.1:9/v2"},
}
#: What ends in the same code, whatever calls Zoom: the operator represents all.
OTHER_OUTCOMES: dict[str, Fault | dict[str, str]] = {
    "credentials wrong": {"password": WRONG_SECRET},
    "token endpoint: throttled": response(429, {"reason": f"Slow down, {SECRET}"}, "token"),
    "token endpoint: redirect": response(302, b"", "token", location=f"https://example.com/?{quote_plus(SECRET)}"),
    "token unusable": response(200, {"access_token": f"{TOKEN}\n", "refresh_token": TOKEN}, "token"),
    "token rejected": response(401, {"status": False, "errorCode": 401, "errorMessage": ECHO}),
    "code of words": error(403, ECHO),
    "throttled until an unreadable time": response(429, {"message": ECHO}, Retry_After=TOKEN),
    "daily limit": daily_limit_until(hours_from_now(6)),
    "500": error(500, 500),
    "engagement is a word": response(200, {"total_records": 1, "engagements": [PEOPLE]}),
    "total is words": response(200, {"total_records": PEOPLE, "engagements": []}),
    "range unreadable": fault("page", **{"from": PEOPLE, "to": ECHO, "timezone": CONSUMER}),
    "page ends within a record": response(200, PAGE[: PAGE.index(NUMBER) + 5]),
    "page token expired": error(400, 300, f"The next page token is invalid: {ECHO}", "next"),
    "reset": fault("reset"),
    "no response": fault("stall", seconds=0.8),
    "redirect": response(307, b"", location=f"https://example.com/?{quote_plus(ECHO)}"),
    "pages repeat": fault("again", "next"),
    "total too high": fault("page", total_records=2_000),
}


@pytest.mark.parametrize(
    ("caller", "outcome"),
    [
        *(
            (caller, outcome)
            for caller in CALLERS
            for outcome in COMMON_OUTCOMES
            # A number that was not sent cannot be repeated.
            if not (caller in WITHOUT_NUMBER and outcome == "query rejected")
        ),
        *(("operator", outcome) for outcome in OTHER_OUTCOMES),
    ],
)
def test_nothing_secret_or_personal_leaves_the_package_whatever_happens(
    callers: Callers, connect_zoom: ConnectZoom, caller: str, outcome: str
) -> None:
    chosen = (COMMON_OUTCOMES | OTHER_OUTCOMES)[outcome]
    simulator = callers.zoom.simulator
    if isinstance(chosen, Fault):
        connect_zoom(callers.zoom, {"timeout": 0.3})
        # Before the fault that issues the confidential token.
        simulator.faults.insert(0, replace(chosen))
    else:
        connect_zoom(callers.zoom, **chosen)
        if "password" in chosen:
            simulator.faults = []
    getattr(callers, caller)()
    callers.output.assert_nothing_leaked()
    assert isinstance(chosen, dict) or simulator.faults[0].affected


def test_the_output_of_a_success_is_really_searched(callers: Callers) -> None:
    callers.operator()
    callers.output.assert_nothing_leaked()
    assert {"urllib3", "botocore", "airflow"} <= {name.split(".")[0] for name in callers.output.logs}
    # The masker is needed here.
    assert leaks(callers.output.logs[PATH_LOGGER]) == {FILTER_NUMBER}
    # The XCom and the asset event, the latter twice.
    assert sum("outside_interval" in text for text in callers.output.texts) >= 2
    assert leaks(callers.bucket.body("day.jsonl").decode()) == PERSONAL
    assert leaks(str(callers.bucket.manifest("day.jsonl"))) == set()


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
def test_an_upload_that_s3_rejects_reports_nothing_of_its_content(
    callers: Callers, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    parts = {"multipart_chunksize": 10_000} if operation == "UploadPart" else {}
    monkeypatch.setattr("airflow_provider_zcc.s3.upload.MIN_PART_SIZE", 10_000)
    with S3Proxy() as s3:
        s3.faults = [S3Fault(operation, status=403, code="AccessDenied")]
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(s3.url, **parts)))
        callers.operator()
    assert s3.faults[0].affected
    assert any("s3://" in text for text in callers.output.texts)
    callers.output.assert_nothing_leaked()


# The masker


@pytest.mark.parametrize("caller", CALLERS)
def test_secret_token_and_number_are_masked_before_they_are_used(callers: Callers, caller: str) -> None:
    simulator, seen = callers.zoom.simulator, dict[str, str]()

    def note(place: str, *values: str) -> bool:
        seen[place] = str(redact(" ".join([*values, quote_plus(FILTER_NUMBER), FILTER_NUMBER])))
        return True

    simulator._tokens.clear()
    simulator.faults = [
        Fault("hold", on="token", details={"until": lambda: note("token", SECRET)}),
        Fault("hold", on="api", details={"until": lambda: note("api", SECRET, *simulator._tokens)}),
    ]
    getattr(callers, caller)()
    number = f"{quote_plus(FILTER_NUMBER)} {FILTER_NUMBER}" if caller in WITHOUT_NUMBER else "*** ***"
    assert seen == {"token": f"*** {number}", "api": f"*** *** {number}"}


def test_a_token_that_replaces_an_expired_one_is_masked_before_it_is_used(callers: Callers) -> None:
    simulator, seen = callers.zoom.simulator, list[str]()
    simulator.faults = []
    hook = ZoomContactCenterHook()
    hook.count_engagements(START, END)
    simulator.end_tokens()

    def note() -> bool:
        seen.append(str(redact(" ".join(simulator._tokens))))
        return True

    simulator.faults = [Fault("hold", after=1, details={"until": note})]
    hook.count_engagements(START, END)
    assert seen == ["***"]
