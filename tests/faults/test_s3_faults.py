"""Everything that can go wrong on S3's side, before, during and at the end of an upload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.faults.conftest import (
    ALL_RECORDS,
    KEY,
    ConnectS3,
    Ending,
    MayRetry,
    Permanent,
    RunInto,
    engagements_of_a_day,
)
from tests.s3_server import S3Fault, S3Server
from tests.unit.conftest import Bucket, StartZoom, no_request_was_sent

#: How an upload is compressed so that it is one request, or several.
WHOLE, IN_PARTS = "gzip", "none"


@pytest.fixture
def s3(
    s3_server: S3Server,
    bucket: Bucket,  # noqa: ARG001  sets aws_default as well, and has to do so first
    connect_s3: ConnectS3,
    mocker: MockerFixture,
) -> Iterator[S3Server]:
    """``aws_default`` leads to this server, and boto retries at once."""
    connect_s3()
    mocker.patch("botocore.endpoint.time")
    yield s3_server
    s3_server.faults = []


DENIED = {"status": 403, "code": "AccessDenied"}
GONE = {"status": 404, "code": "NoSuchBucket"}
FAILS = {"status": 500, "code": "InternalError"}
BUSY = {"status": 503, "code": "SlowDown"}
RESET = {"reset": True}
ONCE = {"times": 1}


def rejected(words: str) -> Ending:
    return MayRetry(f"{KEY}.*{words}")


def row(name: str, ending: Ending, *faults: dict[str, Any], upload: str = IN_PARTS) -> Any:
    return pytest.param(upload, faults, ending, id=name)


MIDDLE = {"operation": "UploadPart", "part": 2}
#: The requests that an upload consists of.
PLACES: list[tuple[str, str, dict[str, Any]]] = [
    ("put", WHOLE, {"operation": "PutObject"}),
    ("creation", IN_PARTS, {"operation": "CreateMultipartUpload"}),
    ("first part", IN_PARTS, {"operation": "UploadPart", "part": 1}),
    ("part in the middle", IN_PARTS, MIDDLE),
    ("completion", IN_PARTS, {"operation": "CompleteMultipartUpload"}),
]
COMPLETION, ABORT, BUCKET = (
    {"operation": name} for name in ("CompleteMultipartUpload", "AbortMultipartUpload", "HeadBucket")
)
ROWS = [
    *(
        row(f"{name}: {fault_name}", ending, place | fault, upload=upload)
        for name, upload, place in PLACES
        for fault_name, fault, ending in (
            ("denied", DENIED, rejected("AccessDenied")),
            ("500 once", FAILS | ONCE, ALL_RECORDS),
            ("500 forever", FAILS, rejected("InternalError")),
            ("reset once", RESET | ONCE, ALL_RECORDS),
            ("reset forever", RESET, rejected("onnection")),
            ("slow", {"seconds": 0.3}, ALL_RECORDS),
        )
    ),
    row("part: bucket gone", Permanent("the bucket does not exist"), MIDDLE | GONE),
    row("part: throttled once", ALL_RECORDS, MIDDLE | BUSY | ONCE),
    row("part: throttled forever", rejected("SlowDown"), MIDDLE | BUSY),
    row("completion: error within a 200, once", ALL_RECORDS, COMPLETION | FAILS | {"status": 200} | ONCE),
    row("completion: error within a 200, forever", rejected("InternalError"), COMPLETION | FAILS | {"status": 200}),
    row("part denied, and abort: 500 once", rejected("AccessDenied"), MIDDLE | DENIED, ABORT | FAILS | ONCE),
    row("bucket that may not be listed", ALL_RECORDS, BUCKET | DENIED),
    row("bucket that does not exist", Permanent("bucket-.* does not exist"), BUCKET | GONE),
    row("bucket: 500 forever", MayRetry("bucket-"), BUCKET | FAILS),
]


@pytest.mark.parametrize(("upload", "faults", "ending"), ROWS)
def test_a_fault_ends_in_all_records_or_in_one_error(
    s3: S3Server,
    start_zoom: StartZoom,
    run_into: RunInto,
    *,
    upload: str,
    faults: tuple[dict[str, Any], ...],
    ending: Ending,
):
    engagements = engagements_of_a_day()
    server = start_zoom(engagements)
    s3.faults = [S3Fault(**fault) for fault in faults]
    run_into(engagements, ending, compression=upload)
    assert [fault for fault in s3.faults if not fault.affected] == []
    before_zoom = ending.error is not None and s3.faults[0].operation == "HeadBucket"
    assert no_request_was_sent(server) == before_zoom


def test_an_s3_that_does_not_respond_is_given_up(
    s3: S3Server, connect_s3: ConnectS3, start_zoom: StartZoom, run_into: RunInto
):
    connect_s3(config_kwargs={"read_timeout": 0.3, "retries": {"max_attempts": 1}})
    s3.faults = [S3Fault("UploadPart", seconds=0.8, **FAILS)]
    start_zoom(engagements_of_a_day())
    run_into(engagements_of_a_day(), rejected("Read timeout"))
