"""Every request of the package, and every response of the simulator, is as the description of the endpoint has it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.zoom.errors import RateLimitedUntil, ZoomError
from airflow_provider_zcc.zoom.query import ALLOWED, PAGE_SIZE
from tests.conftest import END, ENGAGEMENTS
from tests.contract.contract import DESCRIPTION, LISTING, TOKEN, violations
from tests.unit.conftest import StartZoom, daily_limit_until, hours_from_now
from tests.zoom_simulator.app import ENUMERATIONS, PARAMETERS, Config, Request, Response
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAY = timedelta(days=1)
START = END - DAY * 6
QUEUE, AGENT = next(iter(QUEUES)), next(iter(AGENTS))

#: Every filter, and timezones of all kinds.
FILTERS: list[dict[str, Any]] = [
    {},
    {"queue_id": QUEUE},
    {"user_id": AGENT, "direction": "outbound", "channel": "Voice"},
    {"consumer_number": NUMBERS[0]},
    {"channel_types": ["voice", "SMS"]},
    {"channel_sources": "web_chat, WhatsApp,sms"},
    *({"timezone": name} for name in ("Europe/Berlin", "America/St_Johns", "Etc/GMT+12")),
]


def read(start: datetime = START, end: datetime = START + DAY, **filters: Any) -> int:
    return sum(len(chunk.splitlines()) for chunk in ZoomContactCenterHook().reader(start, end, **filters).chunks())


def exchanges_as_described(zoom: SimulatorServer) -> list[tuple[Request, Response]]:
    """Check each request and each response against the description, and return them."""
    exchanges = list(zoom.simulator.stats.exchanges)
    assert exchanges
    for request, response in exchanges:
        assert violations(request, response) == []
    return exchanges


def test_the_description_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DESCRIPTION).validate()


def test_the_description_has_the_values_that_package_and_simulator_have() -> None:
    parameters = {p["name"]: p["schema"] for p in DESCRIPTION["paths"][LISTING]["get"]["parameters"]}
    listed = {name: schema.get("items", schema).get("enum") for name, schema in parameters.items()}
    assert {name: tuple(values) for name, values in listed.items() if values} == ALLOWED
    assert {name: tuple(values.split()) for name, values in ENUMERATIONS.items()} == ALLOWED
    assert parameters.keys() == PARAMETERS | {"next_page_token"}
    assert parameters["page_size"]["maximum"] == PAGE_SIZE


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_reading_and_counting_are_described_whatever_the_filter(zoom: SimulatorServer, filters: dict[str, Any]) -> None:
    read(**filters)
    ZoomContactCenterHook().count_engagements(START, START + DAY, **filters)
    [token, *pages] = exchanges_as_described(zoom)
    assert token[0].path == TOKEN
    for query in (parse_qs(request.query) for request, _ in pages):
        assert filters.keys() <= query.keys()
    assert query["page_size"] == ["1"]


def test_page_tokens_and_windows_are_described(zoom: SimulatorServer) -> None:
    assert read(END - DAY * 10, END + DAY, timezone="America/Los_Angeles") == len(ENGAGEMENTS.starts)
    queries = [parse_qs(request.query) for request, _ in exchanges_as_described(zoom)[1:]]
    assert any("next_page_token" in query for query in queries)
    assert len({(*query["from"], *query["to"]) for query in queries}) > 1


def test_times_with_an_offset_are_described(start_zoom: StartZoom) -> None:
    zoom = start_zoom(offset_times=True)
    assert read(timezone="Asia/Kathmandu")
    [_, (_, page), *_] = exchanges_as_described(zoom)
    assert json.loads(page.body)["engagements"][0]["start_time"].endswith("+05:45")


def test_the_requests_of_the_connection_test_are_described(zoom: SimulatorServer) -> None:
    assert ZoomContactCenterHook().test_connection()[0]
    exchanges_as_described(zoom)


@pytest.mark.parametrize(
    ("status", "config", "filters"),
    [
        (400, {"scopes": ("user:read:admin",)}, {}),
        (404, {}, {"queue_id": "unknown"}),
        (400, {"page_token_life": 0.0}, {}),
        (400, {"client_secret": "another"}, {}),
    ],
    ids=str,
)
def test_the_errors_of_the_simulator_are_described(
    zoom: SimulatorServer, status: int, config: dict[str, Any], filters: dict[str, Any]
) -> None:
    zoom.simulator.config = Config(**config)
    with pytest.raises(ZoomError):
        read(**filters)
    assert status in {response.status for _, response in exchanges_as_described(zoom)}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"code": 300, "message": "No.", "errors": [{"field": "to", "message": "No."}]}),
        (401, {"status": False, "errorCode": 401}),
        (403, {"code": 9001, "message": "No privileges."}),
    ],
)
def test_the_errors_that_tests_set_are_described(zoom: SimulatorServer, status: int, body: dict[str, Any]) -> None:
    zoom.simulator.faults = [Fault("answer", times=-1, details={"status": status, "body": body})]
    with pytest.raises(ZoomError):
        read()
    assert exchanges_as_described(zoom)[1][1].status == status


def test_a_daily_limit_is_described(zoom: SimulatorServer) -> None:
    zoom.simulator.faults = [daily_limit_until(hours_from_now(9))]
    with pytest.raises(RateLimitedUntil):
        read()
    exchanges_as_described(zoom)


@pytest.mark.parametrize("announces", [True, False], ids=["announced", "not announced"])
def test_a_throttled_request_and_an_announced_limit_are_described(start_zoom: StartZoom, announces: bool) -> None:
    zoom = start_zoom(requests_per_second=12, announces_limits=announces)
    hook, params = ZoomContactCenterHook(), {"from": "2026-11-03T00:00:00Z", "to": "2026-11-04T00:00:00Z"}
    statuses = [hook.get_conn().get(hook.engagements_url, params=params).status_code for _ in range(14)]
    assert statuses == [200] * 12 + [429] * 2
    headers = {name for _, response in exchanges_as_described(zoom) for name in response.headers}
    announced = {name for name in headers if name.startswith("X-RateLimit-")}
    assert len(announced) == (4 if announces else 0)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ({"query": "page_size=101"}, {}),
        ({"query": "from=2026-11-03+00:00:00Z"}, {}),
        ({"query": "since=2026-11-03"}, {}),
        ({}, {"status": 302}),
        ({}, {"headers": {"content-type": "text/html"}}),
        ({}, {"body": b'{"engagements": [], "total_records": "12"}'}),
    ],
    ids=str,
)
def test_what_is_not_described_is_found(zoom: SimulatorServer, sent: Any, received: Any) -> None:
    read()
    request, response = zoom.simulator.stats.exchanges[1]
    assert violations(replace(request, **sent), replace(response, **received))
