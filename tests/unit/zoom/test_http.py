from __future__ import annotations

import gzip
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, version

import pytest
from pytest_mock import MockerFixture
from requests.structures import CaseInsensitiveDict

from airflow_provider_zcc.zoom.connections import answered_within, session
from airflow_provider_zcc.zoom.errors import InvalidSettings, PermanentError, TransientError
from airflow_provider_zcc.zoom.http import Response, error_body, quote, rate_limited, retry_after, send, user_agent
from tests.conftest import StartSimulator
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

NOW = datetime(2026, 11, 9, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 9, 12, 0, 7, tzinfo=UTC)
NUMBER = "+12059300900"


def answer(status: int, body: bytes, **headers: str) -> Response:
    return Response(status, CaseInsensitiveDict(headers), body)


def ask(server: SimulatorServer, timeout: float = 5.0) -> Response:
    url = f"{server.url}/v2/contact_center/engagements"
    return send(session().get, url, params={"consumer_number": NUMBER}, timeout=timeout)


def test_the_user_agent_names_the_package_and_its_version() -> None:
    assert user_agent() == f"airflow-provider-zcc/{version('airflow-provider-zcc')}"


def test_the_user_agent_names_a_package_that_is_not_installed_without_its_version(mocker: MockerFixture) -> None:
    mocker.patch("airflow_provider_zcc.zoom.http.version", side_effect=PackageNotFoundError)

    assert user_agent() == "airflow-provider-zcc"


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("7", LATER),
        (" 7 ", LATER),
        ("0.25", NOW + timedelta(seconds=0.25)),
        ("0", NOW),
        ("-5", NOW - timedelta(seconds=5)),
        ("86400", NOW + timedelta(days=1)),
        ("Mon, 09 Nov 2026 12:00:07 GMT", LATER),
        ("Mon, 09 Nov 2026 12:00:07 -0000", LATER),
        ("Mon, 09 Nov 2026 04:00:07 -0800", LATER),
        ("2026-11-09T12:00:07Z", LATER),
        ("2026-11-09T12:00:07", LATER),
        ("2026-11-09T13:00:07+01:00", LATER),
        ("2020-05-31T00:00:00Z", datetime(2020, 5, 31, tzinfo=UTC)),
    ],
)
def test_retry_after_is_read_as_seconds_http_date_and_iso_instant(value: str, instant: datetime) -> None:
    moment = retry_after(value, NOW)

    assert moment == instant
    assert moment.tzinfo is not None


@pytest.mark.parametrize(
    "value", [None, "", "  ", "soon", "nan", "inf", "1e400", "1e15", ",", "Mon, 99 Foo 2026", "2026-13-01T00:00:00Z"]
)
def test_a_retry_after_that_names_no_time_is_none(value: str | None) -> None:
    assert retry_after(value, NOW) is None


def test_a_retry_after_of_another_offset_keeps_its_instant() -> None:
    moment = retry_after("2026-11-09T00:00:00-12:00", NOW)

    assert moment == datetime(2026, 11, 9, tzinfo=timezone(timedelta(hours=-12)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("Slow down.", "Zoom's rate limit was reached (HTTP 429: Slow down.)."),
        ("", "Zoom's rate limit was reached (HTTP 429)."),
    ],
)
def test_a_429_becomes_an_error_with_zooms_words_and_time(words: str, message: str) -> None:
    error = rate_limited(answer(429, b"", **{"Retry-After": "2026-11-09T12:00:07Z"}), words)

    assert str(error) == message
    assert error.retry_at == LATER


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"code": 300, "message": "No."}', {"code": 300, "message": "No."}),
        (b"<html>Bad Gateway</html>", {}),
        (b"", {}),
        (b"[1]", {}),
        (b'"words"', {}),
        (b"\xff\xfe\xff", {}),
    ],
)
def test_an_error_body_is_a_json_object_or_nothing(body: bytes, read: dict[str, object]) -> None:
    assert error_body(answer(400, body)) == read


