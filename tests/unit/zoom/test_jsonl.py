from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.errors import TransientError
from airflow_provider_zcc.zoom.jsonl import JsonLines
from airflow_provider_zcc.zoom.query import Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from tests.conftest import END, StartSimulator, client_for
from tests.zoom_simulator.server import SimulatorServer

BATCHES = ['{"a":1}\n{"b":"\u2028"}\n'.encode(), b"", b'{"c":[1.50]}\n']
LINES = '{"a":1}\n{"b":"\u2028"}\n{"c":[1.50]}\n'.encode()
START = END - timedelta(days=4)


def pieces(stream: JsonLines, size: int) -> list[bytes]:
    """Read to the end in pieces of one size."""
    return list(iter(lambda: stream.read(size), b""))


def engagements(server: SimulatorServer) -> Iterator[bytes]:
    return EngagementReader(client_for(server), Query(START, START + timedelta(days=1))).batches()


@pytest.mark.parametrize(
    ("batches", "text"), [(BATCHES, LINES), ([], b""), ([b""], b""), ([b"{}\n"], b"{}\n"), ([b"{}\n"] * 3, b"{}\n" * 3)]
)
def test_batches_follow_each_other(batches: list[bytes], text: bytes) -> None:
    stream = JsonLines(iter(batches), gzip=False)

    assert stream.read() == text
    assert stream.read() == b""
    assert stream.bytes == len(text)


def test_gzip_decompresses_to_the_same_lines() -> None:
    stream = JsonLines(iter(BATCHES), gzip=True)

    data = stream.read()

    assert gzip.decompress(data) == LINES
    assert stream.bytes == len(data)


def test_gzip_carries_neither_a_time_nor_a_name() -> None:
    data = JsonLines(iter(BATCHES), gzip=True).read()

    assert data[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_no_records_are_an_empty_gzip_file() -> None:
    assert gzip.decompress(JsonLines(iter([]), gzip=True).read()) == b""


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("size", [1, 7, 4_096, 100_000])
def test_a_read_gives_exactly_what_was_asked_for_until_the_end(compressed: bool, size: int) -> None:
    batches = [b"".join(b'{"n":%d}\n' % n for n in range(start, start + 100)) for start in range(0, 3_000, 100)]
    whole = JsonLines(iter(batches), gzip=compressed).read()

    stream = JsonLines(iter(batches), gzip=compressed)

    assert pieces(stream, size) == [whole[at : at + size] for at in range(0, len(whole), size)]
    assert stream.bytes == len(whole)


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.binary(max_size=30), max_size=5),
    st.lists(st.integers(0, 20), max_size=20),
    st.booleans(),
)
def test_any_sizes_give_the_same_bytes(batches: list[bytes], sizes: list[int], compressed: bool) -> None:
    whole = JsonLines(iter(batches), gzip=compressed).read()
    stream = JsonLines(iter(batches), gzip=compressed)

    taken = b""
    for size in sizes:
        piece = stream.read(size)
        assert len(piece) == min(size, len(whole) - len(taken))
        taken += piece

    assert taken + stream.read() == whole


@pytest.mark.parametrize("compressed", [False, True])
def test_how_records_are_batched_does_not_change_a_byte(compressed: bool) -> None:
    one = JsonLines(iter([LINES]), gzip=compressed).read()
    each = JsonLines(iter(LINES.splitlines(keepends=True)), gzip=compressed).read()

    assert one == each == JsonLines(iter(BATCHES), gzip=compressed).read()


def test_no_more_is_taken_than_was_asked_for() -> None:
    taken: list[int] = []

    def batches() -> Iterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield b"0123456789"

    stream = JsonLines(batches(), gzip=False)
    nothing = stream.read(0)
    before = list(taken)
    stream.read(15)

    assert (nothing, before) == (b"", [])
    assert taken == [0, 1]


@pytest.mark.parametrize("compressed", [False, True])
def test_an_error_of_the_reading_comes_out_of_the_read(compressed: bool) -> None:
    def batches() -> Iterator[bytes]:
        yield b"{}\n"
        raise TransientError("Zoom could not answer.")

    stream = JsonLines(batches(), gzip=compressed)

    with pytest.raises(TransientError, match=r"Zoom could not answer\."):
        stream.read()


def test_it_is_a_readable_binary_stream() -> None:
    stream = JsonLines(iter(BATCHES), gzip=False)

    assert isinstance(stream, io.RawIOBase)
    assert (stream.readable(), stream.writable(), stream.seekable()) == (True, False, False)


@pytest.mark.parametrize("size", [None, -1, -7])
def test_a_read_without_a_size_gives_all_that_is_left(size: int | None) -> None:
    stream = JsonLines(iter(BATCHES), gzip=False)
    stream.read(3)

    assert stream.read(size) == LINES[3:]
    assert stream.read(size) == b""
    assert stream.bytes == len(LINES)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("buffer_size", [1, 7, 8_192])
def test_a_buffered_reader_may_read_it(compressed: bool, buffer_size: int) -> None:
    whole = JsonLines(iter(BATCHES * 50), gzip=compressed).read()
    stream = JsonLines(iter(BATCHES * 50), gzip=compressed)

    with io.BufferedReader(stream, buffer_size) as buffered:
        taken = [buffered.read(5), buffered.readline(), buffered.read1(3), buffered.read()]

    assert b"".join(taken) == whole
    assert stream.bytes == len(whole)


def test_a_buffered_reader_gives_line_by_line() -> None:
    assert list(io.BufferedReader(JsonLines(iter(BATCHES), gzip=False))) == LINES.splitlines(keepends=True)


def test_readinto_fills_a_buffer_and_says_how_much_of_it() -> None:
    stream, buffer = JsonLines(iter([b"0123456789\n"]), gzip=False), bytearray(8)

    assert (stream.readinto(buffer), bytes(buffer)) == (8, b"01234567")
    assert (stream.readinto(buffer), bytes(buffer[:3])) == (3, b"89\n")
    assert stream.readinto(buffer) == 0


@pytest.mark.parametrize("compressed", [False, True])
def test_the_same_engagements_give_the_same_bytes(simulator: SimulatorServer, compressed: bool) -> None:
    first, second = (JsonLines(engagements(simulator), gzip=compressed).read() for _ in range(2))

    assert first == second


def test_engagements_leave_as_lines_that_hold_what_zoom_sent(start_simulator: StartSimulator) -> None:
    server = start_simulator(order="ascending")
    records = server.simulator.truth(START, START + timedelta(days=1))

    plain = JsonLines(engagements(server), gzip=False).read()
    compressed = JsonLines(engagements(server), gzip=True).read()

    assert plain == b"".join(record.replace("\n", "").encode() + b"\n" for record in records)
    assert zlib.decompress(compressed, wbits=31) == plain
    assert [json.loads(line) for line in plain.decode().removesuffix("\n").split("\n")] == [
        json.loads(record) for record in records
    ]


@pytest.mark.parametrize("gzip", [False, True])
def test_what_broke_off_does_not_come_to_an_end(gzip: bool) -> None:
    def broken() -> Iterator[bytes]:
        yield b"1\n2\n"
        raise TransientError("The connection broke.")

    lines = JsonLines(broken(), gzip=gzip)

    for _ in range(3):
        with pytest.raises(TransientError, match="broke"):
            lines.read(1_000)
