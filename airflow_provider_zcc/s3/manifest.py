"""What is known about an object: a small JSON document beside it, which query engines do not read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_zcc.interval import Interval
from airflow_provider_zcc.s3.location import Location
from airflow_provider_zcc.s3.upload import accepted, s3_errors

#: Of the format. A manifest of another version is ignored.
VERSION = 1
#: Headers of an object that its manifest gets too: who may read it, and how it is encrypted. Not its storage class, for
#: an archived manifest cannot be read.
_SHARED_HEADERS = {
    "ACL",
    "BucketKeyEnabled",
    "ExpectedBucketOwner",
    "GrantFullControl",
    "GrantRead",
    "GrantReadACP",
    "GrantWriteACP",
    "RequestPayer",
    "SSEKMSEncryptionContext",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "Tagging",
}
_TIMES = ("start", "end", "read_at")
_COUNTS = ("records", "bytes", "uncompressed_bytes", "requests")


@dataclass(frozen=True)
class Manifest:
    """
    Describes one object: which interval it holds, and how much of it.

    It holds no personal data, and says something only as long as ``etag`` is the etag of the object.

    :param uri: ``s3://`` URI of the object.
    :param etag: the object's etag, as S3 returned it.
    :param start: first instant of the interval, timezone-aware.
    :param end: the instant after the last, timezone-aware.
    :param filters: the filters that were given; ``***`` instead of a consumer's number.
    :param records: engagements in the object.
    :param reported: Zoom's own count of ``[start, end)``; None if Zoom did not report it.
    :param bytes: size of the object.
    :param uncompressed_bytes: size of its lines.
    :param sha256: of the object's bytes, hexadecimal.
    :param requests: sent to Zoom in order to read it.
    :param read_at: when reading began.
    :param provider_version: version of this package.
    """

    uri: str
    etag: str
    start: datetime
    end: datetime
    filters: Mapping[str, Any]
    records: int
    reported: int | None
    bytes: int
    uncompressed_bytes: int
    sha256: str
    requests: int
    read_at: datetime
    provider_version: str

    @property
    def interval(self) -> Interval:
        """The interval whose engagements the object holds."""
        return Interval(self.start, self.end)

    def has_filters(self, filters: Mapping[str, Any]) -> bool:
        """Return whether the object was read with these filters: several values of one may be in any order.

        :param filters: as in a manifest.
        """
        return _in_order(self.filters) == _in_order(filters)


def manifest_location(location: Location) -> Location:
    """Return where the manifest of an object is: ``_NAME.manifest.json``, beside it.

    Athena, Glue, Spark and Trino do not read objects whose names begin with an underscore.

    :param location: the object.
    """
    folder, slash, name = location.key.rpartition("/")
    return Location(location.bucket, f"{folder}{slash}_{name}.manifest.json")


def write_manifest(hook: S3Hook, location: Location, extra_args: Mapping[str, Any], manifest: Manifest) -> None:
    """Write a manifest beside its object.

    :param hook: connection to S3.
    :param location: the object.
    :param extra_args: headers of the object, as in S3Hook.
    :param manifest: what describes it.
    :raises AirflowException: if S3 rejects the request, or cannot be reached.
    """
    target = manifest_location(location)
    headers = {name: value for name, value in extra_args.items() if name in _SHARED_HEADERS}
    with s3_errors(hook.aws_conn_id, f"Writing {target.uri}"):
        client = hook.get_conn()
        client.put_object(
            Bucket=target.bucket,
            Key=target.key,
            Body=dump_manifest(manifest),
            ContentType="application/json",
            **accepted(client, "put_object", headers),
        )


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the JSON document.

    :param manifest: what it says.
    """
    times = {name: getattr(manifest, name).isoformat() for name in _TIMES}
    return json.dumps({"version": VERSION, **asdict(manifest), **times}, indent=1).encode() + b"\n"


def load_manifest(document: bytes) -> Manifest:
    """Read a JSON document.

    :param document: the bytes of one.
    :raises ValueError: if it is not a manifest of this version.
    """
    values = json.loads(document)
    if not isinstance(values, dict) or values.get("version") != VERSION:
        raise ValueError(f"not of version {VERSION}")
    try:
        known = {field.name: values[field.name] for field in fields(Manifest)}
        manifest = Manifest(**known | {name: datetime.fromisoformat(known[name]) for name in _TIMES})
    except (KeyError, TypeError) as error:
        raise ValueError(f"a field is missing or has another type ({error})") from None
    counts = [getattr(manifest, name) for name in _COUNTS]
    counts += [] if manifest.reported is None else [manifest.reported]
    if (
        not all(type(count) is int and count >= 0 for count in counts)
        or not all(getattr(manifest, name).utcoffset() is not None for name in _TIMES)
        or not isinstance(manifest.filters, dict)
        or not isinstance(manifest.etag, str)
    ):
        raise ValueError("a field has a value that it cannot have")
    return manifest


def _in_order(filters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sorted(map(str, value)) if isinstance(value, list) else value for name, value in filters.items()}
