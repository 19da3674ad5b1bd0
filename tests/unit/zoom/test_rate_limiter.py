from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from airflow_provider_zcc.zoom.errors import ReadCancelled
from airflow_provider_zcc.zoom.rate_limiter import RateLimiter


class Clock(threading.Event):
    """A clock, and the stop event whose wait advances it, later than asked by up to so many seconds."""

    def __init__(self, lateness: float = 0.0, seed: int = 1) -> None:
        super().__init__()
        self.now = 5_000.0
        self.waits = 0
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


def starts(limiter: RateLimiter, clock: Clock, count: int) -> list[float]:
    """Return when the next requests start, in seconds from now."""
    begin = clock.now
    return [clock.now - begin for _ in range(count) if limiter.wait(clock) is None]


def rate_after(limiter: RateLimiter, clock: Clock, seconds: float, *remaining: int | None) -> float:
    """Return the rate after all requests were accepted for so long, and the server reported what is left in turn."""
    end = clock.now + seconds
    while clock.now < end:
        for left in remaining or (None,):
            limiter.wait(clock)
            limiter.on_success(left)
    return limiter.rate


# Several processes that share a limit


class Process(Clock):
    """A process with its own limiter. Responses arrive after some latency, and threads wake up a little late."""

    def __init__(self, seed: int, latency: float, ceiling: float = 20.0) -> None:
        super().__init__(0.002, seed)
        self.limiter = RateLimiter(ceiling, self)
        self.latency = latency
        self.responses: deque[tuple[float, Callable[[], None]]] = deque()
        self.accepted: list[float] = []
        self.rejected = 0

    def wait(self, timeout: float | None = None) -> bool:
        begin, stopped = self.now, super().wait(timeout)
        end, self.now = self.now, begin
        while self.responses and self.responses[0][0] <= end:
            self.now, receive = self.responses.popleft()
            receive()
        self.now = end
        return stopped

    def next_start(self) -> float:
        self.limiter.wait(self)
        return self.now


def share(processes: Sequence[Process], limit: int, seconds: float, *, announced: bool) -> None:
    """Send as many requests as the limiters allow to a server that accepts ``limit`` of them in any second."""
    begin, window = processes[0].now, deque[float]()
    upcoming = [process.next_start() for process in processes]
    while (now := min(upcoming)) < begin + seconds:
        process = processes[index := upcoming.index(now)]
        while window and window[0] <= now - 1.0:
            window.popleft()
        respond = partial(process.limiter.on_throttle, None)
        if len(window) < limit:
            window.append(now)
            process.accepted.append(now - begin)
            respond = partial(process.limiter.on_success, limit - len(window) if announced else None)
        else:
            process.rejected += 1
        if announced:
            process.responses.append((now + process.latency, partial(process.limiter.on_limit, limit)))
        process.responses.append((now + process.latency, respond))
        upcoming[index] = process.next_start()


def used(process: Process, limit: int, since: float, until: float) -> float:
    """Return the share of the limit that a process used."""
    return sum(since <= moment < until for moment in process.accepted) / (until - since) / limit


@pytest.mark.parametrize("latency", [0.05, 0.15, 0.3])
@pytest.mark.parametrize(
    ("processes", "limit", "announced", "rejected"),
    [
        (1, 20, True, 0.0),
        (1, 10, True, 0.0),
        (2, 20, True, 0.02),
        (4, 20, True, 0.05),
        (2, 10, True, 0.03),
        (1, 20, False, 0.0),
        (1, 10, False, 0.02),
        (2, 20, False, 0.02),
        (4, 20, False, 0.05),
        (2, 10, False, 0.04),
    ],
)
def test_processes_use_a_limit_with_few_rejected_requests_and_similar_shares(
    processes: int, limit: int, announced: bool, rejected: float, latency: float
) -> None:
    sharing = [Process(seed, latency) for seed in range(processes)]

    share(sharing, limit, 120.0, announced=announced)

    shares = [used(process, limit, 20.0, 120.0) for process in sharing]
    rejections = sum(process.rejected for process in sharing)
    requests = rejections + sum(len(process.accepted) for process in sharing)
    assert sum(shares) >= (0.98 if rejected == 0 else 0.9)
    assert rejections <= rejected * requests
    assert min(shares) * processes >= 0.6


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("limit", [10, 20])
def test_process_that_starts_later_gets_a_share_of_the_limit(limit: int, announced: bool) -> None:
    early, late = Process(1, 0.15), Process(2, 0.15)
    late.now += 10.0

    share([early, late], limit, 120.0, announced=announced)

    assert used(late, limit, 60.0, 120.0) >= 0.2


@pytest.mark.parametrize(("announced", "soon"), [(True, 20.0), (False, 75.0)])
def test_remaining_process_takes_over_what_another_one_leaves(announced: bool, soon: float) -> None:
    stays, ends = (Process(seed, 0.15) for seed in range(2))
    share([stays, ends], 20, 60.0, announced=announced)
    before = used(stays, 20, 30.0, 60.0)
    stays.accepted.clear()

    share([stays], 20, 120.0, announced=announced)

    assert before <= 0.7
    assert used(stays, 20, soon, 120.0) >= 0.95


@pytest.mark.parametrize("lateness", [0.0, 0.03])
@pytest.mark.parametrize("ceiling", [0.1, 1.0, 2.5, 20.0, 200.0])
def test_no_more_requests_than_the_ceiling_start_in_any_second_however_late_threads_wake_up(
    ceiling: float, lateness: float
) -> None:
    clock = Clock(lateness)
    period, most = max(1.0, 1.0 / ceiling), max(1, math.floor(ceiling))

    moments = starts(RateLimiter(ceiling, clock), clock, 20 * most)

    assert all(later - earlier > period for earlier, later in zip(moments, moments[most:], strict=False))
    assert moments[-1] < 1.04 * 20 * period


