from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pytest_mock import MockerFixture

from airflow_provider_zcc.zoom.errors import (
    IncompleteResponse,
    PermanentError,
    RateLimitedUntil,
    ReadCancelled,
    TransientError,
    ZoomError,
)
from airflow_provider_zcc.zoom.query import Filters, Query
from airflow_provider_zcc.zoom.reader import Counts, EngagementReader
from tests.conftest import END, StartSimulator, client_for
from tests.zoom_simulator.data import SHAPES, Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
#: A Thursday of some 370 engagements, on four pages.
START = END - 4 * DAY
#: More than fits into one window.
BUSY = Engagements.of_a_contact_centre(6_000, 10, end=END)
DIED = {"status": 400, "body": {"code": 300, "message": "The next page token is invalid or expired."}}
ORDERS = ("ascending", "descending", "shuffled")


def reader_for(
    server: SimulatorServer,
    start: datetime = START,
    end: datetime = START + DAY,
    *,
    max_concurrency: int = 8,
    fail_if_incomplete: bool = True,
    retry_timeout: float = 10.0,
    settings: dict[str, float] | None = None,
    **filters: Any,
) -> EngagementReader:
    return EngagementReader(
        client_for(server, retry_timeout=retry_timeout, **(settings or {})),
        Query(start, end, Filters.validated(**filters)),
        max_concurrency=max_concurrency,
        fail_if_incomplete=fail_if_incomplete,
    )


def lines_of(reader: EngagementReader) -> list[bytes]:
    return [line for batch in reader.batches() for line in batch.splitlines()]


def read(server: SimulatorServer, start: datetime = START, end: datetime = START + DAY, **options: Any) -> list[bytes]:
    return lines_of(reader_for(server, start, end, **options))


def truth(server: SimulatorServer, start: datetime = START, end: datetime = START + DAY, **options: Any) -> list[bytes]:
    return [line.replace("\n", "").encode() for line in server.simulator.truth(start, end, **options)]


def requests_of(server: SimulatorServer) -> int:
    return server.simulator.stats.api_requests


def windows_of(server: SimulatorServer) -> list[tuple[str, str]]:
    """Return the bounds of the first pages that were asked for."""
    queries = [dict(query) for query in server.simulator.stats.queries]
    return [(query["from"], query["to"]) for query in queries if "next_page_token" not in query]


def threads_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "zcc-reader"]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """A reading that ended, however it ended, has no thread left."""
    yield
    assert threads_alive() == []


# All of it, each once


@pytest.mark.parametrize("order", ORDERS)
def test_days_that_meet_at_midnight_give_each_engagement_once_to_the_later_day(
    start_simulator: StartSimulator, order: str
) -> None:
    server = start_simulator(order=order)
    midnights = [START + n * DAY for n in range(4)]

    days = [read(server, midnights[n], midnights[n + 1]) for n in range(3)]

    expected = [truth(server, midnights[n], midnights[n + 1]) for n in range(3)]
    assert [sorted(day) for day in days] == [sorted(day) for day in expected]
    assert sorted(chain(*days)) == sorted(truth(server, midnights[0], midnights[3]))
    assert all(truth(server, midnight, midnight + SECOND) for midnight in midnights)


@pytest.mark.parametrize(
    ("order", "max_concurrency"), [("ascending", 1), ("ascending", 2), *((order, 8) for order in ORDERS)]
)
def test_a_window_of_thousands_is_split_and_leaves_in_order(
    start_simulator: StartSimulator, order: str, max_concurrency: int
) -> None:
    server = start_simulator(BUSY, order=order)

    lines = read(server, END - 10 * DAY, END, max_concurrency=max_concurrency)

    expected = truth(server, END - 10 * DAY, END)
    assert sorted(lines) == sorted(expected)
    assert len(windows_of(server)) > 1 or max_concurrency == 1
    if order == "ascending":
        assert lines == expected


@pytest.mark.parametrize("cut", [timedelta(hours=10, minutes=30), timedelta(hours=10, minutes=30, microseconds=1)])
def test_a_burst_in_the_second_of_a_bound_belongs_to_one_side(simulator: SimulatorServer, cut: timedelta) -> None:
    first = END - 10 * DAY

    before, behind = read(simulator, first, first + cut), read(simulator, first + cut, first + DAY)

    expected = truth(simulator, first, first + DAY)
    burst = truth(simulator, first + timedelta(hours=10.5), first + timedelta(hours=10.5) + SECOND)
    assert sorted(before + behind) == sorted(expected)
    assert set(burst) <= set(before if cut.microseconds else behind)
    assert len(burst) == 75


@pytest.mark.parametrize("microseconds", [1, 500_000, 999_999])
def test_bounds_between_two_seconds_neither_lose_nor_repeat(simulator: SimulatorServer, microseconds: int) -> None:
    cut = START + timedelta(microseconds=microseconds)

    before, behind = read(simulator, START - DAY, cut), read(simulator, cut, START + DAY)

    midnight = truth(simulator, START, START + SECOND)
    assert sorted(before + behind) == sorted(truth(simulator, START - DAY, START + DAY))
    assert set(midnight) <= set(before)


