from __future__ import annotations

import base64
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests
from airflow.providers.common.compat.sdk import Connection
from hypothesis import example, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, settings_from
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from airflow_provider_zcc.zoom.errors import InvalidEnvironment, InvalidSettings, PermanentError
from airflow_provider_zcc.zoom.query import PATH
from tests.certificate import write_certificate
from tests.unit.conftest import END, START, Bucket, ConnectZoom, StartZoom, context_of
from tests.zoom_simulator.app import Request, ZoomSimulator
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
TOKEN = "a-token-that-was-planted"


class Stranger:
    """A server that nobody has reason to call: it counts who connects."""

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


@dataclass(frozen=True)
class Seen:
    """A request as a simulator got it."""

    server: str
    request: Request


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """Everything that reaches a simulator from now on."""
    requests_seen: list[Seen] = []
    reply = ZoomSimulator._reply

    async def note_and_reply(simulator: ZoomSimulator, request: Request, send: Any) -> None:
        requests_seen.append(Seen(request.headers["host"], request))
        await reply(simulator, request, send)

    monkeypatch.setattr(ZoomSimulator, "_reply", note_and_reply)
    return requests_seen


def count() -> int:
    return ZoomContactCenterHook().count_engagements(START, END)


def run_operator(bucket: Bucket) -> str:
    task = EngagementsToS3Operator(task_id="task", s3_bucket=bucket.name, s3_key="day.jsonl", start=START, end=END)
    return task.execute(context_of())


