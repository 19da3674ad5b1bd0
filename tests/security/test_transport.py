from __future__ import annotations

import base64
import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
import requests
from airflow.providers.common.compat.sdk import Connection
from hypothesis import example, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, settings_from
from airflow_provider_zcc.zoom.errors import InvalidEnvironment, InvalidSettings, PermanentError
from airflow_provider_zcc.zoom.query import PATH
from tests.certificate import write_certificate
from tests.conftest import ENGAGEMENTS, StartSimulator
from tests.unit.conftest import END, START, ConnectZoom, StartZoom, no_request_was_sent
from tests.zoom_simulator.app import ZoomSimulator
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def count() -> int:
    return ZoomContactCenterHook().count_engagements(START, END)


def number_read() -> int:
    return sum(1 for _ in ZoomContactCenterHook().iter_engagements(START, END))


# Which URLs a connection may lead to

SCHEMES = ["https://", "http://", "HTTP://", "HtTp:\\\\", "http:/", "http:", "//", "ftp://", "file://", "ws://", ""]
HOSTS = ["api.zoom.us", "evil.example", "127.0.0.1", "[::1]", "localhost", "10.0.0.1", "0.0.0.0", "2130706433"]
JOINTS = ["", "@", "\\@", "\\", "/", "#", "?", "#@", ":80", ":", ".", "%2e", "%00", "%40", "\t", "\n", " ", ";", "。"]

urls = st.builds(
    lambda scheme, parts: scheme + "".join(host + joint for host, joint in parts),
    st.sampled_from(SCHEMES),
    st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from(JOINTS)), min_size=1, max_size=3),
)


def where_requests_goes(url: str) -> tuple[str, str]:
    """Return scheme and host as the library that connects understands them."""
    parsed = parse_url(str(requests.Request("GET", url).prepare().url))
    return str(parsed.scheme), str(parsed.host).strip("[]")


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@settings(max_examples=400, deadline=None)
@given(
    host=urls,
    port=st.sampled_from([None, 80, 443]),
    schema=st.sampled_from([None, "http", "https", "v2", "@evil.example"]),
    oauth_url=urls | st.none(),
)
@example(host="http://127.0.0.1\\@evil.example", port=None, schema=None, oauth_url=None)
@example(host="http://api.zoom.us\\[::1]", port=None, schema=None, oauth_url=None)
@example(host="http://localhost", port=80, schema="@evil.example", oauth_url=None)
@example(host="http://127.0.0.1\t.evil.example", port=None, schema="v2", oauth_url="http://localhost\n.evil.example/")
@example(host="api.zoom.us", port=None, schema="http", oauth_url="https://zoom.us/oauth/token")
def test_whatever_a_connection_holds_requests_go_over_tls_or_stay_on_loopback(
    host: str, port: int | None, schema: str | None, oauth_url: str | None
) -> None:
    extra = {"account_id": "an-account"} | ({"oauth_url": oauth_url} if oauth_url else {})
    connection = Connection(
        conn_id="zcc",
        conn_type="zcc",
        login="id",
        password="a-secret",
        host=host,
        port=port,
        schema=schema,
        extra=json.dumps(extra),
    )
    try:
        chosen = settings_from(connection)
    except InvalidSettings:
        return

    for url in (chosen.api_url + PATH, chosen.credentials.oauth_url):
        try:
            scheme, name = where_requests_goes(url)
        except requests.exceptions.RequestException:
            continue
        assert scheme == "https" or (scheme == "http" and is_loopback(name))


# Certificates


StartTls = Callable[..., SimulatorServer]


@pytest.fixture
def start_tls(
    zoom: SimulatorServer, connect_zoom: ConnectZoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartTls]:
    """Start an https server that nobody trusts, and let the connection lead there for the API, the token, or both.

    Without a bundle in the environment, unless a test sets one.
    """
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)

    def start(leading: str, extra: dict[str, Any] | None = None, **of_the_certificate: Any) -> SimulatorServer:
        tls = stack.enter_context(
            SimulatorServer(ZoomSimulator(ENGAGEMENTS), certificate=write_certificate(tmp_path, **of_the_certificate))
        )
        oauth_url = {"oauth_url": f"{tls.url}/oauth/token"} if leading in ("token", "both") else {}
        host = {"host": f"{tls.url}/v2"} if leading in ("api", "both") else {}
        connect_zoom(zoom, oauth_url | (extra or {}), **host)
        return tls

    with ExitStack() as stack:
        yield start


@pytest.mark.parametrize("leading", ["api", "token"])
@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param({"starts": -timedelta(days=9)}, id="expired"),
        pytest.param({"starts": timedelta(days=9)}, id="not yet valid"),
        pytest.param({"address": "127.0.0.2"}, id="of another server"),
    ],
)
def test_a_certificate_that_is_not_valid_is_rejected_before_anything_is_sent(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, leading: str, certificate: dict[str, Any]
) -> None:
    tls = start_tls(leading, **certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.certificate))

    with pytest.raises(PermanentError, match=f"TLS certificate of {tls.url.removeprefix('https://')}"):
        count()
    assert no_request_was_sent(tls)


