"""
Days of Zoom Contact Center engagements that are missing in S3, short, or due for another read.

Trigger it with the first and the last day. `check` looks at each day, at the cost of one request to Zoom, and logs how
many engagements and requests are left to read, and how long that takes. Nothing has been read at that point: if it is
more than you want, mark the run as failed. `engagements_to_s3` then reads the days that the check returns, one mapped
task each.

To go on where a run stopped, trigger it again with the same days: those that are complete are not read again. Airflow
maps at most `[core] max_map_length` tasks (1024), so a longer backfill needs several runs; the log names what is left.

The keys and the asset are those of `zcc_daily`. However many workers there are, they share the account's rate limit:
`max_active_tis_per_dag` bounds the days that are read at the same time. If a worker dies, its tasks fail once they have
sent no heartbeat for `[scheduler] task_instance_heartbeat_timeout` (five minutes), and are retried after their
`retry_delay` (another five).
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, Param

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

# The same for both tasks: where a day is in S3. Filters such as queue_id="…" go here too.
DAY = {
    "s3_bucket": "{{ var.value.get('zcc_bucket', 'my-lake') }}",
    "s3_key": "zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",
}

with DAG(
    dag_id="zcc_backfill",
    dag_display_name="Zoom Contact Center, backfill",
    description="Reads the days that are missing in S3, short, or due for another read",
    doc_md=__doc__,
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 3},
    params={
        "from": Param("2026-10-01", type="string", format="date", description="First day, in UTC"),
        "to": Param("2026-10-31", type="string", format="date", description="Last day, in UTC"),
    },
    tags=["zoom", "zoom-contact-center"],
) as dag:
    check = EngagementsCheckOperator(
        task_id="check",
        start="{{ params['from'] }}",
        end="{{ macros.ds_add(params['to'], 1) }}",
        **DAY,
    )
    EngagementsToS3Operator.partial(
        task_id="engagements_to_s3",
        outlets=[Asset("zoom_engagements")],
        map_index_template="{{ task.start[:10] }}",
        # The tasks share the account's rate limit, and two of them already saturate it.
        max_active_tis_per_dag=2,
        **DAY,
    ).expand_kwargs(check.output)
