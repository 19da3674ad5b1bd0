"""What is in S3 already: the bucket, an object, and its manifest."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import ClientError

from airflow_provider_zcc.s3.location import Location, parse_location
from airflow_provider_zcc.s3.manifest import Manifest, load_manifest, manifest_location
from airflow_provider_zcc.s3.upload import accepted, s3_errors
from airflow_provider_zcc.zoom.errors import InvalidQuery

log = logging.getLogger(__name__)

#: Bytes of a gzip file without content. A larger object holds at least one engagement.
_EMPTY_SIZE = 20


@dataclass(frozen=True)
class StoredObject:
    """An object in S3.

    :param etag: its etag.
    :param bytes: its size.
    :param manifest: what is known about it; None without a manifest, or with one that describes another object.
    """

    etag: str
    bytes: int
    manifest: Manifest | None

    @property
    def is_empty(self) -> bool:
        """Whether it holds no engagements."""
        return self.manifest.records == 0 if self.manifest else self.bytes <= _EMPTY_SIZE


def locate(hook: S3Hook, s3_bucket: str | None, s3_key: str) -> Location:
    """Read a bucket and a key, or a whole URL. Without a bucket, the connection's own one is meant.

    :param hook: connection to S3.
    :param s3_bucket: the bucket, or None.
    :param s3_key: the key, or an ``s3://`` URL.
    :raises InvalidQuery: if they name no object.
    """
    default_bucket = None
    if not s3_bucket:
        with s3_errors(hook.aws_conn_id, "Connecting to S3"):
            default_bucket = hook.service_config.get("bucket_name")
    return parse_location(s3_bucket, s3_key, default_bucket=default_bucket)


def require_bucket(hook: S3Hook, location: Location, extra_args: Mapping[str, Any]) -> None:
    """Check that the bucket exists.

    :param hook: connection to S3.
    :param location: an object in it.
    :param extra_args: as in S3Hook; the request gets those that it knows.
    :raises InvalidQuery: if it does not.
    """
    code = ""
    with s3_errors(hook.aws_conn_id, f"Looking up the bucket of {location.uri}"):
        client = hook.get_conn()
        try:
            client.head_bucket(Bucket=location.bucket, **accepted(client, "head_bucket", extra_args))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            # A role may write to a bucket that it may not list.
            if code not in ("403", "404", "NoSuchBucket"):
                raise
    if code in ("404", "NoSuchBucket"):
        raise InvalidQuery(
            f"The bucket {location.bucket} does not exist. Create it, or correct s3_bucket and aws_conn_id."
        )


def look_up(hook: S3Hook, location: Location, extra_args: Mapping[str, Any]) -> StoredObject | None:
    """Return what is known about an object, with one or two requests; None if it does not exist.

    :param hook: connection to S3.
    :param location: the object.
    :param extra_args: as in S3Hook; the requests get those that they know.
    :raises AirflowException: if S3 rejects a request, or cannot be reached.
    """
    with s3_errors(hook.aws_conn_id, f"Looking up {location.uri} (which needs s3:GetObject and s3:ListBucket)"):
        found = _request(hook, "head_object", location, extra_args)
        if found is None:
            return None
        response = _request(hook, "get_object", manifest_location(location), extra_args)
        document = response["Body"].read() if response else None
    manifest = None
    if document is not None:
        try:
            manifest = load_manifest(document)
        except (ValueError, RecursionError) as error:
            log.warning("The manifest of %s is ignored: %s.", location.uri, error)
    if manifest and _comparable(manifest.etag) != _comparable(found["ETag"]):
        manifest = None
    return StoredObject(found["ETag"], found["ContentLength"], manifest)


def count_lines(hook: S3Hook, location: Location, extra_args: Mapping[str, Any]) -> int:
    """Return how many lines an object has, by reading it: for one that no manifest describes.

    :param hook: connection to S3.
    :param location: the object.
    :param extra_args: as in S3Hook; the request gets those that it knows.
    :raises AirflowException: if S3 rejects the request, or cannot be reached.
    """
    with s3_errors(hook.aws_conn_id, f"Reading {location.uri}"):
        response = _request(hook, "get_object", location, extra_args)
        if response is None:
            return 0
        with BufferedReader(response["Body"]) as body, suppress(EOFError, zlib.error, gzip.BadGzipFile):
            is_gzip = body.peek(2)[:2] == b"\x1f\x8b"
            return sum(1 for _ in (gzip.GzipFile(fileobj=body) if is_gzip else body))
    # What cannot be decompressed holds no engagements.
    return 0


def _comparable(etag: str) -> str:
    """Return an etag in the form that S3 and stores like it agree on."""
    return etag.removeprefix("W/").strip('"').lower()


def _request(hook: S3Hook, method: str, location: Location, extra_args: Mapping[str, Any]) -> Any:
    client = hook.get_conn()
    try:
        return getattr(client, method)(Bucket=location.bucket, Key=location.key, **accepted(client, method, extra_args))
    except ClientError as error:
        # What was archived cannot be read, as if it did not exist.
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "InvalidObjectState"):
            return None
        raise
