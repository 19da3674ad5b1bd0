"""A server that answers with the bytes it was given, whether or not they are HTTP."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from types import TracebackType

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class RawServer:
    """Answers each request on a connection of its own, on a free port of loopback, while the context lasts.

    :ivar token: the answer of the token endpoint.
    :ivar api: the answers of the API, one after the other; the last one again and again.
    """

    def __init__(self) -> None:
        self.token = b""
        self.api: list[bytes] = []
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # To close a socket does not wake who waits for a connection to it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def answer(self, *, token: bytes, api: list[bytes]) -> None:
        """Set the answers, and forget the requests so far."""
        self.token, self.api, self.requests = token, list(api), []

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(5)
                self._reply(connection)

    def _reply(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request or len(request) < _end_of(request):
            data = connection.recv(65_536)
            if not data:
                return
            request += data
        self.requests.append(request)
        if b" /oauth/token" in request.split(b"\r\n", 1)[0]:
            answer = self.token
        else:
            answer = self.api.pop(0) if len(self.api) > 1 else self.api[0]
        connection.sendall(answer)


def _end_of(request: bytes) -> int:
    length = _LENGTH.search(request)
    return request.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
