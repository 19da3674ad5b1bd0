from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from airflow.providers.common.compat.sdk import AirflowException, Asset, TaskDeferred
from airflow.sdk._shared.secrets_masker import SecretsMasker, reset_secrets_masker
from airflow.sdk.log import redact
from airflow.triggers.base import TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
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
from tests.zoom_simulator.app import Request, ZoomSimulator
from tests.zoom_simulator.data import Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

# Values that occur nowhere else, so that whatever finds one has found a leak.

CLIENT_ID = "the-app"
SECRET = "kanarie/Secret+9=vogel&Q7"
BASIC = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
TOKEN = "eyJhbGciOiJIUzUxMiJ9.kanarie-Token_7Hq3xVb2.w0Z-sig"
WRONG_SECRET = "kanarie~Wrong~Secret~41"
ASKED_NUMBER = "+4930123454321"
NUMBER = "+4915799988776"
CONSUMER = "Zephyrine Øuillfeather"
AGENT = "Balthasar Nightjar-Okonkwo"
NOTE = 'Owes 7,411 kroner; ask for "Kanarievogel"\nafter nine, 李雷'
AWS_SECRET = "kanarie/Aws+Secret/0123456789"

MARKED = {
    "client secret": SECRET,
    "Authorization header of the token request": BASIC,
    "access token": TOKEN,
    "wrong client secret": WRONG_SECRET,
    "consumer number of the filter": ASKED_NUMBER,
    "number in a record": NUMBER,
    "consumer's name": CONSUMER,
    "agent's name": AGENT,
    "note": NOTE,
    "secret of the AWS connection": AWS_SECRET,
}


def forms(value: str) -> set[str]:
    """Return a value as it may look where it leaked."""
    values = {value, " ".join(value.split()), value.lstrip("+"), *(line for line in value.split("\n") if line)}
    found = set(values)
    for text in values:
        found |= {quote(text), quote(text, safe=""), quote_plus(text)}
        found |= {
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            repr(text)[1:-1],
            ascii(text)[1:-1],
        }
        # In base64 a value looks one of three ways, after as many bytes as stand before it; the ends depend on its
        # neighbours.
        for before in range(3):
            encoded = base64.b64encode(b"\0" * before + text.encode())[4 if before else 0 : -4].decode()
            found |= {encoded, encoded.translate(str.maketrans("+/", "-_"))}
    return {form for form in found if len(form) >= 8}


FORMS = {name: forms(value) for name, value in MARKED.items()}


def leaks(told: Mapping[str, str]) -> set[tuple[str, str]]:
    """Find marked values: which, and in which of the texts.

    :param told: texts by the place that they come from.
    """
    return {
        (name, place)
        for place, text in told.items()
        for name, shapes in FORMS.items()
        if any(s in text for s in shapes)
    }


@pytest.mark.parametrize("value", MARKED.values(), ids=MARKED.keys())
@pytest.mark.parametrize(
    "write",
    [
        str,
        quote,
        quote_plus,
        json.dumps,
        repr,
        lambda value: json.dumps({"a": [value]}, ensure_ascii=False),
        lambda value: base64.b64encode(value.encode()).decode(),
        lambda value: base64.urlsafe_b64encode(f"a:{value}:b".encode()).decode(),
        lambda value: base64.b64encode(f"ab:{value}".encode()).decode(),
        lambda value: " ".join(value.split()),
    ],
    ids=[
        "plain",
        "URL",
        "form",
        "JSON",
        "repr",
        "JSON in UTF-8",
        "base64",
        "base64, shifted",
        "base64, end",
        "one line",
    ],
)
def test_a_marked_value_is_found_however_it_is_written(value: str, write: Callable[[str], str]) -> None:
    assert leaks({"here": f"words before {write(value)} and after"}) != set()
    assert leaks({"here": "words before and after"}) == set()


# What is told: logs, errors, and what Airflow keeps


