"""``airflow standalone`` as a process: free ports on loopback, a home of its own, nothing left running."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import requests

from tests.airflow_process import AirflowProcess

#: Airflow's own first choice, where it is free.
USUAL_PORT = 8080
HEALTH_PATHS = ("/api/v2/monitor/health", "/health")
SECONDS_TO_STOP = 30


class AirflowStandalone(AirflowProcess):
    """Airflow with its web page, an admin, and connections and variables in its database.

    :param dags_folder: where its Dags lie.
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
        self._connections = connections
        self._variables = variables

    def __enter__(self) -> AirflowStandalone:
        super().__enter__()
        try:
            for kind, content in (("connections", self._connections), ("variables", self._variables)):
                file = self.home / f"{kind}.json"
                file.write_text(json.dumps(content))
                self.call("airflow", kind, "import", str(file))
            # In a process group of its own, Ctrl-C in the terminal does not reach it before it is asked to end.
            self._process = self.start("standalone", "standalone")
        except BaseException:
            super().__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            _end(psutil.Process(self._process.pid))
        finally:
            super().__exit__()

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


def _end(process: psutil.Process) -> None:
    """Ask a process to end as Ctrl-C does, and end what is left of it and its descendants."""
    family: set[psutil.Process] = set()
    with suppress(psutil.NoSuchProcess):
        family = {process, *process.children(recursive=True)}
        process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=SECONDS_TO_STOP)
    for left in alive:
        with suppress(psutil.NoSuchProcess):
            left.kill()
    psutil.wait_procs(alive)
