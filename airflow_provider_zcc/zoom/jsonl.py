"""Records -> a readable stream of JSON lines, compressed on the way."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Iterator
from typing import Any

#: Chosen by ``make bench BENCH_ARGS="--only compression"``: less than 5 % are left to gain, for twice the time.
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
        self._rest = memoryview(b"")
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
        wanted = sys.maxsize if size is None or size < 0 else size
        part = io.BytesIO()
        while part.tell() < wanted:
            if not self._rest:
                chunk = self._next_chunk()
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
            n = min(len(self._rest), wanted - part.tell())
            part.write(self._rest[:n])
            self._rest = self._rest[n:]
        data = part.getvalue()
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
