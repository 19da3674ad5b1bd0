from __future__ import annotations

import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from pytest_mock import MockerFixture

from airflow_provider_zcc.zoom.errors import PermanentError, RateLimited, TransientError, ZoomError
from airflow_provider_zcc.zoom.oauth import BearerAuth, TokenSource, shared_token_source
from airflow_provider_zcc.zoom.settings import Credentials
from tests.conftest import StartSimulator, settings_for
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

CHECK_CLIENT = "Check the connection's login (Client ID) and password (Client Secret)."
CHECK_ACCOUNT = (
    "Check the connection's account_id, and that the Server-to-Server OAuth app is activated "
    "in the Zoom App Marketplace."
)


def source_for(server: SimulatorServer) -> TokenSource:
    return TokenSource(settings_for(server).credentials)


def token_of(source: TokenSource, timeout: float = 5.0) -> str:
    return source.token(timeout, None)


def befall(server: SimulatorServer, status: int, body: object, **headers: str) -> None:
    details = {"status": status, "body": body, "headers": headers}
    server.simulator.faults = [Fault("answer", on="token", times=-1, details=details)]


def issued(server: SimulatorServer) -> int:
    return server.simulator.stats.token_requests


@pytest.fixture
def clock(mocker: MockerFixture) -> Any:
    time = mocker.patch("airflow_provider_zcc.zoom.oauth.time")
    time.monotonic.return_value = 1_000.0
    return time.monotonic


def test_a_token_is_fetched_once_and_kept(simulator: SimulatorServer) -> None:
    source = source_for(simulator)

    tokens = [token_of(source) for _ in range(3)]

    assert tokens == [tokens[0]] * 3
    assert issued(simulator) == 1


@pytest.mark.parametrize(
    ("expires_in", "kept_until"),
    [
        (3_599, 3_539.0),
        (120, 60.0),
        (100, 50.0),
        (2, 1.0),
        (None, 3_539.0),
        ("3599", 3_539.0),
        (0, 3_539.0),
        (-5, 3_539.0),
    ],
)
def test_a_token_is_replaced_shortly_before_it_ends(
    simulator: SimulatorServer, clock: Any, expires_in: object, kept_until: float
) -> None:
    befall(simulator, 200, {"access_token": "first", "expires_in": expires_in})
    source = source_for(simulator)
    token_of(source)
    simulator.simulator.faults = []

    clock.return_value = 1_000.0 + kept_until - 0.01
    kept = token_of(source)
    clock.return_value = 1_000.0 + kept_until
    replaced = token_of(source)

    assert kept == "first"
    assert replaced != "first"
    assert issued(simulator) == 2


def test_a_refused_token_is_replaced_once_by_whoever_is_refused_first(simulator: SimulatorServer) -> None:
    source = source_for(simulator)
    refused = token_of(source)

    source.forget(refused)
    replacement = token_of(source)
    source.forget(refused)

    assert token_of(source) == replacement != refused
    assert issued(simulator) == 2


def test_threads_that_start_together_share_one_token(simulator: SimulatorServer) -> None:
    source = source_for(simulator)
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        barrier.wait(5)
        return token_of(source)

    with ThreadPoolExecutor(8) as threads:
        tokens = set(threads.map(ask, range(8)))

    assert len(tokens) == 1
    assert issued(simulator) == 1


def test_threads_that_waited_for_a_token_that_did_not_come_share_the_failure(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("delay", on="token", times=-1, details={"seconds": 60.0})]
    source = source_for(simulator)

    def ask(_: int) -> str:
        with pytest.raises(TransientError) as error:
            source.token(0.5, None)
        return str(error.value)

    with ThreadPoolExecutor(8) as threads:
        errors = set(threads.map(ask, range(8)))

    assert len(errors) == 1
    assert issued(simulator) < 8

    simulator.simulator.faults = []
    assert token_of(source)


def test_a_process_shares_one_source_for_an_app_and_not_with_another(simulator: SimulatorServer) -> None:
    credentials = settings_for(simulator).credentials
    same = Credentials(credentials.client_id, credentials.client_secret, credentials.account_id, credentials.token_url)
    other = Credentials(credentials.client_id, "another secret", credentials.account_id, credentials.token_url)

    assert shared_token_source(credentials) is shared_token_source(same)
    assert shared_token_source(credentials) is not shared_token_source(other)


def test_every_new_token_is_announced_before_it_is_used(simulator: SimulatorServer) -> None:
    source = source_for(simulator)
    announced: list[str] = []

    first = source.token(5.0, announced.append)
    source.token(5.0, announced.append)
    source.forget(first)
    second = source.token(5.0, announced.append)

    assert announced == [first, second]


