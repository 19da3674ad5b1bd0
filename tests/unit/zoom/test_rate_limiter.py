from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from pytest_mock import MockerFixture

from airflow_provider_zcc.zoom.errors import ReadCancelled
from airflow_provider_zcc.zoom.rate_limiter import RateLimiter


class Clock(threading.Event):
    """A clock, and the stop event whose wait advances it, by up to ``lateness`` more than it should."""

    def __init__(self, lateness: float = 0.0, seed: int = 1) -> None:
        super().__init__()
        self.now, self.waits = 5_000.0, 0
        self._lateness, self._random = lateness, random.Random(seed)

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        assert self.waits < 100_000, "waits forever"
        self.now += timeout + self._random.uniform(0.0, self._lateness) if timeout else 0.0
        return self.is_set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def start(limiter: RateLimiter, clock: Clock) -> float:
    """Return when the next request starts."""
    limiter.wait_for_turn(clock)
    return clock.now


def rate_after(limiter: RateLimiter, clock: Clock, seconds: float) -> float:
    """Return the rate after all requests were accepted for so long."""
    end = clock.now + seconds
    while clock.now < end:
        limiter.wait_for_turn(clock)
        limiter.on_success()
    return limiter.rate


class Process(Clock):
    """A process with its own limiter, whose responses take ``latency`` seconds and whose threads wake up a bit late."""

    def __init__(self, seed: int, latency: float, ceiling: float = 20.0) -> None:
        super().__init__(0.002, seed)
        self.limiter = RateLimiter(ceiling, self)
        self.latency = latency
        self.responses: deque[tuple[float, Callable[[], None]]] = deque()
        self.accepted: list[float] = []
        self.requests = 0

    def wait(self, timeout: float | None = None) -> bool:
        begin, stopped = self.now, super().wait(timeout)
        end, self.now = self.now, begin
        while self.responses and self.responses[0][0] <= end:
            self.now, receive = self.responses.popleft()
            receive()
        self.now = end
        return stopped


def share(processes: Sequence[Process], limit: int, seconds: float, *, announced: bool) -> None:
    """Send as many requests as the limiters allow to a server that accepts ``limit`` of them in any second."""
    begin, window = processes[0].now, deque[float]()
    upcoming = [start(process.limiter, process) for process in processes]
    while (now := min(upcoming)) < begin + seconds:
        process = processes[index := upcoming.index(now)]
        while window and window[0] <= now - 1.0:
            window.popleft()
        if announced:
            process.responses.append((now + process.latency, partial(process.limiter.on_limit, limit)))
        respond = partial(process.limiter.on_throttle, None)
        if len(window) < limit:
            window.append(now)
            process.accepted.append(now - begin)
            respond = partial(process.limiter.on_success, limit - len(window) if announced else None)
        process.requests += 1
        process.responses.append((now + process.latency, respond))
        upcoming[index] = start(process.limiter, process)


def used(process: Process, limit: int, since: float, until: float) -> float:
    """Return the share of the limit that a process used."""
    return sum(since <= moment < until for moment in process.accepted) / (until - since) / limit


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("latency", [0.05, 0.3])
@pytest.mark.parametrize(
    ("count", "limit", "most_rejected"), [(1, 20, 0.0), (1, 10, 0.015), (2, 20, 0.015), (4, 20, 0.04), (2, 10, 0.035)]
)
def test_processes_use_up_a_limit_with_few_rejected_requests_and_similar_shares(
    count: int, limit: int, most_rejected: float, latency: float, announced: bool
) -> None:
    processes = [Process(seed, latency) for seed in range(count)]

    share(processes, limit, 120.0, announced=announced)

    shares = [used(process, limit, 20.0, 120.0) for process in processes]
    accepted = sum(len(process.accepted) for process in processes) / sum(process.requests for process in processes)
    alone = count == 1 and (announced or limit == 20)
    assert sum(shares) >= (0.98 if alone else 0.91)
    assert accepted >= 1.0 - (0.0 if alone else most_rejected)
    assert min(shares) * count >= 0.6


