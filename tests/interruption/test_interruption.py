from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from airflow_provider_zcc.zoom.oauth import shared_token_source
from tests.conftest import END, StartSimulator
from tests.interruption.run_operator import context, run
from tests.s3_proxy import S3Fault, S3Proxy
from tests.s3_server import S3Server
from tests.zoom_simulator.app import Stats
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

START = END - timedelta(days=1)
#: Enough for an upload in several parts, of 8 MB each.
BIG = Engagements.of_a_contact_centre(16_000, 1, end=END)
KEY = "day.jsonl"
#: Seconds in which a task has to end after a signal.
SOON = 5.0
#: Seconds, beyond all that a test waits for.
AGES = 60.0

_PROCESSES = get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.interruption.run_operator"])


def wait_until(it_is_so: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not it_is_so():
        assert time.monotonic() < deadline, "It took too long."
        time.sleep(0.01)


@dataclass
class Place:
    """Zoom and S3, as one task sees them."""

    zoom: SimulatorServer
    s3: S3Server
    proxy: S3Proxy
    bucket: str
    running: list[ForkServerProcess] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        connection: dict[str, Any] = self.zoom.connection
        # A request that hangs does so for longer than a task may, and not much longer than the test.
        connection["extra"]["timeout"] = 2 * SOON
        extra = {"endpoint_url": self.proxy.url, "region_name": "us-east-1"}
        return {
            "AIRFLOW_CONN_ZCC_DEFAULT": json.dumps(connection),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(self.s3.connection | {"extra": extra}),
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def arguments(self, key: str = KEY) -> dict[str, Any]:
        return {
            "s3_bucket": self.bucket,
            "s3_key": key,
            "start": START.isoformat(),
            "end": END.isoformat(),
        }

    def start(self, key: str = KEY, kind: type[BaseOperator] = EngagementsToS3Operator, **how: Any) -> Run:
        arguments = self.arguments(key) | ({"max_concurrency": 2} if kind is EngagementsToS3Operator else {})
        here, there = _PROCESSES.Pipe(duplex=False)
        process = _PROCESSES.Process(target=run, args=(self.environment, arguments, there), kwargs=how | {"kind": kind})
        process.start()
        there.close()
        self.running.append(process)
        return Run(process, here)

    def truth(self) -> bytes:
        lines = self.zoom.simulator.truth(START, END)
        return "".join(line.translate({10: None, 13: None}) + "\n" for line in lines).encode()

    def objects(self) -> dict[str, bytes]:
        """Return the objects but for the manifest, which may be missing after a signal."""
        found = self.s3.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        keys = [item["Key"] for item in found if not item["Key"].startswith("_")]
        return {key: self.s3.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def unfinished_uploads(self) -> list[dict[str, Any]]:
        return self.s3.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])

    def has_uploaded_a_part(self) -> bool:
        return any(
            self.s3.client.list_parts(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts")
            for upload in self.unfinished_uploads()
        )


@dataclass
class Run:
    """A process that runs the operator."""

    process: ForkServerProcess
    report: Any

    def send(self, signal_number: int) -> None:
        os.kill(self.process.pid or 0, signal_number)

    def end(self, seconds: float) -> str | None:
        """Wait for the end of the process, and return the class of the error."""
        deadline = time.monotonic() + seconds
        assert self.report.poll(seconds), "The task did not end."
        error: str | None = self.report.recv()
        self.process.join(max(0.0, deadline - time.monotonic()))
        assert self.process.exitcode == 0
        # It led a group of its own.
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid or 0, 0)
        return error


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module")
def proxy() -> Iterator[S3Proxy]:
    with S3Proxy() as proxy:
        yield proxy


@pytest.fixture
def place(
    start_simulator: StartSimulator, s3: S3Server, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    proxy.faults = []
    zoom = start_simulator(BIG, order="ascending")
    place = Place(zoom, s3, proxy, f"bucket-{uuid4()}")
    s3.client.create_bucket(Bucket=place.bucket)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    yield place
    for process in place.running:
        process.kill()
        process.join()
    shared_token_source.cache_clear()


@dataclass(frozen=True)
class Middle:
    """What a task is in the middle of when the signal comes.

    :param fault: what holds it there.
    :param reached: whether it got there.
    """

    fault: Callable[[], Fault]
    reached: Callable[[Place], bool]


def stats(place: Place) -> Stats:
    return place.zoom.simulator.stats


def slow(on: str, seconds: float, after: int = 0) -> Callable[[], Fault]:
    return lambda: Fault("delay", on, after, -1, {"seconds": seconds})


def rejecting(status: int, **headers: str) -> Callable[[], Fault]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"code": status, "message": "Not now."}
    return lambda: Fault("answer", "api", 0, -1, {"status": status, "body": body, "headers": named})


#: Where the task waits: by itself first, then for what does not come.
MIDDLES = {
    "a rate limit": Middle(rejecting(429, Retry_After="200"), lambda place: stats(place).statuses[429] > 0),
    "an outage": Middle(rejecting(500), lambda place: stats(place).statuses[500] > 2),
    "a slow upload": Middle(slow("next", 0.2, after=100), lambda place: place.has_uploaded_a_part()),
    "a response": Middle(slow("api", AGES), lambda place: stats(place).api_requests > 0),
    "a token": Middle(slow("token", AGES), lambda place: stats(place).token_requests > 0),
    "the rest of an upload": Middle(slow("next", AGES, after=130), lambda place: place.has_uploaded_a_part()),
}
#: How Airflow ends a task, and the error that it ends with.
ENDINGS = pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGTERM, "AirflowException"), (signal.SIGALRM, "AirflowTaskTimeout")],
    ids=["SIGTERM", "execution_timeout"],
)


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=MIDDLES)
@pytest.mark.parametrize(
    ("number", "how", "expected"),
    [
        pytest.param(signal.SIGTERM, {}, "AirflowException", id="SIGTERM as in Airflow 3"),
        pytest.param(signal.SIGTERM, {"signal_raises": True}, "AirflowException", id="SIGTERM as in Airflow 2"),
        pytest.param(signal.SIGALRM, {}, "AirflowTaskTimeout", id="execution_timeout"),
    ],
)
def test_a_signal_ends_the_process_soon_and_leaves_nothing_in_s3(
    place: Place, middle: Middle, number: int, how: dict[str, Any], expected: str
) -> None:
    place.zoom.simulator.faults = [middle.fault()]
    task = place.start(**how)
    wait_until(lambda: middle.reached(place))

    task.send(number)
    assert task.end(SOON) == expected
    assert place.objects() == {}
    assert place.unfinished_uploads() == []


