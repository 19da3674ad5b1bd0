"""A task's process, as Airflow forks it: the operator, the signal that ends it, and a report of what is left."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import Mock

from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator


class Terminated(Exception):
    """What Airflow 2 raises in a task that got the signal."""


def context() -> dict[str, Any]:
    return {"ti": Mock(spec_set=["xcom_push"]), "outlet_events": OutletEventAccessors()}


def run(environment: dict[str, str], arguments: dict[str, Any], report: Connection, *, signal_raises: bool) -> None:
    """Run the operator, and report the error that it ended with and the threads that it left.

    :param environment: variables with the connections.
    :param arguments: of the operator.
    :param report: where to.
    :param signal_raises: whether SIGTERM interrupts the task after it was told, as in Airflow 2, or not, as in 3.
    """
    os.setsid()
    os.environ.update(environment)
    task = EngagementsToS3Operator(task_id="engagements_to_s3", **arguments)

    def end(*_: object) -> None:
        task.on_kill()
        if signal_raises:
            raise Terminated

    signal.signal(signal.SIGTERM, end)
    error = None
    try:
        task.execute(context())
    except Exception as raised:
        error = type(raised).__name__
    report.send((error, sorted(thread.name for thread in threading.enumerate())))
