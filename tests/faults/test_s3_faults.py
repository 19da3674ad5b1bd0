"""Everything that can go wrong on S3's side, before, during and at the end of an upload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.faults.conftest import (
    ALL_RECORDS,
    DAY,
    KEY,
    Ending,
    ForGood,
    MayRetry,
    RunInto,
    connect_s3,
    engagements_of_a_day,
)
from tests.s3_proxy import S3Fault, S3Proxy
from tests.s3_server import S3Server
from tests.unit.conftest import Bucket, StartZoom, asked_nothing, context_of

PART = 100_000
#: The uploads, by the operations that they consist of.
WHOLE, IN_PARTS = {"compression": "gzip"}, {"compression": "none"}

Make = Callable[..., S3Fault]


@pytest.fixture(scope="module")
def proxy_server(s3_server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(s3_server.url) as proxy:
        yield proxy


@pytest.fixture
def s3(
    proxy_server: S3Proxy,
    s3_server: S3Server,
    bucket: Bucket,  # noqa: ARG001  sets aws_default as well, and has to do so first
    monkeypatch: pytest.MonkeyPatch,
) -> S3Proxy:
    """``aws_default`` leads to this proxy, small parts make an upload of a day, and boto tries again at once."""
    proxy_server.faults = []
    connect_s3(
        monkeypatch,
        s3_server.connection,
        {"endpoint_url": proxy_server.url},
        multipart_threshold=3 * PART,
        multipart_chunksize=PART,
    )
    # S3 asks for parts of at least 5 MB: 50 pages each, where one tells the same.
    monkeypatch.setattr("airflow_provider_zcc.s3.upload.MIN_PART_SIZE", PART)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", PART)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    return proxy_server


def row(name: str, upload: dict[str, str], ending: Ending, *faults: Make) -> Any:
    return pytest.param(upload, faults, ending, id=name)


def refusal(words: str) -> Ending:
    return MayRetry(f"Writing s3://bucket-.*/{KEY} failed: .*{words}")


def both_ways(name: str, upload: dict[str, str], make: Make, ending: Ending) -> list[Any]:
    """Return the rows of a fault that passes when boto tries again, and of the same one that stays."""
    return [
        row(f"{name} once", upload, ALL_RECORDS, partial(make, times=1)),
        row(f"{name} for ever", upload, ending, make),
    ]


DENIED = {"status": 403, "code": "AccessDenied"}
PLACES = [
    ("PutObject", WHOLE, "PutObject", None),
    ("creation", IN_PARTS, "CreateMultipartUpload", None),
    ("first part", IN_PARTS, "UploadPart", 1),
    ("part in the middle", IN_PARTS, "UploadPart", 4),
    ("completion", IN_PARTS, "CompleteMultipartUpload", None),
]
ROWS = [
    *(
        entry
        for name, upload, operation, part in PLACES
        for fault in [partial(S3Fault, operation, part)]
        for entry in (
            row(f"{name} denied", upload, refusal("AccessDenied"), partial(fault, **DENIED)),
            row(
                f"{name} refused because the bucket is gone",
                upload,
                ForGood("the bucket does not exist"),
                partial(fault, status=404, code="NoSuchBucket"),
            ),
            *both_ways(
                f"{name} fails with 500",
                upload,
                partial(fault, status=500, code="InternalError"),
                refusal("InternalError"),
            ),
            *both_ways(f"{name} slowed down", upload, partial(fault, status=503, code="SlowDown"), refusal("SlowDown")),
            *both_ways(f"{name} reset", upload, partial(fault, reset=True), refusal("onnection")),
            row(f"{name} slow", upload, ALL_RECORDS, partial(fault, seconds=0.3)),
        )
    ),
    row("every part slow", IN_PARTS, ALL_RECORDS, partial(S3Fault, "UploadPart", seconds=0.05)),
    row(
        "every part fails once",
        IN_PARTS,
        ALL_RECORDS,
        *(partial(S3Fault, "UploadPart", part, times=1, status=500, code="InternalError") for part in range(1, 10)),
    ),
    *both_ways(
        "completion fails within a 200",
        IN_PARTS,
        partial(S3Fault, "CompleteMultipartUpload", status=200, code="InternalError"),
        refusal("InternalError"),
    ),
    row(
        "part denied and the abortion fails once",
        IN_PARTS,
        refusal("AccessDenied"),
        partial(S3Fault, "UploadPart", 4, **DENIED),
        partial(S3Fault, "AbortMultipartUpload", times=1, status=500, code="InternalError"),
    ),
    row("bucket that may not be listed", IN_PARTS, ALL_RECORDS, partial(S3Fault, "HeadBucket", **DENIED)),
    row(
        "bucket that is not there",
        IN_PARTS,
        ForGood("The bucket .* does not exist"),
        partial(S3Fault, "HeadBucket", status=404, code="NoSuchBucket"),
    ),
    *both_ways(
        "bucket fails with 500",
        IN_PARTS,
        partial(S3Fault, "HeadBucket", status=500, code="InternalError"),
        MayRetry("Looking up the bucket .* failed: .*InternalError|500"),
    ),
    *both_ways(
        "bucket reset",
        IN_PARTS,
        partial(S3Fault, "HeadBucket", reset=True),
        MayRetry("Looking up the bucket .* failed"),
    ),
]


@pytest.mark.parametrize(("upload", "faults", "ending"), ROWS)
def test_a_fault_ends_in_all_records_or_in_one_error(
    s3: S3Proxy,
    start_zoom: StartZoom,
    run_into: RunInto,
    monkeypatch: pytest.MonkeyPatch,
    *,
    upload: dict[str, str],
    faults: tuple[Make, ...],
    ending: Ending,
):
    engagements = engagements_of_a_day()
    server = start_zoom(engagements)
    s3.faults = [make() for make in faults]
    if upload is WHOLE:
        monkeypatch.setattr("airflow_provider_zcc.s3.upload.MIN_PART_SIZE", 10 * PART)
    run_into(engagements, ending, **upload)
    assert [fault for fault in s3.faults if not fault.befell] == []
    before_zoom = ending.error is not None and s3.faults[0].operation == "HeadBucket"
    assert asked_nothing(server) == before_zoom


@pytest.mark.parametrize("part", [None, 3], ids=["creation", "part"])
def test_an_s3_that_does_not_answer_is_given_up(
    s3: S3Proxy,
    start_zoom: StartZoom,
    run_into: RunInto,
    s3_server: S3Server,
    *,
    monkeypatch: pytest.MonkeyPatch,
    part: int | None,
):
    impatience = {"read_timeout": 0.3, "retries": {"max_attempts": 1}}
    connect_s3(
        monkeypatch,
        s3_server.connection,
        {"endpoint_url": s3.url, "config_kwargs": impatience},
        multipart_threshold=3 * PART,
        multipart_chunksize=PART,
    )
    operation = "UploadPart" if part else "CreateMultipartUpload"
    s3.faults = [S3Fault(operation, part, status=500, code="InternalError", seconds=0.8)]
    start_zoom(engagements_of_a_day())
    run_into(engagements_of_a_day(), refusal("Read timeout"), **IN_PARTS)


def test_a_bucket_that_is_deleted_during_the_upload_is_one_error(s3: S3Proxy, start_zoom: StartZoom, bucket: Bucket):
    s3.faults = [S3Fault("UploadPart", 4, times=1, before=lambda: bucket.client.delete_bucket(Bucket=bucket.name))]
    start_zoom(engagements_of_a_day())
    task = EngagementsToS3Operator(task_id="task", s3_bucket=bucket.name, s3_key=KEY, start=DAY[0], end=DAY[1])
    with pytest.raises(AirflowException, match=r"Writing s3://.* failed: the bucket does not exist"):
        task.execute(context_of())
    assert bucket.name not in [found["Name"] for found in bucket.client.list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    "fault",
    [
        partial(S3Fault, "CreateMultipartUpload", **DENIED),
        partial(S3Fault, "UploadPart", 1, **DENIED),
        partial(S3Fault, "UploadPart", 4, **DENIED),
        partial(S3Fault, "UploadPart", 4, reset=True),
        partial(S3Fault, "UploadPart", 4, status=500, code="InternalError"),
    ],
    ids=["creation denied", "first part denied", "part denied", "part reset", "part fails"],
)
@pytest.mark.parametrize("concurrency", [1, 8], ids=["one thread", "eight threads"])
def test_zoom_is_not_read_to_the_end_for_an_upload_that_s3_refused(
    s3: S3Proxy, start_zoom: StartZoom, run_into: RunInto, *, fault: Make, concurrency: int
):
    engagements = engagements_of_a_day(20_000)
    server = start_zoom(engagements, latency=0.01 * concurrency)
    s3.faults = [fault()]
    run_into(engagements, refusal(""), max_concurrency=concurrency, **IN_PARTS)
    assert server.simulator.stats.api_requests < len(engagements.starts) / 100 * 0.75
