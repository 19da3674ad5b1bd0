"""
Zoom Contact Center engagements in S3, every hour, once Zoom has had time to process them.

The sensor waits in the triggerer, without a worker slot, until the hour ended ten minutes ago. An hour without
engagements is not waited for (`min_engagements=0`) and is not an error: its object has no lines. Without a triggerer,
use `mode="reschedule"` instead of `deferrable=True`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

with DAG(
    dag_id="zcc_hourly",
    dag_display_name="Zoom Contact Center, hourly",
    description="Writes each hour's engagements to S3, once Zoom has had time to process them",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # A manual run beside a scheduled one would write the same object at the same time.
    max_active_runs=1,
    tags=["zoom", "zoom-contact-center"],
) as dag:
    wait = EngagementsSensor(
        task_id="wait_for_engagements",
        min_engagements=0,
        settle=timedelta(minutes=10),
        deferrable=True,
        poke_interval=timedelta(minutes=2),
        timeout=timedelta(hours=2),
        retries=3,
    )
    write = EngagementsToS3Operator(
        task_id="engagements_to_s3",
        s3_bucket="{{ var.value.get('zcc_bucket', 'my-lake') }}",
        s3_key="zoom/engagements/date={start:%Y-%m-%d}/hour={start:%H}/engagements.jsonl.gz",
        retries=3,
    )
    wait >> write
