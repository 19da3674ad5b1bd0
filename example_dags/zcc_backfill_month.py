"""
A month of Zoom Contact Center engagements in S3, one mapped task per day, on as many workers as there are.

Trigger it with the month, as in `{"month": "2026-10"}`; `first_day` and `last_day` narrow it. A month that is not over
ends with yesterday. Each day has its own task, which can be retried or cleared on its own and replaces the whole object
of its day. The keys and the asset are those of `zcc_daily`, so a Dag that is scheduled on the asset runs for each day.

However many workers there are, they share the account's rate limit: `max_active_tis_per_dag` bounds the days that are
read at the same time, in all runs of this Dag. To bound what several Dags read from the account, create a pool
(`airflow pools set zoom 4 "Tasks that read from Zoom"`) and name it in `ZCC_POOL`, or here. A task whose pool does not
exist waits forever.

If a worker dies, its tasks fail once they have sent no heartbeat for `[scheduler] task_instance_heartbeat_timeout`
(five minutes), and are retried after their `retry_delay` (another five), wherever there is a worker.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

with DAG(
    dag_id="zcc_backfill_month",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 3},
    params={
        "month": Param(type="string", pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="YYYY-MM, in UTC"),
        "first_day": Param(1, type="integer", minimum=1, maximum=31, description="First to read"),
        "last_day": Param(31, type="integer", minimum=1, maximum=31, description="Last to read, if the month has it"),
    },
    tags=["zoom"],
    doc_md=__doc__,
) as dag:

    @task
    def days(params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """List the requested days of the month that are over."""
        chosen = params or {}
        month = pendulum.from_format(chosen["month"], "YYYY-MM", tz="UTC")
        last_day = min(chosen["last_day"], month.days_in_month)
        starts = [month.replace(day=number) for number in range(chosen["first_day"], last_day + 1)]
        over = [start for start in starts if start + timedelta(days=1) <= pendulum.now("UTC")]
        if not over:
            raise ValueError(f"None of these days is over: {chosen}. Choose a month that has begun, and days of it.")
        return [{"start": start.isoformat(), "end": start.add(days=1).isoformat()} for start in over]

    EngagementsToS3Operator.partial(
        task_id="engagements_to_s3",
        s3_bucket="{{ var.value.get('zcc_bucket', 'my-lake') }}",
        s3_key="zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",
        map_index_template="{{ task.start[:10] }}",
        pool=os.environ.get("ZCC_POOL", "default_pool"),
        max_active_tis_per_dag=4,
        outlets=[Asset("zoom_engagements")],
    ).expand_kwargs(days())