@pytest.mark.parametrize(
    ("words", "hidden", "quoted"),
    [
        ("Two\r\n\tlines  of text ", (), "Two lines of text"),
        ("the token abc and abc", ("abc",), "the token *** and ***"),
        ("abc and +12", ("abc", "+12"), "*** and ***"),
        ("said two  words, and two words", ("two  words",), "said ***, and ***"),
        ("said two words and two\n\twords", ("  two \t words ",), "said *** and ***"),
        ("nothing to hide", ("  ",), "nothing to hide"),
        ("nothing to hide", ("",), "nothing to hide"),
        (4711, (), "4711"),
        ("x" * 301, (), "x" * 300),
    ],
)
def test_quoted_words_are_one_short_line_without_what_is_hidden(
    words: object, hidden: tuple[str, ...], quoted: str
) -> None:
    assert quote(words, hidden) == quoted


def test_a_hidden_value_does_not_survive_in_part_where_the_quote_is_cut() -> None:
    assert quote("x" * 298 + "secret", ("secret",)) == "x" * 298 + "**"


def test_an_answer_is_returned_whatever_its_status(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("answer", details={"status": 418, "body": b"tea"})]

    reply = ask(simulator)

    assert (reply.status, reply.body) == (418, b"tea")


def test_a_reply_keeps_the_header_that_signed_its_request_out_of_its_repr(simulator: SimulatorServer) -> None:
    headers = {"Authorization": "Bearer a-secret-token"}

    reply = send(session().get, f"{simulator.url}/v2/contact_center/engagements", headers=headers, timeout=5.0)

    assert (reply.status, reply.authorization) == (401, "Bearer a-secret-token")
    assert "a-secret-token" not in repr(reply)


def test_headers_are_found_in_any_letter_case(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("answer", details={"status": 429, "headers": {"RETRY-AFTER": "7"}})]

    assert ask(simulator).headers.get("Retry-After") == "7"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_body_of_any_size_arrives_whole(simulator: SimulatorServer, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    simulator.simulator.faults = [Fault("answer", details={"status": 200, "body": body})]

    assert ask(simulator).body == body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(start_simulator: StartSimulator, status: int) -> None:
    server, other = start_simulator(), start_simulator()
    location = f"{other.url}/v2/contact_center/engagements"
    server.simulator.faults = [Fault("answer", details={"status": status, "headers": {"location": location}})]

    with pytest.raises(PermanentError) as error:
        ask(server)

    assert str(error.value) == (
        f"{server.url.removeprefix('http://')} redirected the request (HTTP {status}), which is refused to keep the "
        "credentials where they belong. Check the connection's host and token_url."
    )
    assert other.simulator.stats.api_requests == 0


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("reset", "ConnectionError"),
        ("cut", "ProtocolError"),
        ("delay", "ReadTimeout"),
    ],
)
def test_a_broken_connection_is_passing_and_does_not_quote_the_url(
    simulator: SimulatorServer, kind: str, name: str
) -> None:
    simulator.simulator.faults = [Fault(kind, details={"seconds": 5.0})]

    with pytest.raises(TransientError) as error:
        ask(simulator, timeout=0.3)

    host = simulator.url.removeprefix("http://")
    assert str(error.value) == f"The connection to {host} broke ({name}). Check the network if this goes on."
    assert NUMBER.lstrip("+") not in "".join(traceback.format_exception(error.value))


def test_a_server_that_is_not_there_is_passing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"

        with pytest.raises(TransientError) as error:
            send(session().get, f"http://{host}/v2", timeout=5.0)

    assert str(error.value) == f"The connection to {host} broke (ConnectionError). Check the network if this goes on."


def test_a_server_without_tls_is_a_permanent_error(simulator: SimulatorServer) -> None:
    host = simulator.url.removeprefix("http://")

    with pytest.raises(PermanentError) as error:
        send(session().get, f"https://{host}/v2", params={"consumer_number": NUMBER}, timeout=5.0)

    assert str(error.value) == (
        f"The TLS certificate of {host} could not be verified. "
        "Check the connection's host, and the proxy or certificate bundle of this worker."
    )
    assert NUMBER.lstrip("+") not in "".join(traceback.format_exception(error.value))


