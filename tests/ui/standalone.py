"""``airflow standalone`` as a process: free ports on loopback, a home of its own, nothing left running."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import requests

from tests.airflow_process import AirflowProcess

#: Airflow's own first choice, where it is free.
USUAL_PORT = 8080
HEALTH_PATHS = ("/api/v2/monitor/health", "/health")


class AirflowStandalone(AirflowProcess):
    """Airflow with its web page, an admin, and connections and variables in its database.

    :param dags_folder: where its Dags are.
    :param connections: connections by id, as ``AIRFLOW_CONN_*`` takes them in JSON.
    :param variables: variables by name.
    """

    def __init__(
        self, dags_folder: Path, connections: Mapping[str, dict[str, object]], variables: Mapping[str, str]
    ) -> None:
        port, *log_ports = _free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        # Airflow 2.11 has the web page's settings in another section.
        web_page = {
            f"AIRFLOW__{section}__{name}": value
            for section, names in {"API": ("HOST", "PORT"), "WEBSERVER": ("WEB_SERVER_HOST", "WEB_SERVER_PORT")}.items()
            for name, value in [
                *zip(names, ("127.0.0.1", str(port)), strict=True),
                ("BASE_URL", self.url),
                ("WORKERS", "1"),
            ]
        }
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        environment = {
            **web_page,
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
            "PATH": path,
        }
        super().__init__(dags_folder, environment)
        for kind, content in {"connections": connections, "variables": variables}.items():
            file = self.home / f"{kind}.json"
            file.write_text(json.dumps(content))
            self._commands = (*self._commands, f"{kind} import {file}")

    def __enter__(self) -> Self:
        super().__enter__()
        self._process = self.start("standalone", "standalone")
        return self

    @property
    def password(self) -> str:
        """The password that Airflow made for the user ``admin``."""
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        if passwords.exists():
            return str(json.loads(passwords.read_text() or "{}").get("admin", ""))
        password = self.home / "standalone_admin_password.txt"
        return password.read_text().strip() if password.exists() else ""

    def wait_until_ready(self) -> None:
        """Return as soon as all parts of Airflow work."""
        self.wait_until("Airflow", lambda: self._is_healthy() and self.password)

    def wait(self) -> None:
        """Wait until Airflow has ended by itself.

        :raises RuntimeError: then, with the end of what it printed.
        """
        self._process.wait()
        self.require_services()

    def _is_healthy(self) -> bool:
        for path in HEALTH_PATHS:
            with suppress(requests.RequestException, ValueError):
                parts = requests.get(self.url + path, timeout=5).json()
                return all(part["status"] in ("healthy", None) for part in parts.values()) and (
                    parts["scheduler"]["status"] == "healthy"
                )
        return False


def _free_ports(number: int) -> list[int]:
    ports = []
    with ExitStack() as stack:
        for wanted in [USUAL_PORT] + [0] * number:
            listener = stack.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind(("127.0.0.1", wanted))
                ports.append(listener.getsockname()[1])
    return ports[:number]
