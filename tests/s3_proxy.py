"""An HTTP proxy in front of an S3 server that refuses, delays or resets chosen operations."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
#: The operations with an object, by method and by what the query names.
_OPERATIONS = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "partNumber"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_OF_A_CONNECTION = {"connection", "content-length", "transfer-encoding", "server", "date"}


@dataclass
class S3Fault:
    """What befalls an operation.

    :param operation: its name in S3's API.
    :param part: the number of the part, of UploadPart alone; None for any.
    :param times: so many requests are befallen; negative for ever.
    :param status: HTTP status of an error that is answered instead; None if the request goes through.
    :param code: S3's name of the error.
    :param seconds: how much later the answer comes.
    :param reset: the connection is reset instead of an answer.
    :param before: what is done first.
    :param befell: how many requests it has befallen.
    """

    operation: str
    part: int | None = None
    times: int = -1
    status: int | None = None
    code: str = ""
    seconds: float = 0.0
    reset: bool = False
    before: Callable[[], object] | None = None
    befell: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Of ten uploads at once, those beyond the usual queue of five would have to knock again a second later.
    request_queue_size = 128


class S3Proxy:
    """Serves on a free port while the context lasts.

    :param url: the S3 server behind.
    """

    def __init__(self, url: str) -> None:
        self.faults: list[S3Fault] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self, urlsplit(url).netloc))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> S3Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def befalling(self, operation: str, part: int | None) -> S3Fault | None:
        """Return the fault that befalls a request, and count it."""
        with self._lock:
            for fault in self.faults:
                if fault.operation == operation and fault.part in (None, part) and fault.times:
                    fault.times -= 1
                    fault.befell += 1
                    return fault
        return None


def _operation(method: str, path: str) -> tuple[str, int | None]:
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    for (expected, name), operation in _OPERATIONS.items():
        if method == expected and name in query:
            return operation, int(query["partNumber"][0]) if name == "partNumber" else None
    of_object = re.fullmatch("/[^/]+/.+", parts.path)
    return f"{method.capitalize()}{'Object' if of_object else 'Bucket'}", None


class _Handler(BaseHTTPRequestHandler):
    proxy: S3Proxy
    behind: str
    protocol_version = "HTTP/1.1"
    # Otherwise head and body of an answer wait for each other.
    disable_nagle_algorithm = True

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.befalling(*_operation(self.command, self.path)) or S3Fault("")
        if fault.before:
            fault.before()
        time.sleep(fault.seconds)
        if fault.reset:
            # Without lingering, the socket says that it was reset, rather than that it ended.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault.status:
            self._answer(fault.status, [], _ERROR.format(code=fault.code, message="As the test wants it.").encode())
        else:
            self._forward(body)

    def _forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.behind)
        # The body is here already: nobody waits for the server to ask for it.
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        passed_on = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OF_A_CONNECTION]
        self._answer(answer.status, passed_on, answer.read())
        connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815


def _handler_for(proxy: S3Proxy, behind: str) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"proxy": proxy, "behind": behind})