def test_client_and_secret_go_as_basic_auth_in_utf8_and_the_account_in_the_form(
    start_simulator: StartSimulator,
) -> None:
    server = start_simulator(client_id="clïent", client_secret="sécret:日本", account_id="an account&more=1")

    assert token_of(source_for(server)).startswith("simulated.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"client_secret": "wrong"},
            "Zoom refused to issue an access token (HTTP 400, invalid_client, Invalid client_id or client_secret). "
            + CHECK_CLIENT,
        ),
        (
            {"client_id": "wrong"},
            "Zoom refused to issue an access token (HTTP 400, invalid_client, Invalid client_id or client_secret). "
            + CHECK_CLIENT,
        ),
        (
            {"account_id": "wrong"},
            "Zoom refused to issue an access token (HTTP 400, invalid_request, Bad Request). " + CHECK_ACCOUNT,
        ),
    ],
)
def test_wrong_credentials_are_a_permanent_error_that_says_which(
    simulator: SimulatorServer, changes: dict[str, str], message: str
) -> None:
    right = settings_for(simulator).credentials
    fields = {name: getattr(right, name) for name in ("client_id", "client_secret", "account_id", "token_url")}
    source = TokenSource(Credentials(**{**fields, **changes}))

    with pytest.raises(PermanentError) as error:
        token_of(source)

    assert str(error.value) == message
    assert issued(simulator) == 1


@pytest.mark.parametrize("name", ["reason", "message", "error_description"])
def test_the_reason_of_a_refusal_is_quoted_under_each_name_that_zoom_gives_it(
    simulator: SimulatorServer, name: str
) -> None:
    befall(simulator, 400, {name: "The app is disabled.", "error": "invalid_request"})

    with pytest.raises(PermanentError) as error:
        token_of(source_for(simulator))

    refusal = "Zoom refused to issue an access token (HTTP 400, invalid_request, The app is disabled.). "
    assert str(error.value) == refusal + CHECK_ACCOUNT


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, {"reason": "Internal error"}, "HTTP 500, Internal error"),
        (502, "<html>Bad Gateway</html>", "HTTP 502"),
        (503, "", "HTTP 503"),
        (400, "<html>Bad Request</html>", "HTTP 400"),
    ],
)
def test_an_outage_of_the_token_endpoint_is_passing(
    simulator: SimulatorServer, status: int, body: object, said: str
) -> None:
    befall(simulator, status, body)

    with pytest.raises(TransientError) as error:
        token_of(source_for(simulator))

    assert str(error.value) == f"Zoom's token endpoint gave no token ({said}). Check token_url if this goes on."


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<html>Not found</html>", "HTTP 404"),
        ("", "HTTP 404"),
        ({"code": 404, "message": "Not found."}, "HTTP 404, 404, Not found."),
        ({"error": "invalid_client"}, "HTTP 404, invalid_client"),
    ],
)
def test_a_token_endpoint_that_is_not_there_is_a_permanent_error_that_names_token_url(
    simulator: SimulatorServer, body: object, said: str
) -> None:
    befall(simulator, 404, body)

    with pytest.raises(PermanentError) as error:
        token_of(source_for(simulator))

    assert str(error.value) == f"Zoom refused to issue an access token ({said}). Check the connection's token_url."
    assert issued(simulator) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<html>Sign in</html>",
        "[]",
        {},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "two\nlines"},
        {"access_token": "tökén"},
    ],
)
def test_an_answer_without_a_token_fit_for_a_header_is_passing(simulator: SimulatorServer, body: object) -> None:
    befall(simulator, 200, body)

    with pytest.raises(TransientError) as error:
        token_of(source_for(simulator))

    assert str(error.value) == "Zoom's token endpoint answered without a usable access token. Check token_url."


def test_a_rate_limit_of_the_token_endpoint_keeps_its_time(simulator: SimulatorServer) -> None:
    headers = {"Retry-After": "2099-05-31T00:00:00Z"}
    befall(simulator, 429, {"reason": "Too many requests", "error": "rate_limited"}, **headers)

    with pytest.raises(RateLimited) as error:
        token_of(source_for(simulator))

    assert str(error.value) == "Zoom's rate limit was reached (HTTP 429: Too many requests)."
    assert error.value.retry_at == datetime(2099, 5, 31, tzinfo=UTC)


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_broken_connection_to_the_token_endpoint_is_passing_and_leaves_no_token(
    simulator: SimulatorServer, kind: str
) -> None:
    simulator.simulator.faults = [Fault(kind, on="token")]
    source = source_for(simulator)

    with pytest.raises(TransientError, match=r"The connection to 127\.0\.0\.1"):
        token_of(source)

    assert token_of(source).startswith("simulated.")


