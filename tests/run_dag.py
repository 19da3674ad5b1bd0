"""
Run Dags in Airflow and report what came of them, as a process of its own.

``python -m tests.run_dag --report FILE DAG_ID@LOGICAL_DATE[@CONF] ...`` takes the Dags of
``AIRFLOW__CORE__DAGS_FOLDER`` through Airflow's own ``dag.test()``, which is what ``airflow dags test`` calls.
The report is JSON: for each run its state; state, number of tries and XComs of each task.
"""

from __future__ import annotations

import argparse
import json
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pendulum
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

from tests.airflow_version import AIRFLOW

if AIRFLOW >= (3, 1):
    from airflow.utils.cli import get_bagged_dag
else:
    from airflow.utils.cli import get_dag as get_bagged_dag
if AIRFLOW >= (3, 0):
    from airflow.models.xcom import XComModel

    value_of = XComModel.deserialize_value
else:
    from airflow.models.xcom import XCom as XComModel

    value_of = attrgetter("value")

#: What dag.test() calls it.
LOGICAL_DATE = "logical_date" if AIRFLOW >= (3, 0) else "execution_date"


@cache
def find_dag(dag_id: str) -> Any:
    """Return a Dag of the folder, which takes a second or two."""
    return get_bagged_dag(None, dag_id)


def run(dag_id: str, logical_date: str, conf: str = "null") -> dict[str, Any]:
    """Run a Dag once.

    :param dag_id: the Dag.
    :param logical_date: of the run, ISO 8601; empty for a run without one.
    :param conf: the params it is triggered with, in JSON.
    """
    dag = find_dag(dag_id)
    date = pendulum.parse(logical_date) if logical_date else None
    dag_run = dag.test(**{LOGICAL_DATE: date}, run_conf=json.loads(conf))
    with create_session() as session:
        same_run = {"dag_id": dag_id, "run_id": dag_run.run_id}
        tasks = session.scalars(select(TaskInstance).filter_by(**same_run)).all()
        xcoms = session.scalars(select(XComModel).filter_by(**same_run)).all()
        return {
            "state": str(dag_run.state),
            "tasks": {task.task_id: {"state": str(task.state), "tries": task.try_number} for task in tasks},
            "xcoms": {f"{xcom.task_id}.{xcom.key}": value_of(xcom) for xcom in xcoms},
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.run_dag", description="Run Dags in Airflow.")
    parser.add_argument("--report", type=Path, required=True, help="where to write what came of them")
    parser.add_argument("runs", nargs="+", metavar="DAG_ID@LOGICAL_DATE[@CONF]")
    arguments = parser.parse_args()
    report = {}
    for wanted in arguments.runs:
        report[wanted] = run(*wanted.split("@", 2))
        arguments.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