@ENDINGS
@pytest.mark.parametrize(
    ("key", "operations"),
    [
        (KEY, ["HeadBucket"]),
        ("day.jsonl.gz", ["PutObject"]),
        (KEY, ["CreateMultipartUpload"]),
        (KEY, ["UploadPart"]),
        (KEY, ["UploadPart", "AbortMultipartUpload"]),
        (KEY, ["CompleteMultipartUpload"]),
    ],
    ids=lambda value: " and ".join(value) if isinstance(value, list) else "",
)
def test_the_process_ends_soon_though_s3_does_not_respond(
    place: Place, operations: list[str], key: str, number: int, expected: str
) -> None:
    place.proxy.faults = [S3Fault(operation, seconds=AGES, status=500) for operation in operations]
    task = place.start(key)
    wait_until(lambda: place.proxy.faults[0].affected)

    task.send(number)
    assert task.end(SOON) == expected
    assert place.objects() == {}
    # An upload that S3 does not discard either is left to its rule for unfinished uploads.
    assert place.unfinished_uploads() == [] or "AbortMultipartUpload" in operations


@ENDINGS
@pytest.mark.parametrize("hanging", ["Zoom", "S3"])
def test_a_check_ends_soon_though_its_threads_wait_for_a_response(
    place: Place, hanging: str, number: int, expected: str
) -> None:
    s3_fault = S3Fault("HeadObject", seconds=AGES, status=500)
    zoom_fault = slow("api", AGES)()
    place.proxy.faults, place.zoom.simulator.faults = ([s3_fault], []) if hanging == "S3" else ([], [zoom_fault])
    task = place.start(kind=EngagementsCheckOperator)
    wait_until(lambda: s3_fault.affected or zoom_fault.affected)

    task.send(number)
    assert task.end(SOON) == expected


