"""A Dag for each way that a run comes to be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable

from tests.intervals.read import Read

try:
    from airflow.timetables.trigger import CronPartitionTimetable
except ImportError:
    CronPartitionTimetable = None

FIRST = pendulum.datetime(2026, 11, 2, tz="UTC")
DAY = timedelta(days=1)
LAKE = Asset("s3://lake/zoom")


def way(dag_id: str, schedule: Any, *, requested: bool = False, outlets: Sequence[Any] = (), **bounds: Any) -> DAG:
    """Make a Dag.

    :param bounds: catchup, end_date, and start_date if it is not FIRST.
    """
    with DAG(dag_id, schedule=schedule, **{"start_date": FIRST, **bounds}) as dag:
        Read(task_id="read", s3_key=f"s3://lake/{dag_id}", outlets=outlets, requested=requested)
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
#: With catchup, one run; without, none but those that are requested.
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
    dags += [
        way(f"{kind}_{name}", SCHEDULES[name], requested=True, **NONE) for kind in ("manual", "backfill", "dag_test")
    ]
for kind, bounds in (("command_line", NONE), ("undated", ALWAYS), ("dag_test_undated", ALWAYS)):
    dags.append(way(f"{kind}_cron_data_interval", SCHEDULES["cron_data_interval"], requested=True, **bounds))
for kind, name in (("manual", "delta"), ("backfill", "delta"), ("manual", "cron_partition")):
    if name in SCHEDULES:
        dags.append(way(f"{kind}_{name}", SCHEDULES[name], requested=True, **NONE))
globals().update({dag.dag_id: dag for dag in dags})
