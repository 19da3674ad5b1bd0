"""Deferrable sensors, a task for each way in which waiting may end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.sensors.engagements import EngagementsSensor

#: Airflow may take a task for lost that goes on before its scheduler has heard that it is deferred.
TIMEOUT = timedelta(seconds=20)
SENSORS: dict[str, dict[str, Any]] = {
    "stable": {"zcc_conn_id": "zcc_filling", "stable_checks": 4},
    "timed_out": {"min_engagements": 10**9, "timeout": TIMEOUT},
    "timed_out_softly": {"min_engagements": 10**9, "timeout": TIMEOUT, "soft_fail": True},
    "rejected": {"min_engagements": 10**9, "zcc_conn_id": "zcc_closing"},
    "rejected_softly": {"min_engagements": 10**9, "zcc_conn_id": "zcc_closing", "soft_fail": True},
    "longest": {"zcc_conn_id": "zcc_filling", "timeout": timedelta(minutes=5)},
}

with DAG(
    dag_id="deferrable",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(0)},
) as dag:
    for task_id, arguments in SENSORS.items():
        EngagementsSensor(task_id=task_id, deferrable=True, poke_interval=0.5, **arguments)