class Told:
    """All that leaves the package but for its two destinations.

    :param capfd: what is printed.
    :param structured: what Airflow's own loggers say.
    """

    def __init__(self, capfd: pytest.CaptureFixture[str], structured: list[Any]) -> None:
        self.logs: list[tuple[str, int, str]] = []
        self.texts: dict[str, str] = {}
        self._capfd = capfd
        self._structured = structured

    def error(self, error: BaseException) -> None:
        self.texts["traceback"] = "".join(traceback.format_exception(error))
        link: BaseException | None = error
        while link is not None:
            for place, text in (("str", str(link)), ("repr", repr(link)), ("args", repr(link.args))):
                self.texts[f"{place} of {type(link).__name__}"] = text
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)

    def objects(self, **objects: object) -> None:
        for name, found in objects.items():
            self.texts[name] = f"{found!r} {found}"

    def task(self, task: Any, context: dict[str, Any]) -> None:
        shown = {name: getattr(task, name) for name in task.template_fields}
        self.texts["rendered template fields"] = str(shown)
        self.texts["XComs"] = str(context["ti"].mock_calls)
        events = [context["outlet_events"][asset] for asset in task.outlets]
        self.texts["asset events"] = str([(event, event.extra) for event in events])
        self.objects(task=task)

    def deferral(self, deferral: TaskDeferred) -> None:
        self.texts["trigger"] = f"{deferral.trigger.serialize()} {deferral.trigger!r}"
        self.texts["deferral"] = f"{deferral.kwargs} {deferral.method_name} {deferral.timeout}"

    def assert_nothing_leaked(self) -> None:
        """Everything is clean as it is, and the log once Airflow's masker went over it."""
        self._listen_to_the_end()
        assert leaks(self.texts) == set()
        assert leaks({f"{name}: {redact(text)}": str(redact(text)) for name, _, text in self.logs}) == set()
        assert self.leaks_without_the_masker() <= {URLLIB3_TELLS_THE_PATH}

    def leaks_without_the_masker(self) -> set[tuple[str, str, int]]:
        return {(leak, name, level) for name, level, text in self.logs for leak, _ in leaks({name: text})}

    def _listen_to_the_end(self) -> None:
        self.logs += [(str(entry.get("logger", "airflow")), logging.INFO, str(entry)) for entry in self._structured]
        self.logs.append(("console", logging.INFO, "".join(self._capfd.readouterr())))


LOGGERS = ("urllib3", "requests", "botocore", "boto3", "s3transfer", "airflow", "airflow.task", "airflow_provider_zcc")
#: The simulator and moto run in this process too, and log what they get.
OF_THE_SERVERS = ("uvicorn", "werkzeug", "moto", "asyncio")
#: The one thing that the masker is needed for.
URLLIB3_TELLS_THE_PATH = ("consumer number of the filter", "urllib3.connectionpool", logging.DEBUG)


class Collector(logging.Handler):
    """Keeps each record as its message and as a line with its traceback."""

    def __init__(self, told: Told) -> None:
        super().__init__(logging.NOTSET)
        self._told = told
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s %(pathname)s %(threadName)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(OF_THE_SERVERS):
            return
        text = f"{record.getMessage()}\n{self.format(record)}\n{record.args!r}"
        self._told.logs.append((record.name, record.levelno, text))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Told]:
    """What is told from now on, with every logger at DEBUG, and a masker that knows no secret yet."""
    reset_secrets_masker()
    with structlog.testing.capture_logs() as structured:
        told = Told(capfd, structured)
        collector = Collector(told)
        monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
        root = logging.getLogger()
        for logger in (root, *map(logging.getLogger, {*LOGGERS, *logging.root.manager.loggerDict})):
            monkeypatch.setattr(logger, "disabled", False)
            monkeypatch.setattr(logger, "level", logging.DEBUG)
            if logger is root or not logger.propagate:
                monkeypatch.setattr(logger, "handlers", [*logger.handlers, collector])
            logger._cache.clear()
        yield told
    reset_secrets_masker()


# Zoom, whose records and whose answers hold marked values


class MarkedEngagements(Engagements):
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


ENGAGEMENTS = MarkedEngagements.of_a_contact_centre(2_000, 10, end=END)


@pytest.fixture
def marked_zoom(start_zoom: StartZoom) -> SimulatorServer:
    """A simulator whose token and records are marked; ``zcc_default`` leads to it."""
    server = start_zoom(MarkedEngagements(ENGAGEMENTS.starts), client_id=CLIENT_ID, client_secret=SECRET)
    server.simulator._tokens[TOKEN] = float("inf")
    server.simulator.faults = [issuing({"access_token": TOKEN, "expires_in": 3_599})]
    return server


