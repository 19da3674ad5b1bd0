from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from airflow_provider_zcc.zoom.oauth import shared_token_source
from tests.conftest import END, StartSimulator
from tests.interruption.run_operator import context, run
from tests.s3_server import S3Fault, S3Server
from tests.unit.conftest import Bucket, bucket, s3_server  # noqa: F401  fixtures
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
    bucket: Bucket
    running: list[ForkServerProcess] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        connection: dict[str, Any] = self.zoom.connection
        # A request that hangs does so for longer than a task may, and not much longer than the test.
        connection["extra"]["timeout"] = 2 * SOON
        return {
            "AIRFLOW_CONN_ZCC_DEFAULT": json.dumps(connection),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(self.s3.connection),
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def arguments(self, key: str = KEY) -> dict[str, Any]:
        return {
            "s3_bucket": self.bucket.name,
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
        return "".join(f"{line}\n" for line in self.zoom.simulator.truth(START, END)).encode()

    def objects(self) -> dict[str, bytes]:
        """Return the objects but for the manifest, which may be missing after a signal."""
        keys = self.bucket.keys()
        return {key: self.bucket.body(key) for key in keys}

    def has_uploaded_a_part(self) -> bool:
        for upload in self.bucket.unfinished_uploads():
            found = self.s3.client.list_parts(Bucket=self.bucket.name, Key=upload["Key"], UploadId=upload["UploadId"])
            if "Parts" in found:
                return True
        return False


@dataclass
class Run:
    """A process that runs the operator."""

    process: ForkServerProcess
    report: Any

    def send(self, signal_number: int) -> None:
        os.kill(self.process.pid or 0, signal_number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.join(SOON)
        assert self.process.exitcode == -signal.SIGKILL

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


@pytest.fixture
def place(
    start_simulator: StartSimulator,
    s3_server: S3Server,  # noqa: F811
    bucket: Bucket,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    place = Place(start_simulator(BIG, order="ascending"), s3_server, bucket)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    yield place
    s3_server.faults = []
    for process in place.running:
        process.kill()
        process.join()
    shared_token_source.cache_clear()


@dataclass(frozen=True)
class Middle:
    """What a task is in the middle of when the signal comes.

    :param faults: what holds it there, the first of them.
    :param times: how often that has struck by then.
    :param is_uploading: whether a part of the upload is in S3 by then.
    :param is_left: whether S3 keeps the upload, as its rule for unfinished uploads has to discard it.
    :param how: of :meth:`Place.start`.
    """

    faults: tuple[Fault | S3Fault, ...]
    times: int = 1
    is_uploading: bool = False
    is_left: bool = False
    how: dict[str, Any] = field(default_factory=dict)


def rejecting(status: int, **headers: str) -> Fault:
    return Fault("answer", times=-1, details={"status": status, "headers": headers})


def slow(on: str, seconds: float, after: int = 0) -> Fault:
    return Fault("delay", on, after, -1, {"seconds": seconds})


def silent(operation: str) -> S3Fault:
    return S3Fault(operation, seconds=AGES, status=500)


CHECK = {"kind": EngagementsCheckOperator}
MIDDLES = {
    # It waits by itself.
    "a rate limit": Middle((rejecting(429, **{"Retry-After": "200"}),)),
    "an outage": Middle((rejecting(500),), times=3),
    "a slow upload": Middle((slow("next", 0.2, after=100),), is_uploading=True),
    # It waits for what does not come.
    "a response": Middle((slow("api", AGES),)),
    "a token": Middle((slow("token", AGES),)),
    "the rest of an upload": Middle((slow("next", AGES, after=130),), is_uploading=True),
    "HeadBucket": Middle((silent("HeadBucket"),)),
    "PutObject": Middle((silent("PutObject"),), how={"key": "day.jsonl.gz"}),
    "CreateMultipartUpload": Middle((silent("CreateMultipartUpload"),)),
    "UploadPart": Middle((silent("UploadPart"),)),
    "CompleteMultipartUpload": Middle((silent("CompleteMultipartUpload"),)),
    "UploadPart, and S3 does not abort": Middle((silent("UploadPart"), silent("AbortMultipartUpload")), is_left=True),
    "AbortMultipartUpload after an error": Middle(
        (replace(silent("AbortMultipartUpload"), times=1), S3Fault("UploadPart", part=2, status=403))
    ),
    "a count of a check": Middle((slow("api", AGES),), how=CHECK),
    "HeadObject of a check": Middle((silent("HeadObject"),), how=CHECK),
}


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=MIDDLES)
@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGTERM, "AirflowException"), (signal.SIGALRM, "AirflowTaskTimeout")],
    ids=["SIGTERM", "execution_timeout"],
)
def test_a_signal_ends_the_process_soon_and_leaves_nothing_in_s3(
    place: Place, middle: Middle, number: int, expected: str
) -> None:
    first, *_ = faults = [replace(fault) for fault in middle.faults]
    place.zoom.simulator.faults = [fault for fault in faults if isinstance(fault, Fault)]
    place.s3.faults = [fault for fault in faults if isinstance(fault, S3Fault)]
    task = place.start(**middle.how)
    wait_until(lambda: first.affected >= middle.times and (place.has_uploaded_a_part() or not middle.is_uploading))

    task.send(number)
    assert task.end(SOON) == expected
    assert place.objects() == {}
    assert bool(place.bucket.unfinished_uploads()) == middle.is_left