def plant_token(server: SimulatorServer, **more_of_the_answer: str) -> None:
    """Let a simulator issue one known token, with more in the answer."""
    server.simulator._tokens[TOKEN] = float("inf")
    body = {"access_token": TOKEN, "expires_in": 3_599, **more_of_the_answer}
    server.simulator.faults.append(Fault("answer", on="token", times=-1, details={"status": 200, "body": body}))


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
def test_whatever_a_connection_says_requests_go_over_tls_or_stay_on_loopback(
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


@dataclass
class TlsServer:
    """An https server on loopback that notes what it is asked, and answers as Zoom does."""

    certificate: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        asked = self.asked

        class Zoom(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({"total_records": 7, "next_page_token": "", "engagements": []})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer({"access_token": TOKEN, "expires_in": 3_599})

            def _answer(self, body: dict[str, object]) -> None:
                asked.append(self.path)
                text = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Say nothing of a client that hangs up because it does not trust us."""

        self._server = Server(("127.0.0.1", 0), Zoom)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        # Each handshake happens in the thread of its request, so that one that fails does not end the server.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


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
    servers: list[TlsServer] = []

    def start(leading: str, extra: dict[str, Any] | None = None, **of_the_certificate: Any) -> TlsServer:
        servers.append(tls := TlsServer(write_certificate(tmp_path, **of_the_certificate)))
        oauth_url = {"oauth_url": f"{tls.url}/oauth/token"} if leading in ("token", "both") else {}
        host = {"host": f"{tls.url}/v2"} if leading in ("api", "both") else {}
        connect_zoom(zoom, oauth_url | (extra or {}), **host)
        return tls

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("leading", ["api", "token"])
@pytest.mark.parametrize(
    ("certificate", "trusted"),
    [
        pytest.param({}, False, id="self-signed"),
        pytest.param({"starts": -timedelta(days=9)}, True, id="expired"),
        pytest.param({"starts": timedelta(days=9)}, True, id="not yet valid"),
        pytest.param({"address": "127.0.0.2"}, True, id="of another server"),
    ],
)
def test_a_certificate_that_is_not_good_is_refused_before_anything_is_sent(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, leading: str, certificate: dict[str, Any], trusted: bool
) -> None:
    tls = start_tls(leading, **certificate)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.certificate))

    with pytest.raises(PermanentError, match=f"TLS certificate of {tls.url.removeprefix('https://')}"):
        count()
    assert tls.asked == []


@pytest.mark.parametrize("variable", BUNDLES)
def test_the_bundle_of_the_environment_is_what_trust_rests_on(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    tls = start_tls("both")
    monkeypatch.setenv(variable, str(tls.certificate))

    assert ZoomContactCenterHook().get_conn().verify == str(tls.certificate)
    assert count() == 7
    assert [path.split("?")[0] for path in tls.asked] == ["/oauth/token", f"/v2{PATH}"]


@pytest.mark.parametrize("leading", ["api", "token"])
def test_no_field_of_the_connection_turns_verification_off(start_tls: StartTls, leading: str) -> None:
    off = dict.fromkeys(("verify", "verify_ssl", "ssl_verify", "extra__zcc__verify", "tls", "trust_env"), False)
    tls = start_tls(leading, off | {"insecure": True, "session": {"verify": False}, "cert": None})

    assert ZoomContactCenterHook().get_conn().verify is True
    with pytest.raises(PermanentError, match="TLS certificate"):
        count()
    assert tls.asked == []


@pytest.mark.parametrize("leading", ["api", "token"])
@pytest.mark.parametrize("value", ["", "0", "/no/such/bundle.pem"])
def test_no_value_of_the_environment_turns_verification_off(
    start_tls: StartTls, monkeypatch: pytest.MonkeyPatch, leading: str, value: str
) -> None:
    tls = start_tls(leading)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", value)
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")

    with pytest.raises((PermanentError, InvalidEnvironment)):
        count()
    assert tls.asked == []


# Redirects


@pytest.mark.parametrize("on", ["api", "token"])
@pytest.mark.parametrize("location", ["http://{name}/v2", "//{name}/v2", "http://api.zoom.us@{name}/v2", "?a=b", ""])
def test_a_redirect_is_not_followed_however_its_location_is_written(
    zoom: SimulatorServer, stranger: Stranger, on: str, location: str
) -> None:
    details = {"status": 302, "headers": {"location": location.format(name=stranger.name)}}
    zoom.simulator.faults = [Fault("answer", on=on, times=-1, details=details)]

    with pytest.raises(PermanentError, match="redirected the request"):
        count()

    stats = zoom.simulator.stats
    assert stranger.callers == 0
    assert (stats.api_requests, stats.token_requests) == ((1, 1) if on == "api" else (0, 1))


def test_the_session_of_the_hook_follows_no_redirect_either(zoom: SimulatorServer, stranger: Stranger) -> None:
    details = {"status": 307, "headers": {"location": f"{stranger.url}/v2{PATH}"}}
    zoom.simulator.faults = [Fault("answer", times=-1, details=details)]

    with pytest.raises(requests.exceptions.TooManyRedirects):
        ZoomContactCenterHook().get_conn().get(f"{zoom.url}/v2{PATH}", timeout=5)

    assert stranger.callers == 0


# Who gets what


def test_each_server_gets_only_what_is_meant_for_it(
    start_zoom: StartZoom, connect_zoom: ConnectZoom, bucket: Bucket, seen: list[Seen]
) -> None:
    tokens, api = start_zoom(client_secret="a-secret-for-the-token-url", account_id="an-account"), start_zoom()
    connect_zoom(tokens, host=f"{api.url}/v2")
    api.simulator._tokens = tokens.simulator._tokens

    run_operator(bucket)

    by_server = {
        server.url: [found.request for found in seen if found.server == server.url.removeprefix("http://")]
        for server in (tokens, api)
    }
    assert len(seen) == sum(map(len, by_server.values()))
    [asked_for_token] = by_server[tokens.url]
    assert asked_for_token.headers["authorization"].startswith("Basic ")
    assert asked_for_token.query == ""
    [token] = tokens.simulator._tokens
    assert {request.headers["authorization"] for request in by_server[api.url]} == {f"Bearer {token}"}
    told_to_api = str(by_server[api.url])
    assert [word for word in ("a-secret-for-the-token-url", "an-account", "Basic") if word in told_to_api] == []


@pytest.mark.parametrize(
    "spelling", ["{url}", "{url}/v2/contact_center/engagements?page=2", "//{name}/", "@{name}", "\r\nHost: {name}"]
)
def test_a_page_token_that_looks_like_a_url_is_a_parameter_and_no_more(
    zoom: SimulatorServer, bucket: Bucket, stranger: Stranger, seen: list[Seen], spelling: str
) -> None:
    page_token = spelling.format(url=stranger.url, name=stranger.name)
    zoom.simulator.faults = [Fault("page", on="first", details={"next_page_token": page_token})]

    run_operator(bucket)

    assert f"next_page_token={quote_plus(page_token)}" in {
        parameter for found in seen for parameter in found.request.query.split("&")
    }
    assert {found.server for found in seen} == {zoom.url.removeprefix("http://")}
    assert stranger.callers == 0
    assert bucket.body("day.jsonl").count(b"\n") == len(zoom.simulator.truth(START, END))


def test_urls_in_a_page_are_not_asked(
    zoom: SimulatorServer, bucket: Bucket, stranger: Stranger, seen: list[Seen]
) -> None:
    record = {"engagement_id": "e1", "start_time": f"{START:%Y-%m-%dT%H:%M:%SZ}"}
    names = ("next_page_url", "next", "href", "links", "api_url", "download_url", "transcript_url", "recording_url")
    urls_of_strangers = dict.fromkeys(names, stranger.url)
    page = {
        "total_records": 1,
        "next_page_token": "",
        "engagements": [record | urls_of_strangers],
        **urls_of_strangers,
    }
    headers = {
        "Location": stranger.url,
        "Content-Location": stranger.url,
        "Link": f'<{stranger.url}/next>; rel="next"',
        "Refresh": f"0; url={stranger.url}",
        "Alt-Svc": f'h2="{stranger.name}"',
    }
    zoom.simulator.faults = [Fault("answer", times=-1, details={"status": 200, "body": page, "headers": headers})]

    run_operator(bucket)

    assert {found.server for found in seen} == {zoom.url.removeprefix("http://")}
    assert stranger.callers == 0
    assert bucket.body("day.jsonl").count(b"\n") == 1


def test_the_answer_of_the_token_endpoint_does_not_choose_the_host(
    zoom: SimulatorServer, stranger: Stranger, seen: list[Seen]
) -> None:
    plant_token(zoom, api_url=stranger.url, oauth_url=stranger.url, base_url=f"{stranger.url}/v2", host=stranger.name)

    assert count() == len(zoom.simulator.truth(START, END))
    zoom.simulator.end_tokens()
    zoom.simulator._tokens[TOKEN] = float("inf")
    assert count() == len(zoom.simulator.truth(START, END))

    assert {found.server for found in seen} == {zoom.url.removeprefix("http://")}
    assert stranger.callers == 0


def test_a_netrc_file_replaces_neither_the_credentials_nor_the_token(
    zoom: SimulatorServer, seen: list[Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password of-another-service\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    assert count() == len(zoom.simulator.truth(START, END))
    credentials, [token] = zoom.simulator.config, zoom.simulator._tokens
    basic = base64.b64encode(f"{credentials.client_id}:{credentials.client_secret}".encode()).decode()
    assert [found.request.headers["authorization"] for found in seen] == [f"Basic {basic}", f"Bearer {token}"]


# Proxies


@pytest.mark.parametrize("scheme", ["http", "HTTP", "Http"])
def test_http_on_loopback_does_not_go_through_a_proxy_however_it_is_spelled(
    zoom: SimulatorServer,
    connect_zoom: ConnectZoom,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, stranger.url)
    url = f"{scheme}:{zoom.url.partition(':')[2]}"
    connect_zoom(zoom, {"oauth_url": f"{url}/oauth/token"}, host=f"{url}/v2")

    assert ZoomContactCenterHook().test_connection()[0]

    assert zoom.simulator.stats.api_requests == 1
    assert stranger.callers == 0


class Tunnel(Stranger):
    """A proxy that connects to where it is told, by CONNECT or, with ``socks``, by SOCKS 5."""

    def __init__(self, *, socks: bool) -> None:
        self._socks = socks
        super().__init__()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.callers += 1
            threading.Thread(target=self._connect, args=(connection,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        request = client.recv(1 << 16)
        if self._socks:
            client.sendall(b"\x05\x00")
            request = client.recv(1 << 16)
            server = socket.create_connection((socket.inet_ntoa(request[4:8]), int.from_bytes(request[8:10])))
            client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        else:
            host, _, port = request.split()[1].decode().rpartition(":")
            server = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for ends in ((client, server), (server, client)):
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

    assert count() == 7

    # One connection for the token, one for the API.
    assert tunnel.callers == 2
    tunnel.close()
