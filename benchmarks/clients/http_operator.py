"""Airflow's HttpOperator with a pagination function, and S3Hook."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

import requests
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.http.operators.http import HttpOperator

from benchmarks.clients.access_token import access_token
from benchmarks.clients.provider import connections
from benchmarks.job import Job


def next_page(response: requests.Response) -> dict[str, Any] | None:
    """Name what changes for the next page."""
    token = response.json()["next_page_token"]
    return {"data": {"next_page_token": token}} if token else None


def to_lines(responses: list[requests.Response]) -> str:
    """Join the pages."""
    return "".join(
        f"{json.dumps(engagement, ensure_ascii=False)}\n"
        for response in responses
        for engagement in response.json()["engagements"]
    )


def extract(job: Job) -> None:
    """Write one object."""
    os.environ.update(connections(job))
    os.environ["AIRFLOW_CONN_ZOOM"] = json.dumps({"conn_type": "http", "host": f"{job.zoom_url}/v2"})
    operator = HttpOperator(
        task_id="benchmark",
        http_conn_id="zoom",
        method="GET",
        endpoint="contact_center/engagements",
        headers={"Authorization": f"Bearer {access_token(job)}"},
        data=job.query,
        pagination_function=next_page,
        response_filter=to_lines,
    )
    lines = operator.execute({})
    S3Hook().load_bytes(gzip.compress(lines.encode()), f"{job.prefix}/engagements.jsonl.gz", job.bucket)