def befall(server: SimulatorServer, *faults: Fault) -> None:
    """Add faults, those of the token endpoint in place of what it answers else."""
    kept = [] if any(fault.on == "token" for fault in faults) else server.simulator.faults
    server.simulator.faults = [*faults, *kept]


# Who asks Zoom


class OneCheckIsEnough(Exception):
    """A trigger would go on to ask."""


async def end_rather_than_sleep(_: float) -> None:
    raise OneCheckIsEnough


@dataclass
class World:
    """What those who ask need.

    :param zoom: the simulator.
    :param bucket: where objects go.
    :param told: what is told meanwhile.
    """

    zoom: SimulatorServer
    bucket: Bucket
    told: Told

    def operator(self, **arguments: Any) -> None:
        chosen = {"s3_bucket": self.bucket.name, "s3_key": "day.jsonl", "start": START, "end": END} | arguments
        task = EngagementsToS3Operator(
            task_id="task", consumer_number="{{ params.number }}", outlets=[Asset("s3://lake/day.jsonl")], **chosen
        )
        self._run(task, task.execute)

    def deferrable_operator(self) -> None:
        self.operator(deferrable=True)

    def lenient_operator(self) -> None:
        self.operator(on_incomplete="warn", s3_key="day.jsonl.gz")

    def sensor(self) -> None:
        task = EngagementsSensor(task_id="task", consumer_number="{{ params.number }}", start=START, end=END)
        self._run(task, task.poke)

    def deferrable_sensor(self) -> None:
        # With a number, it would not be deferred.
        task = EngagementsSensor(task_id="task", start=START, end=END, min_engagements=10**9, deferrable=True)
        self._run(task, task.execute)

    def trigger(self) -> None:
        trigger = EngagementsTrigger(consumer_number=ASKED_NUMBER, start=START, end=END)

        async def events() -> list[TriggerEvent]:
            return [event async for event in trigger.run()]

        with suppress(OneCheckIsEnough):
            self.told.objects(events=asyncio.run(events()))
        self.told.objects(trigger=trigger)

    def connection_test(self) -> None:
        hook = ZoomContactCenterHook()
        self.told.texts["connection test"] = str(hook.test_connection())

    def counting_hook(self) -> None:
        self._ask(lambda hook: hook.count_engagements(START, END, consumer_number=ASKED_NUMBER))

    def reading_hook(self) -> None:
        self._ask(lambda hook: sum(1 for _ in hook.iter_engagements(START, END, consumer_number=ASKED_NUMBER)))

    def _ask(self, ask: Callable[[ZoomContactCenterHook], object]) -> None:
        hook = ZoomContactCenterHook()
        try:
            self.told.objects(answer=ask(hook))
        except (ZoomError, AirflowException) as error:
            self.told.error(error)
        self.told.objects(hook=hook)

    def _run(self, task: Any, do: Callable[[Any], object]) -> None:
        context = context_of(params={"number": ASKED_NUMBER})
        task.render_template_fields(context)
        try:
            self.told.objects(result=do(context))
        except TaskDeferred as deferral:
            self.told.deferral(deferral)
        except (AirflowException, ClientError, BotoCoreError) as error:
            self.told.error(error)
        self.told.task(task, context)


@pytest.fixture
def world(marked_zoom: SimulatorServer, bucket: Bucket, told: Told, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(bucket.client.meta.endpoint_url)))
    sleeping = SimpleNamespace(**{**vars(asyncio), "sleep": end_rather_than_sleep})
    monkeypatch.setattr("airflow_provider_zcc.triggers.engagements.asyncio", sleeping)
    return World(marked_zoom, bucket, told)


def aws_connection(url: str, **transfer: int) -> dict[str, Any]:
    extra = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "config_kwargs": {"retries": {"max_attempts": 0}},
        "service_config": {"s3": {"transfer_config_args": transfer}},
    }
    return {"conn_type": "aws", "login": "simulated", "password": AWS_SECRET, "extra": extra}


WHO = (
    "operator",
    "lenient_operator",
    "deferrable_operator",
    "sensor",
    "deferrable_sensor",
    "trigger",
    "connection_test",
    "counting_hook",
    "reading_hook",
)
WITHOUT_NUMBER = ("deferrable_sensor", "connection_test")

