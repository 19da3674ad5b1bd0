"""An S3 server over HTTP on loopback: moto's, in a thread of its own."""

from __future__ import annotations

import boto3
from moto.server import ThreadedMotoServer

#: The secret key that its clients have.
PASSWORD = "simulated-key"


class S3Server:
    """Serves S3 on a free port while the context lasts."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self) -> S3Server:
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="simulated",
            aws_secret_access_key=PASSWORD,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def connection(self) -> dict[str, object]:
        """The Airflow connection that leads here, as ``AIRFLOW_CONN_*`` takes it in JSON."""
        return {
            "conn_type": "aws",
            "login": "simulated",
            "password": PASSWORD,
            "extra": {"endpoint_url": self.url, "region_name": "us-east-1"},
        }
