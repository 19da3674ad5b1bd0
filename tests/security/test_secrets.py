"""Nothing secret or personal leaves the package but for its two destinations, and the masker knows each secret."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

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

# Values that occur nowhere else, so that whatever finds one has found a leak.

CLIENT_ID = "the-app"
SECRET = "kanarie/Secret+9=vogel&Q7"
BASIC = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
TOKEN = "eyJhbGciOiJIUzUxMiJ9.kanarie-Token_7Hq3xVb2.w0Z-sig"
WRONG_SECRET = "kanarie~Wrong~Secret~41"
FILTER_NUMBER = "+4930123454321"
NUMBER = "+4915799988776"
CONSUMER = "Zephyrine Øuillfeather"
AGENT = "Balthasar Nightjar-Okonkwo"
NOTE = 'Owes 7,411 kroner; ask for "Kanarievogel"\nafter nine, 李雷'
AWS_SECRET = "kanarie/Aws+Secret/0123456789"

PERSONAL = {"number in a record": NUMBER, "consumer's name": CONSUMER, "agent's name": AGENT, "note": NOTE}
MARKED = PERSONAL | {
    "client secret": SECRET,
    "Authorization header of the token request": BASIC,
    "access token": TOKEN,
    "wrong client secret": WRONG_SECRET,
    "consumer number of the filter": FILTER_NUMBER,
    "secret of the AWS connection": AWS_SECRET,
}


def spellings(value: str) -> set[str]:
    """Return a value as it may look where it leaked."""
    texts = {value, " ".join(value.split()), value.lstrip("+"), *value.split("\n")}
    spell = (str, quote, quote_plus, repr, ascii, json.dumps, lambda text: json.dumps(text, ensure_ascii=False))
    return {write(text).strip("\"'") for text in texts for write in spell}


SPELLINGS = {name: spellings(value) for name, value in MARKED.items()}


def leaks(texts: Mapping[str, str]) -> set[tuple[str, str]]:
    """Find marked values: which, and in which of the texts.

    :param texts: by the place that they come from.
    """
    return {
        (name, place)
        for place, text in texts.items()
        for name, spelled in SPELLINGS.items()
        if any(spelling in text for spelling in spelled)
    }


# What the package puts out: logs, errors, and what Airflow keeps

#: The simulator and moto run in this process too, and log what they get.
SERVER_LOGGERS = ("uvicorn", "werkzeug", "moto", "asyncio")
#: The one thing that the masker is needed for.
PATH_LOGGED_BY_URLLIB3 = ("consumer number of the filter", "urllib3.connectionpool", logging.DEBUG)


@dataclass
class Output:
    """All that leaves the package but for its two destinations.

    :param caplog: the records of every logger.
    :param capfd: what is printed.
    :param structured: the entries of Airflow's own loggers.
    :param texts: the rest, by the place that it comes from.
    """

    caplog: pytest.LogCaptureFixture
    capfd: pytest.CaptureFixture[str]
    structured: list[Any]
    texts: dict[str, str] = field(default_factory=dict)

    def add_error(self, error: BaseException) -> None:
        self.texts["traceback"] = "".join(traceback.format_exception(error))
        link: BaseException | None = error
        while link is not None:
            self.texts[f"{type(link).__name__}"] = f"{link} {link!r} {link.args!r}"
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)

    def add_objects(self, **objects: object) -> None:
        self.texts |= {name: f"{found!r} {found}" for name, found in objects.items()}

    def add_task(self, task: Any, context: dict[str, Any]) -> None:
        self.texts["rendered template fields"] = str({name: getattr(task, name) for name in task.template_fields})
        self.texts["XComs"] = str(context["ti"].xcoms)
        events = [context["outlet_events"][asset] for asset in task.outlets]
        self.texts["asset events"] = str([(event, event.extra) for event in events])
        self.add_objects(task=task)

    def assert_nothing_leaked(self) -> None:
        """Everything is clean as it is, and the log after Airflow's masker has processed it."""
        self.logs = [
            (record.name, record.levelno, f"{self.caplog.handler.format(record)} {record.args!r}")
            for record in self.caplog.get_records("call")
            if not record.name.startswith(SERVER_LOGGERS)
        ]
        printed = "".join(self.capfd.readouterr())
        self.logs += [("airflow", logging.INFO, str(entry)) for entry in (*self.structured, printed)]
        self.leaks_without_the_masker = {
            (leak, name, level) for name, level, text in self.logs for leak, _ in leaks({name: text})
        }
        assert leaks(self.texts) == set()
        assert leaks({f"{name}: {redact(text)}": str(redact(text)) for name, _, text in self.logs}) == set()
        assert self.leaks_without_the_masker <= {PATH_LOGGED_BY_URLLIB3}


