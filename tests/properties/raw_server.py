"""A server that responds with the bytes it was given, whether or not they are HTTP."""

from __future__ import annotations

import socketserver
from email.parser import BytesParser


class _Connection(socketserver.StreamRequestHandler):
    server: RawServer
    timeout = 5

    def handle(self) -> None:
        request_line = self.rfile.readline()
        headers = BytesParser().parsebytes(b"".join(iter(self.rfile.readline, b"\r\n")))
        self.rfile.read(int(headers["Content-Length"] or 0))
        self.server.requests += 1
        if b" /oauth/token" in request_line:
            self.wfile.write(self.server.token)
        else:
            self.wfile.write(self.server.api.pop(0) if len(self.server.api) > 1 else self.server.api[0])


class RawServer(socketserver.TCPServer):
    """Responds to each request on a connection of its own, on a free port of loopback.

    :ivar token: the response of the token endpoint.
    :ivar api: the responses of the API, one after the other; the last one again and again.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def set_responses(self, *, token: bytes, api: list[bytes]) -> None:
        """Set the responses, and forget the requests so far."""
        self.token, self.api, self.requests = token, list(api), 0

    def handle_error(self, *_: object) -> None:
        """Ignore a client that closes the connection before it has read everything."""
