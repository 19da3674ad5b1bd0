from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from pytest_mock import MockerFixture
from requests.structures import CaseInsensitiveDict

from airflow_provider_zcc.zoom.errors import (
    ConnectionFailed,
    InvalidEnvironment,
    InvalidSettings,
    PermanentError,
    ZoomError,
)
from airflow_provider_zcc.zoom.http import (
    Response,
    quote,
    rate_limit_reset,
    rate_limited,
    retry_after,
    send,
    session,
    use_environment,
)
from tests.conftest import StartSimulator
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

NOW = datetime(2026, 11, 9, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=7)
NUMBER = "+12059300900"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def get(url: str, timeout: float = 5.0, **arguments: object) -> Response:
    """Send a request as the client does, whose errors must not quote the number."""
    with session() as client:
        use_environment(client, url)
        return send(client, "GET", url, params={"consumer_number": NUMBER}, timeout=timeout, **arguments)


def page(server: SimulatorServer, timeout: float = 5.0) -> Response:
    return get(f"{server.url}/v2/contact_center/engagements", timeout)


def respond(server: SimulatorServer, status: int, body: bytes = b"", **headers: str) -> None:
    details = {"status": status, "body": body, "headers": {name.replace("_", "-"): headers[name] for name in headers}}
    server.simulator.faults = [Fault("answer", times=-1, details=details)]


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """Serve one connection on loopback; yield host and port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def free_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# Responses


def test_a_response_arrives_whole_and_decompressed_whatever_its_status(simulator: SimulatorServer) -> None:
    body = bytes(range(256)) * (3 << 12)
    respond(simulator, 418, gzip.compress(body), Content_Encoding="gzip", RETRY_AFTER="7")

    response = page(simulator)

    assert (response.status, response.body) == (418, body)
    assert response.headers.get("Retry-After") == "7"


def test_json_is_accepted_and_cookies_are_neither_kept_nor_sent(simulator: SimulatorServer) -> None:
    respond(simulator, 200, Set_Cookie="sid=1; Path=/")
    with session() as client:
        for _ in range(2):
            send(client, "GET", f"{simulator.url}/v2/contact_center/engagements", timeout=5.0)

        assert not client.cookies
    request, _ = simulator.simulator.stats.exchanges[-1]
    assert "cookie" not in request.headers
    assert request.headers["accept"] == "application/json"


def test_a_redirect_is_rejected_and_not_followed(start_simulator: StartSimulator) -> None:
    server, other = start_simulator(), start_simulator()
    respond(server, 307, location=f"{other.url}/v2/contact_center/engagements", x_zm_trackingid="v=1")

    with pytest.raises(PermanentError, match=r"Check the connection's host and oauth_url\.$") as error:
        page(server)

    assert (error.value.status, error.value.tracking_id) == (307, "v=1")
    assert other.simulator.stats.api_requests == 0


def test_a_body_is_bounded_in_size(simulator: SimulatorServer, mocker: MockerFixture) -> None:
    mocker.patch("airflow_provider_zcc.zoom.http._LARGEST_BODY", 100_000)
    respond(simulator, 200, b"x" * 100_000)
    assert len(page(simulator).body) == 100_000

    respond(simulator, 200, b"x" * 100_001)
    with pytest.raises(ConnectionFailed, match="did not end"):
        page(simulator)


def test_a_body_is_bounded_in_time(mocker: MockerFixture) -> None:
    mocker.patch("airflow_provider_zcc.zoom.http._BODY_DEADLINE", 0.3)

    def trickle(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.01)

    # The server is never silent for as long as the timeout.
    with listening(trickle) as host, pytest.raises(ConnectionFailed, match="did not end"):
        get(f"http://{host}/v2", timeout=0.2)


# Failures of the connection


def safe_message(error: BaseException) -> str:
    """Return the message, of which no part may hold the number."""
    assert NUMBER[1:] not in "".join(traceback.format_exception(error))
    return str(error)


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (socket.gaierror(-2, "Unknown"), ConnectionFailed, "Could not connect to zoom.example: host name not known."),
        (OSError("No route"), ConnectionFailed, "Could not connect to zoom.example: no connection."),
        (
            ssl.SSLCertVerificationError("Self-signed"),
            PermanentError,
            "The TLS certificate of zoom.example could not be verified. Check the connection's host, "
            "and the proxy or certificate bundle of this worker.",
        ),
    ],
)
def test_the_cause_of_a_failure_is_named_and_only_a_bad_certificate_is_permanent(
    mocker: MockerFixture, failure: Exception, kind: type[ZoomError], message: str
) -> None:
    mocker.patch("socket.getaddrinfo", side_effect=failure)

    with pytest.raises(kind) as error:
        get("https://zoom.example/v2")

    assert safe_message(error.value) == message


@pytest.mark.parametrize(
    ("scheme", "sent", "cause"),
    [
        ("https", b"", "TLS handshake failed"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS handshake failed"),
        ("http", b"", "connection reset"),
        ("http", b"nonsense\r\n\r\n", "connection closed"),
    ],
)
def test_a_server_that_breaks_off_or_speaks_nonsense_is_transient(scheme: str, sent: bytes, cause: str) -> None:
    with listening(lambda connection: connection.recv(1 << 16) and connection.sendall(sent)) as host:
        with pytest.raises(ConnectionFailed) as error:
            get(f"{scheme}://{host}/v2")

        assert safe_message(error.value) == f"Could not connect to {host}: {cause}."


@pytest.mark.parametrize("host", [".example", "ä" * 64 + ".example"])
def test_a_host_that_cannot_exist_is_an_invalid_setting(host: str) -> None:
    with pytest.raises(InvalidSettings, match=r"is not a valid host name\. Correct the connection\."):
        get(f"https://{host}/v2")


def test_a_certificate_bundle_that_does_not_exist_is_the_workers_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")

    with pytest.raises(InvalidEnvironment, match=r"/no/such/bundle\.pem.*\. Check the cert.* CURL_CA_BUNDLE names\.$"):
        get("https://127.0.0.1:9/v2")


# Proxies


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ("socks5h://user:pass-word@proxy.example:1080", "a SOCKS proxy needs the package PySocks"),
        ("gopher://user:pass-word@proxy.example", "gopher is not a scheme of proxies"),
        ("user:pass-word@proxy.example:3128", "it is not a URL such as http://proxy.example:3128"),
        ("http://user:pass-word@", "it is not a URL such as http://proxy.example:3128"),
    ],
)
def test_a_proxy_that_cannot_work_is_named_with_its_variable_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture, proxy: str, problem: str
) -> None:
    mocker.patch("airflow_provider_zcc.zoom.http.find_spec", return_value=None)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("COPY", proxy)

    with pytest.raises(InvalidEnvironment) as error:
        get("https://zoom.example/v2")

    named = f"The proxy {proxy.rpartition('@')[2]} of HTTPS_PROXY and https_proxy"
    assert safe_message(error.value) == f"{named} cannot be used: {problem}. Correct it on this worker."


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http", "https", "socks4", "socks4a", "socks5", "socks5h"])
def test_a_proxy_that_refuses_the_connection_is_named_and_transient(
    monkeypatch: pytest.MonkeyPatch, free_port: int, scheme: str, variable: str
) -> None:
    monkeypatch.setenv(variable, f"{scheme}://user:pass-word@127.0.0.1:{free_port}")

    with pytest.raises(ConnectionFailed) as error:
        get("https://127.0.0.1:9/v2")

    through = f"through the proxy 127.0.0.1:{free_port} of {variable}"
    assert safe_message(error.value) == f"Could not connect to 127.0.0.1:9 {through}: connection refused."


@pytest.mark.usefixtures("no_proxies")
def test_a_host_of_no_proxy_is_reached_without_one(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy.example")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with pytest.raises(ConnectionFailed, match="connection refused"):
        get(f"https://127.0.0.1:{free_port}/v2")


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_loopback_host_without_encryption_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, simulator: SimulatorServer, variable: str
) -> None:
    monkeypatch.setenv(variable, "gopher://proxy.example")

    assert page(simulator).status == 401


# Headers, bodies and words


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        (" 7 ", LATER),
        ("Mon, 09 Nov 2026 12:00:07 -0000", LATER),
        ("2026-11-09T12:00:07", LATER),
        ("2026-11-09T13:00:07+01:00", LATER),
        *((value, None) for value in (None, "soon", "nan", "inf", "1e15", "2026-13-01T00:00:00Z")),
    ],
)
def test_retry_after_is_read_in_any_spelling_or_ignored(value: str | None, instant: datetime | None) -> None:
    read = retry_after(value, NOW)

    assert read == instant
    assert read is None or read.tzinfo


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        (f"{(NOW + timedelta(seconds=1)).timestamp():.0f}", NOW + timedelta(seconds=1)),
        (f"{(NOW + timedelta(seconds=60)).timestamp():.0f}", NOW + timedelta(seconds=60)),
        (f"{(NOW + timedelta(seconds=61)).timestamp():.0f}", None),
        (f"{NOW.timestamp():.0f}", None),
        *((value, None) for value in (None, "soon", "nan", "inf", "7")),
    ],
)
def test_a_rate_limit_reset_counts_if_it_is_within_a_minute(value: str | None, instant: datetime | None) -> None:
    assert rate_limit_reset(value, NOW) == instant


def test_the_time_of_a_429_is_that_of_retry_after_before_that_of_the_reset() -> None:
    headers = CaseInsensitiveDict({"Retry-After": "2026-11-09T12:00:07Z", "X-RateLimit-Reset": "1"})

    assert rate_limited(Response(429, headers, b""), None, "").retry_at == LATER
    reset = CaseInsensitiveDict({"X-RateLimit-Reset": f"{time.time() + 30}"})
    assert rate_limited(Response(429, reset, b""), None, "").retry_at


@pytest.mark.parametrize(
    ("words", "hidden", "quoted"),
    [
        ("Two\r\n\tlines  of text ", (), "Two lines of text"),
        ("abc and +12, abc", ("abc", "+12"), "*** and ***, ***"),
        ("said two words and two\n\twords", ("  two \t words ",), "said *** and ***"),
        (4711, (), "4711"),
        ("x" * 301, (), "x" * 300),
        ("x" * 298 + "secret", ("secret",), "x" * 298 + "**"),
    ],
)
def test_quoted_words_are_one_line_without_what_is_hidden(words: object, hidden: tuple[str, ...], quoted: str) -> None:
    assert quote(words, hidden) == quoted
