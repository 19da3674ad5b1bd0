from __future__ import annotations

import gzip

import pytest

from airflow_provider_zcc.zoom.jsonl import compressed

BATCHES = ['{"a":1}\n{"b":"\u2028"}\n'.encode(), b"", b'{"c":[1.50]}\n']


@pytest.mark.parametrize("batches", [BATCHES, [], [b""], [b"{}\n"] * 3])
def test_gzip_decompresses_to_the_same_lines(batches: list[bytes]) -> None:
    assert gzip.decompress(b"".join(compressed(batches))) == b"".join(batches)


def test_gzip_carries_neither_a_time_nor_a_name() -> None:
    assert b"".join(compressed(BATCHES))[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_how_records_are_batched_does_not_change_a_byte() -> None:
    assert b"".join(compressed(BATCHES)) == b"".join(compressed([b"".join(BATCHES)]))
