"""An S3 server over HTTP on loopback: moto's, that rejects, delays or resets chosen operations."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

#: The secret key that its clients have.
PASSWORD = "simulated-key"
_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>As the test wants it.</Message></Error>'
)
#: The operations with an object, by method and by what the query names.
_OPERATIONS = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "partNumber"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}


@dataclass
class S3Fault:
    """What happens to an operation of Airflow, and not of the test's own client.

    :param operation: its name in S3's API.
    :param part: the number of the part, only for UploadPart; None for any.
    :param times: so many requests are affected; negative: all.
    :param status: HTTP status of an error instead of the response; None if the request goes through.
    :param code: S3's name of the error.
    :param seconds: how much later the response comes.
    :param reset: the connection is reset instead of a response.
    :param affected: how many requests were affected.
    """

    operation: str
    part: int | None = None
    times: int = -1
    status: int | None = None
    code: str = ""
    seconds: float = 0.0
    reset: bool = False
    affected: int = 0


class S3Server:
    """Serves S3 on a free port while the context lasts. All servers of a process have the same buckets.

    :ivar faults: what happens to operations from now on.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.faults: list[S3Fault] = []
        self._lock = threading.Lock()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=MotoRequestHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="simulated",
            aws_secret_access_key=PASSWORD,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def connection(self) -> dict[str, object]:
        """The Airflow connection that leads here, as ``AIRFLOW_CONN_*`` takes it in JSON."""
        return {
            "conn_type": "aws",
            "login": "simulated",
            "password": PASSWORD,
            "extra": {"endpoint_url": self.url, "region_name": "us-east-1"},
        }

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        fault = self._find_fault(request)
        if fault:
            time.sleep(fault.seconds)
        if fault and fault.reset:
            # Without lingering, the client is sent a reset rather than an end.
            connection = environ["werkzeug.socket"]
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if fault and fault.status:
            request.get_data(cache=False)
            error = Response(_ERROR.format(fault.code), fault.status, mimetype="application/xml")
            return error(environ, start_response)
        return self._moto(environ, start_response)

    def _find_fault(self, request: Request) -> S3Fault | None:
        """Return the fault that affects a request, and count it."""
        operation = f"{request.method.capitalize()}{'Object' if request.path.strip('/').count('/') else 'Bucket'}"
        for (method, name), multipart in _OPERATIONS.items():
            if request.method == method and name in request.args:
                operation = multipart
        is_airflows = "Airflow/" in request.headers.get("User-Agent", "")
        with self._lock:
            for fault in self.faults if is_airflows else ():
                part = request.args.get("partNumber", type=int)
                if fault.operation == operation and fault.part in (None, part) and fault.times:
                    fault.times -= 1
                    fault.affected += 1
                    return fault
        return None
