"""
Zoom Contact Center engagements in S3, every hour, once Zoom has had time to process them.

The sensor waits in the triggerer, without a worker slot, until the hour ended ten minutes ago. An hour without
engagements is not waited for (`min_engagements=0`) and is not an error: its object has no lines. Without a triggerer,
use `mode="reschedule"` instead of `deferrable=True`.

An engagement that goes on for longer is listed when it ends. So `check` compares the last 24 hours in S3 with Zoom's
counts, at the cost of one request each, and `read_again` reads those that are missing or short.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

# The same for all tasks: where an hour is in S3. Filters such as queue_id="…" go here too,
# and into the sensor.
HOUR = {
    "s3_bucket": "{{ var.value.get('zcc_bucket', 'my-lake') }}",
    "s3_key": "zoom/engagements/date={start:%Y-%m-%d}/hour={start:%H}/engagements.jsonl.gz",
}

with DAG(
    dag_id="zcc_hourly",
    dag_display_name="Zoom Contact Center, hourly",
    description="Writes each hour's engagements to S3, once Zoom has processed them",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # A manual run beside a scheduled one would write the same object at the same time.
    max_active_runs=1,
    default_args={"retries": 3},
    tags=["zoom", "zoom-contact-center"],
) as dag:
    wait = EngagementsSensor(
        task_id="wait_for_engagements",
        min_engagements=0,
        settle=timedelta(minutes=10),
        deferrable=True,
        poke_interval=timedelta(minutes=2),
        timeout=timedelta(hours=2),
    )
    write = EngagementsToS3Operator(task_id="engagements_to_s3", **HOUR)
    check = EngagementsCheckOperator(
        task_id="check",
        every=timedelta(hours=1),
        lookback=timedelta(days=1),
        reread_after=(),
        trigger_rule="all_done",
        **HOUR,
    )
    EngagementsToS3Operator.partial(
        task_id="read_again",
        map_index_template="{{ task.start[:13] }}",
        max_active_tis_per_dagrun=2,
        **HOUR,
    ).expand_kwargs(check.output)
    wait >> write >> check