@pytest.fixture
def output(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Output]:
    """What is put out from now on, with every logger at DEBUG, and a masker that knows no secret yet."""
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


# Zoom, whose records and whose responses hold marked values


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

    def operator(self, **arguments: Any) -> EngagementsToS3Operator:
        chosen = {"s3_bucket": self.bucket.name, "s3_key": "day.jsonl", "start": START, "end": END} | arguments
        task = EngagementsToS3Operator(
            task_id="task", consumer_number="{{ params.number }}", outlets=[Asset("s3://lake/day.jsonl")], **chosen
        )
        self._run(task, task.execute)
        return task

    def lenient_operator(self) -> None:
        self.operator(on_incomplete="warn", s3_key="day.jsonl.gz")

    def deferrable_operator(self) -> None:
        self.operator(deferrable=True)

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
            self.output.add_objects(event=asyncio.run(first_event()))
        self.output.add_objects(trigger=trigger)

    def connection_test(self) -> None:
        self.output.texts["connection test"] = str(ZoomContactCenterHook().test_connection())

    def counting_hook(self) -> None:
        self._call(lambda hook: hook.count_engagements(START, END, consumer_number=FILTER_NUMBER))

    def reading_hook(self) -> None:
        self._call(lambda hook: sum(1 for _ in hook.iter_engagements(START, END, consumer_number=FILTER_NUMBER)))

    def _call(self, call: Callable[[ZoomContactCenterHook], object]) -> None:
        hook = ZoomContactCenterHook()
        try:
            self.output.add_objects(result=call(hook))
        except (ZoomError, AirflowException) as error:
            self.output.add_error(error)
        self.output.add_objects(hook=hook)

    def _run(self, task: Any, do: Callable[[Any], object]) -> None:
        context = context_of(params={"number": FILTER_NUMBER})
        task.render_template_fields(context)
        try:
            self.output.add_objects(result=do(context))
        except TaskDeferred as deferral:
            self.output.texts["trigger"] = f"{deferral.trigger.serialize()} {deferral.trigger!r}"
            self.output.texts["deferral"] = f"{deferral.kwargs} {deferral.method_name} {deferral.timeout}"
        except AirflowException as error:
            self.output.add_error(error)
        self.output.add_task(task, context)


CALLERS = [name for name in vars(Callers) if not name.startswith("_")]
WITHOUT_NUMBER = ("deferrable_sensor", "connection_test")


@pytest.fixture
def callers(marked_zoom: SimulatorServer, bucket: Bucket, output: Output, monkeypatch: pytest.MonkeyPatch) -> Callers:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(bucket.client.meta.endpoint_url)))
    return Callers(marked_zoom, bucket, output)


def aws_connection(url: str, **transfer: int) -> dict[str, Any]:
    extra = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "config_kwargs": {"retries": {"max_attempts": 0}},
        "service_config": {"s3": {"transfer_config_args": transfer}},
    }
    return {"conn_type": "aws", "login": "simulated", "password": AWS_SECRET, "extra": extra}


# What may happen

#: What a server may repeat of the request that it got.
ECHO = f"{FILTER_NUMBER} {quote(FILTER_NUMBER)} {TOKEN} Bearer {TOKEN}"
#: What a page may hold, or a server's error.
PEOPLE = f"{CONSUMER} {AGENT} {NUMBER} {NOTE} {ECHO} {SECRET} {BASIC}"
HTML = f"<html>{PEOPLE}</html>"
RECORD = {"engagement_id": "e1", "consumers": [{"consumer_display_name": CONSUMER, "consumer_number": NUMBER}]}
PAGE = json.dumps({"total_records": 2, "engagements": [RECORD, RECORD | {"notes": [{"note": NOTE}]}]})


