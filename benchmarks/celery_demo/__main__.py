"""
``make celery-demo``: a month of engagements into S3, by Airflow's CeleryExecutor, while one of two workers is killed.

PostgreSQL and Redis, or Valkey, are the system's; Zoom is the simulator and S3 is moto, all on loopback. The Dag is
``zcc_backfill``. In the middle, one worker is killed with all that it runs, as if its machine were switched off.
At the end each day in S3 is compared with what the simulator has, line by line.
"""

from __future__ import annotations

import gzip
import json
import logging
import signal
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from benchmarks.celery_demo.servers import postgres, redis
from tests.airflow_process import EXAMPLE_DAGS
from tests.airflow_services import RunningAirflow
from tests.s3_server import S3Server
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

DAG, TASK, BUCKET = "zcc_backfill", "engagements_to_s3", "lake"
ENGAGEMENTS_A_DAY, LATENCY, REQUESTS_PER_SECOND = 2_500, 0.15, 20
WORKERS, SLOTS = ("worker-1", "worker-2"), 4
#: Seconds without a heartbeat after which a task counts as failed, between two checks, and before a task is retried.
HEARTBEAT_TIMEOUT, DETECTION_INTERVAL, RETRY_DELAY = 30, 5, 5
#: Share of the days that are done when a worker is killed, and seconds that its tasks have run by then.
MIDDLE, RUNNING_FOR = 1 / 3, timedelta(seconds=2)
DAY = timedelta(days=1)

report = partial(print, flush=True)


