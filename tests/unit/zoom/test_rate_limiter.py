from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

import pytest

from airflow_provider_zcc.zoom.errors import ReadCancelled
from airflow_provider_zcc.zoom.rate_limiter import RateLimiter

#: Requests per second that leave a pause as the only thing to wait for.
UNPACED = 1e12


class Clock(threading.Event):
    """A clock, and the event whose wait lets it run on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 5_000.0
        self.waits = 0

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        assert self.waits < 100_000, "waits for ever"
        self.now += timeout or 0.0
        return self.is_set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def at_the_ceiling(limit: float, clock: Clock) -> RateLimiter:
    """Return a limiter that the server told its limit."""
    limiter = RateLimiter(limit, clock)
    limiter.announced(limit)
    return limiter


def starts(limiter: RateLimiter, clock: Clock, count: int) -> list[float]:
    """Return when requests start, as seconds from now."""
    begin, moments = clock.now, []
    for _ in range(count):
        limiter.wait(clock)
        moments.append(clock.now - begin)
    return moments


def let_through(limiter: RateLimiter, clock: Clock, count: int) -> None:
    """Let the server accept requests, as they come at the pace."""
    for _ in range(count):
        limiter.wait(clock)
        limiter.accepted()


def accepted_every(
    limiter: RateLimiter, clock: Clock, seconds: float, count: int, remaining: int | None = None
) -> None:
    """Let the server accept so many requests at regular intervals, and say what is left."""
    for _ in range(count):
        clock.now += seconds
        limiter.accepted(remaining)


def refused_at(limiter: RateLimiter, clock: Clock, seconds: float) -> None:
    """Let the server refuse a request after so many seconds, and name no time."""
    clock.now += seconds
    limiter.refused(None)


def test_requests_begin_evenly_at_a_quarter_of_the_ceiling(clock: Clock) -> None:
    assert starts(RateLimiter(20, clock), clock, 5) == pytest.approx([n / 5 for n in range(5)])


def test_starts_are_spaced_evenly_at_the_ceiling_once_the_server_announced_its_limit(clock: Clock) -> None:
    assert starts(at_the_ceiling(10, clock), clock, 5) == pytest.approx([n / 10 for n in range(5)])


@pytest.mark.parametrize("every", [0.05, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("seconds", "pace"), [(0, 20.0), (1, 40.0), (2, 80.0), (3, 80.0)])
def test_the_pace_doubles_each_second_up_to_the_ceiling(clock: Clock, every: float, seconds: int, pace: float) -> None:
    limiter = RateLimiter(80, clock)

    accepted_every(limiter, clock, every, round(seconds / every))

    assert limiter.pace == pytest.approx(pace)


@pytest.mark.parametrize("idle", [1.0, 5.0, 600.0])
def test_of_the_time_that_nothing_was_asked_the_pace_gains_one_second(clock: Clock, idle: float) -> None:
    limiter = RateLimiter(80, clock)

    clock.now += idle
    limiter.accepted()

    assert limiter.pace == pytest.approx(40.0)


@pytest.mark.parametrize(("limit", "pace"), [(4.0, 4.0), (12.0, 12.0), (20.0, 20.0), (50.0, 20.0)])
def test_an_announced_limit_is_the_pace_at_once_up_to_the_ceiling(clock: Clock, limit: float, pace: float) -> None:
    limiter = RateLimiter(20, clock)

    limiter.announced(limit)

    assert starts(limiter, clock, 3) == pytest.approx([n / pace for n in range(3)])


def test_who_waits_at_the_first_pace_starts_when_the_limit_is_announced(clock: Clock) -> None:
    limiter = RateLimiter(20, clock)
    starts(limiter, clock, 1)
    clock.now += 0.15

    limiter.announced(20)

    assert starts(limiter, clock, 3) == pytest.approx([n / 20 for n in range(3)])


def test_a_limit_that_is_announced_does_not_move_a_turn_back(clock: Clock) -> None:
    limiter = RateLimiter(4, clock)
    starts(limiter, clock, 1)
    clock.now += 1.02

    limiter.announced(4)

    assert starts(limiter, clock, 2) == pytest.approx([0.0, 0.23])


def test_of_a_lower_limit_that_is_announced_the_starts_before_count(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    before = starts(limiter, clock, 10)

    limiter.announced(5)
    after = [before[-1] + moment for moment in starts(limiter, clock, 5)]

    assert after[0] - before[-5] > 1.0
    assert after == pytest.approx([after[0] + n / 5 for n in range(5)])


def test_a_refusal_ends_the_doubling(clock: Clock) -> None:
    limiter = RateLimiter(80, clock)
    accepted_every(limiter, clock, 1 / 24, 24)
    limiter.refused(None)
    before = limiter.pace

    clock.now += 1.0
    limiter.accepted()

    assert before == pytest.approx(40 * 0.95 * 0.6)
    assert before < limiter.pace < before + 0.1


def test_a_limit_that_is_announced_after_a_refusal_does_not_raise_the_pace(clock: Clock) -> None:
    limiter = RateLimiter(20, clock)
    limiter.refused(None)
    before = limiter.pace

    limiter.announced(20)

    assert limiter.pace == before < 2.0


def test_a_pause_of_the_caller_is_not_made_up_for_by_a_burst(clock: Clock) -> None:
    limiter = at_the_ceiling(10, clock)
    starts(limiter, clock, 3)

    clock.now += 60.0

    assert starts(limiter, clock, 3) == pytest.approx([n / 10 for n in range(3)])


def test_a_fraction_of_a_request_per_second_is_a_pace(clock: Clock) -> None:
    assert starts(at_the_ceiling(0.5, clock), clock, 3) == pytest.approx([n / 0.5 for n in range(3)])


def test_a_refusal_pauses_for_the_time_that_the_server_named(clock: Clock) -> None:
    limiter = RateLimiter(10, clock)
    limiter.wait(clock)

    limiter.refused(7.0)

    assert starts(limiter, clock, 1) == pytest.approx([7.0])


def test_a_shorter_pause_does_not_cut_a_longer_one_short(clock: Clock) -> None:
    limiter = RateLimiter(10, clock)

    limiter.refused(7.0)
    limiter.refused(1.0)

    assert starts(limiter, clock, 1) == pytest.approx([7.0])


@pytest.mark.parametrize("named", [None, 0.0])
def test_refusals_in_a_row_that_name_no_time_pause_twice_as_long_each_up_to_a_third_of_a_second(
    clock: Clock, named: float | None
) -> None:
    limiter, pauses = RateLimiter(UNPACED, clock), []
    for _ in range(6):
        limiter.refused(named)
        pauses += starts(limiter, clock, 1)

    assert pauses == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.3, 0.3])


def test_the_pauses_begin_anew_after_the_server_let_a_request_through(clock: Clock) -> None:
    limiter = RateLimiter(UNPACED, clock)
    for _ in range(5):
        limiter.refused(None)
    starts(limiter, clock, 1)
    limiter.accepted()

    limiter.refused(None)

    assert starts(limiter, clock, 1) == pytest.approx([0.02])


def test_a_refusal_that_names_a_time_counts_in_the_row(clock: Clock) -> None:
    limiter = RateLimiter(UNPACED, clock)
    limiter.refused(7.0)
    starts(limiter, clock, 1)

    limiter.refused(None)

    assert starts(limiter, clock, 1) == pytest.approx([0.04])


def test_a_thousand_refusals_in_a_row_pause_for_a_third_of_a_second(clock: Clock) -> None:
    limiter = RateLimiter(10, clock)
    for _ in range(1_500):
        limiter.refused(None)

    assert starts(limiter, clock, 1) == pytest.approx([0.3])


@pytest.mark.parametrize(
    ("let_through_before", "pace"),
    [
        pytest.param(20, 20 * 0.99, id="all"),
        pytest.param(19, 20 * 0.99, id="nearly all, 95 %"),
        pytest.param(16, 20 * 0.95, id="80 %"),
        pytest.param(15, 15 * 0.95, id="just below 80 %"),
        pytest.param(10, 10 * 0.95, id="half"),
        pytest.param(8, 8 * 0.95, id="little"),
        pytest.param(7, 20 * 0.35, id="about a third"),
        pytest.param(0, 20 * 0.35, id="nothing"),
    ],
)
def test_a_refusal_lowers_the_pace_a_little_or_to_what_the_server_let_through_if_that_is_far_below(
    clock: Clock, let_through_before: int, pace: float
) -> None:
    limiter = at_the_ceiling(20, clock)
    for _ in range(let_through_before):
        clock.now += 0.9 / let_through_before
        limiter.accepted()

    limiter.refused(None)

    assert limiter.pace == pytest.approx(pace)
    assert starts(limiter, clock, 3) == pytest.approx([0.02, 0.02 + 1 / pace, 0.02 + 2 / pace])


def test_only_the_last_second_counts_for_what_the_server_let_through(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    for _ in range(15):
        limiter.accepted()
    clock.now += 1.5
    for _ in range(10):
        limiter.accepted()

    limiter.refused(None)

    assert limiter.pace == pytest.approx(10 * 0.95)


def test_echoes_of_a_refusal_do_not_slow_down_further(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)
    for _ in range(9):
        refused_at(limiter, clock, 0.1)

    assert limiter.pace == pytest.approx(20 * 0.35)


def test_a_refusal_is_an_echo_for_a_second_even_if_something_gets_through(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)
    clock.now += 0.9
    limiter.accepted()
    before = limiter.pace

    limiter.refused(None)

    assert limiter.pace == before


def test_an_echo_does_not_make_the_next_refusal_an_echo(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)
    refused_at(limiter, clock, 0.9)
    limiter.accepted()
    before = limiter.pace

    refused_at(limiter, clock, 0.2)

    assert limiter.pace == pytest.approx(before * 0.35)


def test_a_refusal_after_a_while_slows_down_further(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)
    limiter.accepted()

    refused_at(limiter, clock, 1.5)

    assert limiter.pace == pytest.approx(20 * 0.35 * 0.35)


@pytest.mark.parametrize("seconds", [10, 30, 300])
@pytest.mark.parametrize("retry_after", [None, 1.0])
def test_while_others_take_the_whole_limit_the_pace_is_lowered_once(
    clock: Clock, seconds: int, retry_after: float | None
) -> None:
    limiter = at_the_ceiling(20, clock)
    let_through(limiter, clock, 40)
    end = clock.now + seconds
    while clock.now < end:
        limiter.wait(clock)
        limiter.refused(retry_after)

    assert limiter.pace == pytest.approx(20 * 0.99)
    assert starts(limiter, clock, 1)[0] <= 1.0


def test_refusals_again_and_again_leave_a_twentieth_of_the_ceiling(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    for _ in range(50):
        limiter.refused(None)
        clock.now += 1.5
        limiter.accepted()
        clock.now += 1.5

    assert limiter.pace == pytest.approx(20 / 20, rel=0.05)


@pytest.mark.parametrize("every", [0.25, 1.0, 10.0])
@pytest.mark.parametrize("seconds", [10, 20, 40, 50])
def test_the_pace_is_won_back_with_the_square_of_the_time_since_the_last_refusal(
    clock: Clock, seconds: int, every: float
) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)

    accepted_every(limiter, clock, every, int(seconds / every))

    assert limiter.pace == pytest.approx(20 * 0.35 + 20 * 0.0002 * seconds**2)


def test_a_fiftieth_of_the_ceiling_is_won_back_in_10_seconds_and_a_third_in_40(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)
    before = limiter.pace
    clock.now += 10.0
    limiter.accepted()
    a_little = limiter.pace
    clock.now += 30.0
    limiter.accepted()

    assert a_little - before == pytest.approx(0.02 * 20)
    assert limiter.pace - before == pytest.approx(0.32 * 20)


def test_who_has_little_gains_as_much_as_who_has_much(clock: Clock) -> None:
    much, little = at_the_ceiling(20, clock), at_the_ceiling(20, clock)
    much.refused(None)
    little.refused(None)
    for limiter in (much, little):
        limiter.accepted()
    clock.now += 1.5
    little.refused(None)
    accepted_every(much, clock, 0.0, 20)
    much.refused(None)
    before = much.pace, little.pace

    clock.now += 20.0
    for limiter in (much, little):
        limiter.accepted()

    assert before[0] > 2 * before[1]
    assert much.pace - before[0] == pytest.approx(little.pace - before[1]) == pytest.approx(0.08 * 20)


def test_a_new_refusal_makes_the_growth_slow_again(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)
    clock.now += 40.0
    limiter.accepted()
    refused_at(limiter, clock, 1.5)
    before = limiter.pace

    clock.now += 10.0
    limiter.accepted()

    assert limiter.pace == pytest.approx(before + 0.02 * 20)


def test_the_pace_climbs_back_to_the_ceiling_and_no_higher(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)

    let_through(limiter, clock, 2_000)

    assert limiter.pace == 20
    first, second = starts(limiter, clock, 2)
    assert second - first == pytest.approx(1 / 20, rel=0.01)


# What the server has left


@pytest.mark.parametrize("every", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("remaining", "gained"), [(1, 0.1), (3, 0.9), (5, 2.5), (10, 10.0)])
def test_the_pace_grows_into_what_is_left_with_its_square(
    clock: Clock, every: float, remaining: int, gained: float
) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)

    accepted_every(limiter, clock, every, round(1 / every), remaining)

    assert limiter.pace == pytest.approx(20 * 0.35 + gained)


def test_the_pace_grows_into_what_is_left_up_to_the_ceiling(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)

    accepted_every(limiter, clock, 0.1, 100, remaining=9)

    assert limiter.pace == 20


@pytest.mark.parametrize("idle", [1.0, 60.0])
def test_the_pace_does_not_grow_into_what_is_left_while_nothing_is_asked(clock: Clock, idle: float) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.refused(None)

    clock.now += idle
    limiter.accepted(5)

    assert limiter.pace == pytest.approx(20 * 0.35 + 2.5)


@pytest.mark.parametrize("every", [0.1, 0.5, 1.0])
def test_a_tenth_of_the_pace_is_yielded_per_second_while_others_leave_nothing(clock: Clock, every: float) -> None:
    limiter = at_the_ceiling(20, clock)
    limiter.accepted()

    accepted_every(limiter, clock, every, round(3 / every), remaining=0)

    assert limiter.pace == pytest.approx(20 * (1 - 0.1 * every) ** round(3 / every))


@pytest.mark.parametrize("idle", [1.0, 60.0])
def test_nothing_is_yielded_for_the_time_that_nothing_was_asked(clock: Clock, idle: float) -> None:
    limiter = at_the_ceiling(20, clock)

    clock.now += idle
    limiter.accepted(0)

    assert limiter.pace == pytest.approx(20 * 0.9)


def test_no_more_is_yielded_than_leaves_a_twentieth_of_the_ceiling(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)

    accepted_every(limiter, clock, 1.0, 100, remaining=0)

    assert limiter.pace == 20 / 20


@pytest.mark.parametrize(("in_the_last_second", "yields"), [(20, False), (19, False), (18, True), (10, True)])
def test_who_takes_nearly_the_whole_limit_alone_yields_nothing(
    clock: Clock, in_the_last_second: int, yields: bool
) -> None:
    limiter = at_the_ceiling(20, clock)
    accepted_every(limiter, clock, 0.9 / in_the_last_second, in_the_last_second - 1, remaining=1)

    accepted_every(limiter, clock, 0.9 / in_the_last_second, 1, remaining=0)

    assert (limiter.pace < 20) == yields


def test_who_takes_nearly_the_whole_limit_alone_gains_as_if_nothing_were_said_of_the_rest(clock: Clock) -> None:
    limiter = at_the_ceiling(20, clock)
    accepted_every(limiter, clock, 0.05, 19, remaining=1)
    limiter.refused(None)

    accepted_every(limiter, clock, 0.05, 100, remaining=0)

    assert limiter.pace == pytest.approx(20 * 0.99 + 20 * 0.0002 * 5**2)


# Sharing a limit


class Process(Clock):
    """A process with a limiter, whose clock runs apart: it wakes up a little late, and answers take their time."""

    def __init__(self, ceiling: float, seed: int, latency: float) -> None:
        super().__init__()
        self.limiter = RateLimiter(ceiling, self)
        self.latency = latency
        self.answers: deque[tuple[float, partial[None]]] = deque()
        self.let_through: list[float] = []
        self.refused = 0
        self._random = random.Random(seed)

    def wait(self, timeout: float | None = None) -> bool:
        end = self.now + (timeout + self._random.uniform(0.0, 0.002) if timeout else 0.0)
        while self.answers and self.answers[0][0] <= end:
            self.now, answer = self.answers.popleft()
            answer()
        self.now = end
        return False

    def next_start(self) -> float:
        self.limiter.wait(self)
        return self.now


def share(processes: Sequence[Process], limit: int, seconds: float, *, announces: bool) -> None:
    """Let processes ask as fast as they can a server that lets so many requests through within any second."""
    begin, window = processes[0].now, deque[float]()
    starts = [process.next_start() for process in processes]
    while (now := min(starts)) < begin + seconds:
        number = starts.index(now)
        process = processes[number]
        while window and window[0] <= now - 1.0:
            window.popleft()
        remaining = limit - len(window) - 1 if announces else None
        if announces:
            process.answers.append((now + process.latency, partial(process.limiter.announced, limit)))
        if len(window) < limit:
            window.append(now)
            process.let_through.append(now - begin)
            process.answers.append((now + process.latency, partial(process.limiter.accepted, remaining)))
        else:
            process.refused += 1
            process.answers.append((now + process.latency, partial(process.limiter.refused, None)))
        starts[number] = process.next_start()


def used(process: Process, limit: int, since: float, until: float) -> float:
    """Return the share of the limit that a process used."""
    return sum(since <= moment < until for moment in process.let_through) / (until - since) / limit


@pytest.mark.parametrize("announces", [True, False])
@pytest.mark.parametrize("limit", [10, 20])
@pytest.mark.parametrize("latency", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("seed", [1, 2])
def test_two_processes_that_begin_together_share_a_limit_nearly_equally_and_use_it_up(
    seed: int, latency: float, limit: int, announces: bool
) -> None:
    processes = [Process(20, 10 * seed + number, latency) for number in range(2)]

    share(processes, limit, 120.0, announces=announces)

    shares = [used(process, limit, 20.0, 120.0) for process in processes]
    requests = sum(len(process.let_through) + process.refused for process in processes)
    assert min(shares) >= 0.3
    assert sum(shares) >= 0.85
    assert sum(process.refused for process in processes) <= (0.02 if announces else 0.04) * requests


@pytest.mark.parametrize("limit", [10, 20])
@pytest.mark.parametrize("latency", [0.05, 0.3])
def test_a_process_that_has_an_announced_limit_to_itself_uses_it_up_without_refusals(
    limit: int, latency: float
) -> None:
    process = Process(20, 1, latency)

    share([process], limit, 60.0, announces=True)

    assert process.refused == 0
    assert used(process, limit, 1.0, 60.0) >= 0.95


@pytest.mark.parametrize("announces", [True, False])
def test_what_another_process_leaves_when_it_ends_is_taken(announces: bool) -> None:
    stays, ends = (Process(20, number, 0.15) for number in range(2))
    share([stays, ends], 20, 60.0, announces=announces)
    before = used(stays, 20, 30.0, 60.0)
    stays.let_through.clear()

    share([stays], 20, 90.0, announces=announces)

    assert before <= 0.7
    assert used(stays, 20, 10.0 if announces else 60.0, 90.0) >= 0.95


def test_a_limit_that_nobody_announced_is_found_with_few_refusals_and_well_used(clock: Clock) -> None:
    limiter, accepted, refusals = RateLimiter(20, clock), [clock.now - 2.0], 0
    begin = clock.now
    while clock.now < begin + 120.0:
        limiter.wait(clock)
        if sum(moment > clock.now - 1.0 for moment in accepted[-10:]) < 10:
            accepted.append(clock.now)
            limiter.accepted()
        else:
            refusals += 1
            limiter.refused(None)

    assert refusals <= 20
    assert len(accepted) >= 0.85 * 10 * 120


@pytest.mark.parametrize(
    ("limit", "pace"), [(4.0, 4.0), (0.5, 0.5), (20.0, 10.0), (10.0, 10.0), (0.0, 10.0), (-3.0, 10.0)]
)
def test_an_announced_limit_lowers_the_ceiling_and_never_raises_it(clock: Clock, limit: float, pace: float) -> None:
    limiter = RateLimiter(10, clock)

    limiter.announced(limit)
    let_through(limiter, clock, 50)

    assert limiter.pace == pytest.approx(pace)


@pytest.mark.parametrize("limit", [0.0, -3.0, math.nan])
def test_a_limit_that_is_none_announces_nothing(clock: Clock, limit: float) -> None:
    limiter = RateLimiter(20, clock)

    limiter.announced(limit)

    assert limiter.pace == 5.0


def test_recovery_ends_at_the_announced_limit(clock: Clock) -> None:
    limiter = at_the_ceiling(10, clock)
    limiter.refused(None)

    limiter.announced(4.0)
    clock.now += 600.0
    limiter.accepted()

    assert limiter.pace == 4.0


def test_a_pace_below_the_announced_limit_stays_low(clock: Clock) -> None:
    limiter = at_the_ceiling(10, clock)
    limiter.refused(None)

    limiter.announced(4.0)

    assert limiter.pace == pytest.approx(10.0 * 0.35)


# Turns


class Waiting(threading.Event):
    """An event that tells when somebody waits for it; how long is up to the clock of the limiter."""

    def __init__(self) -> None:
        super().__init__()
        self.in_line = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout:
            self.in_line.set()
            time.sleep(0.0005)
        return self.is_set()


@pytest.mark.parametrize("ranks_at_first", [[0.0] * 5, [1.0, 5.0, 2.0, 4.0, 3.0]], ids=["equal", "other"])
@pytest.mark.parametrize(
    ("ranks", "order"),
    [
        pytest.param([5.0, 4.0, 3.0, 2.0, 1.0], [4, 3, 2, 1, 0], id="falling"),
        pytest.param([1.0, 2.0, 3.0, 4.0, 5.0], [0, 1, 2, 3, 4], id="rising"),
        pytest.param([3.0, -1.0, 5.0, 0.0, -7.5], [4, 1, 3, 0, 2], id="mixed"),
        pytest.param([0.0, 0.0, 0.0, 0.0, 0.0], [0, 1, 2, 3, 4], id="equal: as they came"),
        pytest.param([2.0, 1.0, 2.0, 1.0, 2.0], [1, 3, 0, 2, 4], id="some equal"),
    ],
)
def test_of_the_requests_that_wait_at_the_same_time_the_lowest_rank_at_that_time_starts_first(
    clock: Clock, ranks_at_first: list[float], ranks: list[float], order: list[int]
) -> None:
    limiter, started = at_the_ceiling(10, clock), list[int]()
    limiter.wait(clock)

    def start(number: int, stop: threading.Event) -> None:
        limiter.wait(stop, lambda: present[number])
        started.append(number)

    present = ranks_at_first
    for number in range(len(ranks)):
        stop = Waiting()
        threading.Thread(target=start, args=(number, stop), daemon=True).start()
        assert stop.in_line.wait(5.0)
    present = ranks
    for turn in range(len(ranks)):
        assert len(started) == turn
        clock.now += 0.15
        deadline = time.monotonic() + 5.0
        while len(started) == turn and time.monotonic() < deadline:
            time.sleep(0.0005)

    assert started == order


def test_a_request_that_was_stopped_does_not_hold_up_the_others(clock: Clock) -> None:
    limiter = RateLimiter(10, clock)
    limiter.wait(clock)
    clock.set()
    with pytest.raises(ReadCancelled):
        limiter.wait(clock, lambda: -1.0)

    clock.clear()

    assert starts(limiter, clock, 2) == pytest.approx([0.0, 0.4])


@pytest.mark.parametrize(
    ("late", "following"),
    [
        pytest.param(0.04, 0.2, id="a little: the turns behind it stay"),
        pytest.param(0.06, 0.26, id="more: they move"),
        pytest.param(3.0, 3.2, id="much: they move"),
    ],
)
def test_a_turn_that_is_taken_late_moves_those_behind_it_only_if_it_is_much_too_late(
    clock: Clock, late: float, following: float
) -> None:
    limiter = at_the_ceiling(10, clock)
    begin = clock.now
    limiter.wait(clock)
    clock.now += 0.1 + late

    assert starts(limiter, clock, 1) == [0.0]
    assert begin + following == pytest.approx(clock.now + starts(limiter, clock, 1)[0])


def test_a_stop_ends_the_wait(clock: Clock) -> None:
    limiter = RateLimiter(10, clock)
    clock.set()

    with pytest.raises(ReadCancelled, match=r"Reading was stopped\."):
        limiter.wait(clock)


def test_a_stop_wakes_a_thread_that_waits_for_its_turn() -> None:
    limiter, stop = RateLimiter(0.01), threading.Event()
    limiter.wait(stop)
    threading.Timer(0.05, stop.set).start()

    with pytest.raises(ReadCancelled):
        limiter.wait(stop)


def test_a_refusal_holds_back_threads_that_wait_already() -> None:
    limiter, stop = RateLimiter(4), threading.Event()
    limiter.announced(4)
    limiter.wait(stop)
    started: list[float] = []

    def start() -> None:
        limiter.wait(stop)
        started.append(time.monotonic())

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    refused = time.monotonic()
    limiter.refused(0.4)
    for thread in threads:
        thread.join()

    assert min(started) - refused >= 0.39


def test_threads_share_one_pace() -> None:
    limiter, stop = RateLimiter(100), threading.Event()
    limiter.announced(100)
    begin = time.monotonic()
    threads = [threading.Thread(target=lambda: [limiter.wait(stop) for _ in range(5)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - begin >= 0.28


def test_turns_that_begin_late_do_not_crowd_into_one_second() -> None:
    lateness = random.Random(1)

    class LateClock(Clock):
        """Wakes up late, as threads do that wait for each other."""

        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(timeout + lateness.choice((0.0, 0.001, 0.03)) if timeout else timeout)

    clock = LateClock()
    moments = starts(at_the_ceiling(20, clock), clock, 400)

    assert all(later - earlier > 1.0 for earlier, later in zip(moments, moments[20:], strict=False))
    assert moments[-1] < 1.04 * 400 / 20


@pytest.mark.parametrize("limit", [10, 20])
def test_a_process_that_comes_later_gets_a_part_of_a_limit_that_is_announced(limit: int) -> None:
    early, late = Process(20, 1, 0.15), Process(20, 2, 0.15)
    late.now += 10.0

    share([early, late], limit, 240.0, announces=True)

    assert used(late, limit, 120.0, 240.0) >= 0.2