@dataclass(frozen=True)
class Response:
    """What Zoom responds from now on.

    :param body: text, or what is sent as JSON.
    :param on: the requests that get it, as in :attr:`Fault.on`.
    """

    status: int
    body: object
    headers: dict[str, str] = field(default_factory=dict)
    on: str = "api"

    def fault(self) -> Fault:
        return Fault(
            "answer", self.on, times=-1, details={key: getattr(self, key) for key in ("status", "body", "headers")}
        )


def error(status: int, code: object, message: str = ECHO, on: str = "api", **more: object) -> Response:
    return Response(status, {"code": code, "message": f"Invalid: {message}", **more}, on=on)


def fault(kind: str, on: str = "api", **details: object) -> Callable[[], Fault]:
    return lambda: Fault(kind, on, times=-1, details=details)


#: What may happen to any call: a fault, or a connection that is wrong.
OUTCOMES_OF_ANY_CALL: dict[str, Callable[[], Fault] | dict[str, str]] = {
    "credentials rejected": Response(
        401, {"error": f"not_{SECRET}", "reason": f"Bad: {SECRET} {BASIC}"}, on="token"
    ).fault,
    "token endpoint responds with HTML": Response(502, HTML, on="token").fault,
    "token unusable": Response(200, {"access_token": f"{TOKEN}\n", "refresh_token": TOKEN}, on="token").fault,
    "token rejected with echo": Response(401, {"status": False, "errorCode": 401, "errorMessage": ECHO}).fault,
    "query rejected with echo": error(400, 300, errors=[{"field": ECHO, "message": ECHO}, ECHO]).fault,
    "limited for the day": lambda: daily_limit_until(hours_from_now(6)),
    "page is HTML": Response(200, HTML).fault,
    "total too high": fault("page", total_records=2_000),
    "credentials wrong": {"password": WRONG_SECRET},
    "API out of reach": {"host": "http://127.0.0.1:9/v2"},
}
#: What ends in the same code, whatever calls Zoom: the operator stands for all.
OTHER_OUTCOMES: dict[str, Callable[[], Fault]] = {
    "token endpoint limited": Response(429, {"reason": f"Slow down, {SECRET}"}, on="token").fault,
    "token endpoint fails": Response(500, {"reason": f"Internal error: {SECRET}"}, on="token").fault,
    "token endpoint cuts": fault("cut", "token"),
    "token endpoint redirects": Response(
        302, b"", {"location": f"https://example.com/?{quote_plus(SECRET)}"}, "token"
    ).fault,
    "token response is broken JSON": Response(200, f'{{"access_token": "{TOKEN}", "scope": "{TOKEN}', on="token").fault,
    "access token rejected": error(401, 124).fault,
    "access token rejected in HTML": Response(401, HTML).fault,
    "scope missing": error(400, 4711).fault,
    "code of words": error(400, ECHO).fault,
    "no role": error(403, 9001).fault,
    "not found in HTML": Response(404, HTML).fault,
    "throttled": error(429, 4001).fault,
    "throttled until nobody knows when": Response(429, {"message": ECHO}, {"Retry-After": TOKEN}).fault,
    "limited for years": Response(429, {"message": ECHO}, {"Retry-After": "2099-01-01T00:00:00Z"}).fault,
    "fails": error(500, 500).fault,
    "page is a list": Response(200, [PEOPLE]).fault,
    "engagements are words": Response(200, {"engagements": PEOPLE}).fault,
    "engagement is a word": Response(200, {"total_records": 1, "engagements": [PEOPLE]}).fault,
    "total is words": Response(200, {"total_records": PEOPLE, "engagements": []}).fault,
    "total is absent": Response(200, {"engagements": None, "message": PEOPLE}).fault,
    "range unreadable": fault("page", **{"from": PEOPLE, "to": ECHO, "timezone": CONSUMER}),
    "page broken within a record": Response(200, PAGE[: PAGE.index(NUMBER) + 5]).fault,
    "page not UTF-8": Response(200, PAGE.encode().replace(b"e1", b"\xff")).fault,
    "page token expired": error(400, 300, f"The next page token is invalid: {ECHO}", on="next").fault,
    "reset": fault("reset"),
    "torn": fault("torn"),
    "no response": fault("stall", seconds=0.8),
    "gzip ends early": Response(200, gzip.compress(PAGE.encode())[:-20], {"Content-Encoding": "gzip"}).fault,
    "redirect": Response(307, b"", {"location": f"https://example.com/?{quote_plus(ECHO)}"}).fault,
    "pages that come again": fault("again", "next"),
    "records that come twice": fault("doubled"),
    "last pages lost": fault("page", next_page_token=""),
}