def test_seventy_days_are_read_in_windows_that_zoom_accepts(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements.of_a_contact_centre(3_500, 70, end=END), order="ascending")
    start = END - 70 * DAY

    lines = read(server, start, END, settings={"requests_per_second": 20.0})

    assert lines == truth(server, start, END)
    assert sorted(windows_of(server)) == [
        ("2026-08-31T00:00:00Z", "2026-09-28T00:00:00Z"),
        ("2026-09-28T00:00:00Z", "2026-10-26T00:00:00Z"),
        ("2026-10-26T00:00:00Z", "2026-11-09T00:00:00Z"),
    ]


@pytest.mark.parametrize("offset", [0, 43_217, 86_399, 86_400])
@pytest.mark.parametrize("max_concurrency", [1, 8])
def test_thousands_in_one_second_are_read_wherever_it_lies(
    start_simulator: StartSimulator, offset: int, max_concurrency: int
) -> None:
    second = int(START.timestamp()) + offset
    server = start_simulator(Engagements([second - 1, *[second] * 4_000, second + 1]), order="ascending")

    lines = read(server, max_concurrency=max_concurrency)

    assert lines == truth(server)


@pytest.mark.parametrize("offset", [43_217, 43_236, 43_237, 43_238])
def test_a_dense_second_is_never_cut_and_its_pages_are_asked_for_once(
    start_simulator: StartSimulator, offset: int
) -> None:
    server = start_simulator(Engagements([int(START.timestamp()) + offset] * 4_000), order="ascending")

    lines = read(server)

    dense = START + offset * SECOND
    holding = [
        (first, last)
        for first, last in (tuple(map(datetime.fromisoformat, bounds)) for bounds in windows_of(server))
        if first <= dense < last
    ]
    assert lines == truth(server)
    assert min(last - first for first, last in holding) == timedelta(minutes=1)
    assert len(windows_of(server)) < 60
    pages = [query for query in server.simulator.stats.queries if "next_page_token" in dict(query)]
    assert len(pages) in ({39} if offset != 43_237 else {39, 78})


@pytest.mark.parametrize(
    ("requests_per_second", "max_concurrency", "engagements", "parts"),
    [
        (1_000.0, 8, 21_600, 11),  # 16,000 at the same time, in eight windows
        (1_000.0, 8, 8_000, 8),
        (1_000.0, 8, 2_000, 4),  # no smaller than 500
        (20.0, 8, 21_600, 8),  # four keep such a pace busy, of 3,000 at most
        (20.0, 8, 8_000, 4),
        (20.0, 2, 21_600, 8),
        (20.0, 2, 4_000, 2),
        (4.0, 8, 21_600, 8),
        (4.0, 8, 3_000, 1),
    ],
)
def test_windows_are_cut_alike_and_as_many_as_keep_the_pace_busy(
    start_simulator: StartSimulator,
    mocker: MockerFixture,
    *,
    requests_per_second: float,
    max_concurrency: int,
    engagements: int,
    parts: int,
) -> None:
    mocker.patch("airflow_provider_zcc.zoom.client.RateLimiter.wait")
    every = 86_400 // engagements
    server = start_simulator(
        Engagements(int(START.timestamp()) + every * n for n in range(engagements)), order="ascending"
    )
    length = every * engagements
    settings = {"requests_per_second": requests_per_second}

    lines = read(server, START, START + length * SECOND, max_concurrency=max_concurrency, settings=settings)

    assert lines == truth(server)
    whole, *bounds = (tuple(map(datetime.fromisoformat, bounds)) for bounds in windows_of(server))
    lengths = [(end - start).total_seconds() for start, end in bounds or [whole]]
    assert len(lengths) == parts
    assert lengths == pytest.approx([length / parts] * parts, abs=60)


def test_windows_of_several_months_are_cut_less(start_simulator: StartSimulator, mocker: MockerFixture) -> None:
    mocker.patch("airflow_provider_zcc.zoom.client.RateLimiter.wait")
    server = start_simulator(Engagements(int(START.timestamp()) + 2_016 * n for n in range(4_800)), order="ascending")

    read(server, START, START + 28 * DAY, settings={"requests_per_second": 20.0})
    one_month = len(windows_of(server))
    read(server, START, START + 112 * DAY, settings={"requests_per_second": 20.0})

    assert one_month == 4
    assert len(windows_of(server)) == one_month + 4


def test_an_empty_interval_is_one_request(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements([]))
    reader = reader_for(server)

    assert lines_of(reader) == []
    assert reader.counts == Counts(records=0, expected=0, all_asked=True)
    assert requests_of(server) == 1


def test_forty_engagements_are_one_request(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements(int(START.timestamp()) + 600 * n for n in range(40)), order="ascending")

    assert read(server) == truth(server)
    assert requests_of(server) == 1


@pytest.mark.parametrize(("count", "requests"), [(100, 1), (101, 2), (200, 2)])
def test_a_full_last_page_costs_no_further_request(start_simulator: StartSimulator, count: int, requests: int) -> None:
    server = start_simulator(Engagements(int(START.timestamp()) + n for n in range(count)), order="ascending")

    assert read(server) == truth(server)
    assert requests_of(server) == requests


