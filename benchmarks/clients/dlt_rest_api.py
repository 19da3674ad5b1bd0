"""dlt's rest_api source into its filesystem destination; ``options["workers"]`` splits the interval among as many."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timedelta

import dlt
from dlt.destinations import filesystem
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.rest_api import rest_api_source

from benchmarks.clients.access_token import access_token
from benchmarks.job import Job


def extract(job: Job) -> None:
    """Write objects of JSON lines, nested values left as they are."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    workers = job.options.get("workers", 0)
    if workers:
        os.environ["EXTRACT__WORKERS"] = str(workers)
    start, end = (datetime.fromisoformat(moment) for moment in (job.start, job.end))
    parts = workers and 28
    step = (end - start) / (parts or 1)
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{job.zoom_url}/v2/",
                "auth": BearerTokenAuth(token=access_token(job)),
                "paginator": {
                    "type": "cursor",
                    "cursor_path": "next_page_token",
                    "cursor_param": "next_page_token",
                },
            },
            "resources": [
                {
                    "name": f"engagements_{part}",
                    "table_name": "engagements",
                    "max_table_nesting": 0,
                    "endpoint": {
                        "path": "contact_center/engagements",
                        "data_selector": "engagements",
                        "params": {
                            **job.query,
                            "from": f"{start + part * step:%Y-%m-%dT%H:%M:%SZ}",
                            "to": f"{start + (part + 1) * step - timedelta(seconds=bool(parts)):%Y-%m-%dT%H:%M:%SZ}",
                        },
                    },
                }
                for part in range(parts or 1)
            ],
        },
        parallelized=bool(workers),
    )
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "benchmark",
            pipelines_dir=folder,
            dataset_name=job.prefix.replace("/", "_"),
            destination=filesystem(
                bucket_url=f"s3://{job.bucket}/{job.prefix}",
                credentials={
                    "aws_access_key_id": job.aws_key,
                    "aws_secret_access_key": job.aws_key,
                    "endpoint_url": job.s3_url,
                    "region_name": "us-east-1",
                },
            ),
        )
        pipeline.run(source, loader_file_format="jsonl")
