"""Airflow as it runs on more than one machine: CeleryExecutor, PostgreSQL, Redis, two workers."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import ExitStack

from tests.airflow_process import EXAMPLE_DAGS, AirflowProcess
from tests.airflow_server import AirflowServer
from tests.celery_demo import worker
from tests.celery_demo.servers import PostgresServer, RedisServer

WORKERS = ("worker-1", "worker-2")
SLOTS = 4
#: Seconds without a heartbeat after which a task counts as failed, and between two checks. Airflow's: 300 and 10.
HEARTBEAT_TIMEOUT, DETECTION_INTERVAL = 30, 5
#: Seconds before a task is retried. Airflow's: 300.
RETRY_DELAY = 5


class CeleryCluster:
    """Runs the example Dags while the context lasts.

    :param environment: further environment variables, such as ``AIRFLOW_CONN_ZCC_DEFAULT``.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = environment
        self._stack = ExitStack()
        self.server = AirflowServer()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> CeleryCluster:
        with ExitStack() as stack:
            postgres, redis = stack.enter_context(PostgresServer()), stack.enter_context(RedisServer())
            self._airflow = stack.enter_context(
                AirflowProcess(EXAMPLE_DAGS, self._settings(postgres, redis) | self._given)
            )
            self._airflow.start("api-server", *self.server.command)
            self._airflow.start("scheduler", "scheduler", "--skip-serve-logs")
            self._airflow.start("dag-processor", "dag-processor")
            for name in WORKERS:
                self.workers[name] = self._airflow.start(
                    name, "celery", "worker", "--skip-serve-logs", "--celery-hostname", name, **{worker.NAME: name}
                )
            self._airflow.wait_until("the server", self.server.is_ready)
            for name in WORKERS:
                self._airflow.wait_until(
                    f"{name} to be ready", lambda name=name: f"{name} ready" in self.output_of(name)
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _settings(self, postgres: PostgresServer, redis: RedisServer) -> dict[str, str]:
        settings = {
            ("CORE", "EXECUTOR"): "CeleryExecutor",
            ("CORE", "HOSTNAME_CALLABLE"): f"{worker.__name__}.{worker.name.__name__}",
            ("CORE", "DEFAULT_TASK_RETRY_DELAY"): RETRY_DELAY,
            ("DATABASE", "SQL_ALCHEMY_CONN"): postgres.url,
            ("CELERY", "BROKER_URL"): redis.url,
            ("CELERY", "RESULT_BACKEND"): f"db+{postgres.url}",
            ("CELERY", "WORKER_CONCURRENCY"): SLOTS,
            ("SCHEDULER", "TASK_INSTANCE_HEARTBEAT_TIMEOUT"): HEARTBEAT_TIMEOUT,
            ("SCHEDULER", "TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL"): DETECTION_INTERVAL,
        }
        named = {f"AIRFLOW__{section}__{name}": str(value) for (section, name), value in settings.items()}
        return self.server.environment | named

    def output_of(self, name: str) -> str:
        """Return what a service printed."""
        return self._airflow.output_of(name)

    def trigger(self, dag_id: str, conf: Mapping[str, object]) -> str:
        """Start a run of a Dag, and return the path of the run in Airflow's API."""
        known = f"/dags?dag_id_pattern={dag_id}"
        self._airflow.wait_until(f"the Dag {dag_id}", lambda: self.server.call_api("GET", known)["total_entries"])
        self.server.call_api("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        return self.server.trigger(dag_id, conf=conf)