@pytest.mark.parametrize(
    "filters",
    [
        {"queue_id": "BillJxo0OS_eV1QmTpj63PQ"},
        {"user_id": "ukAAkZKfROKMSw1bj_RD01"},
        {"consumer_number": "+12059300904"},
        {"channel_types": "Voice,SMS"},
        {"channel": "MESSAGING"},
        {"channel_sources": ["WhatsApp", "web_chat"]},
        {"direction": "Inbound"},
        {"direction": "outbound", "channel_types": ["chat"], "queue_id": "SaleJxo2OS_eV1QmTpj63PQ"},
    ],
)
def test_filters_give_exactly_what_passes_them(start_simulator: StartSimulator, filters: dict[str, Any]) -> None:
    server = start_simulator(order="ascending")
    start = END - 10 * DAY

    lines = read(server, start, END, **filters)

    wanted = {name: (",".join(value) if isinstance(value, list) else value) for name, value in filters.items()}
    plain = {name: value if name in ("queue_id", "user_id") else value.lower() for name, value in wanted.items()}
    assert lines == truth(server, start, END, **plain)
    assert lines


# Timezones


@pytest.mark.parametrize("offset_times", [False, True])
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Los_Angeles", "Etc/UTC"])
def test_a_timezone_changes_how_times_are_written_and_not_which_are_read(
    start_simulator: StartSimulator, zone: str, offset_times: bool
) -> None:
    server = start_simulator(order="ascending", offset_times=offset_times)

    lines = read(server, START, START + 2 * DAY, timezone=zone)

    style = TimeStyle(ZoneInfo(zone), offset_times)
    expected = server.simulator.engagements.truth(START, START + 2 * DAY, style)
    assert lines == [line.replace("\n", "").encode() for line in expected]


@pytest.mark.parametrize("offset_times", [False, True])
@pytest.mark.parametrize("minutes", [60, 30, 20, 90])
def test_an_hour_that_the_clock_repeats_gives_each_engagement_once_to_its_interval(
    start_simulator: StartSimulator, minutes: int, offset_times: bool
) -> None:
    repeated = datetime(2026, 11, 1, 8, tzinfo=UTC)
    cuts = [repeated + timedelta(minutes=minutes * n) for n in range(-2, 8)]
    epochs = [int(cut.timestamp()) for cut in cuts]
    quarters = [int(repeated.timestamp()) + 900 * n for n in range(-8, 24)]
    starts = [epoch + near for epoch in epochs + quarters for near in (-1, 0, 0, 1)]
    server = start_simulator(Engagements(starts), order="shuffled", offset_times=offset_times)
    style = TimeStyle(ZoneInfo("America/Los_Angeles"), offset_times)

    for start, end in pairwise(cuts):
        lines = read(server, start, end, timezone="America/Los_Angeles")

        expected = server.simulator.engagements.truth(start, end, style)
        assert sorted(lines) == sorted(line.replace("\n", "").encode() for line in expected)


@pytest.mark.parametrize("offset_times", [False, True])
def test_a_day_with_a_repeated_hour_is_complete(start_simulator: StartSimulator, offset_times: bool) -> None:
    midnight = datetime(2026, 11, 1, 7, tzinfo=UTC)
    seconds = range(int(midnight.timestamp()) - 300, int(midnight.timestamp()) + 25 * 3_600 + 300, 300)
    server = start_simulator(Engagements(seconds), order="ascending", offset_times=offset_times)

    lines = read(server, midnight, midnight + timedelta(hours=25), timezone="America/Los_Angeles")

    style = TimeStyle(ZoneInfo("America/Los_Angeles"), offset_times)
    expected = server.simulator.engagements.truth(midnight, midnight + timedelta(hours=25), style)
    assert lines == [line.replace("\n", "").encode() for line in expected]


def test_an_inner_bound_in_a_repeated_hour_does_not_write_a_record_twice(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements([int(datetime(2026, 11, 1, 9, 30, tzinfo=UTC).timestamp())]))
    start, end = datetime(2026, 10, 4, 9, 30, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)

    lines = read(server, start, end, timezone="America/Los_Angeles")

    assert lines == truth(server, start, end, timezone="America/Los_Angeles")
    assert len(lines) == 1
    assert ("2026-10-04T02:30:00-07:00", "2026-11-01T01:30:00-08:00") in windows_of(server)


def test_cuts_in_a_repeated_hour_do_not_write_a_record_twice(start_simulator: StartSimulator) -> None:
    start, end = datetime(2026, 11, 1, 7, tzinfo=UTC), datetime(2026, 11, 1, 12, tzinfo=UTC)
    base, half_past = int(start.timestamp()), int(start.timestamp()) + 9_000
    server = start_simulator(Engagements([half_past, *(base + 4 * n + 1 for n in range(4_400))]))

    lines = read(server, start, end, timezone="America/Los_Angeles")

    assert len(windows_of(server)) > 2
    assert len(lines) == len(set(lines)) == 4_401
    assert set(lines) == set(truth(server, start, end, timezone="America/Los_Angeles"))


