"""
Yesterday's Zoom Contact Center engagements in S3, every day.

`CronDataIntervalTimetable` gives each run the day that it is for. On Airflow 3, a plain `"@daily"` does not: its data
interval has no length, and the task would fail. `{start:%Y-%m-%d}` in the key is the day that is read.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

with DAG(
    dag_id="zcc_daily",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # A manual run beside a scheduled one would write the same object at the same time.
    max_active_runs=1,
    tags=["zoom"],
) as dag:
    EngagementsToS3Operator(
        task_id="engagements_to_s3",
        s3_bucket="{{ var.value.get('zcc_bucket', 'my-lake') }}",
        s3_key="zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",
        outlets=[Asset("zoom_engagements")],
        retries=3,
    )
