"""A Dag for each way that a run comes to be. Its task reads what the run tells, and again with an interval_length."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Asset
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

try:
    from airflow.timetables.trigger import CronPartitionTimetable
except ImportError:
    CronPartitionTimetable = None

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

FIRST = pendulum.datetime(2026, 11, 2, tz="UTC")
DAY = timedelta(days=1)
LAKE = Asset("s3://lake/zoom")


class Read(EngagementsToS3Operator):
    """
    Reads alone and with an interval_length, and writes down what was read, or what the error says.

    With it goes the time at which the run was due, whenever it really ran: on Airflow 2 the end of its interval.

    :param asked: whether the run is one that somebody asked for, so that those of the schedule do not count.
    """

    def __init__(self, *, asked: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked = asked

    def execute(self, context: Context) -> str:
        if self.asked and context["dag_run"].run_type == "scheduled":
            return ""
        due = getattr(context["dag_run"], "run_after", None) or context["data_interval_end"]
        told: dict[str, Any] = {"due": due.isoformat()}
        for name, length in (("alone", None), ("interval_length", "P1D")):
            self.interval_length = length
            try:
                super().execute(context)
            except AirflowFailException as error:
                told[name] = {"error": str(error)}
            else:
                told[name] = context["ti"].xcom_pull(task_ids=self.task_id, key="summary")
        Path(os.environ["ZCC_TOLD"], f"{self.dag_id}.json").write_text(json.dumps(told))
        return ""


def way(dag_id: str, schedule: Any, *, asked: bool = False, outlets: Sequence[Any] = (), **bounds: Any) -> DAG:
    """Make a Dag.

    :param bounds: catchup, end_date, and start_date if it is not FIRST.
    """
    with DAG(dag_id, schedule=schedule, **{"start_date": FIRST, **bounds}) as dag:
        Read(task_id="read", s3_key=f"s3://lake/{dag_id}", outlets=outlets, asked=asked)
    return dag


SCHEDULES = {
    "cron_string": "@daily",
    "delta": DAY,
    "cron_data_interval": CronDataIntervalTimetable("@daily", timezone="UTC"),
    "delta_data_interval": DeltaDataIntervalTimetable(DAY),
    "cron_trigger": CronTriggerTimetable("@daily", timezone="UTC"),
    "once": "@once",
}
if CronPartitionTimetable:
    SCHEDULES["cron_partition"] = CronPartitionTimetable("@daily", timezone="UTC")
    SCHEDULES["cron_partition_offset"] = CronPartitionTimetable("@daily", timezone="UTC", run_offset=-1)
CRON_TRIGGER_WITH_INTERVAL = CronTriggerTimetable("@daily", timezone="UTC", interval=DAY)
ALWAYS = {"catchup": False}
#: With catchup, one run; without, none but those that are asked for.
FIRST_ONLY = {"catchup": True, "end_date": FIRST}
NONE = {"catchup": False, "end_date": FIRST + 2 * DAY}

dags = [
    *(way(name, SCHEDULES[name], outlets=[LAKE] * (name == "cron_data_interval"), **FIRST_ONLY) for name in SCHEDULES),
    # Its first run is for a day before the start, and so has no task.
    way("cron_trigger_with_interval", CRON_TRIGGER_WITH_INTERVAL, **FIRST_ONLY, start_date=FIRST - DAY),
    way("asset", [LAKE], **ALWAYS),
    way("manual", None, **ALWAYS),
    way("undated", None, **ALWAYS),
]
SCHEDULES["cron_trigger_with_interval"] = CRON_TRIGGER_WITH_INTERVAL
for name in ("cron_string", "cron_data_interval", "cron_trigger_with_interval"):
    dags += [way(f"{kind}_{name}", SCHEDULES[name], asked=True, **NONE) for kind in ("manual", "backfill", "dag_test")]
for kind, bounds in (("command_line", NONE), ("undated", ALWAYS), ("dag_test_undated", ALWAYS)):
    dags.append(way(f"{kind}_cron_data_interval", SCHEDULES["cron_data_interval"], asked=True, **bounds))
for kind, name in (("manual", "delta"), ("backfill", "delta"), ("manual", "cron_partition")):
    if name in SCHEDULES:
        dags.append(way(f"{kind}_{name}", SCHEDULES[name], asked=True, **NONE))
globals().update({dag.dag_id: dag for dag in dags})
