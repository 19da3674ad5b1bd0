from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.jsonl import JsonLinesEncoder
from airflow_provider_zcc.zoom.page import Record
from airflow_provider_zcc.zoom.pagination import RecordBatch


def records(*lines: bytes) -> list[Record]:
    return [Record(line, line, None) for line in lines]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=3) | st.none(), max_size=5), st.booleans())
def test_however_records_are_batched_and_members_end_the_output_is_their_lines(
    batches: list[list[bytes] | None], compressed: bool
) -> None:
    encoder = JsonLinesEncoder(gzip=compressed)

    chunks = [encoder.flush() if batch is None else encoder.encode(records(*batch)) for batch in batches]
    output = b"".join(chunk.data for chunk in [*chunks, encoder.encode(records(b"last")), encoder.flush()])

    lines = [line + b"\n" for batch in batches if batch for line in batch]
    assert (gzip.decompress(output) if compressed else output) == b"".join([*lines, b"last\n"])
    assert sum(chunk.records for chunk in chunks) == len(lines)
    assert sum(chunk.uncompressed_bytes for chunk in chunks) == sum(map(len, lines))


def test_gzip_members_have_neither_a_time_nor_a_name_and_need_records() -> None:
    encoder = JsonLinesEncoder(gzip=True)

    assert (encoder.encode([]).data + encoder.flush().data)[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    assert encoder.flush().data == b""


@pytest.mark.parametrize("compressed", [False, True])
def test_records_in_doubt_pass_through_between_complete_members(compressed: bool) -> None:
    encoder, doubtful = JsonLinesEncoder(gzip=compressed), records(b"2", b"3")
    batches = [RecordBatch(batch, in_doubt=batch is doubtful) for batch in (records(b"1"), doubtful, records(b"4"))]

    before, _, in_doubt, after = chunks = [chunk for batch in batches for chunk in encoder.encode_batch(batch)]

    output = b"".join(chunk.data for chunk in [*chunks, encoder.flush()])
    assert (gzip.decompress(output) if compressed else output) == b"1\n4\n"
    assert output.count(b"\x1f\x8b") == 2 * compressed
    assert (list(in_doubt.in_doubt), in_doubt.data, in_doubt.waiting_bytes) == (doubtful, b"", 2)
    assert (before.in_doubt, before.waiting_bytes, after.waiting_bytes) == ((), len(before.data), len(after.data))
