"""
The last seven days of Zoom Contact Center engagements again, every night, one mapped task per day.

Agents edit notes and dispositions after an engagement has ended, and a long engagement is listed late. Each day's
object is replaced by what Zoom returns for that day now. The keys are those of `zcc_daily`, so this Dag can replace it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

DAYS = 7

with DAG(
    dag_id="zcc_trailing_week",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # A manual run beside a scheduled one would write the same object at the same time.
    max_active_runs=1,
    default_args={"retries": 3},
    tags=["zoom"],
) as dag:

    @task
    def days(data_interval_end: datetime | None = None) -> list[dict[str, str]]:
        """List the days before the end of the run's interval."""
        if data_interval_end is None:
            raise ValueError("This run has no data interval. Trigger the Dag with a logical date.")
        ends = [data_interval_end - timedelta(days=number) for number in range(DAYS)]
        return [{"start": (end - timedelta(days=1)).isoformat(), "end": end.isoformat()} for end in reversed(ends)]

    EngagementsToS3Operator.partial(
        task_id="engagements_to_s3",
        s3_bucket="{{ var.value.get('zcc_bucket', 'my-lake') }}",
        s3_key="zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",
        # The tasks share the account's rate limit: two concurrent tasks already saturate it.
        max_active_tis_per_dagrun=2,
        outlets=[Asset("zoom_engagements")],
        map_index_template="{{ task.start[:10] }}",
    ).expand_kwargs(days())