# What may happen

#: What a server may say back of the request that it got.
ECHO = f"{ASKED_NUMBER} {quote(ASKED_NUMBER)} {ASKED_NUMBER[1:]} {TOKEN} Bearer {TOKEN}"
#: Some ask for no number.
ECHO_WITHOUT_NUMBER = f"{TOKEN} Bearer {TOKEN}"
#: What a page may hold, or a server's error in words that are not quoted.
PEOPLE = f"{CONSUMER} {AGENT} {NUMBER} {NOTE} {ECHO} {SECRET} {BASIC}"
RECORD = {"engagement_id": "e1", "consumers": [{"consumer_display_name": CONSUMER, "consumer_number": NUMBER}]}
PAGE = json.dumps({"total_records": 2, "engagements": [RECORD, RECORD | {"notes": [{"note": NOTE}]}]})
GZIP = gzip.compress(PAGE.encode())


def answering(status: int, body: object, on: str = "api", **headers: str) -> Fault:
    return Fault("answer", on=on, times=-1, details={"status": status, "body": body, "headers": headers})


def issuing(body: object, status: int = 200, **headers: str) -> Fault:
    return answering(status, body, on="token", **headers)


def refused(echo: str, status: int, code: int | None, **more: object) -> Fault:
    return answering(status, {"code": code, "message": f"Invalid: {echo}", **more})