@pytest.mark.parametrize(("announced", "soon"), [(True, 20.0), (False, 75.0)])
def test_process_that_starts_later_gets_a_share_and_what_it_leaves_is_taken_over(announced: bool, soon: float) -> None:
    limit, early, late = 20, Process(1, 0.15), Process(2, 0.15)
    late.now += 10.0
    share([early, late], limit, 120.0, announced=announced)
    assert used(late, limit, 60.0, 120.0) >= 0.2
    early.accepted.clear()
    share([early], limit, 120.0, announced=announced)

    assert used(early, limit, soon, 120.0) >= (0.95 if announced else 0.9)


@pytest.mark.parametrize("lateness", [0.0, 0.03])
@pytest.mark.parametrize("ceiling", [0.1, 1.0, 2.5, 20.0, 200.0])
def test_no_more_than_the_ceiling_start_in_a_second_however_late_threads_wake(ceiling: float, lateness: float) -> None:
    clock = Clock(lateness)
    period, most = max(1.0, 1.0 / ceiling), max(1, math.floor(ceiling))
    limiter, begin = RateLimiter(ceiling, clock), clock.now
    moments = [start(limiter, clock) - begin for _ in range(20 * most)]

    assert all(later - earlier > period for earlier, later in zip(moments, moments[most:], strict=False))
    assert moments[-1] < 1.04 * 20 * period


def test_starts_are_spaced_evenly_also_after_a_pause_of_the_caller(clock: Clock) -> None:
    limiter = RateLimiter(10.0, clock)
    for begin in (clock.now, clock.now + 60.0):
        clock.now = begin
        assert [start(limiter, clock) - begin for _ in range(4)] == pytest.approx([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("ceiling", [1.0, 20.0, 1_000.0])
def test_if_nothing_is_accepted_the_rate_stays_and_one_request_a_second_is_sent(clock: Clock, ceiling: float) -> None:
    limiter, rates, end = RateLimiter(ceiling, clock), list[float](), clock.now + 60.0
    while clock.now < end:
        limiter.wait_for_turn(clock)
        limiter.on_throttle(None)
        rates.append(limiter.rate)
    assert rates[0] == rates[-1] < ceiling
    assert 45 <= len(rates) <= 75


@pytest.mark.parametrize(("limit", "rate"), [(4.0, 4.0), (0.5, 0.5), (20.0, 10.0), (0.0, 10.0), (math.nan, 10.0)])
def test_announced_limit_lowers_the_ceiling_and_never_raises_it(clock: Clock, limit: float, rate: float) -> None:
    limiter = RateLimiter(10.0, clock)
    before = [start(limiter, clock) for _ in range(10)]
    limiter.on_limit(limit)
    after = [start(limiter, clock) for _ in range(20)]
    assert after[0] > before[-max(1, math.floor(rate))] + 1.0
    assert after[-1] - after[-2] == pytest.approx(1 / rate, rel=0.07)
    assert rate_after(limiter, clock, 30.0) == rate


def test_threads_wait_out_a_named_time_then_the_lowest_priority_value_starts_first() -> None:
    limiter, stop, started = RateLimiter(20.0), threading.Event(), list[tuple[int, float]]()
    priorities = [1.0, 5.0, 2.0, 4.0, 3.0]
    limiter.wait_for_turn(stop)

    def start(number: int) -> None:
        limiter.wait_for_turn(stop, lambda: (0, priorities[number]))
        started.append((number, time.monotonic()))

    with ThreadPoolExecutor(5) as threads:
        threads.map(start, range(5))
        throttle = time.monotonic()
        for seconds in (0.3, 0.1, None):
            limiter.on_throttle(seconds)
        time.sleep(0.1)
        priorities[:] = [3.0, -1.0, 5.0, 0.0, -7.5]

    assert [number for number, _ in started] == [4, 1, 3, 0, 2]
    assert started[0][1] - throttle >= 0.29
    assert started[-1][1] - started[0][1] >= 0.3


def test_stop_wakes_a_waiting_thread() -> None:
    limiter, stop = RateLimiter(0.1), threading.Event()
    limiter.wait_for_turn(stop)
    threading.Timer(0.02, stop.set).start()

    with pytest.raises(ReadCancelled):
        limiter.wait_for_turn(stop)


def test_exception_from_a_signal_handler_leaves_no_ticket_in_the_queue(clock: Clock, mocker: MockerFixture) -> None:
    limiter, interrupted = RateLimiter(5.0, clock), mocker.Mock(wait=mocker.Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):
        limiter.wait_for_turn(interrupted, lambda: (-1, 0.0))

    limiter.wait_for_turn(clock)
