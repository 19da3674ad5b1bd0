from __future__ import annotations

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import requests
from pytest_mock import MockerFixture

from airflow_provider_zcc.zoom.errors import PermanentError, RateLimited, TransientError, ZoomError
from airflow_provider_zcc.zoom.oauth import BearerAuth, TokenSource
from tests.conftest import StartSimulator, settings_for
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer


def source_for(server: SimulatorServer, **changes: str) -> TokenSource:
    return TokenSource(replace(settings_for(server).credentials, **changes))


def token_of(source: TokenSource) -> str:
    return source.token(5.0, None)


def error_of(source: TokenSource, kind: type[ZoomError] = ZoomError) -> Any:
    with pytest.raises(kind) as error:
        token_of(source)
    return error.value


def respond(server: SimulatorServer, status: int, body: object, **headers: str) -> None:
    details = {"status": status, "body": body, "headers": {name.replace("_", "-"): headers[name] for name in headers}}
    server.simulator.faults = [Fault("answer", on="token", times=-1, details=details)]


def issued(server: SimulatorServer) -> int:
    return server.simulator.stats.token_requests


# How long a token is kept


@pytest.mark.parametrize(
    ("expires_in", "kept_until"),
    [(3_599, 3_539.0), (100, 50.0), (1, 0.5), (None, 3_539.0), ("3599", 3_539.0), (0, 3_539.0)],
)
def test_a_token_is_kept_until_shortly_before_it_expires(
    simulator: SimulatorServer, mocker: MockerFixture, expires_in: object, kept_until: float
) -> None:
    clock = mocker.patch("airflow_provider_zcc.zoom.oauth.time").monotonic
    clock.return_value = 1_000.0
    respond(simulator, 200, {"access_token": "first", "expires_in": expires_in})
    source = source_for(simulator)
    token_of(source)
    simulator.simulator.faults = []

    clock.return_value = 1_000.0 + kept_until - 0.01
    assert token_of(source) == "first"
    clock.return_value = 1_000.0 + kept_until
    assert token_of(source) != "first"
    assert issued(simulator) == 2


def test_a_rejected_token_is_replaced_once_by_whoever_notices_first(simulator: SimulatorServer) -> None:
    source = source_for(simulator)
    rejected = token_of(source)

    source.forget(rejected)
    replacement = token_of(source)
    source.forget(rejected)

    assert token_of(source) == replacement != rejected
    assert issued(simulator) == 2


def test_threads_that_waited_for_a_token_that_did_not_come_share_the_failure(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("delay", on="token", times=-1, details={"seconds": 60.0})]
    source, barrier = source_for(simulator), threading.Barrier(8)

    def failure(_: int) -> str:
        barrier.wait(5)
        with pytest.raises(TransientError) as error:
            source.token(0.5, None)
        return str(error.value)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(failure, range(8)))) == 1
    assert issued(simulator) < 8


# The request and its errors


def test_client_and_secret_go_as_basic_auth_in_utf8_and_the_account_in_a_form(start_simulator: StartSimulator) -> None:
    server = start_simulator(client_id="clïent", client_secret="sécret:日本", account_id="an account&more=1")

    assert token_of(source_for(server)).startswith("simulated.")


NO_TOKEN = "Zoom issued no access token ({}). "
UNAVAILABLE = "Zoom's OAuth endpoint is unavailable ({}). Check oauth_url if this persists."
APP = (
    "Check the connection's account_id, and that the Server-to-Server OAuth app is activated in the Zoom App "
    "Marketplace."
)
LOGIN = "Check the connection's login (Client ID) and password (Client Secret)."


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"reason": "Words.", "error": "invalid_request"}, PermanentError, NO_TOKEN + APP),
        (400, {"error_description": "Words.", "error": "invalid_client"}, PermanentError, NO_TOKEN + LOGIN),
        (400, {"error": "invalid_client"}, PermanentError, NO_TOKEN + LOGIN),
        (499, {"message": "Words."}, PermanentError, NO_TOKEN + APP),
        (500, {"message": "Words."}, TransientError, UNAVAILABLE),
        (400, "<html>Bad Request</html>", TransientError, UNAVAILABLE),
        (404, {"code": 404, "message": "Words."}, PermanentError, f"{NO_TOKEN}Check the connection's oauth_url."),
        (404, "<html>Not Found</html>", PermanentError, f"{NO_TOKEN}Check the connection's oauth_url."),
        (429, {"reason": "Words."}, RateLimited, "Zoom's rate limit was reached ({})."),
    ],
)
def test_an_error_has_zooms_words_and_what_support_needs(
    simulator: SimulatorServer, status: int, body: Any, kind: type[ZoomError], message: str
) -> None:
    respond(simulator, status, body, x_zm_trackingid="v=7")

    error = error_of(source_for(simulator))

    fields = {name: str(body[name]) for name in body} if isinstance(body, dict) else {}
    code = fields.pop("error", None) or fields.pop("code", None)
    facts = f"HTTP {status}" + (f", code {code}" if code else "") + (": Words." if fields else "")
    assert type(error) is kind
    assert (error.status, error.code, error.tracking_id) == (status, code, "v=7")
    assert str(error) == message.format(f"{facts}; tracking id v=7")


@pytest.mark.parametrize(
    "body",
    ["<html>Sign in</html>", "[]", {}, *({"access_token": token} for token in (7, "", "tökén", "two\nlines"))],
)
def test_a_response_without_a_token_fit_for_a_header_is_transient(simulator: SimulatorServer, body: object) -> None:
    respond(simulator, 200, body, x_zm_trackingid="v=7")

    error = error_of(source_for(simulator), TransientError)

    assert (error.status, error.tracking_id) == (200, "v=7")
    assert str(error).endswith("no usable access token (HTTP 200; tracking id v=7). Check oauth_url.")


def test_a_client_secret_written_with_other_spaces_is_in_no_error(simulator: SimulatorServer) -> None:
    secret = "two  spaces"
    respond(simulator, 400, {"reason": "Secret two spaces is wrong", "error": f"not_{secret}"})

    error = error_of(source_for(simulator, client_secret=secret))

    assert "Secret *** is wrong" in str(error)
    assert "two spaces" not in "".join(traceback.format_exception(error)) + repr(error) + str(error.code)


@pytest.mark.parametrize(
    ("url", "is_signed"),
    [
        ("https://api.zoom.us:443/v2/x", True),
        ("https://API.ZOOM.US/v2/x", True),
        ("https://api.zoom.us.example/v2", False),
        ("http://api.zoom.us/v2", False),
        ("https://api.zoom.us@example.com/v2", False),
    ],
)
def test_a_token_is_sent_to_the_connections_host_only(simulator: SimulatorServer, url: str, is_signed: bool) -> None:
    source, request = source_for(simulator), requests.Request("GET", url).prepare()
    auth = BearerAuth(source, "https://api.zoom.us/v2", 5.0, None)
    rejected = pytest.raises(PermanentError, match=r"^The access .* the connection's host\. Use a URL on that host\.$")

    with nullcontext() if is_signed else rejected:
        auth(request)

    assert issued(simulator) == is_signed
    assert request.headers.get("Authorization") == (f"Bearer {token_of(source)}" if is_signed else None)
