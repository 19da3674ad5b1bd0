"""``airflow standalone`` as a process: free ports on loopback, a home of its own, nothing left running."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import requests

from tests.airflow_process import KNOWING_ASSETS, AirflowProcess
from tests.airflow_version import AIRFLOW
from tests.ports import free_port

HEALTH_PATH = "/api/v2/monitor/health" if AIRFLOW >= (3, 0) else "/health"


class AirflowStandalone(AirflowProcess):
    """Airflow with its web page, an admin, and connections and variables by name in its database.

    :param prepare: called with this Airflow before it starts.
    """

    def __init__(
        self,
        dags_folder: Path,
        connections: Mapping[str, dict[str, object]],
        variables: Mapping[str, str],
        prepare: Callable[[AirflowProcess], object],
    ) -> None:
        self._prepare = prepare
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
            # A user without a role has no permission.
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,nobody:",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "PATH": path,
        }
        super().__init__(dags_folder, environment, commands=KNOWING_ASSETS)
        for kind, content in {"connections": connections, "variables": variables}.items():
            file = self.home / f"{kind}.json"
            file.write_text(json.dumps(content))
            self._commands = (*self._commands, f"{kind} import {file}")

    def __enter__(self) -> Self:
        super().__enter__()
        self._prepare(self)
        self._process = self.start("standalone", "standalone")
        return self

    @property
    def password(self) -> str:
        """The password that Airflow made for the user ``admin``."""
        password = self.home / "standalone_admin_password.txt"
        return password.read_text().strip() if password.exists() else self.password_of("admin")

    def password_of(self, user: str) -> str:
        """Return the password that Airflow 3 made for a user; nothing as long as it has not."""
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(passwords.read_text() or "{}").get(user, "")) if passwords.exists() else ""

    def wait_until_ready(self) -> None:
        """Return as soon as all parts of Airflow work."""
        self.wait_until("Airflow", lambda: self._is_healthy() and self.password)

    def wait(self) -> None:
        """Wait until Airflow has ended by itself, and raise."""
        self._process.wait()
        self.require_services()

    def _is_healthy(self) -> bool:
        with suppress(requests.RequestException, ValueError):
            response = requests.get(self.url + HEALTH_PATH, timeout=5)
            response.raise_for_status()
            parts = response.json()
            return all(part["status"] in ("healthy", None) for part in parts.values()) and (
                parts["scheduler"]["status"] == "healthy"
            )
        return False