@pytest.mark.parametrize("variable", BUNDLES)
def test_the_bundle_of_the_environment_is_trusted(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    tls = start_tls("both")
    monkeypatch.setenv(variable, str(tls.certificate))

    assert ZoomContactCenterHook().get_conn().verify == str(tls.certificate)
    assert count() == len(tls.simulator.truth(START, END))
    assert (tls.simulator.stats.token_requests, tls.simulator.stats.api_requests) == (1, 1)


@pytest.mark.parametrize("leading", ["api", "token"])
@pytest.mark.parametrize("bundle", [None, "", "0"])
def test_neither_connection_nor_environment_turns_verification_off(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, leading: str, bundle: str | None
) -> None:
    tls = start_tls(leading, {"verify": False, "verify_ssl": False, "insecure": True, "session": {"verify": False}})
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    if bundle is not None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)

    with pytest.raises((PermanentError, InvalidEnvironment)):
        count()
    assert no_request_was_sent(tls)


# Redirects


@pytest.mark.parametrize("on", ["api", "token"])
def test_a_redirect_is_not_followed(zoom: SimulatorServer, start_simulator: StartSimulator, on: str) -> None:
    other = start_simulator()
    details = {"status": 307, "headers": {"location": f"{other.url}/v2{PATH}"}}
    zoom.simulator.faults = [Fault("answer", on=on, times=-1, details=details)]

    with pytest.raises(PermanentError, match="redirected the request"):
        count()
    if on == "api":
        with pytest.raises(requests.exceptions.TooManyRedirects):
            ZoomContactCenterHook().get_conn().get(f"{zoom.url}/v2{PATH}", timeout=5)

    assert no_request_was_sent(other)


# Which server receives what


def test_each_server_receives_only_what_is_meant_for_it_even_with_a_netrc_file(
    start_zoom: StartZoom,
    connect_zoom: ConnectZoom,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password of-another-service\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    tokens, api = start_zoom(client_secret="a-secret-for-the-token-url", account_id="an-account"), start_zoom()
    connect_zoom(tokens, host=f"{api.url}/v2")
    api.simulator._tokens = tokens.simulator._tokens

    number_read()

    [(for_token, _)] = tokens.simulator.stats.exchanges
    for_pages = [request for request, _ in api.simulator.stats.exchanges]
    [token] = tokens.simulator._tokens
    basic = base64.b64encode(f"{tokens.simulator.config.client_id}:a-secret-for-the-token-url".encode()).decode()
    assert for_token.headers["host"] in tokens.url
    assert (for_token.headers["authorization"], for_token.query) == (f"Basic {basic}", "")
    assert {request.headers["host"] in api.url for request in for_pages} == {True}
    assert {request.headers["authorization"] for request in for_pages} == {f"Bearer {token}"}
    assert [word for word in ("a-secret-for-the-token-url", "an-account", "Basic") if word in str(for_pages)] == []


@pytest.mark.parametrize("spelling", ["{url}/v2?page=2", "\r\nHost: {url}"])
def test_a_page_token_that_looks_like_a_url_is_only_a_parameter(
    zoom: SimulatorServer, start_simulator: StartSimulator, spelling: str
) -> None:
    other = start_simulator()
    page_token = spelling.format(url=other.url)
    zoom.simulator.faults = [Fault("page", on="first", details={"next_page_token": page_token})]

    assert number_read() == len(zoom.simulator.truth(START, END))

    assert any(("next_page_token", page_token) in query for query in zoom.simulator.stats.queries)
    assert no_request_was_sent(other)


# Proxies


@pytest.fixture(params=["http", "socks5"])
def proxy(request: pytest.FixtureRequest) -> Iterator[ThreadingTCPServer]:
    """A proxy of the environment that connects to the requested host, by CONNECT or by SOCKS 5."""

    class Tunnel(BaseRequestHandler):
        def handle(self) -> None:
            self.server.callers += 1  # type: ignore[attr-defined]
            received = self.request.recv(1 << 16)
            if request.param == "socks5":
                self.request.sendall(b"\x05\x00")
                received = self.request.recv(1 << 16)
                address = socket.inet_ntoa(received[4:8]), int.from_bytes(received[8:10])
                accepted = b"\x05\x00\x00\x01" + bytes(6)
            else:
                host, _, port = received.split()[1].decode().rpartition(":")
                address, accepted = (host, int(port)), b"HTTP/1.1 200 Connection established\r\n\r\n"
            with socket.create_connection(address) as server:
                self.request.sendall(accepted)
                threading.Thread(target=pass_on, args=(server, self.request), daemon=True).start()
                pass_on(self.request, server)

    with pytest.MonkeyPatch.context() as patch, ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy:
        proxy.callers = 0  # type: ignore[attr-defined]
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("NO_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("HTTPS_PROXY", f"{request.param}://127.0.0.1:{proxy.server_address[1]}")
        yield proxy
        proxy.shutdown()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_https_goes_through_the_proxy_of_the_environment(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, proxy: ThreadingTCPServer
) -> None:
    tls = start_tls("both")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.certificate))

    assert count() == len(tls.simulator.truth(START, END))

    # One connection for the token, one for the API.
    assert proxy.callers == 2  # type: ignore[attr-defined]
