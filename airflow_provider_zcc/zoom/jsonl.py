"""Records -> a readable stream of JSON lines, compressed on the way."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any

_GZIP_LEVEL = 6
#: zlib's notation for a gzip stream. Its header carries no name and no time, so the same data gives the same bytes.
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


class JsonLines(io.RawIOBase):
    """A binary file object that reads batches of records as they come, and holds no more than it was asked for.

    :param batches: records as JSON lines.
    :param gzip: compress.
    :ivar bytes: how much was read so far.
    :ivar error: what ended the batches, if they did not end by themselves.
    """

    def __init__(self, batches: Iterator[bytes], *, gzip: bool) -> None:
        self.bytes = 0
        self._chunks = _compressed(batches) if gzip else batches
        self._buffer = bytearray()
        self._ended = False
        self.error: BaseException | None = None

    def readable(self) -> bool:
        """Say that this is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and say how much of it."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """Return exactly ``size`` bytes, fewer only at the end: S3 refuses a part that is too small.

        :param size: how many; all that is left if negative or None.
        """
        size = -1 if size is None else size
        while not self._ended and (size < 0 or len(self._buffer) < size):
            chunk = self._next_chunk()
            if chunk is None:
                self._ended = True
            else:
                self._buffer += chunk
        size = len(self._buffer) if size < 0 else size
        with memoryview(self._buffer) as view:
            data = bytes(view[:size])
        del self._buffer[:size]
        self.bytes += len(data)
        return data

    def _next_chunk(self) -> bytes | None:
        """Return the next chunk. After an error there is none but the error: what broke off must not look whole."""
        if self.error:
            raise self.error
        try:
            return next(self._chunks, None)
        except BaseException as error:
            self.error = error
            raise


def _compressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()
