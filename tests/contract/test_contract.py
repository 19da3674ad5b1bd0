from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pendulum
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import negative_data_rejection

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.zoom.errors import PermanentError, RateLimitedUntil
from airflow_provider_zcc.zoom.oauth import shared_token_source
from airflow_provider_zcc.zoom.query import ALLOWED, PAGE_SIZE
from tests.conftest import END, ENGAGEMENTS
from tests.contract.contract import (
    ANSWER_CHECKS,
    DESCRIPTION,
    LISTING,
    TOKEN,
    Exchange,
    RecordedSimulator,
    check_answer,
    listing,
    objections_to_request,
    token_request,
)
from tests.zoom_simulator.app import ENUMERATIONS, PARAMETERS, Config
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAY, WEEK = timedelta(days=1), timedelta(days=7)
START = END - DAY * 6
QUEUE, AGENT = next(iter(QUEUES)), next(iter(AGENTS))

#: Every filter, every value of those that Zoom lists, several together, and clocks of all kinds.
FILTERS: list[dict[str, Any]] = [
    {},
    {"queue_id": QUEUE},
    {"user_id": AGENT},
    *({"consumer_number": number} for number in NUMBERS),
    *({name: value} for name, values in ALLOWED.items() for value in values),
    {"channel_types": ["voice", "SMS", "chat"]},
    {"channel_sources": "web_chat, WhatsApp,sms"},
    {"queue_id": QUEUE, "user_id": AGENT, "channel": "Voice", "direction": "outbound", "timezone": "Asia/Kolkata"},
    *(
        {"timezone": name}
        for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Etc/GMT+12")
    ),
]
StartZoom = Callable[..., RecordedSimulator]


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(RecordedSimulator(ENGAGEMENTS)) as server:
        yield server


@pytest.fixture
def start_zoom(server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartZoom]:
    """Set up the simulator as if it had just started, and let ``zcc_default`` lead to it."""

    def start(engagements: Engagements = ENGAGEMENTS, **config: object) -> RecordedSimulator:
        server.simulator.__init__(engagements, Config(**config))  # type: ignore[arg-type, misc]
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(server.connection))
        return server.simulator  # type: ignore[return-value]

    yield start
    shared_token_source.cache_clear()


@pytest.fixture
def zoom(start_zoom: StartZoom) -> RecordedSimulator:
    return start_zoom()


def read(start: datetime = START, end: datetime = START + DAY, **filters: Any) -> int:
    return sum(len(chunk.splitlines()) for chunk in ZoomContactCenterHook().reader(start, end, **filters).chunks())


def assert_all_was_described(zoom: RecordedSimulator) -> list[Exchange]:
    """Hold each request and each answer against the description, and return them."""
    assert zoom.exchanges
    for exchange in zoom.exchanges:
        assert objections_to_request(exchange) == []
        check_answer(exchange)
    return zoom.exchanges


def test_the_description_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DESCRIPTION).validate()


def test_the_description_knows_the_values_that_package_and_simulator_know() -> None:
    parameters = {p["name"]: p["schema"] for p in DESCRIPTION["paths"][LISTING]["get"]["parameters"]}

    listed = {name: schema.get("items", schema).get("enum") for name, schema in parameters.items()}
    assert {name: tuple(values) for name, values in listed.items() if values} == ALLOWED
    assert {name: tuple(values.split()) for name, values in ENUMERATIONS.items()} == ALLOWED
    assert parameters.keys() == PARAMETERS | {"next_page_token"}
    assert parameters["page_size"]["maximum"] == PAGE_SIZE


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_reading_asks_and_is_answered_as_described_whatever_the_filter(
    zoom: RecordedSimulator, filters: dict[str, Any]
) -> None:
    read(**filters)
    [token, *pages] = assert_all_was_described(zoom)

    assert token.path == TOKEN
    sent = {name for page in pages for name in page.query.replace("=", "&").split("&")}
    assert filters.keys() <= sent


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_counting_asks_and_is_answered_as_described_whatever_the_filter(
    zoom: RecordedSimulator, filters: dict[str, Any]
) -> None:
    ZoomContactCenterHook().count_engagements(START, START + DAY, **filters)

    [_, page] = assert_all_was_described(zoom)
    assert "page_size=1&" in page.query


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("filters", [{}, {"timezone": "America/Los_Angeles"}], ids=str)
def test_page_tokens_and_windows_that_are_cut_are_described(
    start_zoom: StartZoom, filters: dict[str, Any], order: str
) -> None:
    zoom = start_zoom(order=order)

    assert read(END - DAY * 10, END + DAY, **filters) == len(ENGAGEMENTS.starts)
    pages = assert_all_was_described(zoom)[1:]
    assert any("next_page_token=" in page.query for page in pages)
    assert len({page.query.partition("&next_page_token=")[0] for page in pages}) > 1


