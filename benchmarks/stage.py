"""The servers of a benchmark, as processes of their own, and what they know of a run."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import requests

from airflow_provider_zcc.s3.location import Location
from airflow_provider_zcc.s3.manifest import Manifest, dump_manifest, manifest_location
from tests.ports import free_port

ROOT = Path(__file__).parent.parent
BUCKET = "lake"
DAYS = 28
END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = END - timedelta(days=DAYS)


@contextmanager
def server(*command: str) -> Iterator[str]:
    """Run a server that takes ``--port`` while the context lasts, and yield its URL."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Account:
    """A simulated Zoom account.

    :param engagements: how many it has in 28 days.
    :param latency: milliseconds that a response takes.
    :param requests_per_second: its rate limit; 0 for none.
    :param announced: whether responses announce the rate limit.
    :param shape: how the engagements spread.
    """

    engagements: int
    latency: int = 80
    requests_per_second: int = 0
    announced: bool = True
    shape: str = "contact-centre"

    @contextmanager
    def open(self) -> Iterator[str]:
        """Serve it, and yield its URL."""
        options = ["--engagements", str(self.engagements), "--days", str(DAYS), "--latency", str(self.latency)]
        options += ["--shape", self.shape]
        if self.requests_per_second:
            options += ["--requests-per-second", str(self.requests_per_second)]
        if not self.announced:
            options += ["--hide-limits"]
        with server(sys.executable, "-m", "tests.zoom_simulator", *options) as url:
            yield url


@contextmanager
def s3() -> Iterator[S3]:
    """Serve S3."""
    with server(str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1") as url:
        yield S3(url)


class S3:
    """An S3 server with one bucket."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="simulated",
            aws_secret_access_key="simulated",
        )
        self._client.create_bucket(Bucket=BUCKET)

    def put_days(self, days: int) -> None:
        """Write an object and its manifest for each of the days before END, as if they had been read now."""
        for number in range(days):
            start = END - timedelta(days=number + 1)
            location = Location(BUCKET, f"checked/date={start:%Y-%m-%d}/engagements.jsonl.gz")
            etag = self._client.put_object(Bucket=BUCKET, Key=location.key, Body=b"")["ETag"]
            manifest = Manifest(
                uri=location.uri, etag=etag, start=start, end=start + timedelta(days=1), filters={}, records=0,
                reported=0, bytes=0, uncompressed_bytes=0, sha256="", requests=1, read_at=datetime.now(UTC),
                provider_version="",
            )  # fmt: skip
            key = manifest_location(location).key
            self._client.put_object(Bucket=BUCKET, Key=key, Body=dump_manifest(manifest))

    def take_lines(self, prefix: str) -> Iterator[bytes]:
        """Yield the lines of all objects of engagements below a prefix, and delete every object there."""
        for item in self._client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []):
            if "engagements" in item["Key"].rsplit("/", 1)[0] or item["Key"].endswith("engagements.jsonl.gz"):
                body = self._client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"]
                with gzip.open(body) as file:
                    yield from (line.rstrip(b"\n") for line in file)
            self._client.delete_object(Bucket=BUCKET, Key=item["Key"])


def truth(zoom_url: str) -> Iterator[bytes]:
    """Yield the lines that a faultless client would have written, a day at a time."""
    for day in range(DAYS):
        bounds = {"start": START + timedelta(days=day), "end": START + timedelta(days=day + 1)}
        response = requests.get(
            f"{zoom_url}/_simulator/truth", params={name: at.isoformat() for name, at in bounds.items()}, timeout=600
        )
        yield from response.content.split(b"\n")[:-1]


def set_faults(zoom_url: str, faults: list[dict[str, Any]]) -> None:
    """Make the simulator misbehave, as ``tests/zoom_simulator/faults.py`` describes."""
    requests.post(f"{zoom_url}/_simulator/faults", json=faults, timeout=30).raise_for_status()


def statistics(zoom_url: str) -> dict[str, Any]:
    """Return the simulator's counts of requests."""
    counts: dict[str, Any] = requests.get(f"{zoom_url}/_simulator/stats", timeout=30).json()
    return counts


def differences(lines: Iterator[bytes], expected: Iterator[bytes], *, parse: bool) -> dict[str, int]:
    """Compare what a client wrote with the truth.

    :param parse: compare values, rather than bytes, and ignore fields that the client's tool added.
    """

    def values(line: bytes) -> bytes | dict[str, Any]:
        return {k: v for k, v in json.loads(line).items() if not k.startswith("_dlt")} if parse else line

    wanted = {json.loads(line)["engagement_id"]: values(line) for line in expected}
    counts = {"missing": 0, "doubled": 0, "changed": 0, "outside": 0}
    seen: set[str] = set()
    for line in lines:
        identity = json.loads(line)["engagement_id"]
        counts["doubled"] += identity in seen
        counts["outside"] += identity not in wanted
        counts["changed"] += identity in wanted and wanted[identity] != values(line)
        seen.add(identity)
    counts["missing"] = len(wanted.keys() - seen)
    return counts