def test_a_signal_while_an_upload_is_discarded_after_an_error_leaves_nothing_in_s3(place: Place) -> None:
    hanging = S3Fault("AbortMultipartUpload", times=1, seconds=AGES, status=500)
    place.proxy.faults = [S3Fault("UploadPart", part=2, status=403, code="AccessDenied"), hanging]
    task = place.start()
    wait_until(lambda: hanging.affected)

    task.send(signal.SIGTERM)
    assert task.end(SOON) == "AirflowException"
    assert place.objects() == {}
    assert place.unfinished_uploads() == []


def test_the_process_ends_soon_while_a_secrets_backend_does_not_respond(place: Place) -> None:
    task = place.start(secrets_backend_seconds=AGES)
    assert task.report.recv() == "looking up"

    task.send(signal.SIGTERM)
    assert task.end(SOON) == "AirflowException"
    assert stats(place).api_requests == 0


@pytest.mark.parametrize("after", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_signals_at_any_time_end_the_process_soon_and_leave_the_object_whole_or_absent(
    place: Place, after: float
) -> None:
    """Whatever lock the main thread holds at that time."""
    task = place.start(execution_timeout=after)
    wait_until(lambda: stats(place).token_requests or task.report.poll())
    error = task.end(30)
    assert error in (None, "AirflowTaskTimeout")
    assert place.objects() in ({}, {KEY: place.truth()})
    # If it ends while S3 creates the upload, nobody knows the id of that.
    assert not place.has_uploaded_a_part()


def test_after_a_kill_in_the_middle_of_an_upload_a_new_try_writes_the_whole_object(place: Place) -> None:
    place.zoom.simulator.faults = [slow("next", 0.2, after=100)()]
    killed = place.start()
    wait_until(place.has_uploaded_a_part)
    killed.send(signal.SIGKILL)
    killed.process.join(SOON)
    assert killed.process.exitcode == -signal.SIGKILL
    assert place.objects() == {}

    place.zoom.simulator.faults = []
    assert place.start().end(30) is None
    assert place.objects() == {KEY: place.truth()}


def test_after_a_kill_between_object_and_manifest_the_check_has_the_interval_read_again(place: Place) -> None:
    # The object has several parts, so only the manifest is put.
    silent = S3Fault("PutObject", times=1, seconds=AGES, status=500)
    place.proxy.faults = [silent]
    killed = place.start()
    wait_until(lambda: silent.affected)
    killed.send(signal.SIGKILL)
    killed.process.join(SOON)
    assert killed.process.exitcode == -signal.SIGKILL
    assert place.objects() == {KEY: place.truth()}

    check = EngagementsCheckOperator(task_id="check", reread_after=(), **place.arguments())
    [interval] = check.execute(context())
    assert {name: datetime.fromisoformat(bound) for name, bound in interval.items()} == {"start": START, "end": END}
    assert place.start().end(30) is None
    assert place.objects() == {KEY: place.truth()}
    assert check.execute(context()) == []


def test_two_concurrent_runs_of_the_same_interval_both_succeed_with_a_whole_object(place: Place) -> None:
    both_have_begun = {"until": lambda: stats(place).token_requests == 2}
    place.zoom.simulator.faults = [Fault("hold", "first", 0, -1, both_have_begun)]

    tasks = [place.start(), place.start()]
    assert [task.end(30) for task in tasks] == [None, None]
    assert place.objects() == {KEY: place.truth()}
    assert place.unfinished_uploads() == []
