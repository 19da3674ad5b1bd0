"""
Each day of engagements as a Parquet object, as soon as `zcc_daily` or `zcc_backfill` has written it.

Scheduled on an asset, not on a time: the event of the asset names the object that was written. A day that was read
again without a change is left out, and if none is left, the task is skipped. The Parquet object of a day that changed
is replaced as a whole. For a day from before there was this Dag, trigger it with the `uri` of its object.

The workers need `pip install duckdb`, and disk space for one day. Of each engagement, the columns below are written;
what else Zoom returns stays in the JSON Lines object.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pendulum
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

# Zoom may leave out any field, so the fields are declared, not detected.
PARQUET = """
    COPY (
        FROM read_json($lines, format = 'newline_delimited', columns = {
            engagement_id: 'VARCHAR',
            start_time: 'TIMESTAMPTZ',
            end_time: 'TIMESTAMPTZ',
            direction: 'VARCHAR',
            duration: 'BIGINT',
            talk_duration: 'BIGINT',
            flow_duration: 'BIGINT',
            waiting_duration: 'BIGINT',
            handling_duration: 'BIGINT',
            wrap_up_duration: 'BIGINT',
            transfer_count: 'BIGINT',
            channel_types: 'VARCHAR[]',
            channels: 'STRUCT(channel VARCHAR, channel_source VARCHAR)[]',
            consumers: 'STRUCT(consumer_id VARCHAR, consumer_display_name VARCHAR, consumer_number VARCHAR)[]',
            flows: 'STRUCT(flow_id VARCHAR, flow_name VARCHAR, flow_version VARCHAR)[]',
            queues: 'STRUCT(cc_queue_id VARCHAR, queue_name VARCHAR)[]',
            agents: 'STRUCT(user_id VARCHAR, display_name VARCHAR)[]',
            dispositions: 'STRUCT(disposition_id VARCHAR, disposition_name VARCHAR)[]',
            notes: 'STRUCT(user_id VARCHAR, note_id VARCHAR, note VARCHAR, last_modified_time TIMESTAMPTZ)[]',
            transcript_url: 'VARCHAR',
            survey_id: 'VARCHAR'
        })
    ) TO $parquet (FORMAT parquet, COMPRESSION zstd)
"""


def write_parquet(lines: Path, parquet: Path) -> None:
    """Write a file of JSON lines, which ends in .gz if it is compressed, as Parquet."""
    import duckdb  # noqa: PLC0415  Not every machine that parses the Dag has it.

    with duckdb.connect() as connection:
        connection.execute(PARQUET, {"lines": str(lines), "parquet": str(parquet)})


with DAG(
    dag_id="zcc_parquet",
    dag_display_name="Zoom Contact Center, Parquet",
    description="Writes each day that is new or has changed as Parquet",
    schedule=[Asset("zoom_engagements")],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # Of two runs for the same day, the later one is to win.
    max_active_runs=1,
    default_args={"retries": 3},
    params={"uri": Param(None, type=["null", "string"], title="URI", description="Object to write as Parquet")},
    tags=["zoom", "zoom-contact-center"],
    doc_md=__doc__,
) as dag:

    @task
    def changed_objects(
        params: Any = None,
        triggering_asset_events: Any = None,
        triggering_dataset_events: Any = None,  # what Airflow 2 calls them
    ) -> list[str]:
        """Return the changed objects of the events that triggered this run, or ``uri``."""
        if params and params["uri"]:
            return [params["uri"]]
        triggers = triggering_asset_events or triggering_dataset_events or {}
        summaries = [event.extra for events in triggers.values() for event in events if "uri" in event.extra]
        return sorted({summary["uri"] for summary in summaries if summary.get("changed", True)})

    @task(max_active_tis_per_dagrun=2)
    def to_parquet(uri: str) -> str:
        """Write an object as Parquet, and return the URI of that."""
        bucket, key = S3Hook.parse_s3_url(uri)
        parquet_key = f"parquet/{key.removesuffix('.gz').removesuffix('.jsonl')}.parquet"
        with TemporaryDirectory() as folder:
            copy = Path(S3Hook().download_file(key, bucket, local_path=folder))
            # By the ending of the name DuckDB knows whether to decompress.
            lines, parquet = copy.rename(f"{copy}-{Path(key).name}"), Path(folder, "engagements.parquet")
            write_parquet(lines, parquet)
            S3Hook().load_file(parquet, parquet_key, bucket, replace=True)
        return f"s3://{bucket}/{parquet_key}"

    to_parquet.expand(uri=changed_objects())
