from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import pytest
from pytest_mock import MockerFixture

from airflow_provider_zcc.zoom.client import SCOPES, ZoomClient
from airflow_provider_zcc.zoom.errors import (
    PageTokenExpired,
    PermanentError,
    RateLimited,
    RateLimitedUntil,
    ReadCancelled,
    TransientError,
    ZoomError,
)
from airflow_provider_zcc.zoom.http import Response, send
from airflow_provider_zcc.zoom.page import Page, parse_page
from airflow_provider_zcc.zoom.query import PATH, Filters, Query
from airflow_provider_zcc.zoom.rate_limiter import RateLimiter
from airflow_provider_zcc.zoom.shared import shared_in_process
from tests.conftest import END, StartSimulator, client_for, settings_for
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

QUERY = Query(END - timedelta(days=5), END - timedelta(days=4))


def fetch(
    client: ZoomClient, *, page_token: str | None = None, cancelled: threading.Event | None = None, **filters: Any
) -> Page:
    query = Query(QUERY.start, QUERY.end, Filters.validated(**filters))
    return client.get(PATH, query.parameters(query.windows()[0], next_page_token=page_token), parse_page, cancelled)


def response(status: int, body: object = b"", times: int = 1, **headers: str) -> Fault:
    return Fault("answer", times=times, details={"status": status, "body": body, "headers": headers})


def sent(server: SimulatorServer) -> tuple[int, int]:
    stats = server.simulator.stats
    return stats.api_requests, stats.token_requests


def error_of(client: ZoomClient, kind: type[ZoomError] = ZoomError, **arguments: Any) -> Any:
    with pytest.raises(kind) as error:
        fetch(client, **arguments)
    return error.value


def test_a_page_takes_one_request_that_names_the_package(simulator: SimulatorServer) -> None:
    client = client_for(simulator)

    assert len(fetch(client).records) == 100
    assert (client.requests_sent, client.rate_limited) == (1, 0)
    assert simulator.simulator.stats.user_agents == {f"airflow-provider-zcc/{version('airflow-provider-zcc')}"}


def test_what_a_process_shares_is_made_once_for_threads_that_call_at_the_same_time() -> None:
    barrier = threading.Barrier(8)

    @shared_in_process
    def made(_: str) -> object:
        time.sleep(0.05)
        return object()

    def call(_: int) -> object:
        barrier.wait(5)
        return made("an account")

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(call, range(8)))) == 1
    assert made("an account") is not made("another account")


# Which error a response becomes


WORDS = "Zoom's own words."
ID = "; tracking id v=2;rid=WEB_1"
REJECTED = "Zoom rejected the request ({}). "
UNAVAILABLE = "Zoom is unavailable ({}). Check Zoom's status page if this persists."
TOKEN_REJECTED = (
    "Zoom rejected the access token ({}). It also rejected 2 new ones. Check that the OAuth app is active, "
    "and whether other programs that fetch tokens for the same app invalidate each other's."
)
SCOPE = f"Add the scope {SCOPES[0]} (classic: {SCOPES[1]}, before {SCOPES[2]}) to the app and activate it."
HOST = "Check the connection's host: it has to end with the API's version, as in https://api.zoom.us/v2."
OWNER = "Check that the owner of the OAuth app is a user of the account."
LICENSE = "Assign a Contact Center license to the owner of the OAuth app."
EXPIRED = {"code": 300, "message": "The next page token is invalid or expired."}


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"code": 4711, "message": WORDS}, PermanentError, REJECTED + SCOPE),
        (400, {"code": 300}, PermanentError, f"{REJECTED}Correct the query."),
        (400, {"message": WORDS}, PermanentError, f"{REJECTED}Correct the query."),
        (401, {"code": 1001, "message": WORDS}, PermanentError, REJECTED + OWNER),
        (403, {"code": 1022, "message": WORDS}, PermanentError, REJECTED + LICENSE),
        (404, {"code": 1201, "message": WORDS}, PermanentError, f"{REJECTED}Check queue_id."),
        (405, {"code": 300, "message": WORDS}, PermanentError, f"{REJECTED}Correct the query."),
        (404, "<html>Not Found</html>", PermanentError, REJECTED + HOST),
        (400, "<html>Bad Request</html>", TransientError, UNAVAILABLE),
        *((status, {"code": 124, "message": WORDS}, TransientError, TOKEN_REJECTED) for status in (400, 401)),
        (500, {"code": 500, "message": WORDS}, TransientError, UNAVAILABLE),
        (200, "<html>Maintenance</html>", TransientError, "Zoom's response is not a page of engagements: "),
        (429, {"code": 4001, "message": WORDS}, RateLimited, f"Zoom's rate limit was reached (HTTP 429: {WORDS}{ID})."),
        (400, EXPIRED, PageTokenExpired, "Zoom's page token expired ({})."),
        (300, EXPIRED, PageTokenExpired, "Zoom's page token expired ({})."),
    ],
)
def test_an_error_has_its_type_zooms_words_a_remedy_and_what_support_needs(
    simulator: SimulatorServer, status: int, body: Any, kind: type[ZoomError], message: str
) -> None:
    simulator.simulator.faults = [response(status, body, -1, **{"x-zm-trackingid": "v=2;rid=WEB_1"})]
    client = client_for(simulator, retry_timeout=0.0 if issubclass(kind, (TransientError, RateLimited)) else 10.0)

    error = error_of(client, page_token="a-page-token")

    code, words = (body.get("code"), body.get("message")) if isinstance(body, dict) else (None, None)
    facts = f"HTTP {status}" + (f", code {code}" if code else "") + (f": {words}" if words else "")
    assert type(error) is kind
    assert (error.status, error.code, error.tracking_id) == (status, code, "v=2;rid=WEB_1")
    assert str(error) == message.format(facts + ID) or (status == 200 and str(error).startswith(message))
    assert client.rate_limited == (kind is RateLimited)
    assert client.requests_sent == 1 or kind is TransientError


