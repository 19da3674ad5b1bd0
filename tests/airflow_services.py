"""Airflow as it is deployed: server, scheduler and, if wanted, triggerer, each a process of its own."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.airflow_process import KNOWING_ASSETS, AirflowProcess
from tests.airflow_version import AIRFLOW
from tests.ports import free_port

#: What a run is called that an asset triggers.
ASSET_TRIGGERED = "asset_triggered" if AIRFLOW >= (3, 0) else "dataset_triggered"
_ENDED = ("success", "failed")
#: Longer than the runs of a test that schedules make take.
_WHILE_RUNNING = timedelta(minutes=5)


def today() -> datetime:
    """Return the last midnight in UTC; if the next comes soon, wait for it and return that.

    To a schedule, yesterday is another day after midnight.
    """
    now = datetime.now(UTC)
    later = (now + _WHILE_RUNNING).replace(hour=0, minute=0, second=0, microsecond=0)
    if later > now:
        time.sleep((later - now).total_seconds())
    return later


class RunningAirflow(AirflowProcess):
    """An Airflow whose own components make the runs that are due, and run them and those that are requested.

    No Dag is paused, all are known when it is entered, and everybody is an admin.

    :param dags_folder: where its Dags lie.
    :param environment: further environment variables, such as ``AIRFLOW_CONN_ZCC_DEFAULT``.
    :param commands: of Airflow, to be run before any component.
    :param runs: of Dags, after the commands, that no component makes.

    :ivar url: of its server, which is not started on Airflow 2.
    """

    def __init__(
        self,
        dags_folder: Path,
        environment: Mapping[str, str],
        *,
        commands: Sequence[str] = (),
        runs: Sequence[str] = (),
    ) -> None:
        self._port = str(free_port())
        self.url = f"http://127.0.0.1:{self._port}"
        self._session = requests.Session()
        # Loopback needs no proxy.
        self._session.trust_env = False
        settings = {
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            # One worker and the scheduler of Airflow 2 get along with SQLite.
            "AIRFLOW__CORE__PARALLELISM": "2" if AIRFLOW >= (3, 0) else "1",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
            "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
        }
        super().__init__(dags_folder, settings | environment, commands=(*KNOWING_ASSETS, *commands), runs=runs)

    def start_components(self, *, triggerer: bool = False) -> None:
        """Start what an Airflow of this version consists of, without a Dag processor: all Dags are known.

        :param triggerer: whether deferred tasks are to go on.
        """
        if AIRFLOW >= (3, 0):
            self.start("api-server", "api-server", "--host", "127.0.0.1", "--port", self._port, "--workers", "1")
        if triggerer:
            self.start("triggerer", "triggerer")
        if AIRFLOW >= (3, 0):
            # The scheduler's first tasks would not wait for it.
            self.wait_until("Airflow's server", self._responds)
        self.start("scheduler", "scheduler", module="tests.run_airflow")

    def _responds(self) -> bool:
        try:
            return self._session.get(f"{self.url}/api/v2/version", timeout=10).ok
        except requests.RequestException:
            return False

    def call_api(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Call the API of Airflow 3.

        :param path: after ``/api/v2``.
        :raises RuntimeError: with the response, if that is an error.
        """
        if "Authorization" not in self._session.headers:
            token = self._session.get(f"{self.url}/auth/token", timeout=60).json()["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"
        response = self._session.request(method, f"{self.url}/api/v2{path}", timeout=60, json=body)
        if not response.ok:
            raise RuntimeError(f"{method} {path} returned {response.status_code}: {response.text}")
        return response.json()

    def trigger(self, dag_id: str, logical_date: str | None = None, conf: Mapping[str, object] | None = None) -> str:
        """Do what the button Trigger does; on Airflow 2, what the command does.

        :param dag_id: the Dag.
        :param logical_date: of the run, ISO 8601; None for a run without one, or, on Airflow 2, for now.
        :param conf: what the run is triggered with, on Airflow 3.
        :return: the path of the run in the API.
        """
        if AIRFLOW < (3, 0):
            dated = ["--exec-date", logical_date] if logical_date else []
            return self.call("airflow", "dags", "trigger", dag_id, *dated)
        run = self.call_api("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": logical_date, "conf": conf or {}})
        return f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}"

    def states(self, dag_id: str, run_type: str = "manual") -> dict[str, str]:
        """Return the state of each task in the first run of a type, by task id."""
        return {task_id: task["state"] for task_id, task in self._tasks(dag_id, self._run(dag_id, run_type)[0]).items()}

    def outcome(self, dag_id: str, run_type: str = "manual") -> dict[str, Any]:
        """Wait until the first run of a type has ended.

        :return: its ``state``, its ``tasks`` with ``state`` and ``tries``, and its ``xcoms``.
        """
        self.wait_until(f"the {run_type} run of {dag_id}", lambda: self._run(dag_id, run_type)[1] in _ENDED)
        run_id, state = self._run(dag_id, run_type)
        xcoms = self.rows("select task_id, key, value from xcom where dag_id = ? and run_id = ?", dag_id, run_id)
        return {
            "state": state,
            "tasks": self._tasks(dag_id, run_id),
            "xcoms": {f"{task_id}.{key}": json.loads(value) for task_id, key, value in xcoms},
        }

    def _run(self, dag_id: str, run_type: str) -> tuple[str, str]:
        query = "select run_id, state from dag_run where dag_id = ? and run_type = ? order by id limit 1"
        [run] = self.rows(query, dag_id, run_type) or [("", "")]
        return run

    def _tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        query = "select task_id, state, try_number from task_instance where dag_id = ? and run_id = ?"
        return {task_id: {"state": state, "tries": tries} for task_id, state, tries in self.rows(query, dag_id, run_id)}

    def logs(self) -> dict[str, str]:
        """Return what all components and tasks have logged, by path."""
        return {
            str(log.relative_to(self.home)): log.read_text(errors="replace")
            for log in self.home.rglob("*.log*")
            if log.is_file()
        }