def test_times_with_an_offset_are_described(start_zoom: StartZoom) -> None:
    zoom = start_zoom(offset_times=True)

    assert read(timezone="Asia/Kathmandu")
    [_, page, *_] = assert_all_was_described(zoom)
    assert json.loads(page.answer)["engagements"][0]["start_time"].endswith("+05:45")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (START, START + timedelta(seconds=1)),
        (START + timedelta(microseconds=1), START + timedelta(hours=1, microseconds=2)),
        (pendulum.datetime(2026, 1, 31), pendulum.datetime(2026, 3, 1)),
        (pendulum.datetime(2024, 2, 29), pendulum.datetime(2025, 2, 28)),
        (pendulum.datetime(2026, 11, 1, tz="America/New_York"), pendulum.datetime(2026, 11, 2, tz="America/New_York")),
    ],
    ids=str,
)
@pytest.mark.parametrize("timezone", ["UTC", "America/New_York", "Australia/Lord_Howe"])
def test_every_interval_is_asked_for_and_counted_in_ranges_as_described(
    zoom: RecordedSimulator, start: datetime, end: datetime, timezone: str
) -> None:
    read(start, end, timezone=timezone)
    ZoomContactCenterHook().count_engagements(start, end, timezone=timezone)

    exchanges = assert_all_was_described(zoom)
    assert {exchange.status for exchange in exchanges} == {200}


def test_the_sensor_and_the_connection_test_ask_as_described(zoom: RecordedSimulator) -> None:
    sensor = EngagementsSensor(task_id="wait", start=START, end=START + DAY * 40, channel="voice", settle=-WEEK * 9)

    assert sensor.poke({})  # type: ignore[typeddict-item]
    assert ZoomContactCenterHook().test_connection()[0]
    exchanges = assert_all_was_described(zoom)
    assert [exchange.path for exchange in exchanges].count(TOKEN) == 2
    assert len(exchanges) == 5


REFUSALS: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    (400, {"scopes": ("user:read:admin",)}, {}),
    (400, {"refusal": (400, {"code": 300, "message": "No.", "errors": [{"field": "to", "message": "No."}]})}, {}),
    (401, {"refusal": (401, {"code": 1001, "message": "No such user."})}, {}),
    (401, {"refusal": (401, {"code": 1601, "message": "No permission."})}, {}),
    (403, {"refusal": (403, {"code": 9001, "message": "No privileges."})}, {}),
    (403, {"refusal": (403, {"code": 1022, "message": "No licence."})}, {}),
    (404, {}, {"queue_id": "unknown"}),
    (404, {}, {"user_id": "unknown"}),
]


@pytest.mark.parametrize(("status", "config", "filters"), REFUSALS, ids=str)
def test_the_simulator_refuses_as_described(
    start_zoom: StartZoom, status: int, config: dict[str, Any], filters: dict[str, Any]
) -> None:
    zoom = start_zoom(**config)

    with pytest.raises(PermanentError):
        read(**filters)
    assert assert_all_was_described(zoom)[-1].status == status


@pytest.mark.parametrize("wrong", ["client_id", "client_secret", "account_id"])
def test_the_simulator_refuses_a_token_as_described(zoom: RecordedSimulator, wrong: str) -> None:
    zoom.config = Config(**{wrong: "another"})

    with pytest.raises(PermanentError):
        read()
    [token] = assert_all_was_described(zoom)
    assert token.status == 400