# Determinism


@pytest.mark.parametrize("max_concurrency", [1, 8])
@pytest.mark.parametrize("order", ["descending", "shuffled"])
def test_two_readings_give_the_same_lines_in_the_same_order(
    start_simulator: StartSimulator, order: str, max_concurrency: int
) -> None:
    server = start_simulator(Engagements.of_a_contact_centre(4_500, 5, end=END), order=order)

    first, second = (read(server, END - 5 * DAY, END, max_concurrency=max_concurrency) for _ in range(2))

    assert first == second


@pytest.mark.parametrize("shape", ["contact-centre", "busy-days", "one-hour"])
@pytest.mark.parametrize("after", [1, 2, 5, 9])
def test_the_order_does_not_depend_on_which_window_answers_first(
    start_simulator: StartSimulator, shape: str, after: int
) -> None:
    # So many in five days that windows are cut again, and in an order that shows each cut.
    server = start_simulator(SHAPES[shape](9_000, 5, end=END), order="descending")
    undisturbed = read(server, END - 5 * DAY, END)
    server.simulator.faults = [
        Fault("delay", on="first", after=after, details={"seconds": 0.3}),
        Fault("delay", on="next", after=after + 7, times=2, details={"seconds": 0.2}),
    ]

    assert read(server, END - 5 * DAY, END) == undisturbed


# What can be wrong with an answer


@pytest.mark.parametrize(
    ("faults", "duplicates"),
    [
        pytest.param([Fault("doubled", times=-1)], None, id="every record twice"),
        pytest.param([Fault("again", on="next")], 100, id="a page again"),
        pytest.param([Fault("again", on="next", after=2)], 100, id="a later page again"),
        pytest.param([Fault("page", details={"next_page_token": ""})], 0, id="lost pages"),
        pytest.param([Fault("page", on="next", after=1, details={"next_page_token": ""})], 0, id="lost last pages"),
        pytest.param([Fault("page", details={"next_page_token": None})], 0, id="page token null"),
        pytest.param([Fault("page", details={"next_page_token": "<absent>"})], 0, id="page token absent"),
        pytest.param([Fault("page", times=-1, details={"total_records": None})], 0, id="total null"),
        pytest.param([Fault("page", times=-1, details={"total_records": "<absent>"})], 0, id="total absent"),
        pytest.param([Fault("page", times=-1, details={"total_records": 7})], 0, id="total too low"),
        pytest.param([Fault("page", times=-1, details={"total_records": "7"})], 0, id="total as text, too low"),
        pytest.param([Fault("page", times=-1, details={"total_records": 0})], 0, id="total nought"),
        pytest.param([Fault("page", details={"from": "2026-11-05T06:00:00Z", "next_page_token": ""})], 0, id="late"),
        pytest.param(
            [Fault("page", details={"to": "2026-11-05T12:00:00Z", "next_page_token": "", "total_records": 100})],
            0,
            id="early to, total to match",
        ),
        pytest.param([Fault("page", times=-1, details={"from": None, "to": None, "timezone": None})], 0, id="no echo"),
        pytest.param([Fault("answer", on="next", after=1, details=DIED)], 0, id="page token died"),
        pytest.param(
            [Fault("answer", on="next", after=n, details=DIED | {"status": 300}) for n in (0, 2)],
            0,
            id="page tokens died with 300",
        ),
        pytest.param(
            [Fault("answer", on="next", details={"status": 401, "body": {"code": 124, "message": "Expired."}})],
            0,
            id="token died between pages",
        ),
        pytest.param([Fault("cut", on="next", after=1), Fault("reset", on="next")], 0, id="cut and reset"),
    ],
)
def test_an_answer_that_is_wrong_for_a_while_gives_the_exact_lines(
    start_simulator: StartSimulator, faults: list[Fault], duplicates: int | None
) -> None:
    server = start_simulator(order="shuffled")
    undisturbed = read(server)
    server.simulator.faults = [replace(fault) for fault in faults]
    reader = reader_for(server)

    lines = lines_of(reader)

    listed = len(server.simulator.truth(START, START + DAY + SECOND))
    # The simulator writes a page anew to change it.
    same = json.loads if "page" in {fault.kind for fault in faults} else bytes
    assert [same(line) for line in lines] == [same(line) for line in undisturbed]
    assert sorted(undisturbed) == sorted(truth(server))
    assert reader.counts.duplicates_dropped == (listed if duplicates is None else duplicates)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("again", on="next", after=20, times=3), id="pages again"),
        pytest.param(Fault("answer", on="next", after=30, times=3, details=DIED), id="page tokens died"),
        pytest.param(Fault("answer", after=10, times=3, details={"status": 500}), id="outages"),
        pytest.param(Fault("cut", after=10, times=2), id="cut"),
    ],
)
def test_wrong_answers_in_many_windows_give_the_exact_lines(start_simulator: StartSimulator, fault: Fault) -> None:
    server = start_simulator(BUSY, order="ascending")
    server.simulator.faults = [replace(fault)]

    assert read(server, END - 10 * DAY, END) == truth(server, END - 10 * DAY, END)


