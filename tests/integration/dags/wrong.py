"""What a user can get wrong, of each kind a task. None may be tried again, and none may write."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

WRONG: dict[str, dict[str, Any]] = {
    "wrong_secret": {"zcc_conn_id": "zcc_wrong_secret"},
    "unknown_queue": {"queue_id": "nobody-knows-me"},
    "no_bucket": {"s3_bucket": "not-made"},
    "one_sided": {"start": "2026-11-02T00:00:00Z"},
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
