"""A loop with requests, as written by hand, one page after the other."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import boto3
import requests

from benchmarks.clients.access_token import access_token
from benchmarks.job import Job


def session_for(job: Job) -> requests.Session:
    """Make a session with a token."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {access_token(job)}"
    return session


def pages(session: requests.Session, job: Job, **bounds: str) -> Iterator[list[dict[str, Any]]]:
    """Yield page after page; wait a second after a 429."""
    query = {**job.query, **bounds}
    while True:
        response = session.get(job.endpoint, params=query, timeout=30)
        if response.status_code == 429:
            time.sleep(1)
            continue
        response.raise_for_status()
        page = response.json()
        yield page["engagements"]
        if not page["next_page_token"]:
            return
        query["next_page_token"] = page["next_page_token"]


def to_lines(engagements: list[dict[str, Any]]) -> bytes:
    """Write JSON lines."""
    return "".join(f"{json.dumps(engagement, ensure_ascii=False)}\n" for engagement in engagements).encode()


def write_object(job: Job, pages_of_engagements: Iterable[list[dict[str, Any]]]) -> None:
    """Compress pages as they come, and upload them as one object."""
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=6) as file:
        for engagements in pages_of_engagements:
            file.write(to_lines(engagements))
    upload(job, buffer.getvalue())


def upload(job: Job, content: bytes) -> None:
    """Write an object."""
    client = boto3.client(
        "s3",
        endpoint_url=job.s3_url,
        region_name="us-east-1",
        aws_access_key_id=job.aws_key,
        aws_secret_access_key=job.aws_key,
    )
    client.put_object(Bucket=job.bucket, Key=f"{job.prefix}/engagements.jsonl.gz", Body=content)


def extract(job: Job) -> None:
    """Write one object."""
    write_object(job, pages(session_for(job), job))