def test_every_error_names_the_connection(simulator: SimulatorServer) -> None:
    client = ZoomClient(settings_for(simulator), retry_timeout=0.0, name="zcc_europe")
    tokens = {"status": 401, "body": {"code": 124}}
    for fault in (response(500), response(403), response(429), Fault("reset"), Fault("answer", "api", 0, 3, tokens)):
        simulator.simulator.faults = [fault]
        assert str(error_of(client)).startswith("Connection 'zcc_europe': ")


@pytest.mark.parametrize("name", ["message", "errorMessage", "reason"])
def test_zooms_words_and_the_fields_that_it_objects_to_are_quoted(simulator: SimulatorServer, name: str) -> None:
    fields = [{"field": "from", "message": "Bad date."}, 7, {"field": "to"}, {"message": "Too long."}]
    simulator.simulator.faults = [response(400, {"code": 300, name: "No next page token.", "errors": fields})]

    error = error_of(client_for(simulator))

    words = "No next page token. [from: Bad date.] [to: ] [: Too long.]"
    assert str(error) == f"Zoom rejected the request (HTTP 400, code 300: {words}). Correct the query."
    assert error.tracking_id is None


# Tokens


def test_token_rejected_without_json_is_replaced(simulator: SimulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airflow_provider_zcc")
    simulator.simulator.faults = [response(401, "<html>Unauthorized</html>")]

    assert fetch(client_for(simulator, retry_timeout=0.0)).records
    assert sent(simulator) == (2, 2)
    assert ["HTTP 401" in message for message in caplog.messages] == [True]


def test_every_new_token_is_announced_before_it_is_used(simulator: SimulatorServer) -> None:
    announced: list[tuple[str, int]] = []
    client = ZoomClient(settings_for(simulator), on_token=lambda new: announced.append((new[:10], sent(simulator)[0])))

    fetch(client)
    simulator.simulator.end_tokens()
    fetch(client)

    assert announced == [("simulated.", 0), ("simulated.", 2)]


def test_a_daily_limit_of_the_token_endpoint_names_its_time(simulator: SimulatorServer) -> None:
    details = {
        "status": 429,
        "body": {"error": "daily"},
        "headers": {"Retry-After": "2099-01-01T00:00:00Z", "x-zm-trackingid": "v=3"},
    }
    simulator.simulator.faults = [Fault("answer", on="token", details=details)]

    error = error_of(client_for(simulator), RateLimitedUntil)

    assert (error.status, error.code, error.tracking_id) == (429, "daily", "v=3")
    assert error.retry_at == datetime(2099, 1, 1, tzinfo=UTC)
    assert str(error).endswith(f"reached (HTTP 429; tracking id v=3). Zoom accepts requests again at {error.retry_at}.")


def test_a_limit_of_the_token_endpoint_is_waited_out_and_does_not_slow_down_the_api(
    simulator: SimulatorServer, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    limited = {"status": 429, "body": {}, "headers": {"Retry-After": "0.6"}}
    simulator.simulator.faults = [Fault("answer", on="token", details=limited)]
    limiter = mocker.create_autospec(RateLimiter, instance=True)
    client, begin = ZoomClient(settings_for(simulator), rate_limiter=limiter), time.monotonic()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: fetch(client), range(8)))

    assert time.monotonic() - begin >= 0.6
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert limiter.on_throttle.call_args_list == warnings == []
    assert (client.rate_limited, client.requests_sent) == (0, sent(simulator)[0])


def test_a_scope_that_was_added_is_found_by_the_next_request(start_simulator: StartSimulator) -> None:
    server = start_simulator(scopes=("user:read:admin",))
    client = client_for(server)
    message = str(error_of(client))
    assert [scope for scope in SCOPES if scope not in message] == []

    server.simulator.config.scopes = ("contact_center_report:read:admin",)
    fetch(client)

    assert sent(server) == (2, 2)


# Retries


