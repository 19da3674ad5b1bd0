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
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests
from airflow.providers.common.compat.sdk import Connection
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytest_mock import MockerFixture
from urllib3.util import parse_url

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, settings_from
from airflow_provider_zcc.zoom.errors import InvalidEnvironment, InvalidSettings, PermanentError
from airflow_provider_zcc.zoom.query import PATH
from tests.certificate import write_certificate
from tests.conftest import ENGAGEMENTS
from tests.unit.conftest import END, START, ConnectZoom, StartZoom
from tests.zoom_simulator.app import Request, ZoomSimulator
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


Seen = Callable[[], list[Request]]


class Stranger:
    """A server that nobody has reason to call: it counts the connections."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.name}"
        self.callers = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.callers += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        connection.close()

    def close(self) -> None:
        # Unlike close alone, this wakes the thread that waits for a caller.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    stranger = Stranger()
    yield stranger
    stranger.close()


@pytest.fixture
def seen(mocker: MockerFixture) -> Seen:
    """Return every request that has reached a simulator."""
    responses = mocker.spy(ZoomSimulator, "_reply")
    return lambda: [call.args[1] for call in responses.call_args_list]


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


class TlsServer(SimulatorServer):
    """A simulator that has a certificate.

    :param certificate: the file with the certificate and its key.
    """

    def __init__(self, certificate: Path) -> None:
        super().__init__(ZoomSimulator(ENGAGEMENTS))
        self.url = self.url.replace("http://", "https://")
        self.certificate = certificate
        self._server.config.ssl_certfile = certificate

    @property
    def requests(self) -> int:
        return self.simulator.stats.api_requests + self.simulator.stats.token_requests


StartTls = Callable[..., TlsServer]


@pytest.fixture
def start_tls(
    zoom: SimulatorServer, connect_zoom: ConnectZoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartTls]:
    """Start an https server that nobody trusts, and let the connection lead there for the API, the token, or both.

    Without a bundle in the environment, unless a test sets one.
    """
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)

    def start(leading: str, extra: dict[str, Any] | None = None, **of_the_certificate: Any) -> TlsServer:
        tls = stack.enter_context(TlsServer(write_certificate(tmp_path, **of_the_certificate)))
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
    assert tls.requests == 0


@pytest.mark.parametrize("variable", BUNDLES)
def test_the_bundle_of_the_environment_is_trusted(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    tls = start_tls("both")
    monkeypatch.setenv(variable, str(tls.certificate))

    assert ZoomContactCenterHook().get_conn().verify == str(tls.certificate)
    assert count() == len(tls.simulator.truth(START, END))
    assert tls.requests == 2


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
    assert tls.requests == 0


# Redirects


@pytest.mark.parametrize("on", ["api", "token"])
@pytest.mark.parametrize("location", ["http://{name}/v2", "//{name}/v2", "?a=b", ""])
def test_a_redirect_is_not_followed_however_its_location_is_written(
    zoom: SimulatorServer, stranger: Stranger, on: str, location: str
) -> None:
    details = {"status": 302, "headers": {"location": location.format(name=stranger.name)}}
    zoom.simulator.faults = [Fault("answer", on=on, times=-1, details=details)]

    with pytest.raises(PermanentError, match="redirected the request"):
        count()

    assert stranger.callers == 0
    assert (zoom.simulator.stats.api_requests, zoom.simulator.stats.token_requests) == (int(on == "api"), 1)


def test_the_session_of_the_hook_follows_no_redirect_either(zoom: SimulatorServer, stranger: Stranger) -> None:
    details = {"status": 307, "headers": {"location": f"{stranger.url}/v2{PATH}"}}
    zoom.simulator.faults = [Fault("answer", times=-1, details=details)]

    with pytest.raises(requests.exceptions.TooManyRedirects):
        ZoomContactCenterHook().get_conn().get(f"{zoom.url}/v2{PATH}", timeout=5)

    assert stranger.callers == 0


# Which server receives what


def test_each_server_receives_only_what_is_meant_for_it_even_with_a_netrc_file(
    start_zoom: StartZoom, connect_zoom: ConnectZoom, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password of-another-service\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    tokens, api = start_zoom(client_secret="a-secret-for-the-token-url", account_id="an-account"), start_zoom()
    connect_zoom(tokens, host=f"{api.url}/v2")
    api.simulator._tokens = tokens.simulator._tokens

    number_read()

    for_token, *for_pages = seen()
    [token] = tokens.simulator._tokens
    basic = base64.b64encode(f"{tokens.simulator.config.client_id}:a-secret-for-the-token-url".encode()).decode()
    assert for_token.headers["host"] in tokens.url
    assert (for_token.headers["authorization"], for_token.query) == (f"Basic {basic}", "")
    assert {request.headers["host"] in api.url for request in for_pages} == {True}
    assert {request.headers["authorization"] for request in for_pages} == {f"Bearer {token}"}
    assert [word for word in ("a-secret-for-the-token-url", "an-account", "Basic") if word in str(for_pages)] == []


@pytest.mark.parametrize("spelling", ["http://{name}/v2?page=2", "\r\nHost: {name}"])
def test_a_page_token_that_looks_like_a_url_is_only_a_parameter(
    zoom: SimulatorServer, stranger: Stranger, seen: Seen, spelling: str
) -> None:
    page_token = spelling.format(name=stranger.name)
    zoom.simulator.faults = [Fault("page", on="first", details={"next_page_token": page_token})]

    assert number_read() == len(zoom.simulator.truth(START, END))

    assert any(f"next_page_token={quote_plus(page_token)}" in request.query.split("&") for request in seen())
    assert stranger.callers == 0


@pytest.mark.parametrize("on", ["api", "token"])
def test_urls_in_a_response_are_not_requested(zoom: SimulatorServer, stranger: Stranger, on: str) -> None:
    links = dict.fromkeys(("next_page_url", "links", "api_url", "oauth_url", "host", "transcript_url"), stranger.url)
    record = {"engagement_id": "e1", "start_time": f"{START:%Y-%m-%dT%H:%M:%SZ}"}
    headers = {"Location": stranger.url, "Link": f'<{stranger.url}>; rel="next"', "Refresh": f"0; url={stranger.url}"}
    page = {"total_records": 1, "next_page_token": "", "engagements": [record | links], **links}
    zoom.simulator.faults = [
        Fault("page", on="token", details=links)
        if on == "token"
        else Fault("answer", details={"status": 200, "body": page, "headers": headers})
    ]

    assert number_read() == (1 if on == "api" else len(zoom.simulator.truth(START, END)))

    assert stranger.callers == 0


# Proxies


def test_http_on_loopback_does_not_go_through_a_proxy_however_it_is_spelled(
    zoom: SimulatorServer, connect_zoom: ConnectZoom, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, stranger.url)
    url = zoom.url.replace("http:", "Http:")
    connect_zoom(zoom, {"oauth_url": f"{url}/oauth/token"}, host=f"{url}/v2")

    assert ZoomContactCenterHook().test_connection()[0]

    assert zoom.simulator.stats.api_requests == 1
    assert stranger.callers == 0


class Tunnel(Stranger):
    """A proxy that connects to the requested host, by CONNECT or, with ``socks``, by SOCKS 5."""

    def __init__(self, *, socks: bool) -> None:
        self._socks = socks
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        request = connection.recv(1 << 16)
        if self._socks:
            connection.sendall(b"\x05\x00")
            request = connection.recv(1 << 16)
            server = socket.create_connection((socket.inet_ntoa(request[4:8]), int.from_bytes(request[8:10])))
            connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
        else:
            host, _, port = request.split()[1].decode().rpartition(":")
            server = socket.create_connection((host, int(port)))
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for ends in ((connection, server), (server, connection)):
            threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_https_goes_through_the_proxy_of_the_environment(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    tls = start_tls("both")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.certificate))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    tunnel = Tunnel(socks=scheme == "socks5")
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{tunnel.name}")

    assert count() == len(tls.simulator.truth(START, END))

    # One connection for the token, one for the API.
    assert tunnel.callers == 2
    tunnel.close()