@pytest.mark.parametrize(("total", "reported"), [(799, "799"), ("799", "799")])
def test_records_that_stay_missing_fail_or_warn_as_asked(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture, total: object, reported: str
) -> None:
    listed = len(simulator.simulator.truth(START, START + DAY + SECOND))
    problem = (
        f"Zoom reports {reported} engagements from 2026-11-05T00:00:00Z to 2026-11-06T00:00:00Z and delivered {listed}."
    )
    simulator.simulator.faults = [Fault("page", times=-1, details={"total_records": total})]

    with pytest.raises(IncompleteResponse) as error:
        read(simulator)
    accepted = read(simulator, fail_if_incomplete=False)

    assert str(error.value).startswith(problem)
    assert caplog.messages[-1].startswith(problem)
    identities = [json.loads(line)["engagement_id"] for line in truth(simulator)]
    assert sorted(json.loads(line)["engagement_id"] for line in accepted) == sorted(identities)


def test_records_that_stay_missing_in_windows_that_were_cut_fail_or_warn_as_asked(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.simulator.faults = [Fault("page", times=-1, details={"total_records": 3_000})]
    with pytest.raises(IncompleteResponse, match="Zoom reports 3000 engagements from 2026-11-05T"):
        read(simulator)
    simulator.simulator.stats.queries.clear()

    accepted = read(simulator, fail_if_incomplete=False)

    read_twice = [window for window, times in Counter(windows_of(simulator)).items() if times == 2]
    given_up = [message for message in caplog.messages if "going on without the rest" in message]
    assert len(given_up) == len(read_twice) > 1
    identities = [json.loads(line)["engagement_id"] for line in truth(simulator)]
    assert sorted(json.loads(line)["engagement_id"] for line in accepted) == sorted(identities)


@pytest.mark.parametrize("fail_if_incomplete", [True, False])
def test_a_part_that_is_said_to_be_empty_is_missed(
    start_simulator: StartSimulator, caplog: pytest.LogCaptureFixture, fail_if_incomplete: bool
) -> None:
    server = start_simulator(BUSY, order="ascending")
    nothing = {"next_page_token": "", "total_records": 0, "engagements": []}
    server.simulator.faults = [Fault("page", on="first", after=4, times=1, details=nothing)]

    with nullcontext() if not fail_if_incomplete else pytest.raises(IncompleteResponse, match="when asked for parts"):
        read(server, END - 10 * DAY, END, fail_if_incomplete=fail_if_incomplete)

    assert ("when asked for parts. Going on" in caplog.text) is not fail_if_incomplete


def test_a_count_that_was_too_high_once_is_asked_for_again(start_simulator: StartSimulator) -> None:
    server = start_simulator(BUSY, order="ascending")
    server.simulator.faults = [Fault("page", details={"total_records": 11_000})]

    assert read(server, END - 10 * DAY, END) == truth(server, END - 10 * DAY, END)


def test_a_count_that_was_too_high_stands_if_zoom_does_not_say_another(start_simulator: StartSimulator) -> None:
    server = start_simulator(BUSY, order="ascending")
    too_high = {"total_records": 11_000}
    server.simulator.faults = [Fault("page", details=too_high)]
    read(server, END - 10 * DAY, END)
    last = Fault("page", after=requests_of(server) - 2, details={"total_records": None})
    server.simulator.faults = [Fault("page", details=too_high), last]

    with pytest.raises(IncompleteResponse, match="when asked for parts"):
        read(server, END - 10 * DAY, END)


def test_a_total_that_never_changes_does_not_cut_a_window_of_one_page(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements(int(START.timestamp()) + 600 * n for n in range(100)), order="ascending")
    server.simulator.faults = [Fault("page", times=-1, details={"total_records": 10_000})]

    lines = read(server, fail_if_incomplete=False)

    assert [json.loads(line) for line in lines] == [json.loads(line) for line in truth(server)]
    assert windows_of(server) == [("2026-11-05T00:00:00Z", "2026-11-06T00:00:00Z")] * 2
    assert requests_of(server) == 2


def test_a_total_that_never_changes_does_not_cut_parts_of_one_page_further(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements(int(START.timestamp()) + 216 * n for n in range(400)), order="ascending")
    server.simulator.faults = [Fault("page", times=-1, details={"total_records": 10_000})]

    lines = read(server, fail_if_incomplete=False)

    whole, *parts = windows_of(server)
    assert len(lines) == len(truth(server))
    assert len(set(parts)) == 8
    assert set(Counter(parts).values()) == {2}
    assert requests_of(server) == 1 + len(parts)
    assert whole not in parts


def test_pages_that_stay_lost_fail(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("page", on="next", times=-1, details={"next_page_token": ""})]

    with pytest.raises(IncompleteResponse, match="and delivered 200"):
        read(simulator)


def test_an_echo_that_stays_later_than_asked_fails(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("page", times=-1, details={"from": "2026-11-05T00:00:01Z"})]

    with pytest.raises(IncompleteResponse, match="answered for a part of"):
        read(simulator)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("again", on="next", times=-1), id="a page again and again"),
        pytest.param(Fault("page", on="next", times=-1, details={"engagements": []}), id="nothing, again and again"),
    ],
)
def test_pages_without_end_are_an_error(start_simulator: StartSimulator, fault: Fault) -> None:
    server = start_simulator(Engagements.of_a_contact_centre(1_500, 1, end=START + DAY))
    server.simulator.faults = [replace(fault)]

    with pytest.raises(TransientError, match="lead in a circle"):
        read(server, max_concurrency=1)

    assert requests_of(server) < 20