def test_ended_tokens_are_refused_and_replaced_as_described(zoom: RecordedSimulator) -> None:
    hook = ZoomContactCenterHook()
    hook.count_engagements(START, END)
    zoom.end_tokens()
    hook.count_engagements(START, END)

    statuses = [(exchange.path, exchange.status) for exchange in assert_all_was_described(zoom)]
    assert statuses == [
        (TOKEN, 200),
        (f"/v2{LISTING}", 200),
        (f"/v2{LISTING}", 401),
        (TOKEN, 200),
        (f"/v2{LISTING}", 200),
    ]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"code": 124, "message": "Invalid access token."}),
        (400, {"code": 124, "message": "Invalid access token."}),
        (401, {"status": False, "errorCode": 401}),
        (401, {"status": False, "errorCode": 401, "errorMessage": "Invalid access token."}),
    ],
    ids=str,
)
def test_every_way_to_refuse_a_token_is_described_and_survived(
    zoom: RecordedSimulator, status: int, body: dict[str, Any]
) -> None:
    zoom.faults = [Fault("answer", details={"status": status, "body": body})]

    assert ZoomContactCenterHook().count_engagements(START, END)
    assert [exchange.status for exchange in assert_all_was_described(zoom)] == [200, status, 200, 200]


@pytest.mark.parametrize(
    "body", [{"status": True, "errorCode": 401}, {"errorCode": 401}, {"status": False, "errorCode": 124}], ids=str
)
def test_a_refusal_that_is_not_described_is_found_out(zoom: RecordedSimulator, body: dict[str, Any]) -> None:
    zoom.faults = [Fault("answer", details={"status": 401, "body": body})]
    ZoomContactCenterHook().count_engagements(START, END)

    with pytest.raises(FailureGroup):
        check_answer(zoom.exchanges[1])


def test_dead_page_tokens_are_refused_as_described(start_zoom: StartZoom) -> None:
    zoom = start_zoom(page_token_life=0.0)

    with pytest.raises(Exception, match="page token"):
        read()
    assert 400 in {exchange.status for exchange in assert_all_was_described(zoom)}


@pytest.mark.parametrize("announces", [True, False], ids=["announced", "not announced"])
def test_the_limit_of_a_second_is_announced_and_refuses_as_described(start_zoom: StartZoom, announces: bool) -> None:
    zoom = start_zoom(requests_per_second=12, announces_limits=announces)
    session = ZoomContactCenterHook().get_conn()

    url = json.loads(os.environ["AIRFLOW_CONN_ZCC_DEFAULT"])["host"] + LISTING
    statuses = [session.get(url).status_code for _ in range(14)]
    assert statuses == [200] * 12 + [429] * 2
    pages = assert_all_was_described(zoom)[1:]
    announced = {name for page in pages for name, _ in page.answer_headers if name.startswith("X-RateLimit-")}
    assert len(announced) == (4 if announces else 0)


def test_the_limit_of_a_day_refuses_as_described(start_zoom: StartZoom) -> None:
    zoom = start_zoom(daily_limit=2)

    with pytest.raises(RateLimitedUntil):
        read()
    assert "Retry-After" in dict(assert_all_was_described(zoom)[-1].answer_headers)


@pytest.mark.parametrize("retry_after", ["0", "1", "Sun, 08 Nov 2026 00:00:01 GMT", "2026-11-08T00:00:01Z"])
@pytest.mark.parametrize("on", ["api", "token"])
def test_every_way_to_write_retry_after_is_described_and_survived(
    zoom: RecordedSimulator, on: str, retry_after: str
) -> None:
    body = {"code": 429, "message": "Come back later."}
    zoom.faults = [Fault("answer", on, details={"status": 429, "body": body, "headers": {"Retry-After": retry_after}})]

    assert ZoomContactCenterHook().count_engagements(START, END)
    assert 429 in {exchange.status for exchange in assert_all_was_described(zoom)}


MOMENT = "2026-11-03T00:00:00"


@pytest.mark.parametrize(
    "request_",
    [
        listing(page_size="0"),
        listing(page_size="101"),
        listing(page_size="1.5"),
        listing(page_size=""),
        listing(next_page_token=""),
        listing(queue_id=[QUEUE, QUEUE]),
        listing(direction="sideways"),
        listing(channel="Voice"),
        listing(channel_types="voice,sms"),
        listing(channel_sources=["sms", "fax"]),
        listing(since="2026-11-03"),
        *(
            listing(**{name: text})
            for name in ("from", "to")
            for text in (MOMENT, f"{MOMENT}.5Z", f"{MOMENT}+0100", "2026-11-03 00:00:00Z", "2026-13-03", "now")
        ),
        replace(listing(), headers={}),
        replace(listing(), headers={"authorization": "Basic token"}),
        replace(listing(), method="POST"),
        replace(listing(), path="/v1/contact_center/engagements"),
        replace(listing(), body=b"{}"),
        token_request(b"grant_type=client_credentials&account_id=a"),
        token_request(b"grant_type=account_credentials"),
        token_request(b"grant_type=account_credentials&account_id="),
        token_request(b"grant_type=account_credentials&account_id=a&account_id=b"),
        token_request(b"grant_type=account_credentials&account_id=a&scope=all"),
        token_request(b"grant_type=account_credentials&account_id=a", content_type="application/json"),
        token_request(b"grant_type=account_credentials&account_id=a", authorization="Bearer token"),
        replace(token_request(b""), query="grant_type=account_credentials&account_id=a"),
    ],
    ids=str,
)
def test_a_request_that_is_not_described_is_found_out(request_: Exchange) -> None:
    assert objections_to_request(request_)


