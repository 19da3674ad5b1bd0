"""A stream -> one object in S3, whole or not at all, and no waiting for S3 by a task that is killed."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowException
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_provider_zcc.zoom.reader import EngagementReader

Result = TypeVar("Result")
Killed = Callable[[], bool]

#: The operations whose refusal ends an upload.
_OPERATIONS = ("PutObject", "CreateMultipartUpload", "UploadPart")
#: Seconds between two looks at whether the reading was killed, and that S3 has then to take the upload back.
_LOOK, _FAREWELL = 0.2, 2.0
#: How S3Hook is to upload, unless its connection says otherwise. Left to itself, it holds ten parts of 8 MiB in memory
#: while S3 is slow. S3 is faster than Zoom, and of parts as small as it takes, 10,000 are still 50 GB.
ONE_PART_AT_A_TIME = {"use_threads": False, "multipart_threshold": 5 * 2**20, "multipart_chunksize": 5 * 2**20}


class ChunkStream(io.RawIOBase):
    """A binary file object that reads chunks as they come.

    :param chunks: what to read.
    :ivar bytes: how much was read so far.
    :ivar error: what ended the chunks, if they did not end by themselves.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.bytes = 0
        self.error: BaseException | None = None
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return that this is for reading."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Return exactly ``size`` bytes, fewer only at the end: S3 rejects a part that is too small.

        :param size: how many; all that is left if negative or None.
        """
        wanted = sys.maxsize if size is None or size < 0 else size
        part = io.BytesIO()
        while part.tell() < wanted and (self._rest or self._next_chunk()):
            n = min(len(self._rest), wanted - part.tell())
            part.write(self._rest[:n])
            self._rest = self._rest[n:]
        data = part.getvalue()
        self.bytes += len(data)
        return data

    def _next_chunk(self) -> bool:
        """Take the next chunk, and return whether there is one."""
        if self.error:
            raise self.error
        try:
            chunk = next(self._chunks, None)
        except BaseException as error:
            self.error = error
            raise
        self._rest = memoryview(chunk or b"")
        return chunk is not None


def upload(
    lines: ChunkStream,
    s3_hook: S3Hook,
    bucket: str,
    key: str,
    *,
    reader: EngagementReader,
    killed: Killed,
    **options: Any,
) -> None:
    """Write an object, and stop the reading as soon as S3 refuses a part of it, or this is interrupted.

    :param lines: what to write.
    :param s3_hook: where to.
    :param bucket: name of the bucket.
    :param key: key of the object.
    :param reader: where the lines come from.
    :param killed: whether the task was killed; then S3 has two seconds to take the upload back.
    :param options: of ``S3Hook.load_file_obj``.
    :raises AirflowException: if S3 refuses, with its words.
    """
    refusals: list[str] = []

    def note_answer(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
        if http_response.status_code >= 300:
            error = parsed.get("Error", {})
            note_refusal(f"{error.get('Code', http_response.status_code)}: {error.get('Message', '')}")

    def note_refusal(exception: object, **_: Any) -> None:
        # When reading has failed, the parts that are on their way fail with the same error.
        if not lines.error:
            refusals.append(str(exception))
        reader.stop()

    # Left to itself, the transfer reads on to the end before it says what S3 answered to the first part.
    events = s3_hook.get_conn().meta.events
    for operation in _OPERATIONS:
        events.register(f"after-call.s3.{operation}", note_answer)
        events.register(f"after-call-error.s3.{operation}", note_refusal)
    transfer = _begin(partial(s3_hook.load_file_obj, lines, key, bucket, **options))
    try:
        _result(transfer, killed)
    except Exception as error:
        if not refusals and not isinstance(error, ClientError | BotoCoreError | Boto3Error):
            raise
        raise AirflowException(
            f"S3 refused the upload of s3://{bucket}/{key}: {refusals[0] if refusals else error}. Unless an answer of "
            "S3 was lost, nothing was written. Check the bucket, and what the role of aws_conn_id may do there."
        ) from error
    finally:
        # The upload waits for its source even when it is interrupted, so the source has to end from outside.
        reader.stop()
        _await_end(transfer, killed)


def unless_killed(call: Callable[[], Result], killed: Killed) -> Result:
    """Do what waits for S3, and leave it if the task is killed and S3 does not answer within two seconds.

    :param call: what to do.
    :param killed: whether it was.
    :raises AirflowException: if it was left.
    """
    return _result(_begin(call), killed)


def _begin(call: Callable[[], Result]) -> Future[Result]:
    """Do something in a thread that does not keep the process alive, should S3 not answer."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="zcc-s3", daemon=True).start()
    return future


def _result(future: Future[Result], killed: Killed) -> Result:
    if not _await_end(future, killed):
        raise AirflowException(
            "The task was stopped, and S3 did not answer in time. What has arrived may stay as an unfinished multipart "
            "upload: let a lifecycle rule of the bucket abort those."
        )
    return future.result()


def _await_end(future: Future[Result], killed: Killed) -> bool:
    """Wait until it has ended, and no longer than two seconds once the task is killed; return whether it has."""
    while not (future.done() or killed()):
        wait([future], _LOOK)
    return bool(wait([future], _FAREWELL).done)
