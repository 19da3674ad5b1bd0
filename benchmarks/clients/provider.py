"""The operator of this provider."""

from __future__ import annotations

import json
import logging
import os

from airflow.providers.common.compat.sdk import get_hook_lineage_collector
from airflow.sdk.execution_time import supervisor

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from benchmarks.job import Job

logging.basicConfig(level=logging.ERROR)
# Airflow imports its plugins when S3Hook first reports lineage, and its supervisor, which a task's process has long
# imported, when a connection is first asked for: a part of what is imported, not of the work.
get_hook_lineage_collector()
assert supervisor


def connections(job: Job) -> dict[str, str]:
    """Return the environment variables that hold the two connections."""
    zcc = {
        "conn_type": "zcc",
        "login": job.client_id,
        "password": job.client_secret,
        "host": f"{job.zoom_url}/v2",
        "extra": {
            "account_id": job.account_id,
            "oauth_url": f"{job.zoom_url}/oauth/token",
            "requests_per_second": job.requests_per_second,
        },
    }
    aws = {
        "conn_type": "aws",
        "login": job.aws_key,
        "password": job.aws_key,
        "extra": {"endpoint_url": job.s3_url, "region_name": "us-east-1"},
    }
    return {"AIRFLOW_CONN_ZCC_DEFAULT": json.dumps(zcc), "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws)}


def extract(job: Job) -> None:
    """Write one object."""
    os.environ.update(connections(job))
    operator = EngagementsToS3Operator(
        task_id="benchmark",
        s3_bucket=job.bucket,
        s3_key=f"{job.prefix}/engagements.jsonl.gz",
        start=job.start,
        end=job.end,
        do_xcom_push=False,
        **job.options,
    )
    operator.execute({})
