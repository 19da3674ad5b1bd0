"""What the Airflow side needs around it: connections, an S3 server on a socket, and the context of a task."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import pendulum
import pytest
from botocore.loaders import JSONFileLoader

from airflow_provider_zcc.hooks.zoom_contact_center import _shared_client
from airflow_provider_zcc.zoom.client import shared_rate_limiter
from tests.airflow_version import AIRFLOW
from tests.conftest import END as LAST_MIDNIGHT
from tests.conftest import StartSimulator
from tests.s3_server import S3Server
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

if AIRFLOW >= (3, 0):
    from airflow.sdk.execution_time.context import OutletEventAccessors
else:
    from airflow.utils.context import OutletEventAccessors

#: A busy Tuesday among the simulated days.
START = LAST_MIDNIGHT - timedelta(days=6)
END = LAST_MIDNIGHT - timedelta(days=5)
#: Days after the last simulated engagement.
QUIET = (LAST_MIDNIGHT + timedelta(days=5), LAST_MIDNIGHT + timedelta(days=6))

StartZoom = Callable[..., SimulatorServer]
ConnectZoom = Callable[..., None]
Logged = Callable[[], str]


@dataclass(frozen=True)
class Bucket:
    """A bucket of the S3 server."""

    name: str
    client: Any

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def body(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def keys(self) -> list[str]:
        """Return the keys that query engines read: those of manifests begin with an underscore."""
        found = [found["Key"] for found in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]
        return [key for key in found if not key.rpartition("/")[2].startswith("_")]

    def holds(self, key: str) -> bool:
        return key in self.keys()

    def manifest(self, key: str) -> dict[str, Any]:
        folder, slash, name = key.rpartition("/")
        return json.loads(self.body(f"{folder}{slash}_{name}.manifest.json"))

    def etag(self, key: str) -> str:
        return self.client.head_object(Bucket=self.name, Key=key)["ETag"]

    def unfinished_uploads(self) -> list[dict[str, Any]]:
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])


@dataclass
class TaskInstance:
    """Keeps what a task pushes."""

    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.fixture(scope="session", autouse=True)
def botocore_data_is_read_once() -> Iterator[None]:
    """Every new S3 client reads botocore's description of S3, which takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        read = cache(JSONFileLoader().load_file)
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket, in reach of ``aws_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(s3_server.connection))
    name = f"bucket-{uuid4()}"
    s3_server.client.create_bucket(Bucket=name)
    return Bucket(name, s3_server.client)


@pytest.fixture
def connect_zoom(monkeypatch: pytest.MonkeyPatch) -> ConnectZoom:
    """Let ``zcc_default`` lead to a simulator, with some fields of the connection or of its extra changed."""

    def connect(server: SimulatorServer, extra: dict[str, object] | None = None, **changes: object) -> None:
        connection: dict[str, Any] = server.connection | changes
        connection["extra"] = connection["extra"] | (extra or {})
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(connection))

    return connect


@pytest.fixture
def start_zoom(start_simulator: StartSimulator, connect_zoom: ConnectZoom) -> Iterator[StartZoom]:
    """Start a simulator as ``start_simulator`` does, and let ``zcc_default`` lead to it."""

    def start(engagements: Engagements | None = None, **config: object) -> SimulatorServer:
        server = start_simulator(engagements, **config)
        connect_zoom(server)
        return server

    yield start
    _shared_client.cache_clear()
    shared_rate_limiter.cache_clear()


@pytest.fixture
def zoom(start_zoom: StartZoom) -> SimulatorServer:
    """``zcc_default`` leads to this simulator with 3,000 engagements over ten days."""
    return start_zoom()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Logged:
    """What was logged since the last call: Airflow's loggers write to the one or the other."""
    caplog.set_level(logging.INFO)
    return lambda: caplog.text + "".join(capfd.readouterr())


def context_of(start: datetime | None = None, end: datetime | None = None, **more: Any) -> dict[str, Any]:
    """Return what a task is told: its data interval, if the run has one, and where its results go."""
    interval = {}
    if start is not None and end is not None:
        interval = {"data_interval_start": pendulum.instance(start), "data_interval_end": pendulum.instance(end)}
    return {"ti": TaskInstance(), "outlet_events": OutletEventAccessors(), **interval, **more}


def rejecting(status: int, code: int, message: str, *, headers: dict[str, str] | None = None, **where: Any) -> Fault:
    """Let the API answer with an error of Zoom's, by default from now on and for ever."""
    details = {"status": status, "body": {"code": code, "message": message}, "headers": headers or {}}
    return Fault("answer", **{"times": -1, **where}, details=details)


def daily_limit_until(moment: datetime, **where: Any) -> Fault:
    """Let the API refuse everything, as it does when the account's daily limit is used up."""
    headers = {"X-RateLimit-Type": "Daily-limit", "Retry-After": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
    return rejecting(429, 429, "You have reached the maximum daily rate limit.", headers=headers, **where)


def hours_from_now(hours: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)


def no_request_was_sent(server: SimulatorServer) -> bool:
    stats = server.simulator.stats
    return stats.api_requests == 0 and stats.token_requests == 0
