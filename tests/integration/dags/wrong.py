"""Everything that a user can get wrong, a task each. None may be tried again, and none may write."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

WRONG: dict[str, dict[str, Any]] = {
    "wrong_secret": {"zcc_conn_id": "zcc_wrong_secret"},
    "missing_scope": {"zcc_conn_id": "zcc_missing_scope"},
    "no_permission": {"zcc_conn_id": "zcc_no_permission"},
    "unknown_queue": {"queue_id": "nobody-knows-me"},
    "unknown_timezone": {"timezone": "Mars/Olympus"},
    "unknown_channel": {"channel": "pigeon"},
    "no_bucket": {"s3_bucket": "not-made"},
    "one_sided": {"start": "2026-11-02T00:00:00Z"},
    "naive": {"start": "2026-11-02T00:00:00", "end": "2026-11-03T00:00:00"},
    "key_exists": {"s3_key": "exists", "replace": False},
    "incomplete_connection": {"zcc_conn_id": "zcc_incomplete"},
}

with DAG(
    dag_id="wrong",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(0), "zcc_conn_id": "zcc_wrong"},
) as dag:
    for task_id, arguments in WRONG.items():
        EngagementsToS3Operator(
            task_id=task_id, **{"s3_bucket": "{{ var.value.zcc_bucket }}", "s3_key": f"wrong/{task_id}", **arguments}
        )

with DAG(
    dag_id="wrong_zero_length_interval",
    schedule=CronTriggerTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(0)},
) as zero_length:
    EngagementsToS3Operator(task_id="write", s3_bucket="{{ var.value.zcc_bucket }}", s3_key="wrong/zero-length")

with DAG(
    dag_id="wrong_no_interval",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_delay": timedelta(0)},
) as no_interval:
    EngagementsToS3Operator(task_id="write", s3_bucket="{{ var.value.zcc_bucket }}", s3_key="wrong/no-interval")
