"""How fast requests may start, learned from what the server says."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from airflow_provider_zcc.zoom.errors import ReadCancelled

#: Share of the ceiling at which requests begin, and by how much the pace grows in each second, until the server
#: announces its limit or refuses.
_FIRST_SHARE, _RAMP = 0.25, 2.0
#: Seconds in which no more requests start than the ceiling allows in one: they arrive a little unevenly.
_SECOND = 1.006
#: Seconds by which a turn may be taken late without moving the turns behind it.
_LATENESS = 0.05
#: Seconds that a thread whose turn it is not leaves to the one that is first in line.
_COURTESY = 0.001
#: Share of the pace that a refusal leaves, and the share if nearly the whole ceiling was let through: then it was a
#: matter of milliseconds.
_BACK_OFF, _SLIGHT_BACK_OFF = 0.95, 0.99
#: Share of the ceiling above which it is nearly the whole.
_NEARLY = 0.95
#: When the server let through less than this share of the pace, the pace falls to what it let through...
_FAR_BELOW = 0.8
#: ...but no lower than this share at once, since other apps may have taken all of that one second,
_DEEPEST_CUT = 0.35
#: and never lower than this share of the ceiling.
_FLOOR = 0.05
#: Seconds in which further refusals are taken for echoes of the first.
_ECHO = 1.0
#: Share of the ceiling that is gained per second, for each second since the last refusal: 2 % in 10 s, 32 % in 40 s.
_GROWTH = 0.0004
#: Where the server tells how many requests it has left in the second: the gain per second, times their square...
_GROWTH_INTO_THE_REST = 0.1
#: ...and the share that is given up per second while other apps leave nothing.
_YIELD = 0.1
#: Seconds since the last refusal where there was none: the ceiling is won at once.
_LONG_AGO = 1e9
#: Seconds that all threads pause after a refusal that names no time; doubled for each one in a row, up to the last.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.3


def first_come_first_served() -> float:
    """Rank a request like any other."""
    return 0.0


class RateLimiter:
    """Spaces the starts of requests evenly, for all threads that share it.

    The pace is the ceiling as soon as the server has announced its limit, and climbs there while it has not. A
    refusal (HTTP 429) lowers it: to what the server let through in the second before if that is much less, which
    finds a limit that nobody announced, otherwise a little. It climbs back slowly at first, and the faster the
    longer nothing is refused. Where answers tell how much of the limit is left, it grows into that, and yields while
    others leave nothing. Several processes that share an account's limit settle near it in this way, without knowing
    of each other: all gain the same, and those who have more lose more.

    :param requests_per_second: the ceiling.
    :param clock: monotonic seconds.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ceiling = requests_per_second
        self._pace = requests_per_second * _FIRST_SHARE
        self._ramping = True
        self._starts = _latest_starts([], requests_per_second)
        self._clock = clock
        self._lock = threading.Lock()
        self._line: list[Callable[[], float]] = []
        self._next_start = 0.0
        self._grown_until = clock()
        self._last_refusal = self._grown_until - _LONG_AGO
        self._refusals_in_a_row = 0
        self._accepted: deque[float] = deque()

    @property
    def pace(self) -> float:
        """Requests per second at present."""
        return self._pace

    def wait(self, stop: threading.Event, rank: Callable[[], float] = first_come_first_served) -> None:
        """Return when the next request may start.

        :param stop: ends the wait.
        :param rank: of the requests that wait, the one of the lowest rank at that time starts first.
        :raises ReadCancelled: if ``stop`` is set.
        """
        ticket = partial(rank)
        with self._lock:
            self._line.append(ticket)
        try:
            seconds = math.inf
            while seconds > 0:
                seconds = self._seconds_to_turn(ticket)
                if stop.wait(seconds):
                    raise ReadCancelled
        finally:
            with self._lock:
                self._line.remove(ticket)

    def accepted(self, remaining: int | None = None) -> None:
        """Take note that the server let a request through.

        :param remaining: how many more it would have let through in the same second, if it says so, as in Zoom's
            ``X-RateLimit-Remaining`` of type ``QPS``.
        """
        with self._lock:
            now = self._clock()
            self._refusals_in_a_row = 0
            self._accepted.append(now)
            alone = self._let_through(now) >= self._ceiling * _NEARLY
            self._pace = min(max(self._grown(now, remaining, alone=alone), self._ceiling * _FLOOR), self._ceiling)
            self._grown_until = now

    def announced(self, limit: float) -> None:
        """Lower the ceiling to the limit that the server announced.

        :param limit: requests per second, as in Zoom's ``X-RateLimit-Limit`` of type ``QPS``.
        """
        if not limit > 0:
            return
        with self._lock:
            if limit < self._ceiling:
                self._ceiling = limit
                self._starts = _latest_starts(self._starts, limit)
            if self._ramping:
                self._ramping = False
                self._pace = self._ceiling
                # The turn was given at a slower pace.
                self._next_start = min(self._next_start, self._clock())
            self._pace = min(self._pace, self._ceiling)

    def refused(self, seconds: float | None) -> None:
        """Slow down all threads after a 429.

        :param seconds: how long the server asked to wait before the next request; None or 0 if it did not say.
        """
        with self._lock:
            now = self._clock()
            self._ramping = False
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._refusals_in_a_row, 10))
            self._next_start = max(self._next_start, now + (seconds or pause))
            # While nothing gets through, the first refusal has told all there is to know.
            if self._refusals_in_a_row == 0 and now - self._last_refusal > _ECHO:
                let_through = self._let_through(now)
                known = let_through if let_through < self._pace * _FAR_BELOW else self._pace
                left = _SLIGHT_BACK_OFF if let_through >= self._ceiling * _NEARLY else _BACK_OFF
                deepest = max(self._pace * _DEEPEST_CUT, self._ceiling * _FLOOR)
                self._pace = min(self._pace, max(known * left, deepest))
                self._last_refusal = self._grown_until = now
            self._refusals_in_a_row += 1

    def _seconds_to_turn(self, ticket: Callable[[], float]) -> float:
        """Take the next turn and return 0, or return how long to wait before asking again."""
        with self._lock:
            now = self._clock()
            turn = max(self._next_start, self._earliest_after_a_full_second())
            if turn > now:
                return turn - now
            if ticket is not min(self._line, key=lambda waiting: waiting()):
                return _COURTESY
            # A thread that woke up late does not delay those behind it.
            self._next_start = (turn if now - turn < _LATENESS else now) + 1.0 / self._pace
            self._starts.append(now)
            return 0.0

    def _grown(self, now: float, remaining: int | None, *, alone: bool) -> float:
        """Return the pace that the time since the last answer has earned, or cost."""
        # The time that nothing was asked does not count.
        seconds = min(now - self._grown_until, 1.0)
        if self._ramping:
            return self._pace * math.pow(_RAMP, seconds)
        if remaining:
            return self._pace + _GROWTH_INTO_THE_REST * remaining**2 * seconds
        if remaining == 0 and not alone:
            return self._pace * (1 - _YIELD * seconds)
        since, until = self._grown_until - self._last_refusal, now - self._last_refusal
        return self._pace + self._ceiling * _GROWTH / 2 * (until**2 - since**2)

    def _earliest_after_a_full_second(self) -> float:
        """Return when a second ends in which as many requests started as the ceiling allows.

        Threads that wake up late would otherwise crowd together, even though their turns are spaced evenly.
        """
        crowded = self._ceiling >= 1 and len(self._starts) == self._starts.maxlen
        return self._starts[0] + _SECOND if crowded else 0.0

    def _let_through(self, now: float) -> int:
        """Count the requests that were accepted within the last second."""
        while self._accepted and self._accepted[0] < now - 1.0:
            self._accepted.popleft()
        return len(self._accepted)


def _latest_starts(starts: Iterable[float], limit: float) -> deque[float]:
    """Keep as many starts as a limit allows in one second."""
    return deque(starts, maxlen=max(1, math.floor(limit)))
