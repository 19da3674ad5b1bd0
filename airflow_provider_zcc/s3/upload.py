"""A stream of bytes -> one object in S3, whole or not at all."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from boto3.s3.transfer import S3Transfer
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    MissingDependencyException,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from airflow_provider_zcc.s3.location import Location
from airflow_provider_zcc.zoom.errors import InvalidQuery

log = logging.getLogger(__name__)

#: Bytes of a part: the smallest that S3 accepts. A part waits in memory, and 10,000 of them are 50 GB.
MIN_PART_SIZE = 5 * 2**20
#: A task that Airflow ends has seconds left: S3 gets two short attempts to discard the upload.
_SHORT = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 2})
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound)
#: Of a whole object: nobody knows them before the last byte.
_UNKNOWN_BEFORE = ("MpuObjectSize", "ChecksumType")
#: As in S3Hook, but for a customer's own key (SSE-C): Airflow stores and shows the arguments of a task.
ALLOWED_EXTRA_ARGS = tuple(
    name
    for name in S3Transfer.ALLOWED_UPLOAD_ARGS
    if name == "ChecksumAlgorithm" or not (name.startswith(("Checksum", "SSECustomer")) or name in _UNKNOWN_BEFORE)
)
#: Codes of S3 for a request that will never be accepted.
_PERMANENT = {
    "AccessControlListNotSupported",
    "InvalidArgument",
    "InvalidRequest",
    "InvalidStorageClass",
    "InvalidTag",
    "KeyTooLongError",
    "KMS.DisabledException",
    "KMS.NotFoundException",
    "MalformedACLError",
    "NotImplemented",
}


class Upload:
    """Writes one object: with a single request if it fits into one part, otherwise as a multipart upload.

    Every request is sent by the calling thread, so that Airflow's signals interrupt it.

    :param hook: connection to S3. Its ``transfer_config_args`` may set a larger ``multipart_chunksize``.
    :param location: the object.
    :param extra_args: headers of the object, as in S3Hook; each request gets those that it knows.
    :ivar bytes: size of what was written so far.
    :ivar etag: etag of the object; empty until it exists.
    :ivar cancelled: whether what was written is discarded.
    """

    def __init__(self, hook: S3Hook, location: Location, extra_args: Mapping[str, Any]) -> None:
        self.bytes = 0
        self.etag = ""
        self.cancelled = False
        self._sha256 = hashlib.sha256()
        self._hook = hook
        self._client = hook.get_conn()
        self._location = location
        self._extra_args = dict(extra_args)
        self._part_size = max(hook.transfer_config.multipart_chunksize, MIN_PART_SIZE)
        self._buffer = bytearray()
        self._upload: dict[str, str] = {}
        self._is_creating = False
        self._parts: list[dict[str, Any]] = []

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far, hexadecimal."""
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> None:
        """Append bytes to the object.

        :param data: any number of them.
        """
        self.bytes += len(data)
        self._sha256.update(data)
        self._buffer += data
        while len(self._buffer) >= self._part_size:
            self._send_part(bytes(self._buffer[: self._part_size]))
            del self._buffer[: self._part_size]

    def cancel(self, etag: str) -> None:
        """Discard what was written, because S3 already has the same bytes.

        :param etag: of the object that is.
        """
        self.cancelled = True
        self.etag = etag

    def complete(self) -> None:
        """Send what is left, and make the object appear."""
        if not self._upload:
            response = self._request("put_object", Body=bytes(self._buffer))
        else:
            if self._buffer:
                self._send_part(bytes(self._buffer))
            parts = {"Parts": self._parts}
            response = self._request("complete_multipart_upload", MultipartUpload=parts, **self._upload)
        self.etag = response.get("ETag", "")

    def abort(self, *, short: bool) -> None:
        """Discard the parts that S3 has, so that it does not charge for them.

        :param short: make two attempts of about a second each.
        """
        if not self._upload:
            if self._is_creating and short:
                log.warning(
                    "S3 may have created an upload of %s without parts. Add a lifecycle rule to the bucket that aborts "
                    "incomplete multipart uploads.",
                    self._location.uri,
                )
            return
        try:
            if short:
                self._client = self._hook.get_client_type(config=self._client.meta.config.merge(_SHORT))
            self._request("abort_multipart_upload", **self._upload)
        except Exception as error:
            log.warning(
                "S3 did not discard the unfinished upload of %s: %s Add a lifecycle rule to the bucket that aborts "
                "incomplete multipart uploads.",
                self._location.uri,
                error,
            )
        except BaseException:
            if not short:
                self.abort(short=True)
            raise

    def _send_part(self, body: bytes) -> None:
        if not self._upload:
            # Parts carry a checksum by default, and S3 has to know of which kind before the first.
            if self._client.meta.config.request_checksum_calculation == "when_supported":
                self._extra_args.setdefault("ChecksumAlgorithm", "CRC32")
            # Until S3 responds, nobody knows the id that discards it.
            self._is_creating = True
            self._upload = {"UploadId": self._request("create_multipart_upload")["UploadId"]}
        number = len(self._parts) + 1
        response = self._request("upload_part", Body=body, PartNumber=number, **self._upload)
        checksums = {name: response[name] for name in response if name.startswith("Checksum")}
        self._parts.append({"PartNumber": number, "ETag": response["ETag"], **checksums})

    def _request(self, method: str, **arguments: Any) -> Any:
        with s3_errors(self._hook.aws_conn_id, f"Writing {self._location.uri}"):
            return getattr(self._client, method)(
                Bucket=self._location.bucket,
                Key=self._location.key,
                **arguments,
                **accepted(self._client, method, self._extra_args),
            )


