"""
How many engagements each channel and each queue had, as soon as `zcc_daily` or `zcc_backfill` has written a day.

Scheduled on an asset, not on a time: the event of the asset names the object that was written. A day that was read
again without a change is skipped. The workers need `pip install duckdb`; an object is copied to local disk, for DuckDB
to read it there without an extension.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pendulum
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException, Asset, task

log = logging.getLogger(__name__)

# An engagement counts once in each queue that it went through. Zoom may leave out any field,
# so the fields are declared, not detected.
COUNTS = """
    SELECT coalesce(c.channel.channel, '(none)') AS channel,
           coalesce(q.queue.queue_name, q.queue.cc_queue_id, '(none)') AS queue,
           count(DISTINCT engagement_id) AS engagements
    FROM read_json($file, format = 'newline_delimited', columns = {
        engagement_id: 'VARCHAR',
        channels: 'STRUCT(channel VARCHAR)[]',
        queues: 'STRUCT(queue_name VARCHAR, cc_queue_id VARCHAR)[]'
    })
    LEFT JOIN LATERAL unnest(channels) AS c(channel) ON true
    LEFT JOIN LATERAL unnest(queues) AS q(queue) ON true
    GROUP BY ALL
    ORDER BY ALL
"""


def counts_in(uri: str) -> list[tuple[str, str, int]]:
    """Return channel, queue and number of engagements for each pair that an object holds."""
    import duckdb  # noqa: PLC0415  Not every machine that parses the Dag has it.

    bucket, key = S3Hook.parse_s3_url(uri)
    with TemporaryDirectory() as folder:
        copy = Path(S3Hook().download_file(key, bucket, local_path=folder))
        # By the ending of the name DuckDB knows whether to decompress.
        file = copy.rename(f"{copy}-{Path(key).name}")
        return duckdb.connect().execute(COUNTS, {"file": str(file)}).fetchall()


def table_of(counts: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table: a heading, and one for each count."""
    rows = [("start", "channel", "queue", "engagements")]
    rows += [(row["start"], row["channel"], row["queue"], f"{row['engagements']:,}") for row in counts]
    start, channel, queue, engagements = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [f"{row[0]:{start}}  {row[1]:{channel}}  {row[2]:{queue}}  {row[3]:>{engagements}}" for row in rows]


with DAG(
    dag_id="zcc_counts",
    dag_display_name="Zoom Contact Center, counts",
    description="Counts the engagements of each channel and queue in what was written",
    schedule=[Asset("zoom_engagements")],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["zoom", "zoom-contact-center"],
    doc_md=__doc__,
) as dag:

    @task(retries=3)
    def count_by_channel_and_queue(
        triggering_asset_events: Any = None,
        triggering_dataset_events: Any = None,  # what Airflow 2 calls them
    ) -> list[dict[str, Any]]:
        """Count what the objects hold whose events triggered this run."""
        triggers = triggering_asset_events or triggering_dataset_events or {}
        summaries = [event.extra for events in triggers.values() for event in events if "uri" in event.extra]
        if not summaries:
            raise AirflowFailException("No event names an object to count. Let zcc_daily run: its event triggers this.")
        changed = sorted({(summary["uri"], summary["start"]) for summary in summaries if summary.get("changed", True)})
        if not changed:
            raise AirflowSkipException("Every object is unchanged since it was last counted.")
        counts = [
            {"start": start, "channel": channel, "queue": queue, "engagements": engagements}
            for uri, start in changed
            for channel, queue, engagements in counts_in(uri)
        ]
        for line in table_of(counts):
            log.info("%s", line)
        return counts

    count_by_channel_and_queue()
