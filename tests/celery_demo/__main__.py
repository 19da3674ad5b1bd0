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
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.airflow_process import end
from tests.celery_demo.cluster import DETECTION_INTERVAL, HEARTBEAT_TIMEOUT, RETRY_DELAY, SLOTS, WORKERS, CeleryCluster
from tests.celery_demo.servers import ProgramMissing, program
from tests.s3_server import S3Server
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

DAG, TASK, BUCKET = "zcc_backfill", "engagements_to_s3", "lake"
ENGAGEMENTS_A_DAY, LATENCY, REQUESTS_PER_SECOND = 2_500, 0.15, 20
#: Share of the days that are done when a worker is killed, and seconds that its tasks have run by then.
MIDDLE, RUNNING_FOR = 1 / 3, 2.0
RUNS_WITHIN = 900.0


def main() -> int:
    logging.disable(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for names in (("initdb",), ("valkey-server", "redis-server")):
            program(*names)
    except ProgramMissing as error:
        print(error)
        return 2
    last = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    first = (last - timedelta(days=1)).replace(day=1)
    with ExitStack() as stack:
        return Demo(stack, first, last).run()


class Demo:
    """A month of engagements, and the run that reads it.

    :param stack: ends what is started.
    :param first: day of the month.
    :param last: midnight after the month.
    """

    def __init__(self, stack: ExitStack, first: datetime, last: datetime) -> None:
        self._days = [first + timedelta(days=number) for number in range((last - first).days)]
        engagements = Engagements.of_a_contact_centre(ENGAGEMENTS_A_DAY * len(self._days), len(self._days), end=last)
        config = Config(latency=LATENCY, requests_per_second=REQUESTS_PER_SECOND)
        self._simulator = ZoomSimulator(engagements, config)
        zoom = stack.enter_context(SimulatorServer(self._simulator))
        self._s3 = stack.enter_context(S3Server())
        self._s3.client.create_bucket(Bucket=BUCKET)
        connection: dict[str, Any] = zoom.connection
        connection["extra"]["requests_per_second"] = REQUESTS_PER_SECOND
        print(
            f"Zoom:    simulated, {len(engagements.starts):,} engagements in {len(self._days)} days, "
            f"{LATENCY * 1_000:.0f} ms a response, {REQUESTS_PER_SECOND} requests/s allowed to the account\n"
            f"S3:      moto at {self._s3.url}\n"
            f"Airflow: CeleryExecutor, PostgreSQL, Redis, {len(WORKERS)} workers of {SLOTS} slots, starting",
            flush=True,
        )
        self._cluster = stack.enter_context(
            CeleryCluster(
                {
                    "AIRFLOW_CONN_ZCC_DEFAULT": json.dumps(connection),
                    "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(self._s3.connection),
                    "AIRFLOW_VAR_ZCC_BUCKET": BUCKET,
                }
            )
        )
        print(f"         ready: {self._cluster.server.url}", flush=True)
        self._struck = False

    def run(self) -> int:
        """Run the month, kill a worker in the middle, and report whether every day is exact."""
        first, last = (f"{day:%Y-%m-%d}" for day in (self._days[0], self._days[-1]))
        self._run = self._cluster.trigger(DAG, {"from": first, "to": last})
        self._started = time.monotonic()
        print(f"\nrunning   {DAG} from {first} to {last}", flush=True)
        state, reported = "queued", 0.0
        while state in ("queued", "running"):
            if self._seconds() > RUNS_WITHIN:
                print(f"The Dag run did not end within {RUNS_WITHIN:.0f} s.")
                return 1
            time.sleep(0.5)
            tasks = self._tasks()
            if not self._struck:
                self._strike_in_the_middle(tasks)
            if self._seconds() - reported >= 10:
                reported = self._seconds()
                self._report_progress(tasks)
            state = self._cluster.server.call_api("GET", self._run)["state"]
        return self._report(state)

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _tasks(self) -> list[dict[str, Any]]:
        found = self._cluster.server.call_api("GET", f"{self._run}/taskInstances?task_id={TASK}&limit=100")[
            "task_instances"
        ]
        return [task for task in found if task["task_id"] == TASK and task["map_index"] >= 0]

    def _strike_in_the_middle(self, tasks: list[dict[str, Any]]) -> None:
        """Kill the worker that runs most, once enough is done and its tasks are in the middle of their work."""
        if sum(task["state"] == "success" for task in tasks) < MIDDLE * len(self._days):
            return
        begun = datetime.now(UTC) - timedelta(seconds=RUNNING_FOR)
        running = [task for task in tasks if task["state"] == "running"]
        old = Counter(task["hostname"] for task in running if datetime.fromisoformat(task["start_date"]) < begun)
        [(name, count)] = old.most_common(1) or [("", 0)]
        if not count:
            return
        end(self._cluster.workers[name])
        self._struck = True
        days = [f"{self._days[task['map_index']]:%Y-%m-%d}" for task in running if task["hostname"] == name]
        print(f"{self._seconds():6.1f} s  SIGKILL to {name}, which reads {', '.join(days)}", flush=True)

    def _report_progress(self, tasks: list[dict[str, Any]]) -> None:
        states = Counter(task["state"] for task in tasks)
        running = Counter(task["hostname"] for task in tasks if task["state"] == "running")
        stats = self._simulator.stats
        print(
            f"{self._seconds():6.1f} s  {states['success']} of {len(self._days)} days done, running: "
            f"{', '.join(f'{count} on {name}' for name, count in sorted(running.items())) or 'none'}; "
            f"{stats.api_requests:,} requests, {stats.statuses[429]} of them throttled (429)",
            flush=True,
        )

    def _report(self, state: str) -> int:
        seconds, tasks = self._seconds(), self._tasks()
        wrong = [f"{day:%Y-%m-%d}" for day in self._days if sorted(self._lines(day)) != sorted(self._truth(day))]
        retried = sum(task["try_number"] > 1 for task in tasks)
        throttled = self._simulator.stats.statuses[429]
        requests = self._simulator.stats.api_requests
        print(f"\nDag run   {state} after {seconds:.0f} s")
        print(f"records   compared byte for byte; days that differ: {', '.join(wrong) or 'none'}")
        print(f"retried   {retried} of {len(self._days)} tasks")
        print(f"requests  {requests:,}, {throttled} of them throttled with HTTP 429 ({throttled / requests:.1%})")
        print(
            f"settings  task_instance_heartbeat_timeout {HEARTBEAT_TIMEOUT} s, its detection_interval "
            f"{DETECTION_INTERVAL} s, retry_delay {RETRY_DELAY} s (Airflow's own: 300, 10, 300)"
        )
        complete = state == "success" and not wrong and self._struck
        if state != "success":
            print(self._cluster.output_of("scheduler")[-5_000:])
        if not self._struck:
            print("No worker was killed: none was ever in the middle of a task.")
        print("complete" if complete else "NOT COMPLETE")
        return 0 if complete else 1

    def _truth(self, day: datetime) -> list[bytes]:
        lines = self._simulator.truth(day, day + timedelta(days=1))
        return [line.translate({10: None, 13: None}).encode() for line in lines]

    def _lines(self, day: datetime) -> list[bytes]:
        key = f"zoom/engagements/date={day:%Y-%m-%d}/engagements.jsonl.gz"
        try:
            body = self._s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        except self._s3.client.exceptions.NoSuchKey:
            return []
        return gzip.decompress(body).split(b"\n")[:-1]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
