"""The server of an Airflow 3: the settings that its other parts need, and its API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import requests

from tests.ports import free_port


class AirflowServer:
    """Where a server is to be, on loopback; ``airflow`` with :attr:`command` starts it, and every caller is an admin.

    :ivar url: its address.
    :ivar command: for ``airflow``.
    :ivar environment: for all parts of this Airflow.
    """

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.command = ("api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
        self.environment = {
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        }
        self._session = requests.Session()
        # Loopback needs no proxy.
        self._session.trust_env = False

    def is_ready(self) -> bool:
        """Return whether it responds."""
        try:
            return self._session.get(f"{self.url}/api/v2/version", timeout=10).ok
        except requests.RequestException:
            return False

    def call_api(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Call its API.

        :param path: after ``/api/v2``.
        :raises RuntimeError: with the response, if that is an error.
        """
        if "Authorization" not in self._session.headers:
            token = self._request("GET", "/auth/token")["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"
        return self._request(method, f"/api/v2{path}", json=body)

    def trigger(self, dag_id: str, logical_date: str | None = None, conf: Mapping[str, object] | None = None) -> str:
        """Start a run of a Dag, as the button Trigger does.

        :return: the path of the run in the API.
        """
        run = self.call_api("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": logical_date, "conf": conf or {}})
        return f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}"

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        response = self._session.request(method, self.url + path, timeout=60, **arguments)
        if not response.ok:
            raise RuntimeError(f"{method} {path} returned {response.status_code}: {response.text}")
        return response.json()
