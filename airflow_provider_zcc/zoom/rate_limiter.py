"""A rate limiter that finds the server's limit: additive increase, multiplicative decrease."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from airflow_provider_zcc.zoom.errors import ReadCancelled

Priority = tuple[int, float]

#: Seconds in which no more requests start than the ceiling allows in one second: they arrive a little unevenly.
_WINDOW = 1.006
#: The share of the accepted requests per second that a throttle leaves.
_DECREASE = 0.9
#: The share of the rate that a throttle leaves in any case.
_LARGEST_DECREASE = 0.5
#: The share of the ceiling by which the rate grows in a second, for each second since the last decrease.
_INCREASE = 0.0002
#: The share of the ceiling by which the rate grows in a second if nothing of the limit is used.
_INCREASE_INTO_UNUSED = 0.5
#: Seconds that all threads pause for each throttle in a row, where the server names no time; a window at most.
_PAUSE = 0.1
#: Seconds by which a thread may wake up late without delaying the requests behind it.
_LATENESS = 0.05
#: Seconds that a thread waits before it checks again whether it is at the head of the queue.
_YIELD_DELAY = 0.001


class RateLimiter:
    """Spaces the starts of requests evenly, for all threads that share it.

    The rate starts at the ceiling. A throttle (HTTP 429) lowers it to 90 % of what the server accepted in the last
    second. Then each second adds ``_INCREASE * seconds since the decrease + _INCREASE_INTO_UNUSED * unused ** 2`` of
    the ceiling, where ``unused`` is the share of the limit that the server reports as left. Processes that share a
    limit increase their rates equally and decrease them in proportion, so they converge on similar shares.

    :param requests_per_second: the ceiling: no more requests than this start in any second.
    :param clock: monotonic seconds.
    :ivar rate: requests per second at present.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ceiling = self.rate = requests_per_second
        self._clock, self._lock = clock, threading.Lock()
        self._queue = dict[object, Callable[[], Priority]]()
        self._starts = deque[float](maxlen=max(1, math.floor(requests_per_second)))
        self._successes = deque[float](maxlen=self._starts.maxlen)
        self._next_start = self._last_increase = self._last_decrease = -math.inf
        self._throttles_in_a_row, self._unused = 0, 0.0

    def wait_for_turn(self, cancelled: threading.Event, priority: Callable[[], Priority] = lambda: (0, 0.0)) -> None:
        """Return when the next request may start.

        :param cancelled: when set, the wait ends.
        :param priority: of the waiting requests, the one with the lowest value at that time starts first.
        :raises ReadCancelled: if ``cancelled`` is set.
        """
        ticket, seconds = object(), math.inf
        try:
            self._queue[ticket] = priority
            while seconds > 0:
                seconds = self._seconds_to_turn(ticket)
                if cancelled.wait(seconds):
                    raise ReadCancelled
        finally:
            self._queue.pop(ticket, None)  # without the lock: a signal handler may raise while it is awaited

    def on_success(self, remaining: int | None = None) -> None:
        """Increase the rate, at most once a second.

        :param remaining: requests left in the same second, as in Zoom's ``X-RateLimit-Remaining``; None if unknown.
        """
        with self._lock:
            now = self._clock()
            self._successes.append(now)
            self._throttles_in_a_row = 0
            self._unused = min(self._unused, (remaining or 0) / self._ceiling)
            if (elapsed := now - self._last_increase) >= _WINDOW:
                share = _INCREASE * (now - self._last_decrease) + _INCREASE_INTO_UNUSED * self._unused**2
                self.rate = min(self.rate + share * elapsed * self._ceiling, self._ceiling)
                self._last_increase, self._unused = now, 1.0

    def on_throttle(self, seconds: float | None) -> None:
        """Decrease the rate after a 429, and pause all threads for the seconds that the server named, if it did."""
        with self._lock:
            now = self._clock()
            self._throttles_in_a_row += 1
            # Requests that were in flight, or sent while nothing is accepted, are throttled for the same reason.
            if self._throttles_in_a_row == 1 and now - self._last_decrease > _WINDOW:
                accepted = sum(success > now - _WINDOW for success in self._successes)
                self.rate = max(min(self.rate, accepted + 1) * _DECREASE, self.rate * _LARGEST_DECREASE)
                self._last_decrease = now
            self._last_increase, self._unused = now, 0.0
            self._next_start = max(self._next_start, now + (seconds or min(_PAUSE * self._throttles_in_a_row, _WINDOW)))

    def on_limit(self, limit: float) -> None:
        """Lower the ceiling to the limit that the server announces, as in Zoom's ``X-RateLimit-Limit``."""
        with self._lock:
            if 0 < limit < self._ceiling:
                self._ceiling, self.rate = limit, min(self.rate, limit)
                self._starts = deque(self._starts, maxlen=max(1, math.floor(limit)))

    def _seconds_to_turn(self, ticket: object) -> float:
        """Start the request and return 0, or return the seconds until it is worth checking again."""
        with self._lock:
            now, turn = self._clock(), self._next_start
            if len(self._starts) == self._starts.maxlen:
                turn = max(turn, self._starts[0] + _WINDOW * max(1.0, 1.0 / self._ceiling))
            if turn > now:
                return turn - now
            waiting = self._queue.copy()
            if ticket is not min(waiting, key=lambda other: waiting[other]()):
                return _YIELD_DELAY
            self._next_start = (turn if now - turn < _LATENESS else now) + 1.0 / self.rate
            self._starts.append(now)
            return 0.0
