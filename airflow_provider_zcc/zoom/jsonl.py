"""Batches of records -> pieces of the output: lines of JSON, compressed or not."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_provider_zcc.zoom.page import Record
from airflow_provider_zcc.zoom.pagination import RecordBatch

#: Chosen by ``make bench BENCH_ARGS="--only compression"``: a higher level saves less than 5 % for twice the time.
_GZIP_LEVEL = 6
#: zlib's notation for a gzip member. Its header has no name and no time, so the same data gives the same bytes.
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Chunk:
    """A piece of the output.

    :param data: its bytes; can be empty, since compression holds some back.
    :param records: how many were encoded.
    :param uncompressed_bytes: length of their lines.
    :param in_doubt: records that were not encoded, since another window may have returned them too.
    """

    data: bytes = b""
    records: int = 0
    uncompressed_bytes: int = 0
    in_doubt: Sequence[Record] = ()

    @property
    def waiting_bytes(self) -> int:
        """Memory that the chunk takes until the consumer takes it."""
        return len(self.data) + sum(len(record.line) for record in self.in_doubt)


class JsonLinesEncoder:
    """Encodes records batch by batch.

    With ``gzip``, the output consists of gzip members, each of which can be decompressed independently. A gzip file
    is a series of members (RFC 1952), so the outputs of several encoders can be concatenated.

    :param gzip: compress; otherwise lines stay as they are.
    """

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._member: zlib._Compress | None = None

    def encode_batch(self, batch: RecordBatch) -> Iterator[Chunk]:
        """Append a batch; one in doubt passes through, in its place.

        :param batch: the next one.
        """
        if batch.in_doubt:
            yield self.flush()
            yield Chunk(in_doubt=batch.records)
        else:
            yield self.encode(batch.records)

    def encode(self, records: Sequence[Record]) -> Chunk:
        """Append records. Even without any, a gzip member begins.

        :param records: the next ones.
        """
        lines = b"\n".join([*(record.line for record in records), b""])
        data = lines
        if self._gzip:
            self._member = self._member or zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
            data = self._member.compress(lines)
        return Chunk(data, len(records), len(lines))

    def flush(self) -> Chunk:
        """Return what was held back, and end the gzip member, if there is one."""
        member, self._member = self._member, None
        return Chunk() if member is None else Chunk(member.flush())
