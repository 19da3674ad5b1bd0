"""
Yesterday's Zoom Contact Center engagements in S3, every day, and the days before whenever Zoom has changed them.

1. `engagements_to_s3` writes the day that the run is for. `CronDataIntervalTimetable` gives each run its day. On
   Airflow 3, a plain `"@daily"` does not: its data interval has no length, and the task would fail.
2. `check` compares the last ten days in S3 with what Zoom lists now, at the cost of one request a day. An engagement
   that was open at midnight is listed after it ends, so a day may be short. A day that could not be read is missing.
   Notes and dispositions are edited later, so each day is due for another read after one day and after seven.
3. `read_again` reads the days that the check returns. An object whose bytes have not changed stays untouched.

If the first task fails, the check still runs, finds that day missing, and the third task reads it. The first run ever
also reads the nine days before.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

# The same for all tasks: where a day is in S3. Filters such as queue_id="…" go here too.
DAY = {
    "s3_bucket": "{{ var.value.get('zcc_bucket', 'my-lake') }}",
    "s3_key": "zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",
}

with DAG(
    dag_id="zcc_daily",
    dag_display_name="Zoom Contact Center, daily",
    description="Writes yesterday's engagements to S3, and reads again what has changed",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # A manual run beside a scheduled one would write the same objects at the same time.
    max_active_runs=1,
    default_args={"retries": 3},
    tags=["zoom", "zoom-contact-center"],
) as dag:
    write = EngagementsToS3Operator(
        task_id="engagements_to_s3",
        outlets=[Asset("zoom_engagements")],
        **DAY,
    )
    check = EngagementsCheckOperator(
        task_id="check",
        # A day is due for the last time after seven days: eight would do, if no run failed.
        lookback=timedelta(days=10),
        trigger_rule="all_done",
        **DAY,
    )
    EngagementsToS3Operator.partial(
        task_id="read_again",
        outlets=[Asset("zoom_engagements")],
        map_index_template="{{ task.start[:10] }}",
        # The tasks share the account's rate limit, and two of them already saturate it.
        max_active_tis_per_dagrun=2,
        **DAY,
    ).expand_kwargs(check.output)
    write >> check
