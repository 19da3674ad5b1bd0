"""Every request of the package, and every response of the simulator, is as the description of the endpoint has it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.zoom.errors import ZoomError
from airflow_provider_zcc.zoom.oauth import shared_token_source
from airflow_provider_zcc.zoom.query import ALLOWED, PAGE_SIZE
from tests.conftest import END, ENGAGEMENTS
from tests.contract.contract import (
    DESCRIPTION,
    LISTING,
    TOKEN,
    Exchange,
    RecordedSimulator,
    violations,
)
from tests.zoom_simulator.app import ENUMERATIONS, PARAMETERS, Config
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES, Engagements
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


def exchanges_as_described(zoom: RecordedSimulator) -> list[Exchange]:
    """Check each request and each response against the description, and return them."""
    assert zoom.exchanges
    for exchange in zoom.exchanges:
        assert violations(exchange) == []
    return zoom.exchanges


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
def test_reading_and_counting_are_described_whatever_the_filter(
    zoom: RecordedSimulator, filters: dict[str, Any]
) -> None:
    read(**filters)
    ZoomContactCenterHook().count_engagements(START, START + DAY, **filters)
    [token, *pages] = exchanges_as_described(zoom)
    assert token.path == TOKEN
    for query in (parse_qs(page.query) for page in pages):
        assert filters.keys() <= query.keys()
    assert query["page_size"] == ["1"]


def test_page_tokens_and_windows_are_described(zoom: RecordedSimulator) -> None:
    assert read(END - DAY * 10, END + DAY, timezone="America/Los_Angeles") == len(ENGAGEMENTS.starts)
    queries = [parse_qs(page.query) for page in exchanges_as_described(zoom)[1:]]
    assert any("next_page_token" in query for query in queries)
    assert len({(*query["from"], *query["to"]) for query in queries}) > 1


def test_times_with_an_offset_are_described(start_zoom: StartZoom) -> None:
    zoom = start_zoom(offset_times=True)
    assert read(timezone="Asia/Kathmandu")
    [_, page, *_] = exchanges_as_described(zoom)
    assert json.loads(page.response)["engagements"][0]["start_time"].endswith("+05:45")


def test_the_requests_of_the_connection_test_are_described(zoom: RecordedSimulator) -> None:
    assert ZoomContactCenterHook().test_connection()[0]
    exchanges_as_described(zoom)


INVALID_FIELD = {"code": 300, "message": "No.", "errors": [{"field": "to", "message": "No."}]}


@pytest.mark.parametrize(
    ("status", "config", "filters"),
    [
        (400, {"scopes": ("user:read:admin",)}, {}),
        (400, {"rejection": (400, INVALID_FIELD)}, {}),
        (401, {"rejection": (401, {"status": False, "errorCode": 401})}, {}),
        (403, {"rejection": (403, {"code": 9001, "message": "No privileges."})}, {}),
        (404, {}, {"queue_id": "unknown"}),
        (400, {"page_token_life": 0.0}, {}),
        (429, {"daily_limit": 2}, {}),
        (400, {"client_secret": "another"}, {}),
    ],
    ids=str,
)
def test_the_errors_of_the_simulator_are_described(
    start_zoom: StartZoom, status: int, config: dict[str, Any], filters: dict[str, Any]
) -> None:
    zoom = start_zoom()
    zoom.config = Config(**config)
    with pytest.raises(ZoomError):
        read(**filters)
    assert status in {exchange.status for exchange in exchanges_as_described(zoom)}


@pytest.mark.parametrize("announces", [True, False], ids=["announced", "not announced"])
def test_a_throttled_request_and_an_announced_limit_are_described(start_zoom: StartZoom, announces: bool) -> None:
    zoom = start_zoom(requests_per_second=12, announces_limits=announces)
    session = ZoomContactCenterHook().get_conn()
    url = json.loads(os.environ["AIRFLOW_CONN_ZCC_DEFAULT"])["host"] + LISTING
    statuses = [session.get(url).status_code for _ in range(14)]
    assert statuses == [200] * 12 + [429] * 2
    pages = exchanges_as_described(zoom)[1:]
    announced = {name for page in pages for name, _ in page.response_headers if name.startswith("X-RateLimit-")}
    assert len(announced) == (4 if announces else 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"query": "page_size=101"},
        {"query": "from=2026-11-03+00:00:00Z"},
        {"query": "since=2026-11-03"},
        {"status": 302},
        {"response_headers": (("content-type", "text/html"),)},
        {"response": b'{"engagements": [], "total_records": "12"}'},
    ],
    ids=str,
)
def test_what_is_not_described_is_found(zoom: RecordedSimulator, changes: dict[str, Any]) -> None:
    read()
    assert violations(replace(zoom.exchanges[1], **changes))