def main() -> int:
    """Read the month, kill a worker, and compare what is in S3 with the truth."""
    logging.disable(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    last = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    days = [day for number in range(31, 0, -1) if (day := last - number * DAY) >= (last - DAY).replace(day=1)]
    engagements = Engagements.of_a_contact_centre(ENGAGEMENTS_A_DAY * len(days), len(days), end=last)
    simulator = ZoomSimulator(engagements, Config(latency=LATENCY, requests_per_second=REQUESTS_PER_SECOND))
    with SimulatorServer(simulator) as zoom, S3Server() as s3, postgres() as database, redis() as broker:
        s3.client.create_bucket(Bucket=BUCKET)
        report(
            f"Zoom:    simulated, {len(engagements.starts):,} engagements in {len(days)} days, "
            f"{LATENCY * 1_000:.0f} ms a response, {REQUESTS_PER_SECOND} requests/s allowed to the account\n"
            f"S3:      moto at {s3.url}\n"
            f"Airflow: CeleryExecutor, PostgreSQL, Redis, {len(WORKERS)} workers of {SLOTS} slots, starting"
        )
        connection: dict[str, Any] = zoom.connection
        connection["extra"]["requests_per_second"] = REQUESTS_PER_SECOND
        environment = settings(database, broker) | {
            "AIRFLOW_CONN_ZCC_DEFAULT": json.dumps(connection),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(s3.connection),
            "AIRFLOW_VAR_ZCC_BUCKET": BUCKET,
        }
        with RunningAirflow(EXAMPLE_DAGS, environment) as airflow:
            for name in WORKERS:
                arguments = ("celery", "worker", "--skip-serve-logs", "--celery-hostname", name)
                airflow.start(name, *arguments, ZCC_CELERY_WORKER=name)
            airflow.start_components()
            for name in WORKERS:
                airflow.wait_until(name, lambda name=name: f"{name} ready" in airflow.output_of(name))
            report(f"         ready: {airflow.url}")
            return Month(days, simulator, s3, airflow).run()


def settings(database: str, broker: str) -> dict[str, str]:
    """Return Airflow's, as environment variables."""
    return {
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": str(RETRY_DELAY),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "benchmarks.celery_demo.worker.name",
        "AIRFLOW__CORE__PARALLELISM": "32",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": str(DETECTION_INTERVAL),
    }


class Month:
    """The run that reads a month of engagements."""

    def __init__(self, days: list[datetime], simulator: ZoomSimulator, s3: S3Server, airflow: RunningAirflow) -> None:
        self._days, self._simulator, self._s3, self._airflow = days, simulator, s3, airflow
        self._has_struck = False

    def run(self) -> int:
        """Run the Dag, kill a worker in the middle, and report whether every day is exact."""
        first, last = (f"{day:%Y-%m-%d}" for day in (self._days[0], self._days[-1]))
        self._airflow.call_api("PATCH", f"/dags/{DAG}", {"is_paused": False})
        self._run = self._airflow.trigger(DAG, conf={"from": first, "to": last})
        self._started, self._reported = time.monotonic(), 0.0
        report(f"\nrunning   {DAG} from {first} to {last}")
        self._airflow.wait_until("the run", self._has_ended)
        state, seconds, tasks = self._state(), self._seconds(), self._tasks()
        wrong = [f"{day:%Y-%m-%d}" for day in self._days if not self._is_exact(day)]
        requests, throttled = self._simulator.stats.api_requests, self._simulator.stats.statuses[429]
        report(
            f"\nDag run   {state} after {seconds:.0f} s\n"
            f"records   compared byte for byte; days that differ: {', '.join(wrong) or 'none'}\n"
            f"retried   {sum(task['try_number'] > 1 for task in tasks)} of {len(self._days)} tasks\n"
            f"requests  {requests:,}, {throttled} of them throttled with HTTP 429 ({throttled / requests:.1%})\n"
            f"settings  task_instance_heartbeat_timeout {HEARTBEAT_TIMEOUT} s, its detection_interval "
            f"{DETECTION_INTERVAL} s, retry_delay {RETRY_DELAY} s (Airflow's own: 300, 10, 300)"
        )
        if state != "success":
            report(self._airflow.output_of("scheduler")[-5_000:])
        if not self._has_struck:
            report("No worker was killed: none was ever in the middle of a task.")
        complete = state == "success" and not wrong and self._has_struck
        report("complete" if complete else "NOT COMPLETE")
        return 0 if complete else 1

    def _has_ended(self) -> bool:
        tasks = self._tasks()
        if not self._has_struck:
            self._strike_in_the_middle(tasks)
        if self._seconds() - self._reported >= 10:
            self._reported = self._seconds()
            states, stats = Counter(task["state"] for task in tasks), self._simulator.stats
            report(
                f"{self._seconds():6.1f} s  {states['success']} of {len(self._days)} days done, {states['running']} "
                f"running; {stats.api_requests:,} requests, {stats.statuses[429]} of them throttled (429)"
            )
        return self._state() not in ("queued", "running")

    def _strike_in_the_middle(self, tasks: list[dict[str, Any]]) -> None:
        """Kill the worker that runs most, once enough is done and its tasks are in the middle of their work."""
        if sum(task["state"] == "success" for task in tasks) < MIDDLE * len(self._days):
            return
        running = [task for task in tasks if task["state"] == "running"]
        begun = datetime.now(UTC) - RUNNING_FOR
        old = Counter(task["hostname"] for task in running if datetime.fromisoformat(task["start_date"]) < begun)
        for name, _ in old.most_common(1):
            self._airflow.kill(name)
            self._has_struck = True
            days = [f"{self._days[task['map_index']]:%Y-%m-%d}" for task in running if task["hostname"] == name]
            report(f"{self._seconds():6.1f} s  SIGKILL to {name}, which reads {', '.join(days)}")

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _state(self) -> str:
        return str(self._airflow.call_api("GET", self._run)["state"])

    def _tasks(self) -> list[dict[str, Any]]:
        path = f"{self._run}/taskInstances?task_id={TASK}&limit=100"
        tasks = self._airflow.call_api("GET", path)["task_instances"]
        return [task for task in tasks if task["map_index"] >= 0]

    def _is_exact(self, day: datetime) -> bool:
        key = f"zoom/engagements/date={day:%Y-%m-%d}/engagements.jsonl.gz"
        try:
            body = self._s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        except self._s3.client.exceptions.NoSuchKey:
            return False
        return sorted(gzip.decompress(body).decode().split("\n")[:-1]) == sorted(self._simulator.truth(day, day + DAY))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
