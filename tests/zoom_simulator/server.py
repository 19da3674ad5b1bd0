"""The simulator on a loopback socket, in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import uvicorn

from tests.zoom_simulator.app import ZoomSimulator


class SimulatorServer:
    """Serves a simulator on loopback while the context lasts.

    :param simulator: the application.
    :param port: on loopback; 0 for a free one.
    :param certificate: file with a certificate and its key, for https.
    """

    def __init__(self, simulator: ZoomSimulator, port: int = 0, certificate: Path | None = None) -> None:
        self.simulator, self.certificate = simulator, certificate
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            simulator, log_level="warning", access_log=False, lifespan="off", ssl_certfile=certificate
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> SimulatorServer:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("The simulator did not start.")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    @property
    def connection(self) -> dict[str, object]:
        """The Airflow connection that leads here, as ``AIRFLOW_CONN_*`` takes it in JSON."""
        config = self.simulator.config
        return {
            "conn_type": "zcc",
            "login": config.client_id,
            "password": config.client_secret,
            "host": f"{self.url}/v2",
            "extra": {
                "account_id": config.account_id,
                "oauth_url": f"{self.url}/oauth/token",
                "requests_per_second": 1_000,
            },
        }
