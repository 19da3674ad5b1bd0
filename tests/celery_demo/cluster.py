"""Airflow as it runs on more than one machine: CeleryExecutor, PostgreSQL, Redis, two workers."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import requests

from tests.airflow_process import EXAMPLE_DAGS, AirflowProcess
from tests.celery_demo import worker
from tests.celery_demo.servers import PostgresServer, RedisServer
from tests.ports import free_port

WORKERS = ("worker-1", "worker-2")
SLOTS = 4
#: Seconds without a heartbeat after which a task counts as dead, and between two looks. Airflow's: 300 and 10.
HEARTBEAT_TIMEOUT, DETECTION_INTERVAL = 30, 5
#: Seconds before a task is tried again. Airflow's: 300.
RETRY_DELAY = 5
_STARTS_WITHIN = 300.0


class CeleryCluster:
    """Runs the example Dags while the context lasts.

    :param environment: further environment variables, such as ``AIRFLOW_CONN_ZCC_DEFAULT``.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = environment
        self._stack = ExitStack()
        self._session = requests.Session()
        # Loopback needs no proxy.
        self._session.trust_env = False
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> CeleryCluster:
        with ExitStack() as stack:
            postgres, redis = stack.enter_context(PostgresServer()), stack.enter_context(RedisServer())
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            self._airflow = stack.enter_context(
                AirflowProcess(EXAMPLE_DAGS, self._settings(postgres, redis) | self._given)
            )
            self._airflow.start(
                "api-server", "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"
            )
            self._airflow.start("scheduler", "scheduler", "--skip-serve-logs")
            self._airflow.start("dag-processor", "dag-processor")
            for name in WORKERS:
                self.workers[name] = self._airflow.start(
                    name, "celery", "worker", "--skip-serve-logs", "--celery-hostname", name, **{worker.NAME: name}
                )
            self._log_in()
            for name in WORKERS:
                self._wait_for(f"{name} to be ready", lambda name=name: f"{name} ready" in self._airflow.said(name))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _settings(self, postgres: PostgresServer, redis: RedisServer) -> dict[str, str]:
        settings = {
            ("CORE", "EXECUTOR"): "CeleryExecutor",
            ("CORE", "EXECUTION_API_SERVER_URL"): f"{self.url}/execution/",
            ("CORE", "SIMPLE_AUTH_MANAGER_ALL_ADMINS"): True,
            ("CORE", "HOSTNAME_CALLABLE"): f"{worker.__name__}.{worker.name.__name__}",
            ("CORE", "DEFAULT_TASK_RETRY_DELAY"): RETRY_DELAY,
            ("API", "BASE_URL"): self.url,
            ("API_AUTH", "JWT_SECRET"): secrets.token_hex(32),
            ("DATABASE", "SQL_ALCHEMY_CONN"): postgres.url,
            ("CELERY", "BROKER_URL"): redis.url,
            ("CELERY", "RESULT_BACKEND"): f"db+{postgres.url}",
            ("CELERY", "WORKER_CONCURRENCY"): SLOTS,
            ("SCHEDULER", "TASK_INSTANCE_HEARTBEAT_TIMEOUT"): HEARTBEAT_TIMEOUT,
            ("SCHEDULER", "TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL"): DETECTION_INTERVAL,
        }
        return {f"AIRFLOW__{section}__{name}": str(value) for (section, name), value in settings.items()}

    def said(self, name: str) -> str:
        """Return what a service printed."""
        return self._airflow.said(name)

    def make_pool(self, name: str, slots: int) -> None:
        """Make a pool."""
        self.ask("POST", "/pools", {"name": name, "slots": slots})

    def trigger(self, dag_id: str, conf: Mapping[str, object]) -> str:
        """Start a run of a Dag, and return the path of the run in Airflow's API."""
        self._wait_for(f"the Dag {dag_id}", lambda: self.ask("GET", f"/dags?dag_id_pattern={dag_id}")["total_entries"])
        self.ask("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        run = self.ask("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}"

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Ask Airflow's API."""
        response = self._session.request(method, f"{self.url}/api/v2{path}", json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    def _log_in(self) -> None:
        self._wait_for("the API server", self._answers)
        token = self._session.get(f"{self.url}/auth/token", timeout=60)
        token.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/api/v2/version", timeout=10).ok
        except requests.RequestException:
            return False

    def _wait_for(self, what: str, it_is_there: Callable[[], object]) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN
        while not it_is_there():
            self._airflow.require_services()
            if time.monotonic() > deadline:
                raise RuntimeError(f"Waited {_STARTS_WITHIN:.0f} s for {what}, in vain.")
            time.sleep(0.5)