def test_pages_without_end_in_windows_that_were_cut_are_an_error(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements.of_a_contact_centre(3_600, 1, end=START + DAY))
    server.simulator.faults = [Fault("again", on="next", times=-1)]

    with pytest.raises(TransientError, match="lead in a circle"):
        read(server)

    parts = len(windows_of(server)) - 1
    assert parts > 1
    assert requests_of(server) <= 1 + 11 * parts


def test_page_tokens_that_always_die_are_an_error(start_simulator: StartSimulator) -> None:
    server = start_simulator(page_token_life=0.0)

    with pytest.raises(TransientError, match=r"ended early\. So did 3 more"):
        read(server)

    assert requests_of(server) == 8


def test_access_tokens_that_end_one_another_cost_two_tokens_at_most(start_simulator: StartSimulator) -> None:
    server = start_simulator(BUSY, order="ascending", one_token=True)
    timer = threading.Timer(0.1, server.simulator.end_tokens)
    timer.start()

    lines = read(server, END - 10 * DAY, END)

    timer.join()
    assert lines == truth(server, END - 10 * DAY, END)
    assert server.simulator.stats.token_requests <= 2


def listing(*records: dict[str, Any], **head: Any) -> Fault:
    body = {"total_records": len(records), "engagements": records, **head}
    return Fault("answer", times=-1, details={"status": 200, "body": body})