class VirtualTime(threading.Event):
    """A stop that is never set. Waiting for it takes no time, and advances a clock."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return False


@pytest.mark.parametrize(
    ("faults", "kind", "seconds"),
    [
        pytest.param([response(500, times=-1)], TransientError, (120, 131), id="outage"),
        pytest.param([response(429, times=-1)], RateLimited, (300, 320), id="limit without a time"),
        pytest.param([response(429, **{"Retry-After": "301"})], RateLimitedUntil, (0, 15), id="limit over 5 minutes"),
        pytest.param([response(429, **{"Retry-After": "299"})], None, (299, 330), id="limit under 5 minutes"),
        pytest.param([response(429, **{"Retry-After": "200"}), response(500)], None, (200, 270), id="outage later"),
    ],
)
def test_an_outage_may_last_two_minutes_and_a_rate_limit_five(
    simulator: SimulatorServer, mocker: MockerFixture, faults: list[Fault], kind: Any, seconds: tuple[int, int]
) -> None:
    time = VirtualTime()

    def send_slowly(*arguments: Any, **options: Any) -> Response:
        time.now += 10
        return send(*arguments, **options)

    mocker.patch("airflow_provider_zcc.zoom.client.time", time)
    mocker.patch("airflow_provider_zcc.zoom.client.send", send_slowly)
    simulator.simulator.faults = [replace(fault) for fault in faults]
    limiter = RateLimiter(10.0, clock=time.monotonic)
    client = ZoomClient(settings_for(simulator), rate_limiter=limiter)

    if kind:
        error = error_of(client, cancelled=time)
        assert type(error) is kind
        assert str(error).endswith(f"Gave up after {client.requests_sent} attempts.") == (client.requests_sent > 1)
    else:
        assert fetch(client, cancelled=time).records
    assert seconds[0] <= time.now < seconds[1]


def test_an_outage_is_warned_of_with_the_time_at_which_the_client_gives_up(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.simulator.faults = [response(500)]
    begin = datetime.now(UTC)

    fetch(client_for(simulator, retry_timeout=60.0))

    [message] = caplog.messages
    assert any(f"{begin + timedelta(seconds=seconds):%H:%M:%S}" in message for seconds in range(60, 65))


@pytest.mark.parametrize("on", ["api", "token"])
def test_a_response_that_takes_too_long_is_not_waited_for(simulator: SimulatorServer, on: str) -> None:
    simulator.simulator.faults = [Fault("delay", on=on, details={"seconds": 1.0})]

    assert "timed out" in str(error_of(client_for(simulator, timeout=0.2, retry_timeout=0.0)))


@pytest.mark.parametrize("fault", [response(500, times=-1), response(429, times=-1, **{"Retry-After": "20"})])
def test_a_stop_ends_the_wait(simulator: SimulatorServer, fault: Fault) -> None:
    client, stop = client_for(simulator, retry_timeout=60.0), threading.Event()
    simulator.simulator.faults = [fault]
    threading.Timer(0.1, stop.set).start()

    assert str(error_of(client, ReadCancelled, cancelled=stop)) == "Reading was stopped."
    assert sent(simulator)[0] == client.requests_sent


@pytest.mark.parametrize(
    ("headers", "learned"),
    [
        ({"Type": "QPS", "Limit": "20", "Remaining": "7"}, (20, 7)),
        ({"Type": "qps", "Limit": "20", "Remaining": "-1"}, (20, 0)),
        ({"Type": "QPS", "Limit": "20", "Remaining": "21"}, (20, 20)),
        ({"Type": "QPS", "Limit": "20"}, (20, None)),
        ({"Type": "QPS", "Limit": "many", "Remaining": "7"}, (None, None)),
        ({"Type": "Daily-limit", "Limit": "30000", "Remaining": "7"}, (None, None)),
    ],
)
def test_the_limiter_learns_the_limit_and_the_rest_from_readable_headers(
    simulator: SimulatorServer, mocker: MockerFixture, headers: dict[str, str], learned: tuple[int | None, int | None]
) -> None:
    limit, remaining = learned
    limiter = mocker.create_autospec(RateLimiter, instance=True)
    client = ZoomClient(settings_for(simulator), rate_limiter=limiter)
    announced = {f"X-RateLimit-{name}": headers[name] for name in headers}
    simulator.simulator.faults = [response(200, {"total_records": 0}, **announced)]

    fetch(client)

    assert limiter.on_success.call_args_list == [mocker.call(remaining)]
    assert limiter.on_limit.call_args_list == ([mocker.call(limit)] if limit else [])


def test_tokens_and_a_number_written_with_other_spaces_are_in_no_error(simulator: SimulatorServer) -> None:
    client = client_for(simulator)
    token = client.session.auth.token()  # type: ignore[union-attr]
    words = f"Bad number: 1 205\t930\n0900, {token}, a-page-token!"
    simulator.simulator.faults = [response(400, {"code": 300, "message": words})]

    error = error_of(client, consumer_number="+1 205  930 0900", page_token="a-page-token")

    assert "Bad number: ***, ***, ***!" in str(error)