def outcomes(echo: str) -> dict[str, list[Fault]]:
    """Return what may happen, by a name.

    :param echo: what the API repeats of a request when it complains of it.
    """
    return {
        "success": [],
        "token refused, 401 with echo": [issuing({"error": "invalid_client", "reason": f"Wrong: {SECRET}"}, 401)],
        "token refused, 400 with echo": [issuing({"error": f"not_{SECRET}", "error_description": SECRET}, 400)],
        "token refused, 403 with echo": [issuing({"code": SECRET, "message": f"No: {SECRET}"}, 403)],
        "token endpoint not found": [issuing(f"<html>{PEOPLE}</html>", 404)],
        "token endpoint limited": [issuing({"reason": f"Slow down, {SECRET}"}, 429)],
        "token endpoint limited for the day": [
            issuing({"reason": f"Slow down, {SECRET}"}, 429, **{"Retry-After": "2099-01-01T00:00:00Z"})
        ],
        "token endpoint broken": [issuing({"reason": f"Internal error: {SECRET}"}, 500)],
        "token endpoint speaks HTML": [issuing(f"<html>{PEOPLE}</html>", 502)],
        "token endpoint resets": [Fault("reset", on="token", times=-1)],
        "token endpoint cuts": [Fault("cut", on="token", times=-1)],
        "token endpoint redirects": [issuing(b"", 302, location=f"https://example.com/?{quote_plus(SECRET)}")],
        "token unusable": [issuing({"access_token": f"{TOKEN}\n", "refresh_token": TOKEN})],
        "token broken JSON": [issuing(f'{{"access_token": "{TOKEN}", "scope": "{TOKEN}')],
        "access token refused": [refused(echo, 401, 124)],
        "access token refused in other words": [
            answering(401, {"status": False, "errorCode": 401, "errorMessage": echo})
        ],
        "access token refused in HTML": [answering(401, f"<html>{PEOPLE}</html>")],
        "scope missing": [refused(echo, 400, 4711)],
        "query refused": [refused(echo, 400, 300, errors=[{"field": echo, "message": echo}, echo])],
        "query refused with a code of words": [answering(400, {"code": echo, "message": echo})],
        "no permission": [refused(echo, 401, 1601)],
        "no role": [refused(echo, 403, 9001)],
        "not found": [refused(echo, 404, 1001)],
        "not found in HTML": [answering(404, f"<html>{PEOPLE}</html>")],
        "limited for a second": [refused(echo, 429, 4001)],
        "limited for a second in HTML": [answering(429, f"<html>{PEOPLE}</html>")],
        "limited until nobody knows when": [answering(429, {"message": echo}, **{"Retry-After": TOKEN})],
        "limited for the day": [daily_limit_until(hours_from_now(6))],
        "limited for the day with echo": [
            answering(429, {"message": echo}, **{"Retry-After": "2099-01-01T00:00:00Z"})
        ],
        "limited for the day in the middle": [daily_limit_until(hours_from_now(6), after=2)],
        "broken": [refused(echo, 500, 500)],
        "broken in HTML": [answering(503, f"<html>{PEOPLE}</html>")],
        "maintenance": [answering(200, f"<html>{PEOPLE}</html>")],
        "other JSON": [answering(200, [PEOPLE])],
        "engagements are words": [answering(200, {"engagements": PEOPLE})],
        "engagement is a word": [answering(200, {"total_records": 1, "engagements": [PEOPLE]})],
        "total is words": [answering(200, {"total_records": PEOPLE, "engagements": []})],
        "total is absent": [answering(200, {"engagements": None, "message": PEOPLE})],
        "broken in the middle of a record": [answering(200, PAGE[: PAGE.index(NUMBER) + 5])],
        "broken behind a name": [answering(200, PAGE.replace('"consumer_number"', "x", 1))],
        "not UTF-8": [answering(200, PAGE.encode().replace(b"e1", b"\xff"))],
        "page broken in the middle": [answering(200, PAGE[:-9], on="next")],
        "page refused in the middle": [answering(400, {"code": 300, "message": echo}, on="next")],
        "page token dead": [
            answering(400, {"code": 300, "message": f"The next page token is invalid: {echo}"}, on="next")
        ],
        "reset": [Fault("reset", times=-1)],
        "reset in the middle": [Fault("reset", on="next", times=-1)],
        "cut": [Fault("cut", times=-1)],
        "torn": [Fault("torn", times=-1)],
        "silence": [Fault("stall", times=-1, details={"seconds": 0.8})],
        "gzip that is none": [answering(200, PAGE, **{"Content-Encoding": "gzip"})],
        "gzip that ends early": [answering(200, GZIP[:-20], **{"Content-Encoding": "gzip"})],
        "gzip with a wrong checksum": [answering(200, GZIP[:-8] + bytes(8), **{"Content-Encoding": "gzip"})],
        "redirect": [answering(307, b"", location=f"https://example.com/?{quote_plus(echo)}")],
        "incomplete": [Fault("page", times=-1, details={"total_records": 2_000})],
        "range cut": [Fault("page", times=-1, details={"from": "2026-11-03T05:00:00Z", "note": PEOPLE})],
        "range unreadable": [Fault("page", times=-1, details={"from": PEOPLE, "to": echo, "timezone": CONSUMER})],
        "pages that come again": [Fault("again", on="next", times=-1)],
        "pages that begin again": [Fault("loop", times=-1)],
        "records that come twice": [Fault("doubled", times=-1)],
        "engagements that arrive meanwhile": [
            Fault("arrival", on="next", details={"starts": [int(END.timestamp()) - 1] * 7})
        ],
        "last pages lost": [Fault("page", times=-1, details={"next_page_token": ""})],
        "last pages lost once": [Fault("page", details={"next_page_token": ""})],
    }  # fmt: skip


#: Who reads no second page has nothing to tell of it.
OF_LATER_PAGES = {
    "limited for the day in the middle", "page broken in the middle", "page refused in the middle", "page token dead",
    "reset in the middle", "incomplete", "range cut", "range unreadable", "pages that come again",
    "pages that begin again", "records that come twice", "engagements that arrive meanwhile", "last pages lost",
    "last pages lost once",
}  # fmt: skip


def who_may_meet(outcome: str) -> list[str]:
    """Leave out those who would do the same as another."""
    who = ["operator", "reading_hook"]
    if outcome not in OF_LATER_PAGES:
        who += ["sensor", "deferrable_sensor", "trigger", "connection_test"]
    if "limited" in outcome:
        who += ["deferrable_operator"]
    if outcome in ("incomplete", "range cut", "range unreadable", "last pages lost"):
        who += ["lenient_operator"]
    return who


