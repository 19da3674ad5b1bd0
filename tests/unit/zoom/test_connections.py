from __future__ import annotations

import gc
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from airflow_provider_zcc.zoom import connections
from airflow_provider_zcc.zoom.connections import answered_within, cut_off, session
from tests.certificate import write_certificate

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LAST_ANSWER = ANSWER.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")


@dataclass
class Server:
    """Sends the same bytes to each who connects, before it is asked anything more, and nothing else.

    :param certificate: speaks TLS with it.
    """

    says: bytes = b""
    certificate: Path | None = None
    shakes_hands: bool = True
    accepted: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if self.certificate else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            if self.certificate and self.shakes_hands:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificate)
                accepted = context.wrap_socket(accepted, server_side=True)
            accepted.sendall(self.says)
            self.accepted.append(accepted)

    def close(self) -> None:
        self._listener.close()
        for accepted in self.accepted:
            accepted.close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.close()


class Asking(threading.Thread):
    """A thread that asks once."""

    def __init__(self, client: requests.Session, server: Server) -> None:
        super().__init__(daemon=True)
        self._client, self._server = client, server
        self.error: Exception | None = None
        before = len(server.accepted)
        self.start()
        deadline = time.monotonic() + 30.0
        while len(server.accepted) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.05)

    def run(self) -> None:
        try:
            self._client.get(self._server.url, timeout=60.0)
        except requests.RequestException as error:
            self.error = error


@pytest.mark.parametrize(
    ("says", "tls", "shakes_hands"),
    [
        pytest.param(b"", False, True, id="an answer"),
        pytest.param(ANSWER[:-1], False, True, id="the rest of an answer"),
        pytest.param(LAST_ANSWER[:-1], False, True, id="the rest of the last answer"),
        pytest.param(LAST_ANSWER[:-1], True, True, id="the rest of the last answer over TLS"),
        pytest.param(b"", True, True, id="an answer over TLS"),
        pytest.param(ANSWER[:-1], True, True, id="the rest of an answer over TLS"),
        pytest.param(b"", True, False, id="a handshake"),
    ],
)
def test_a_thread_that_waits_for_what_does_not_come_fails_when_it_is_cut_off(
    servers: list[Server], tmp_path: Path, says: bytes, tls: bool, shakes_hands: bool
) -> None:
    certificate = write_certificate(tmp_path) if tls else None
    servers.append(server := Server(says, certificate, shakes_hands=shakes_hands))
    client = session()
    client.trust_env, client.verify = False, str(certificate)
    waiting = Asking(client, server)

    cut_off([waiting])
    waiting.join(10.0)

    assert not waiting.is_alive()
    assert isinstance(waiting.error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError)


def test_others_that_wait_go_on(servers: list[Server]) -> None:
    servers.append(server := Server())
    client = session(2)
    waiting, other = Asking(client, server), Asking(client, server)

    cut_off([waiting])
    waiting.join(10.0)
    server.accepted[1].sendall(ANSWER)
    other.join(10.0)

    assert waiting.error
    assert not other.is_alive()
    assert other.error is None


def test_who_has_its_answer_is_not_cut_off_with_the_thread_that_used_the_connection_before(
    servers: list[Server],
) -> None:
    servers.append(server := Server(ANSWER))
    client = session()
    before = Asking(client, server)
    before.join(10.0)
    now = threading.Thread(target=client.get, args=(server.url,), kwargs={"timeout": 60.0}, daemon=True)
    now.start()
    time.sleep(0.05)

    cut_off([before])
    server.accepted[0].sendall(ANSWER)
    now.join(10.0)

    assert not now.is_alive()
    assert len(server.accepted) == 1


def test_the_proxy_of_a_session_can_be_cut_off_as_well(servers: list[Server]) -> None:
    servers.append(proxy := Server())
    client = session()
    client.proxies = {"http": proxy.url}
    client.trust_env = False
    waiting = Asking(client, proxy)

    cut_off([waiting])
    waiting.join(10.0)

    assert not waiting.is_alive()
    assert waiting.error


def test_who_asks_after_the_time_is_over_is_cut_off_as_well(servers: list[Server]) -> None:
    servers.append(server := Server())
    client = session()

    with answered_within(0.05) as too_late:
        too_late.wait(10.0)
        with pytest.raises(requests.ConnectionError):
            client.get(server.url, timeout=60.0)

    assert "zcc-watchdog" not in [thread.name for thread in threading.enumerate()]


def test_who_is_done_in_time_is_not_cut_off(servers: list[Server]) -> None:
    servers.append(server := Server(ANSWER))
    client = session()

    with answered_within(60.0) as too_late:
        assert client.get(server.url, timeout=60.0).text == "{}"

    assert not too_late.is_set()
    assert "zcc-watchdog" not in [thread.name for thread in threading.enumerate()]


def test_to_cut_off_a_thread_that_does_not_ask_does_nothing() -> None:
    cut_off([threading.current_thread()])


def test_connections_that_are_gone_are_forgotten(servers: list[Server]) -> None:
    servers.append(server := Server(ANSWER))

    def known() -> int:
        return sum(server.url.endswith(f":{connection.port}") for connection in connections._connections)

    with session() as client:
        client.get(server.url, timeout=60.0)
        assert known() == 1
    del client
    gc.collect()

    assert known() == 0
