"""``airflow standalone`` as a process: free ports on loopback, a home of its own, nothing left running."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import requests

from tests.airflow_process import AirflowProcess
from tests.ports import free_port

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
        port = str(free_port())
        self.url = f"http://127.0.0.1:{port}"
        # Airflow 2.11 has the web page's settings in another section.
        web_page = {
            "API__HOST": "127.0.0.1",
            "API__PORT": port,
            "API__BASE_URL": self.url,
            "API__WORKERS": "1",
            "WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "WEBSERVER__WEB_SERVER_PORT": port,
            "WEBSERVER__BASE_URL": self.url,
            "WEBSERVER__WORKERS": "1",
        }
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        environment = {
            **{f"AIRFLOW__{name}": value for name, value in web_page.items()},
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
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
                response = requests.get(self.url + path, timeout=5)
                response.raise_for_status()
                parts = response.json()
                return all(part["status"] in ("healthy", None) for part in parts.values()) and (
                    parts["scheduler"]["status"] == "healthy"
                )
        return False