@pytest.mark.parametrize(
    ("outcome", "who"),
    [(outcome, who) for outcome in outcomes(ECHO) for who in who_may_meet(outcome)],
)
def test_nothing_secret_or_personal_is_told_whatever_zoom_answers(
    world: World, connect_zoom: ConnectZoom, outcome: str, who: str
) -> None:
    faults = outcomes(ECHO_WITHOUT_NUMBER if who in WITHOUT_NUMBER else ECHO)[outcome]
    befall(world.zoom, *faults)
    if outcome == "silence":
        connect_zoom(world.zoom, {"timeout": 0.3})

    getattr(world, who)()

    assert [fault for fault in faults if not fault.befell] == []
    assert world.zoom.simulator.stats.token_requests > 0
    world.told.assert_nothing_leaked()


@pytest.mark.parametrize("who", WHO)
def test_wrong_credentials_are_not_told(world: World, connect_zoom: ConnectZoom, who: str) -> None:
    world.zoom.simulator.faults = []
    connect_zoom(world.zoom, password=WRONG_SECRET)

    getattr(world, who)()

    assert "Invalid client_id or client_secret" in str(world.told.texts)
    world.told.assert_nothing_leaked()


@pytest.mark.parametrize("who", WHO)
def test_an_api_that_cannot_be_reached_is_told_without_the_path_of_the_request(
    world: World, connect_zoom: ConnectZoom, who: str
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        connect_zoom(world.zoom, host=f"http://127.0.0.1:{nobody.getsockname()[1]}/v2")

        getattr(world, who)()

    assert "Could not connect" in f"{world.told.texts} {world.told.logs}"
    world.told.assert_nothing_leaked()


@pytest.mark.parametrize("who", WHO)
def test_the_masker_is_needed_for_the_paths_that_urllib3_logs_and_for_nothing_else(world: World, who: str) -> None:
    getattr(world, who)()

    world.told.assert_nothing_leaked()
    expected = set() if who in WITHOUT_NUMBER else {URLLIB3_TELLS_THE_PATH}
    assert world.told.leaks_without_the_masker() == expected
    assert "/contact_center/engagements" in str(world.told.logs)


def test_what_is_told_of_a_success_is_really_looked_at(world: World) -> None:
    world.operator()

    world.told.assert_nothing_leaked()
    loggers = {name.split(".")[0] for name, _, _ in world.told.logs}
    assert {"urllib3", "botocore", "airflow", "console"} <= loggers
    assert "Reading the engagements from" in str(world.told.logs)
    for place in ("XComs", "asset events"):
        assert "outside_interval" in world.told.texts[place]
    written = world.bucket.body("day.jsonl").decode()
    assert leaks({"object": written}) == {
        (name, "object") for name in ("number in a record", "consumer's name", "agent's name", "note")
    }


def test_a_deferred_task_tells_its_trigger_the_time_and_no_more(world: World) -> None:
    befall(world.zoom, *outcomes(ECHO)["limited for the day"])

    world.deferrable_operator()

    world.told.assert_nothing_leaked()
    assert "moment" in world.told.texts["trigger"]


# S3


class FailingS3:
    """An S3 server whose bucket is there, and which refuses what is put into it.

    :param status: of the refusal; 0 closes the connection instead.
    """

    def __init__(self, status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(200, b"")

            def do_PUT(self) -> None:
                if "100-continue" in self.headers.get("Expect", ""):
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.close_connection = True
                self.rfile.read1(1_000)
                if status:
                    words = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                    self._answer(status, words)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("status", [403, 500, 503, 0])
def test_an_upload_that_s3_refuses_tells_nothing_of_what_it_held(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    s3 = FailingS3(status)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(s3.url)))

    world.operator()
    s3.close()

    assert "s3://" in world.told.texts["traceback"]
    world.told.assert_nothing_leaked()


@pytest.mark.parametrize(
    "make",
    [
        partial(S3Fault, "UploadPart", status=403, code="AccessDenied"),
        partial(S3Fault, "UploadPart", status=500, code="InternalError"),
        partial(S3Fault, "UploadPart", reset=True),
        partial(S3Fault, "CompleteMultipartUpload", status=403, code="AccessDenied"),
    ],
    ids=["part denied", "part fails", "part reset", "completion denied"],
)
def test_a_multipart_upload_that_s3_refuses_tells_nothing_of_what_it_held(
    world: World, monkeypatch: pytest.MonkeyPatch, make: Callable[[], S3Fault]
) -> None:
    with S3Proxy(world.bucket.client.meta.endpoint_url) as s3:
        s3.faults = [make()]
        monkeypatch.setattr("airflow_provider_zcc.s3.upload.MIN_PART_SIZE", 10_000)
        connection = aws_connection(s3.url, multipart_chunksize=10_000)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))

        world.operator()

    assert s3.faults[0].befell
    assert "s3://" in world.told.texts["traceback"]
    world.told.assert_nothing_leaked()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"s3_bucket": "no-such-bucket"}, "does not exist"),
        ({"replace": False}, "exists and replace is False"),
        ({"aws_conn_id": "nowhere"}, "Looking up the bucket"),
    ],
)
def test_an_s3_that_cannot_be_written_to_makes_nobody_tell_anything(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], words: str
) -> None:
    world.bucket.put("day.jsonl", b"old")
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps(aws_connection("http://127.0.0.1:9")))

    world.operator(**arguments)

    assert words in world.told.texts["traceback"]
    world.told.assert_nothing_leaked()