def test_a_token_endpoint_that_hangs_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/oauth/token"
        source = TokenSource(Credentials("id", "secret", "account", url))

        with pytest.raises(TransientError, match="ReadTimeout"):
            token_of(source, timeout=0.2)


def test_a_token_endpoint_that_is_slow_is_given_up_after_the_timeout_and_asked_again(
    simulator: SimulatorServer,
) -> None:
    simulator.simulator.faults = [Fault("delay", on="token", details={"seconds": 3.0})]
    source = source_for(simulator)

    with pytest.raises(TransientError, match="ReadTimeout"):
        token_of(source, timeout=0.2)

    assert token_of(source).startswith("simulated.")
    assert issued(simulator) == 2


def test_a_token_that_comes_late_is_kept(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("delay", on="token", details={"seconds": 0.2})]
    source = source_for(simulator)
    begin = time.monotonic()

    token = token_of(source)

    assert time.monotonic() - begin >= 0.2
    assert token_of(source) == token
    assert issued(simulator) == 1


def test_a_redirect_of_the_token_endpoint_is_not_followed(start_simulator: StartSimulator) -> None:
    server, other = start_simulator(), start_simulator()
    befall(server, 307, b"", location=f"{other.url}/oauth/token")

    with pytest.raises(PermanentError, match=r"redirected the request \(HTTP 307\)"):
        token_of(source_for(server))

    assert issued(other) == 0


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_the_client_secret_is_in_no_error(simulator: SimulatorServer, status: int) -> None:
    credentials = settings_for(simulator).credentials
    secret = credentials.client_secret
    befall(simulator, status, {"reason": f"Secret {secret} is wrong", "error": f"not_{secret}"})

    with pytest.raises(ZoomError) as error:
        token_of(TokenSource(credentials))

    assert "Secret *** is wrong" in str(error.value)
    assert secret not in "".join(traceback.format_exception(error.value)) + repr(error.value)


def test_a_client_secret_with_double_spaces_is_in_no_error(simulator: SimulatorServer) -> None:
    credentials = replace(settings_for(simulator).credentials, client_secret="two  spaces")
    befall(simulator, 400, {"reason": "Secret two  spaces is wrong", "error": "not two spaces"})

    with pytest.raises(PermanentError) as error:
        token_of(TokenSource(credentials))

    assert "(HTTP 400, not ***, Secret *** is wrong)" in str(error.value)


def prepared(url: str) -> requests.PreparedRequest:
    return requests.Request("GET", url).prepare()


def test_a_request_to_the_api_is_signed(simulator: SimulatorServer) -> None:
    source = source_for(simulator)
    auth = BearerAuth(source, f"{simulator.url}/v2", 5.0, None)

    signed = auth(prepared(f"{simulator.url}/v2/contact_center/engagements"))

    assert signed.headers["Authorization"] == f"Bearer {token_of(source)}"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.zoom.us.example/v2",
        "https://zoom.us/v2",
        "http://api.zoom.us/v2",
        "https://api.zoom.us:8443/v2",
        "https://api.zoom.us@example.com/v2",
    ],
)
def test_a_token_is_not_sent_to_another_server(simulator: SimulatorServer, url: str) -> None:
    auth = BearerAuth(source_for(simulator), "https://api.zoom.us/v2", 5.0, None)
    request = prepared(url)

    with pytest.raises(PermanentError) as error:
        auth(request)

    assert str(error.value) == ("The access token is sent to the connection's host alone. Use a URL on that host.")
    assert "Authorization" not in request.headers
    assert issued(simulator) == 0


@pytest.mark.parametrize(
    ("api_url", "url"),
    [
        ("https://api.zoom.us/v2", "https://api.zoom.us:443/v2/x"),
        ("https://api.zoom.us/v2", "https://API.ZOOM.US/v2/x"),
        ("https://api.zoom.us/v2", "https://api.zoom.us/"),
        ("http://localhost/v2", "http://localhost:80/v2/x"),
    ],
)
def test_another_spelling_of_the_same_server_is_signed(simulator: SimulatorServer, api_url: str, url: str) -> None:
    auth = BearerAuth(source_for(simulator), api_url, 5.0, None)

    assert auth(prepared(url)).headers["Authorization"].startswith("Bearer simulated.")
