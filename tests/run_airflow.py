"""
Run commands of Airflow, then Dags, all in one process: to import Airflow takes longer than most of them.

``python -m tests.run_airflow "db migrate" ... --runs DAG_ID@LOGICAL_DATE[@CONF] ... --report FILE`` takes each command
the way of the command line, which also writes the configuration file: components that began at once without one would
each make a key of their own, and not read what another has encrypted. Then it takes the Dags of
``AIRFLOW__CORE__DAGS_FOLDER`` through Airflow's own ``dag.test()``, which is what ``airflow dags test`` calls.
The report is JSON: for each run its state; state, number of tries and XComs of each task. With ``--clock URL``, the
clock of the Zoom simulator at that address is at the logical date of each run.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pendulum
import requests
from airflow.__main__ import main as run_command
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

# Tasks are forks of the scheduler, so they need not import it again.
import airflow_provider_zcc.transfers.engagements_to_s3  # noqa: F401
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


def set_clock(zoom_url: str, now: str) -> None:
    """Set the clock of a Zoom simulator."""
    requests.post(f"{zoom_url}/_simulator/clock", params={"now": now}, timeout=30).raise_for_status()


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
    parser = argparse.ArgumentParser(prog="python -m tests.run_airflow", description=__doc__)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help="of airflow")
    parser.add_argument("--runs", nargs="*", default=[], metavar="DAG_ID@LOGICAL_DATE[@CONF]")
    parser.add_argument("--clock", metavar="URL", help="of a Zoom simulator")
    parser.add_argument("--report", type=Path, help="where to write what came of the runs")
    arguments = parser.parse_args()
    for command in arguments.commands:
        sys.argv[1:] = shlex.split(command)
        run_command()
    report = {}
    for wanted in arguments.runs:
        dag_id, logical_date, *conf = wanted.split("@", 2)
        if arguments.clock:
            set_clock(arguments.clock, logical_date)
        report[wanted] = run(dag_id, logical_date, *conf)
    if arguments.report:
        arguments.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