@pytest.mark.parametrize("wanted", [listing(), token_request(b"grant_type=account_credentials&account_id=a")], ids=str)
def test_the_requests_that_wrong_ones_were_made_of_are_described(wanted: Exchange) -> None:
    assert objections_to_request(wanted) == []


def changed(exchange: Exchange, change: Callable[[Any], object]) -> Exchange:
    body = json.loads(exchange.answer)
    change(body)
    return replace(exchange, answer=json.dumps(body).encode())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda page: changed(page, lambda body: body.update(total_records=-1)),
        lambda page: changed(page, lambda body: body.update(total_records="12")),
        lambda page: changed(page, lambda body: body.update(next_page_token=7)),
        lambda page: changed(page, lambda body: body.update({"from": "yesterday"})),
        lambda page: changed(page, lambda body: body.pop("to")),
        lambda page: changed(page, lambda body: body.pop("engagements")),
        lambda page: changed(page, lambda body: body.update(engagements=body["engagements"] * 2)),
        lambda page: changed(page, lambda body: body["engagements"][0].pop("engagement_id")),
        lambda page: changed(page, lambda body: body["engagements"][0].update(start_time="2026-11-03 10:00")),
        lambda page: changed(page, lambda body: body["engagements"][-1].update(duration=1.5)),
        lambda page: changed(page, lambda body: body["engagements"][-1].update(channels=[{"channel": "fax"}])),
        lambda page: replace(page, answer=page.answer[:-1]),
        lambda page: replace(page, answer_headers=(("content-type", "text/html"),)),
        lambda page: replace(page, answer_headers=(*page.answer_headers, ("X-RateLimit-Remaining", "-1"))),
        lambda page: replace(page, answer_headers=(*page.answer_headers, ("X-RateLimit-Type", "Hourly"))),
        lambda page: replace(page, status=302),
        lambda page: replace(page, status=400),
        lambda page: replace(page, path=TOKEN, method="POST"),
    ],
)
def test_an_answer_that_is_not_described_is_found_out(
    zoom: RecordedSimulator, spoil: Callable[[Exchange], Exchange]
) -> None:
    read()
    page = zoom.exchanges[1]

    check_answer(page)
    with pytest.raises(FailureGroup):
        check_answer(spoil(page))


def pages_to_try_out() -> APIOperation:
    """Describe the listing without the signature, which the session adds, and years far away.

    The package never sends an empty value, so what becomes of one does not matter.
    """
    described = json.loads(json.dumps(DESCRIPTION["paths"][LISTING]["get"]).replace("^[0-9]{4}-", "^20[0-9]{2}-"))
    del described["security"]
    for parameter in described["parameters"]:
        parameter["schema"].pop("minLength", None)
    return schemathesis.openapi.from_dict({**DESCRIPTION, "paths": {LISTING: {"get": described}}})[LISTING]["GET"]


@pytest.mark.usefixtures("zoom")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
def test_the_simulator_answers_as_described_whatever_it_is_asked(mode: GenerationMode) -> None:
    session = ZoomContactCenterHook().get_conn()
    url = json.loads(os.environ["AIRFLOW_CONN_ZCC_DEFAULT"])["host"]
    statuses = Counter[int]()

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(pages_to_try_out().as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        # Without a first instant, the simulator does not look at the last one.
        case.query = {"from": "2026-11-03", "to": "2026-11-04"} | case.query
        response = case.call(base_url=url, session=session)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=[*ANSWER_CHECKS, negative_data_rejection])

    ask()
    assert statuses[400 if mode == GenerationMode.NEGATIVE else 200]