def test_a_record_of_unknown_time_that_every_window_lists_is_read_once(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [listing({"engagement_id": "a"}, {"engagement_id": "b", "start_time": "soon"})]
    reader = reader_for(simulator, START, START + 70 * DAY)

    lines = lines_of(reader)

    assert [json.loads(line)["engagement_id"] for line in lines] == ["a", "b"]
    assert reader.counts.duplicates_dropped == 4
    assert requests_of(simulator) == 3


def test_a_record_that_began_before_the_interval_is_kept_and_warned_of(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.simulator.faults = [
        listing(
            {"engagement_id": "early", "start_time": "2026-11-04T23:59:59Z"},
            {"engagement_id": "inside", "start_time": "2026-11-05T00:00:00Z"},
            {"engagement_id": "late", "start_time": "2026-11-06T00:00:00Z"},
        )
    ]
    reader = reader_for(simulator)

    lines = lines_of(reader)

    assert [json.loads(line)["engagement_id"] for line in lines] == ["early", "inside"]
    assert reader.counts == Counts(records=2, expected=3, all_asked=True, outside_interval=1)
    assert caplog.messages == [
        "1 of the engagements did not begin in the interval, and Zoom lists them in it all the same: kept."
    ]


# Bytes

FAITHFUL = [
    b'{"engagement_id":"1","serial":90071992547409931234567890,"score":[1E2,-0.50,1.0e-2,0.10]}',
    b'{"zebra":1, "engagement_id":"2","alpha":{"unknown_2031":[{}, [], null, true]},"zebra":3}',
    '{"engagement_id":"3","note":"line\u2028and paragraph\u2029, next\u0085line, 李雷 👋🏽"}'.encode(),
    rb'{"engagement_id":"4","note":"escaped \n \r\n \u2028 \/ \u00e9 \ud83d\udc4b"}',
    rb'{"engagement_id":"5","note":"\ud800 x, \\\uD83D, \ud83d\udc4b"}',
]


def test_records_keep_their_bytes(simulator: SimulatorServer) -> None:
    body = b'{"total_records": 5,\n"engagements": [\n' + b",\r\n".join(FAITHFUL) + b"]}"
    simulator.simulator.faults = [Fault("answer", details={"status": 200, "body": body})]

    assert read(simulator) == FAITHFUL


def test_no_line_holds_a_raw_line_break(start_simulator: StartSimulator) -> None:
    server = start_simulator(order="ascending")
    assert any("\n" in record for record in server.simulator.truth(START, START + DAY))

    lines = read(server)

    assert [line for line in lines if b"\n" in line or b"\r" in line] == []
    assert [json.loads(line) for line in lines] == [
        json.loads(record) for record in server.simulator.truth(START, START + DAY)
    ]


def test_an_answer_that_is_not_utf8_is_refused(simulator: SimulatorServer) -> None:
    body = b'{"total_records": 1, "engagements": [{"engagement_id": "a", "note": "caf\xe9"}]}'
    simulator.simulator.faults = [Fault("answer", times=-1, details={"status": 200, "body": body})]

    with pytest.raises(TransientError, match="not text in UTF-8"):
        read(simulator, retry_timeout=0.0)


def test_an_answer_that_is_nested_without_end_is_refused(simulator: SimulatorServer) -> None:
    body = b'{"total_records": 1, "engagements": [{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"
    simulator.simulator.faults = [Fault("answer", times=-1, details={"status": 200, "body": body})]

    with pytest.raises(TransientError, match="is not a page of engagements"):
        read(simulator, retry_timeout=0.0)


# Rate limits


@pytest.mark.parametrize("announces_limits", [True, False])
def test_a_limit_below_the_pace_costs_nothing_but_time(start_simulator: StartSimulator, announces_limits: bool) -> None:
    server = start_simulator(order="ascending", requests_per_second=20, announces_limits=announces_limits)

    lines = read(server, END - 10 * DAY, END - 4 * DAY, settings={"requests_per_second": 40.0})

    assert lines == truth(server, END - 10 * DAY, END - 4 * DAY)


def test_first_pages_are_asked_first_and_then_what_comes_first_in_the_output(start_simulator: StartSimulator) -> None:
    begin = int((END - 336 * DAY).timestamp())
    every = int(336 * DAY.total_seconds()) // 3_450
    server = start_simulator(
        Engagements(begin + every * n for n in range(3_450)), order="ascending", requests_per_second=50
    )

    lines = read(server, END - 336 * DAY, END, settings={"requests_per_second": 25.0})

    assert lines == truth(server, END - 336 * DAY, END)
    asked = [dict(query)["from"] for query in server.simulator.stats.queries]
    windows = sorted(set(asked))
    assert (len(windows), len(asked)) == (12, 36)
    assert set(asked[:14]) == set(windows)
    # If the windows took turns, the first would be asked for the last time in the twenty-fifth request.
    assert windows[0] not in asked[24:]


def test_a_window_that_would_be_read_alone_in_the_end_is_begun_earlier(start_simulator: StartSimulator) -> None:
    begin = int((END - 140 * DAY).timestamp())
    a_window = 28 * 86_400
    few = [begin + window * a_window + 10_000 * n for window in range(4) for n in range(1, 151)]
    many = [begin + 4 * a_window + 1_000 * n for n in range(1, 801)]
    server = start_simulator(Engagements([*few, *many]), order="ascending", requests_per_second=50)

    lines = read(server, END - 140 * DAY, END, settings={"requests_per_second": 25.0})

    assert lines == truth(server, END - 140 * DAY, END)
    asked = [dict(query)["from"] for query in server.simulator.stats.queries]
    assert asked.count(max(asked)) == 8
    assert len(set(asked[-4:])) > 1


# The end


FORBIDDEN = {"code": 9001, "message": "Role lacks privileges."}


@pytest.mark.parametrize("on", ["first", "next"])
@pytest.mark.parametrize(
    ("kind", "details", "error_type"),
    [
        ("answer", {"status": 403, "body": FORBIDDEN}, PermanentError),
        ("answer", {"status": 500}, TransientError),
        ("answer", {"status": 429, "headers": {"Retry-After": "2099-01-01T00:00:00Z"}}, RateLimitedUntil),
        ("page", {"next_page_token": "", "from": "2026-11-09T00:00:00Z"}, IncompleteResponse),
    ],
)
def test_the_first_error_of_any_window_ends_the_reading_with_its_type(
    start_simulator: StartSimulator, on: str, kind: str, details: dict[str, Any], error_type: type[ZoomError]
) -> None:
    server = start_simulator(BUSY)
    server.simulator.faults = [Fault(kind, on=on, after=3, times=-1, details=details)]

    with pytest.raises(ZoomError) as error:
        read(server, END - 10 * DAY, END, retry_timeout=0.0)

    assert type(error.value) is error_type
    assert threads_alive() == []
    assert requests_of(server) < 60


def test_nothing_is_asked_before_the_first_batch_is_wanted(simulator: SimulatorServer) -> None:
    reader = reader_for(simulator)
    reader.batches()

    assert requests_of(simulator) == 0
    assert threads_alive() == []


@pytest.mark.parametrize("stop", [False, True])
def test_a_reading_that_is_left_sends_no_further_request(start_simulator: StartSimulator, stop: bool) -> None:
    server = start_simulator(BUSY)
    reader = reader_for(server, END - 10 * DAY, END, settings={"requests_per_second": 50.0})
    batches = reader.batches()
    next(batches)

    if stop:
        reader.stop()
        with pytest.raises(ReadCancelled, match=r"Reading was stopped\."):
            next(batches)
    else:
        reader.stop()

    sent = requests_of(server)
    assert threads_alive() == []
    time.sleep(0.1)
    assert requests_of(server) == sent < 40


@pytest.mark.parametrize("on", ["token", "first", "next"])
def stop_when(it_is_time: Callable[[], bool], reader: EngagementReader) -> threading.Thread:
    """Stop a reading from another thread."""

    def stop() -> None:
        while not it_is_time():
            time.sleep(0.01)
        reader.stop()

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("on", "asked"), [("token", 0), ("first", 1), ("next", 17)])
def test_a_stop_does_not_wait_for_answers_that_do_not_come(
    start_simulator: StartSimulator, caplog: pytest.LogCaptureFixture, on: str, asked: int
) -> None:
    server = start_simulator(BUSY)
    # As long as a stop waits for threads, and a little longer.
    server.simulator.faults = [Fault("delay", on=on, times=-1, details={"seconds": 4.0})]
    reader = reader_for(server, END - 10 * DAY, END)
    stats = server.simulator.stats
    stopping = stop_when(lambda: stats.token_requests > 0 and requests_of(server) >= asked, reader)

    with pytest.raises(ReadCancelled):
        lines_of(reader)

    stopping.join(3.0)
    assert not stopping.is_alive()
    for thread in threading.enumerate():
        if thread.name == "zcc-reader":
            thread.join(5.0)
    assert caplog.text == ""


def test_a_stop_does_not_wait_for_the_totals_that_are_asked_for_in_the_end(start_simulator: StartSimulator) -> None:
    server = start_simulator(BUSY)
    too_high = {"total_records": 11_000}
    server.simulator.faults = [Fault("page", details=too_high)]
    read(server, END - 10 * DAY, END)
    once = requests_of(server)
    last = Fault("delay", after=once - 2, details={"seconds": 60.0})
    server.simulator.faults = [Fault("page", details=too_high), last]
    reader = reader_for(server, END - 10 * DAY, END)
    stopping = stop_when(lambda: requests_of(server) == 2 * once, reader)

    with pytest.raises(ReadCancelled):
        lines_of(reader)

    stopping.join()


def test_a_stop_from_another_thread_wakes_who_waits_for_a_batch(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("answer", times=-1, details={"status": 500})]
    reader = reader_for(simulator, retry_timeout=60.0)
    timer = threading.Timer(0.1, reader.stop)
    timer.start()

    with pytest.raises(ReadCancelled):
        lines_of(reader)

    timer.join()


def test_pages_that_nobody_takes_are_not_fetched_without_end(
    start_simulator: StartSimulator, mocker: MockerFixture
) -> None:
    mocker.patch("airflow_provider_zcc.zoom.reader._MOST_WAITING_BYTES", 16 * 100 * 1_100)
    server = start_simulator(Engagements(int(START.timestamp()) + 4 * n for n in range(12_000)), order="ascending")
    batches = reader_for(server).batches()
    first = next(batches)
    before, fetched = -1, requests_of(server)
    while fetched > before:
        time.sleep(0.15)
        before, fetched = fetched, requests_of(server)

    assert fetched < 40
    assert b"".join([first, *batches]).splitlines() == truth(server)


def test_counts_tell_what_came_of_it(start_simulator: StartSimulator) -> None:
    server = start_simulator(BUSY)
    reader = reader_for(server, END - 10 * DAY, END)

    lines = lines_of(reader)

    at_the_bounds = reader.counts.expected - len(lines)
    assert reader.counts == Counts(records=len(lines), expected=len(lines) + at_the_bounds, all_asked=True)
    assert 0 <= at_the_bounds < 10


def test_how_much_is_expected_is_known_from_the_first_page_on(start_simulator: StartSimulator) -> None:
    reader = reader_for(start_simulator(BUSY), END - 10 * DAY, END)

    batches = reader.batches()
    next(batches)

    assert reader.counts.all_asked
    assert len(BUSY.starts) <= reader.counts.expected < len(BUSY.starts) + 10
    reader.stop()


# What Zoom may do although nobody said so


def test_an_engagement_that_is_listed_in_every_window_it_goes_on_in_comes_once(start_simulator: StartSimulator) -> None:
    server = start_simulator(Engagements([]))
    long_one = {"engagement_id": "long", "start_time": "2026-09-01T12:00:00Z"}
    server.simulator.faults = [
        Fault("answer", times=-1, details={"status": 200, "body": {"total_records": 1, "engagements": [long_one]}})
    ]

    reader = reader_for(server, START - 65 * DAY, START + 25 * DAY)

    assert [json.loads(line) for line in lines_of(reader)] == [long_one]
    assert requests_of(server) == 4
    assert (reader.counts.duplicates_dropped, reader.counts.outside_interval) == (3, 0)


@pytest.mark.parametrize("start_time", ["2026-11-06T00:00:01Z", "2026-11-06T08:00:00Z", "2026-11-04T23:59:59Z"])
def test_an_engagement_that_did_not_begin_in_the_interval_is_kept_and_counted(
    start_simulator: StartSimulator, caplog: pytest.LogCaptureFixture, start_time: str
) -> None:
    server = start_simulator(Engagements([]))
    stray = {"engagement_id": "stray", "start_time": start_time}
    server.simulator.faults = [
        Fault("answer", times=-1, details={"status": 200, "body": {"total_records": 1, "engagements": [stray]}})
    ]

    reader = reader_for(server)

    assert [json.loads(line) for line in lines_of(reader)] == [stray]
    assert reader.counts.outside_interval == 1
    assert caplog.messages[-1].startswith("1 of the engagements did not begin in the interval")


def test_a_total_that_zoom_does_not_give_is_warned_of_once(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.simulator.faults = [Fault("page", times=-1, details={"total_records": None})]

    read(simulator, END - 60 * DAY, END)

    assert [message for message in caplog.messages if "cannot be checked" in message] == caplog.messages
    assert len(caplog.messages) == 1