@contextmanager
def upload(hook: S3Hook, location: Location, extra_args: Mapping[str, Any]) -> Iterator[Upload]:
    """Write an object that appears when the context ends, and never if it is cancelled or an error ends it.

    :param hook: connection to S3.
    :param location: the object.
    :param extra_args: headers of the object, as in S3Hook.
    :raises AirflowException: if S3 rejects a request, or cannot be reached.
    """
    writer = Upload(hook, location, extra_args)
    try:
        yield writer
        if not writer.cancelled:
            writer.complete()
    except BaseException as error:
        writer.abort(short=not isinstance(error, Exception))
        raise
    if writer.cancelled:
        writer.abort(short=False)


def accepted(client: Any, method: str, extra_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the extra arguments that a request to S3 knows.

    :param client: boto3's S3 client.
    :param method: name of the client's method.
    :param extra_args: as in S3Hook.
    """
    operation = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    return {name: value for name, value in extra_args.items() if name in operation.input_shape.members}


@contextmanager
def s3_errors(aws_conn_id: str | None, doing: str) -> Iterator[None]:
    """Turn the errors of boto3 into Airflow's: what a retry cannot fix fails the task at once.

    :param aws_conn_id: the connection, for the message.
    :param doing: what failed then, for the message.
    :raises AirflowFailException: without credentials or a bucket, or for an argument that boto3 rejects.
    :raises AirflowException: for any other error.
    """
    try:
        yield
    except _NO_CREDENTIALS as error:
        raise AirflowFailException(
            f"{doing} failed: {_words_of(error)}. The connection {aws_conn_id!r} has no usable credentials. One "
            "without credentials, or one that does not exist, falls back to boto3's default chain (environment "
            "variables, ~/.aws, the role of the machine), which has none either. Check aws_conn_id and the worker's "
            "environment."
        ) from error
    except (ParamValidationError, MissingDependencyException) as error:
        raise InvalidQuery(f"{doing} failed: {_words_of(error)}. Check s3_bucket, s3_key and extra_args.") from error
    except ClientError as error:
        code, message = (str(error.response.get("Error", {}).get(name, "")) for name in ("Code", "Message"))
        if code == "NoSuchBucket":
            raise AirflowFailException(f"{doing} failed: the bucket does not exist. Create it.") from error
        if code in _PERMANENT:
            raise AirflowFailException(
                f"{doing} failed: S3 rejected the request ({code}: {message}). Check acl_policy and extra_args."
            ) from error
        raise AirflowException(
            f"{doing} failed: S3 rejected the request ({code}: {message}). Check the bucket, and what the role of the "
            f"connection {aws_conn_id!r} is allowed to do there."
        ) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise AirflowFailException(
            f"{doing} failed: {_words_of(error)}. Check the extra of the connection {aws_conn_id!r}."
        ) from error
    except (BotoCoreError, OSError) as error:
        raise AirflowException(
            f"{doing} failed: {_words_of(error)}. Check the network and the connection {aws_conn_id!r}."
        ) from error


def _words_of(error: Exception) -> str:
    return str(error).rstrip(".")
