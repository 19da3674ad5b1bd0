"""How a task may end whatever befalls it, as one check; and what the tests of faults share with the others."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred
from tenacity import wait_random_exponential

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from airflow_provider_zcc.zoom.client import ZoomClient
from tests.conftest import END
from tests.unit.conftest import (  # noqa: F401  fixtures
    Bucket,
    botocore_data_is_read_once,
    bucket,
    connect_zoom,
    context_of,
    s3_server,
    start_zoom,
)
from tests.zoom_simulator.data import SHAPES, Engagements, TimeStyle

DAY = (END - timedelta(days=1), END)
KEY = "day.jsonl"
_OLD = b"old"
#: Seconds of patience where a fault passes, and where it does not.
_PATIENT, _IMPATIENT = 4.0, 0.1


@dataclass(frozen=True)
class Ending:
    """How a task ends.

    :param error: the class of the error, and no subclass; None if the task succeeds with all records.
    :param words: a pattern that the error's words match.
    """

    error: type[BaseException] | None = None
    words: str = ""


ALL_RECORDS = Ending()
MayRetry = partial(Ending, AirflowException)
ForGood = partial(Ending, AirflowFailException)
Deferred = partial(Ending, TaskDeferred)

RunInto = Callable[..., BaseException | None]


@pytest.fixture(scope="session", autouse=True)
def caller_goes_unnamed() -> Iterator[None]:
    """For the User-Agent, S3Hook looks through the whole stack, source files included: half the time of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Hook, "_get_caller", staticmethod(lambda *_, **__: "Unknown"))
        yield


@cache
def engagements_of_a_day(count: int = 800) -> Engagements:
    """A day's engagements, some of them in one second, and three on the midnight that belongs to the next day."""
    return Engagements.of_a_contact_centre(count, 1, end=END)


def even_starts(count: int = 800) -> list[int]:
    """Starts that are spread over the day, none of them on its end."""
    return list(SHAPES["even"](count, 1, end=END).starts)


def lines_of(engagements: Engagements) -> list[bytes]:
    """Return what the object has to hold, sorted: each engagement as Zoom wrote it, on one line."""
    truth = engagements.truth(*DAY, TimeStyle())
    return sorted(engagement.replace("\r", "").replace("\n", "").encode() for engagement in truth)


def leave_no_time_between_tries(monkeypatch: pytest.MonkeyPatch, ending: Ending) -> None:
    """Try again at once, and be patient as long as the expected end allows."""
    monkeypatch.setattr(
        "airflow_provider_zcc.zoom.client.wait_random_exponential",
        lambda **_: wait_random_exponential(multiplier=0.01, max=0.05),
    )
    monkeypatch.setitem(ZoomClient.__init__.__kwdefaults__, "retry_timeout", _IMPATIENT if ending.error else _PATIENT)


def connect_s3(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], changes: dict[str, Any] | None = None, **transfer: int
) -> None:
    """Let ``aws_default`` lead to S3, with some of its extra changed, and with a configuration of transfers."""
    extra = connection["extra"] | {"service_config": {"s3": {"transfer_config_args": transfer}}} | (changes or {})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection | {"extra": extra}))


@pytest.fixture
def run_into(bucket: Bucket) -> RunInto:  # noqa: F811
    """Run a task that something befalls, over an old object, and check that it ends as it may.

    Either the object holds exactly the engagements, or there is one error of the expected class and the bucket is
    as it was. In both cases no multipart upload is unfinished, and nothing goes on in the background.
    """

    def run(engagements: Engagements, ending: Ending, **arguments: Any) -> BaseException | None:
        chosen = {"s3_bucket": bucket.name, "s3_key": KEY, "start": DAY[0], "end": DAY[1], "deferrable": False}
        task = EngagementsToS3Operator(task_id="task", **chosen | {"compression": "none"} | arguments)
        bucket.put(KEY, _OLD)
        before = _objects(bucket)
        context, error = context_of(), None
        if ending.error:
            with pytest.raises(ending.error, match=ending.words or None) as raised:
                task.execute(context)
            error = raised.value
            assert type(error) is ending.error
            assert _objects(bucket) == before
            assert bucket.body(KEY) == _OLD
            assert not context["ti"].xcom_push.called
        else:
            task.execute(context)
            truth = lines_of(engagements)
            assert sorted(_decompressed(bucket.body(KEY)).split(b"\n")) == [b"", *truth]
            assert bucket.keys() == [KEY]
            assert context["ti"].xcom_push.call_args.kwargs["value"]["records"] == len(truth)
        assert bucket.unfinished_uploads() == []
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("zcc-")] == []
        return error

    return run


def _objects(bucket: Bucket) -> list[dict[str, Any]]:  # noqa: F811
    return bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])


def _decompressed(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