@pytest.mark.parametrize("after", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_signals_at_any_time_end_the_process_soon_and_leave_the_object_whole_or_absent(
    place: Place, after: float
) -> None:
    """Whatever lock the main thread holds at that time."""
    task = place.start(execution_timeout=after)
    wait_until(lambda: place.zoom.simulator.stats.token_requests or task.report.poll())
    error = task.end(30)
    assert error in (None, "AirflowTaskTimeout")
    assert place.objects() in ({}, {KEY: place.truth()})
    # If it ends while S3 creates the upload, nobody knows the id of that.
    assert not place.has_uploaded_a_part()


def test_after_a_kill_in_the_middle_of_an_upload_a_new_try_writes_the_whole_object(place: Place) -> None:
    place.zoom.simulator.faults = [slow("next", 0.2, after=100)]
    killed = place.start()
    wait_until(place.has_uploaded_a_part)
    killed.kill()
    assert place.objects() == {}

    place.zoom.simulator.faults = []
    assert place.start().end(30) is None
    assert place.objects() == {KEY: place.truth()}


def test_after_a_kill_between_object_and_manifest_the_check_has_the_interval_read_again(place: Place) -> None:
    # The object has several parts, so only the manifest is put.
    manifest = replace(silent("PutObject"), times=1)
    place.s3.faults = [manifest]
    killed = place.start()
    wait_until(lambda: manifest.affected)
    killed.kill()
    assert place.objects() == {KEY: place.truth()}

    check = EngagementsCheckOperator(task_id="check", reread_after=(), **place.arguments())
    [interval] = check.execute(context())
    assert {name: datetime.fromisoformat(bound) for name, bound in interval.items()} == {"start": START, "end": END}
    assert place.start().end(30) is None
    assert place.objects() == {KEY: place.truth()}
    assert check.execute(context()) == []


def test_two_concurrent_runs_of_the_same_interval_leave_a_whole_object(place: Place) -> None:
    both_have_begun = {"until": lambda: place.zoom.simulator.stats.token_requests == 2}
    place.zoom.simulator.faults = [Fault("hold", "first", 0, -1, both_have_begun)]

    tasks = [place.start(), place.start()]
    errors = {task.end(30) for task in tasks}
    # One fails, to be retried, if it finds the other's object before the manifest that describes it.
    assert None in errors <= {None, "AirflowException"}
    assert place.objects() == {KEY: place.truth()}
    assert place.bucket.unfinished_uploads() == []