def test_a_tls_handshake_that_is_cut_off_is_passing() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        host = f"127.0.0.1:{server.getsockname()[1]}"

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(TransientError, match="The connection to 127"):
            send(session().get, f"https://{host}/v2", timeout=5.0)


@pytest.mark.parametrize(
    "host",
    [".example", "*.example", "a" * 64 + ".example", "ä" * 64 + ".example", "a..example"],
)
def test_a_host_that_cannot_exist_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        send(session().get, f"https://{host}/v2", timeout=5.0)

    assert str(error.value) == f"{host} is not a host that can be asked. Check the connection."


def answering_with(server: SimulatorServer, body: bytes, **headers: str) -> None:
    server.simulator.faults = [Fault("answer", details={"status": 200, "body": body, "headers": headers})]


def test_a_compressed_body_is_decompressed(simulator: SimulatorServer) -> None:
    answering_with(simulator, gzip.compress(b"{}"), **{"Content-Encoding": "gzip"})

    assert ask(simulator).body == b"{}"


def test_a_body_that_comes_in_pieces_may_be_as_large_as_the_largest_and_no_larger(
    simulator: SimulatorServer, mocker: MockerFixture
) -> None:
    mocker.patch("airflow_provider_zcc.zoom.http._CHUNK", 4)
    mocker.patch("airflow_provider_zcc.zoom.http._LARGEST_BODY", 10)
    answering_with(simulator, b"ten bytes.")

    assert ask(simulator).body == b"ten bytes."

    answering_with(simulator, b"many more bytes than that")
    with pytest.raises(TransientError) as error:
        ask(simulator)

    host = simulator.url.removeprefix("http://")
    assert str(error.value) == f"The answer of {host} did not end: 12 bytes until now."


@pytest.mark.parametrize(("timeout", "longest"), [(5.0, 120.0), (121.0, 121.0)])
def test_an_answer_may_take_two_minutes_or_the_timeout_if_that_is_longer(
    simulator: SimulatorServer, mocker: MockerFixture, timeout: float, longest: float
) -> None:
    within = mocker.patch("airflow_provider_zcc.zoom.http.answered_within", wraps=answered_within)

    assert ask(simulator, timeout).body

    within.assert_called_once_with(longest)


@contextmanager
def trickling(beginning: bytes, piece: bytes) -> Iterator[tuple[str, threading.Event]]:
    """Serve one answer that does not end: a beginning, and the same piece behind it again and again.

    :return: the URL, and what is set when the client left before the server did.
    """
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                ends = time.monotonic() + 3.0
                try:
                    connection.sendall(beginning)
                    while time.monotonic() < ends:
                        connection.sendall(piece)
                        time.sleep(0.01)
                except OSError:
                    left.set()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v2", left


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"
ENDLESS = {
    "body": (HEAD + b"\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "body of an error": (HEAD.replace(b"200 OK", b"503 Service Unavailable") + b"\r\n", b"x"),
    "body of a redirect": (HEAD.replace(b"200 OK", b"302 Found") + b"Location: http://127.0.0.1:9/\r\n\r\n", b"x"),
    "gzip of nothing": (
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10],
        b"\x00\x00\x00\xff\xff",
    ),
    "status line": (b"HTTP/1.1 200 ", b"x"),
    "header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize(("beginning", "piece"), ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_that_trickles_for_ever_is_left(mocker: MockerFixture, beginning: bytes, piece: bytes) -> None:
    mocker.patch("airflow_provider_zcc.zoom.http._LONGEST_ANSWER", 0.3)

    with trickling(beginning, piece) as (url, left):
        # The server is never silent for as long as this.
        with pytest.raises((TransientError, PermanentError)):
            send(session().get, url, timeout=0.5)

        assert left.wait(5)


def test_a_certificate_bundle_that_is_not_there_is_a_permanent_error() -> None:
    with pytest.raises(PermanentError) as error:
        send(session().get, "https://127.0.0.1:9/v2", timeout=5.0, verify="/no/such/bundle.pem")

    told = str(error.value)
    assert told.startswith("127.0.0.1:9 could not be asked: ")
    assert told.endswith("Check the certificate bundle that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names on this worker.")
