"""How a task may end whatever fault it meets, as one check."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred
from pytest_mock import MockerFixture

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.conftest import END, shorten_retries
from tests.s3_server import S3Server
from tests.unit.conftest import (  # noqa: F401  fixtures
    Bucket,
    botocore_data_is_read_once,
    bucket,
    connect_zoom,
    context_of,
    s3_server,
    start_zoom,
)
from tests.zoom_simulator.data import Engagements

DAY = (END - timedelta(days=1), END)
KEY = "day.jsonl"
_OLD = b"old"
PART = 400_000
#: Seconds for retries where a fault passes, and where it does not.
_LONG, _SHORT = 4.0, 0.1


@dataclass(frozen=True)
class Ending:
    """How a task ends.

    :param error: the class of the error, and no subclass; None if the task succeeds with all records.
    :param words: a pattern that the error's message matches.
    """

    error: type[BaseException] | None = None
    words: str = ""


ALL_RECORDS = Ending()
MayRetry = partial(Ending, AirflowException)
Permanent = partial(Ending, AirflowFailException)
Deferred = partial(Ending, TaskDeferred)

RunInto = Callable[..., None]
ConnectS3 = Callable[..., None]


@cache
def engagements_of_a_day(count: int = 800) -> Engagements:
    """A day's engagements, some of them in one second, and three on the midnight that belongs to the next day."""
    return Engagements.of_a_contact_centre(count, 1, end=END)


@pytest.fixture(scope="session", autouse=True)
def caller_goes_unnamed(session_mocker: MockerFixture) -> None:
    """For the User-Agent, S3Hook looks through the whole stack, source files included: half the time of a test."""
    session_mocker.patch.object(S3Hook, "_get_caller", return_value="Unknown")


@pytest.fixture
def connect_s3(s3_server: S3Server, mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch) -> ConnectS3:  # noqa: F811
    """Let ``aws_default`` lead to S3, with some of its extra changed, in parts of which a day's upload has four."""

    def connect(**extra: Any) -> None:
        parts = {"multipart_chunksize": PART}
        chosen = s3_server.connection["extra"] | {"service_config": {"s3": {"transfer_config_args": parts}}} | extra
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(s3_server.connection | {"extra": chosen}))

    # S3 requires parts of at least 5 MB: 50 pages each, where four show the same.
    mocker.patch("airflow_provider_zcc.s3.upload.MIN_PART_SIZE", PART)
    mocker.patch("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", PART)
    return connect


@pytest.fixture
def run_into(bucket: Bucket, mocker: MockerFixture) -> RunInto:  # noqa: F811
    """Run a task that meets a fault, over an old object, and check that it ends as it may.

    Either the object holds exactly the engagements, or there is one error of the expected class and the bucket is
    as it was. In both cases no multipart upload is unfinished, and nothing goes on in the background.
    """

    def run(engagements: Engagements, ending: Ending, **arguments: Any) -> None:
        shorten_retries(mocker, _SHORT if ending.error else _LONG)
        chosen = {"s3_bucket": bucket.name, "s3_key": KEY, "start": DAY[0], "end": DAY[1], "deferrable": False}
        task = EngagementsToS3Operator(task_id="task", **chosen | {"compression": "none"} | arguments)
        bucket.put(KEY, _OLD)
        before = _objects(bucket)
        context = context_of()
        if ending.error:
            with pytest.raises(ending.error, match=ending.words or None) as raised:
                task.execute(context)
            assert type(raised.value) is ending.error
            assert _objects(bucket) == before
            assert bucket.body(KEY) == _OLD
            assert context["ti"].xcoms == {}
        else:
            task.execute(context)
            truth = [line.encode() for line in engagements.truth(*DAY)]
            body = bucket.body(KEY)
            lines = (gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body).split(b"\n")
            assert sorted(lines) == [b"", *sorted(truth)]
            assert bucket.keys() == [KEY]
            assert context["ti"].xcoms["summary"]["records"] == len(truth)
        assert bucket.unfinished_uploads() == []
        for thread in threading.enumerate():
            if thread.name.startswith("zcc-"):
                # One that is stuck in a read is left to its time-out.
                thread.join(5)
                assert not thread.is_alive()

    return run


def _objects(bucket: Bucket) -> list[dict[str, Any]]:  # noqa: F811
    return bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])
