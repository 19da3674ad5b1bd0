from __future__ import annotations

import math
import random
import threading
import time

import pytest

from airflow_provider_zcc.zoom.errors import Stopped
from airflow_provider_zcc.zoom.pacing import Pacer

#: Requests per second that leave a pause as the only thing to wait for.
UNPACED = 1e12


class Clock(threading.Event):
    """A clock, and the event whose wait lets it run on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 5_000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def starts(pacer: Pacer, clock: Clock, count: int) -> list[float]:
    """Return when requests start, as seconds from now."""
    begin, moments = clock.now, []
    for _ in range(count):
        pacer.wait(clock)
        moments.append(clock.now - begin)
    return moments


def let_through(pacer: Pacer, clock: Clock, count: int) -> None:
    """Let the server accept requests, as they come at the pace."""
    for _ in range(count):
        pacer.wait(clock)
        pacer.accepted()


def refused_at(pacer: Pacer, clock: Clock, seconds: float) -> None:
    """Let the server refuse a request after so many seconds, and name no time."""
    clock.now += seconds
    pacer.refused(None)


def test_starts_are_spaced_evenly_from_the_first_request_on_at_the_ceiling(clock: Clock) -> None:
    assert starts(Pacer(10, clock), clock, 5) == pytest.approx([n / 10 for n in range(5)])


def test_a_pause_of_the_caller_is_not_made_up_for_by_a_burst(clock: Clock) -> None:
    pacer = Pacer(10, clock)
    starts(pacer, clock, 3)

    clock.now += 60.0

    assert starts(pacer, clock, 3) == pytest.approx([n / 10 for n in range(3)])


def test_a_fraction_of_a_request_per_second_is_a_pace(clock: Clock) -> None:
    assert starts(Pacer(0.5, clock), clock, 3) == pytest.approx([n / 0.5 for n in range(3)])


def test_a_refusal_pauses_for_the_time_that_the_server_named(clock: Clock) -> None:
    pacer = Pacer(10, clock)
    pacer.wait(clock)

    pacer.refused(7.0)

    assert starts(pacer, clock, 1) == pytest.approx([7.0])


def test_a_shorter_pause_does_not_cut_a_longer_one_short(clock: Clock) -> None:
    pacer = Pacer(10, clock)

    pacer.refused(7.0)
    pacer.refused(1.0)

    assert starts(pacer, clock, 1) == pytest.approx([7.0])


@pytest.mark.parametrize("named", [None, 0.0])
def test_refusals_in_a_row_that_name_no_time_pause_twice_as_long_each_up_to_a_second(
    clock: Clock, named: float | None
) -> None:
    pacer, pauses = Pacer(UNPACED, clock), []
    for _ in range(6):
        pacer.refused(named)
        pauses += starts(pacer, clock, 1)

    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_the_pauses_begin_anew_after_the_server_let_a_request_through(clock: Clock) -> None:
    pacer = Pacer(UNPACED, clock)
    for _ in range(5):
        pacer.refused(None)
    starts(pacer, clock, 1)
    pacer.accepted()

    pacer.refused(None)

    assert starts(pacer, clock, 1) == pytest.approx([0.1])


def test_a_refusal_that_names_a_time_counts_in_the_row(clock: Clock) -> None:
    pacer = Pacer(UNPACED, clock)
    pacer.refused(7.0)
    starts(pacer, clock, 1)

    pacer.refused(None)

    assert starts(pacer, clock, 1) == pytest.approx([0.2])


def test_a_thousand_refusals_in_a_row_pause_for_a_second(clock: Clock) -> None:
    pacer = Pacer(10, clock)
    for _ in range(1_500):
        pacer.refused(None)

    assert starts(pacer, clock, 1) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("let_through_before", "pace"),
    [
        pytest.param(19, 20 * 0.97, id="all"),
        pytest.param(14, 20 * 0.97, id="just above 70 %"),
        pytest.param(13, 13 * 0.97, id="just below 70 %"),
        pytest.param(10, 10 * 0.97, id="half"),
        pytest.param(6, 6 * 0.97, id="little"),
        pytest.param(5, 20 / 4, id="less than a quarter"),
        pytest.param(0, 20 / 4, id="nothing"),
    ],
)
def test_a_refusal_lowers_the_pace_a_little_or_to_what_the_server_let_through_if_that_is_far_below(
    clock: Clock, let_through_before: int, pace: float
) -> None:
    pacer = Pacer(20, clock)
    for _ in range(let_through_before):
        clock.now += 0.9 / let_through_before
        pacer.accepted()

    pacer.refused(None)

    assert pacer.pace == pytest.approx(pace)
    assert starts(pacer, clock, 3) == pytest.approx([0.1, 0.1 + 1 / pace, 0.1 + 2 / pace])


def test_only_the_last_second_counts_for_what_the_server_let_through(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    for _ in range(15):
        pacer.accepted()
    clock.now += 1.5
    for _ in range(10):
        pacer.accepted()

    pacer.refused(None)

    assert pacer.pace == pytest.approx(10 * 0.97)


def test_echoes_of_a_refusal_do_not_slow_down_further(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    pacer.refused(None)
    for _ in range(9):
        refused_at(pacer, clock, 0.1)

    assert pacer.pace == pytest.approx(20 / 4)


def test_an_echo_does_not_make_the_next_refusal_an_echo(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    pacer.refused(None)
    refused_at(pacer, clock, 0.9)
    pacer.accepted()
    before = pacer.pace

    refused_at(pacer, clock, 0.2)

    assert pacer.pace == pytest.approx(before / 4)


def test_a_refusal_after_a_while_slows_down_further(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    pacer.refused(None)
    pacer.accepted()

    refused_at(pacer, clock, 1.5)

    assert pacer.pace == pytest.approx(20 / 16)


@pytest.mark.parametrize("seconds", [10, 30, 300])
@pytest.mark.parametrize("retry_after", [None, 1.0])
def test_while_others_take_the_whole_limit_the_pace_is_lowered_once(
    clock: Clock, seconds: int, retry_after: float | None
) -> None:
    pacer = Pacer(20, clock)
    let_through(pacer, clock, 40)
    end = clock.now + seconds
    while clock.now < end:
        pacer.wait(clock)
        pacer.refused(retry_after)

    assert pacer.pace == pytest.approx(20 * 0.97)
    assert starts(pacer, clock, 1)[0] <= 1.0


def test_refusals_again_and_again_leave_a_twentieth_of_the_ceiling(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    for _ in range(50):
        pacer.refused(None)
        clock.now += 1.5
        pacer.accepted()
        clock.now += 1.5

    assert pacer.pace == pytest.approx(20 / 20, rel=0.05)


@pytest.mark.parametrize("every", [0.25, 1.0, 10.0])
@pytest.mark.parametrize("seconds", [10, 20, 40, 50])
def test_the_pace_is_won_back_with_the_square_of_the_time_since_the_last_refusal(
    clock: Clock, seconds: int, every: float
) -> None:
    pacer = Pacer(20, clock)
    pacer.refused(None)

    for _ in range(int(seconds / every)):
        clock.now += every
        pacer.accepted()

    assert pacer.pace == pytest.approx(20 / 4 * math.exp(0.0005 * seconds**2))


def test_the_pace_is_won_back_by_a_twentieth_in_10_seconds_and_doubles_in_40(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    pacer.refused(None)
    clock.now += 10.0
    pacer.accepted()
    a_little = pacer.pace
    clock.now += 30.0
    pacer.accepted()

    assert a_little == pytest.approx(20 / 4 * 1.05, rel=0.002)
    assert pacer.pace >= 20 / 2


def test_a_new_refusal_makes_the_growth_slow_again(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    pacer.refused(None)
    clock.now += 40.0
    pacer.accepted()
    refused_at(pacer, clock, 1.5)
    before = pacer.pace

    clock.now += 10.0
    pacer.accepted()

    assert pacer.pace == pytest.approx(before * math.exp(0.0005 * 10**2))


def test_the_pace_climbs_back_to_the_ceiling_and_no_higher(clock: Clock) -> None:
    pacer = Pacer(20, clock)
    pacer.refused(None)

    let_through(pacer, clock, 2_000)

    assert pacer.pace == 20
    first, second = starts(pacer, clock, 2)
    assert second - first == pytest.approx(1 / 20)


def test_a_limit_that_nobody_announced_is_found_with_few_refusals_and_well_used(clock: Clock) -> None:
    pacer, accepted, refusals = Pacer(20, clock), [clock.now - 2.0], 0
    begin = clock.now
    while clock.now < begin + 120.0:
        pacer.wait(clock)
        if sum(moment > clock.now - 1.0 for moment in accepted[-10:]) < 10:
            accepted.append(clock.now)
            pacer.accepted()
        else:
            refusals += 1
            pacer.refused(None)

    assert refusals <= 20
    assert len(accepted) >= 0.85 * 10 * 120


@pytest.mark.parametrize(
    ("limit", "pace"), [(4.0, 4.0), (0.5, 0.5), (20.0, 10.0), (10.0, 10.0), (0.0, 10.0), (-3.0, 10.0)]
)
def test_an_announced_limit_lowers_the_ceiling_and_never_raises_it(clock: Clock, limit: float, pace: float) -> None:
    pacer = Pacer(10, clock)

    pacer.announced(limit)
    let_through(pacer, clock, 50)

    assert pacer.pace == pytest.approx(pace)


def test_recovery_ends_at_the_announced_limit(clock: Clock) -> None:
    pacer = Pacer(10, clock)
    pacer.refused(None)

    pacer.announced(4.0)
    clock.now += 600.0
    pacer.accepted()

    assert pacer.pace == 4.0


def test_a_pace_below_the_announced_limit_stays_low(clock: Clock) -> None:
    pacer = Pacer(10, clock)
    pacer.refused(None)

    pacer.announced(4.0)

    assert pacer.pace == pytest.approx(10.0 / 4)


def test_a_stop_ends_the_wait(clock: Clock) -> None:
    pacer = Pacer(10, clock)
    clock.set()

    with pytest.raises(Stopped, match=r"Reading was stopped\."):
        pacer.wait(clock)


def test_a_stop_wakes_a_thread_that_waits_for_its_turn() -> None:
    pacer, stop = Pacer(0.01), threading.Event()
    pacer.wait(stop)
    threading.Timer(0.05, stop.set).start()

    with pytest.raises(Stopped):
        pacer.wait(stop)


def test_a_refusal_holds_back_threads_that_have_their_turn_already() -> None:
    pacer, stop = Pacer(10), threading.Event()
    pacer.wait(stop)
    started: list[float] = []

    def start() -> None:
        pacer.wait(stop)
        started.append(time.monotonic())

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    refused = time.monotonic()
    pacer.refused(0.4)
    for thread in threads:
        thread.join()

    assert min(started) - refused >= 0.39


def test_threads_share_one_pace() -> None:
    pacer, stop = Pacer(100), threading.Event()
    begin = time.monotonic()
    threads = [threading.Thread(target=lambda: [pacer.wait(stop) for _ in range(5)]) for _ in range(6)]
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
            return super().wait((timeout or 0.0) + lateness.choice((0.0, 0.001, 0.03)))

    clock = LateClock()
    moments = starts(Pacer(20, clock), clock, 400)

    assert all(later - earlier > 1.0 for earlier, later in zip(moments, moments[20:], strict=False))
    assert moments[-1] < 1.1 * 400 / 20
