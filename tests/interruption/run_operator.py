"""A task's process, as Airflow forks it: the operator, the signals that end it, and a report of how it ended."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator


def context() -> dict[str, Any]:
    return {"ti": SimpleNamespace(xcom_push=lambda **_: None), "outlet_events": OutletEventAccessors()}


def run(
    environment: dict[str, str],
    arguments: dict[str, Any],
    report: Connection,
    *,
    kind: type[BaseOperator] = EngagementsToS3Operator,
    execution_timeout: float = 0.0,
) -> None:
    """Run the operator, and report the class of the error that it ended with.

    :param environment: variables with the connections.
    :param arguments: of the operator.
    :param report: where to.
    :param kind: which operator.
    :param execution_timeout: seconds after which SIGALRM raises; on_kill is called once execute has returned.
    """
    os.setsid()
    os.environ.update(environment)
    task = kind(task_id="task", **arguments)

    def terminate(*_: object) -> None:
        task.on_kill()

    def time_out(*_: object) -> None:
        raise AirflowTaskTimeout

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGALRM, time_out)

    error = None
    signal.setitimer(signal.ITIMER_REAL, execution_timeout)
    try:
        task.execute(context())  # type: ignore[arg-type]
    except AirflowTaskTimeout as raised:
        task.on_kill()
        error = type(raised).__name__
    except BaseException as raised:
        error = type(raised).__name__
    report.send(error)
