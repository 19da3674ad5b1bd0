"""``tests.run_dag``, with deferred tasks left to a running ``airflow triggerer``, and their time-outs enforced."""

from __future__ import annotations

import threading
import time
from typing import Any

from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.sdk.definitions import dag

from tests import run_dag


def enforce_timeouts() -> None:
    """Do one of the scheduler's duties that ``dag.test()`` does not know."""
    scheduler = SchedulerJobRunner(Job())
    while True:
        scheduler.check_trigger_timeouts()
        time.sleep(0.5)


def main() -> None:
    run_task = dag._run_task

    def run_until_deferred(**arguments: Any) -> Any:
        return run_task(**arguments | {"run_triggerer": False})

    dag._run_task = run_until_deferred
    threading.Thread(target=enforce_timeouts, daemon=True).start()
    run_dag.main()


if __name__ == "__main__":
    main()