def test_starts_are_spaced_evenly_also_after_a_pause_of_the_caller(clock: Clock) -> None:
    limiter = RateLimiter(10.0, clock)
    before = starts(limiter, clock, 5)

    clock.now += 60.0

    assert before == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert before == pytest.approx(starts(limiter, clock, 5))


def test_throttles_within_a_second_count_once_and_a_later_one_again(clock: Clock) -> None:
    limiter = RateLimiter(20.0, clock)
    limiter.on_throttle(None)
    first = limiter.rate
    for _ in range(9):
        clock.now += 0.1
        limiter.on_success()
        limiter.on_throttle(None)
    echoes = limiter.rate
    clock.now += 0.2
    limiter.on_success()
    limiter.on_throttle(None)

    assert 5.0 < first < 19.0
    assert echoes == first
    assert 0.25 * first < limiter.rate < 0.95 * first


def test_rate_recovers_up_to_the_ceiling_the_faster_the_longer_nothing_is_throttled(clock: Clock) -> None:
    limiter = RateLimiter(20.0, clock)
    limiter.on_throttle(None)

    rates = [limiter.rate, *(rate_after(limiter, clock, 15.0) for _ in range(6))]

    assert 0 < rates[1] - rates[0] < rates[2] - rates[1] < 5.0
    assert rates[-1] == max(rates) == 20.0


@pytest.mark.parametrize(("remaining", "fast"), [((1,), False), ((19, 0, 19), False), ((10,), True)])
def test_rate_grows_fast_into_what_the_server_reports_as_unused_at_all_times(
    clock: Clock, remaining: tuple[int, ...], fast: bool
) -> None:
    limiter = RateLimiter(20.0, clock)
    limiter.on_throttle(None)
    before = limiter.rate

    gain = rate_after(limiter, clock, 5.0, *remaining) - before

    assert gain > 5.0 if fast else 0 < gain < 1.0


def test_time_that_a_throttle_names_is_waited_out_whatever_others_name(clock: Clock) -> None:
    limiter = RateLimiter(10.0, clock)
    for seconds in (1.0, 7.0, 2.0, None, 0.0):
        limiter.on_throttle(seconds)

    assert starts(limiter, clock, 1) == pytest.approx([7.0])


@pytest.mark.parametrize("ceiling", [1.0, 20.0, 1_000.0])
def test_while_nothing_is_accepted_the_rate_is_kept_and_about_one_request_a_second_is_sent(
    clock: Clock, ceiling: float
) -> None:
    limiter, rates, end = RateLimiter(ceiling, clock), list[float](), clock.now + 60.0
    while clock.now < end:
        limiter.wait(clock)
        limiter.on_throttle(None)
        rates.append(limiter.rate)

    assert rates[0] == rates[-1] < ceiling
    assert 45 <= len(rates) <= 75


@pytest.mark.parametrize(("limit", "rate"), [(4.0, 4.0), (0.5, 0.5), (20.0, 10.0), (0.0, 10.0), (math.nan, 10.0)])
def test_announced_limit_lowers_the_ceiling_and_never_raises_it(clock: Clock, limit: float, rate: float) -> None:
    limiter = RateLimiter(10.0, clock)
    before = starts(limiter, clock, 10)[-1]
    limiter.on_limit(limit)
    most = max(1, math.floor(rate))

    after = starts(limiter, clock, 20)

    assert after[0] + before > before - 0.1 * (most - 1) + 1.0
    assert after[-1] - after[-2] == pytest.approx(1 / rate, rel=0.07)
    assert rate_after(limiter, clock, 30.0) == rate


def test_threads_wait_out_a_named_time_then_the_lowest_priority_value_starts_first() -> None:
    limiter, stop, started = RateLimiter(20.0), threading.Event(), list[tuple[int, float]]()
    priorities = [1.0, 5.0, 2.0, 4.0, 3.0]
    limiter.wait(stop)

    def start(number: int) -> None:
        limiter.wait(stop, lambda: priorities[number])
        started.append((number, time.monotonic()))

    with ThreadPoolExecutor(5) as threads:
        threads.map(start, range(5))
        throttle = time.monotonic()
        limiter.on_throttle(0.3)
        time.sleep(0.1)
        priorities[:] = [3.0, -1.0, 5.0, 0.0, -7.5]

    assert [number for number, _ in started] == [4, 1, 3, 0, 2]
    assert started[0][1] - throttle >= 0.29
    assert started[-1][1] - started[0][1] >= 0.3


def test_stop_wakes_a_waiting_thread_and_leaves_no_ticket_in_the_queue() -> None:
    limiter, stop = RateLimiter(5.0), threading.Event()
    limiter.wait(stop)
    threading.Timer(0.02, stop.set).start()

    with pytest.raises(ReadCancelled):
        limiter.wait(stop, lambda: -1.0)

    threading.Timer(2.0, (late := threading.Event()).set).start()
    limiter.wait(late)


def test_exception_from_a_signal_handler_leaves_no_ticket_in_the_queue() -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedError

    limiter, delays = RateLimiter(1e9), random.Random(1)
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(500):
            stop = Clock()
            with pytest.raises(InterruptedError):  # noqa: PT012
                signal.setitimer(signal.ITIMER_REAL, delays.uniform(0.00005, 0.0005))
                while True:
                    limiter.wait(stop)
    finally:
        signal.signal(signal.SIGALRM, previous)

    limiter.wait(Clock(), lambda: 1.0)