# What Airflow keeps and shows


def test_no_object_shows_what_it_knows(world: World) -> None:
    hook = ZoomContactCenterHook()
    reader = hook.reader(START, END, consumer_number=ASKED_NUMBER)
    assert sum(chunk.count(b"\n") for chunk in reader.chunks()) > 0
    client, settings = hook._client, hook._settings
    session = hook.get_conn()

    world.told.objects(
        hook=hook,
        client=client,
        settings=settings,
        credentials=settings.credentials,
        session=session,
        auth=session.auth,
        token_source=session.auth._source,
        limiter=client._rate_limiter,
        reader=reader,
        counts=reader.counts,
        query=reader._query,
        filters=reader._query.filters,
    )
    world.told.assert_nothing_leaked()


# The masker


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch, told: Told) -> list[str]:  # noqa: ARG001
    """What is masked and which requests arrive, in order, beginning with a masker that knows nothing."""
    happened: list[str] = []
    mask, reply = SecretsMasker.add_mask, ZoomSimulator._reply

    def note_and_mask(masker: SecretsMasker, secret: Any, name: str | None = None) -> None:
        if isinstance(secret, str):
            happened.append(f"masked {secret}")
        mask(masker, secret, name)

    async def note_and_reply(simulator: ZoomSimulator, request: Request, send: Any) -> None:
        happened.append(f"asked {request.path}")
        await reply(simulator, request, send)

    monkeypatch.setattr(SecretsMasker, "add_mask", note_and_mask)
    monkeypatch.setattr(ZoomSimulator, "_reply", note_and_reply)
    return happened


ASKED_FOR_TOKEN, ASKED_API = "asked /oauth/token", "asked /v2/contact_center/engagements"


@pytest.mark.parametrize("who", WHO)
def test_secret_token_and_number_are_masked_before_they_are_used(world: World, order: list[str], who: str) -> None:
    getattr(world, who)()

    assert order.index(f"masked {SECRET}") < order.index(ASKED_FOR_TOKEN)
    assert order.index(f"masked {TOKEN}") < order.index(ASKED_API)
    if who not in WITHOUT_NUMBER:
        assert order.index(f"masked {ASKED_NUMBER}") < order.index(ASKED_FOR_TOKEN)
        assert order.index(f"masked {quote_plus(ASKED_NUMBER)}") < order.index(ASKED_FOR_TOKEN)
    assert redact(f"{SECRET} {TOKEN}") == "*** ***"


def test_a_token_that_replaces_one_that_ended_is_masked_before_it_is_used(
    start_zoom: StartZoom, order: list[str]
) -> None:
    server = start_zoom()
    hook = ZoomContactCenterHook()
    hook.count_engagements(START, END)
    server.simulator.end_tokens()
    order.clear()

    hook.count_engagements(START, END)

    [token] = server.simulator._tokens
    assert order == [ASKED_API, ASKED_FOR_TOKEN, f"masked {token}", ASKED_API]


def test_the_authorization_header_of_the_token_request_is_not_told_when_it_comes_back(world: World) -> None:
    befall(world.zoom, issuing({"error": "invalid_client", "reason": f"Bad header: Basic {BASIC}"}, 401))
    world.operator()
    world.told.assert_nothing_leaked()
