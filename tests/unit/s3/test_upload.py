from __future__ import annotations

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError

from airflow_provider_zcc.s3.location import Location
from airflow_provider_zcc.s3.upload import MIN_PART_SIZE, s3_errors, upload
from airflow_provider_zcc.zoom.errors import InvalidQuery
from tests.unit.conftest import Bucket


def rejected(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "S3's words"}}, "PutObject")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (rejected("AccessDenied"), AirflowException, "AccessDenied: S3's words.*role"),
        (rejected("NoSuchBucket"), AirflowFailException, "bucket does not exist"),
        (rejected("InvalidTag"), AirflowFailException, "InvalidTag: S3's words.*extra_args"),
        (ParamValidationError(report="Words"), InvalidQuery, "Words.*s3_key"),
        (ValueError("Words"), AirflowFailException, "Words.*extra of the connection"),
        (EndpointConnectionError(endpoint_url="https://s3.example"), AirflowException, "s3.example.*network"),
    ],
)
def test_an_error_says_what_to_check_and_is_permanent_if_a_retry_cannot_help(
    error: Exception, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised, s3_errors("aws_default", "Writing s3://bucket/key"):
        raise error

    assert type(raised.value) is kind


def test_an_upload_that_cannot_be_discarded_is_warned_of(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), upload(S3Hook(), Location(bucket.name, "key"), {}) as writer:  # noqa: PT012
        writer.write(bytes(2 * MIN_PART_SIZE))
        [unfinished] = bucket.unfinished_uploads()
        bucket.client.abort_multipart_upload(Bucket=bucket.name, Key="key", UploadId=unfinished["UploadId"])
        raise KeyError

    assert "lifecycle rule" in caplog.text