@pytest.mark.parametrize(
    ("caller", "outcome"),
    [
        *(
            (caller, outcome)
            for caller in CALLERS
            for outcome in OUTCOMES_OF_ANY_CALL
            # What was not sent cannot be repeated.
            if not (caller in WITHOUT_NUMBER and outcome.endswith("with echo"))
        ),
        *(("operator", outcome) for outcome in OTHER_OUTCOMES),
    ],
)
def test_nothing_secret_or_personal_is_put_out_whatever_happens(
    callers: Callers, connect_zoom: ConnectZoom, caller: str, outcome: str
) -> None:
    chosen = (OUTCOMES_OF_ANY_CALL | OTHER_OUTCOMES)[outcome]
    connection = chosen if isinstance(chosen, dict) else {}
    connect_zoom(callers.zoom, {"timeout": 0.3}, **connection)
    faults = [] if isinstance(chosen, dict) else [chosen()]
    # Without a fault of its own, the token endpoint issues the marked token.
    if "password" not in connection and not any(fault.on == "token" for fault in faults):
        faults += callers.zoom.simulator.faults
    callers.zoom.simulator.faults = faults
    getattr(callers, caller)()
    callers.output.assert_nothing_leaked()
    assert connection or faults[0].befell


@pytest.mark.parametrize("caller", CALLERS)
def test_the_masker_is_needed_for_the_paths_that_urllib3_logs_and_for_nothing_else(
    callers: Callers, caller: str
) -> None:
    getattr(callers, caller)()
    callers.output.assert_nothing_leaked()
    expected = set() if caller in WITHOUT_NUMBER else {PATH_LOGGED_BY_URLLIB3}
    assert callers.output.leaks_without_the_masker == expected
    assert "/contact_center/engagements" in str(callers.output.logs)


def test_the_output_of_a_success_is_really_looked_at(callers: Callers) -> None:
    callers.operator()
    callers.output.assert_nothing_leaked()
    assert {"urllib3", "botocore", "airflow"} <= {name.split(".")[0] for name, _, _ in callers.output.logs}
    for place in ("XComs", "asset events"):
        assert "outside_interval" in callers.output.texts[place]
    written = callers.bucket.body("day.jsonl").decode()
    assert {name for name, _ in leaks({"object": written})} == PERSONAL.keys()


@pytest.mark.parametrize(
    "fault",
    [
        {"operation": "PutObject", "status": 403, "code": "AccessDenied"},
        {"operation": "UploadPart", "reset": True},
        {"operation": "CompleteMultipartUpload", "status": 403, "code": "AccessDenied"},
    ],
    ids=lambda fault: " ".join(map(str, fault.values())),
)
def test_an_upload_that_s3_rejects_puts_out_nothing_of_what_it_held(
    callers: Callers, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    parts = {} if fault["operation"] == "PutObject" else {"multipart_chunksize": 10_000}
    monkeypatch.setattr("airflow_provider_zcc.s3.upload.MIN_PART_SIZE", 10_000)
    with S3Proxy() as s3:
        s3.faults = [S3Fault(**fault)]
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(s3.url, **parts)))
        callers.operator()
    assert s3.faults[0].befell
    assert "s3://" in callers.output.texts["traceback"]
    callers.output.assert_nothing_leaked()


# What Airflow keeps and shows


def test_no_object_shows_what_it_knows(callers: Callers) -> None:
    """Neither the operator nor a hook, nor anything of this package that they lead to."""
    found: dict[int, object] = {}
    hook = ZoomContactCenterHook()
    reader = hook.reader(START, END, consumer_number=FILTER_NUMBER)
    assert list(reader.chunks())
    waiting: list[object] = [callers.operator(), hook, reader]
    while waiting:
        one = waiting.pop()
        if id(one) not in found and type(one).__module__.startswith("airflow_provider_zcc"):
            found[id(one)] = one
            names = {*getattr(one, "__dict__", ()), *getattr(type(one), "__slots__", ())}
            waiting += [getattr(one, name, None) for name in names]
    assert {"Credentials", "ZoomClient"} <= {type(one).__name__ for one in found.values()}
    callers.output.add_objects(**{f"{type(one).__name__} {number}": one for number, one in found.items()})
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
