"""A rate limiter that finds the server's limit: additive increase, multiplicative decrease."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from airflow_provider_zcc.zoom.errors import ReadCancelled

#: Seconds in which no more requests start than the ceiling allows in one: they arrive a little unevenly.
_WINDOW = 1.006
#: What a throttle leaves: this share of the accepted requests per second, but at least this share of the rate.
_DECREASE, _LARGEST_DECREASE = 0.9, 0.5
#: What each second adds, as a share of the ceiling: this for each second since the last decrease, and this times the
#: square of the share of the limit that is unused, where the server reports it.
_INCREASE, _INCREASE_INTO_UNUSED = 0.0002, 0.5
#: Seconds that all threads pause after a throttle that names no time, for each throttle in a row; a window at most.
_PAUSE = 0.1
#: Seconds by which a thread may wake up late without delaying the requests behind it, and the seconds it waits before
#: checking again whether it is at the head of the queue.
_LATENESS, _YIELD_DELAY = 0.05, 0.001


class RateLimiter:
    """Spaces the starts of requests evenly, for all threads that share it.

    The rate starts at the ceiling. A throttle (HTTP 429) lowers it to 90 % of what the server accepted in the last
    second. Then it grows, faster the longer nothing is throttled. Processes that share a limit increase their rates
    equally and decrease them in proportion, so they converge on similar shares.

    :param requests_per_second: the ceiling: no more requests than this start in any second.
    :param clock: monotonic seconds.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ceiling = self._rate = requests_per_second
        self._clock, self._lock = clock, threading.Lock()
        self._queue = list[Callable[[], float]]()
        self._starts = deque[float](maxlen=max(1, math.floor(requests_per_second)))
        self._successes = deque[float](maxlen=self._starts.maxlen)
        self._next_start = self._last_increase = self._last_decrease = -math.inf
        self._throttles_in_a_row, self._unused = 0, 0.0

    @property
    def rate(self) -> float:
        """Requests per second at present."""
        return self._rate

    def wait(self, stop: threading.Event, priority: Callable[[], float] = lambda: 0.0) -> None:
        """Return when the next request may start.

        :param stop: ends the wait.
        :param priority: of the waiting requests, the one with the lowest value at that time starts first.
        :raises ReadCancelled: if ``stop`` is set.
        """
        ticket, seconds = partial(priority), math.inf
        try:
            self._queue.append(ticket)
            while seconds > 0:
                seconds = self._seconds_to_turn(ticket)
                if stop.wait(seconds):
                    raise ReadCancelled
        finally:
            self._queue.remove(ticket)  # without the lock: a signal handler may raise while it is awaited

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
                self._rate = min(self._rate + share * elapsed * self._ceiling, self._ceiling)
                self._last_increase, self._unused = now, 1.0

    def on_throttle(self, seconds: float | None) -> None:
        """Decrease the rate after a 429, and pause all threads.

        :param seconds: how long the server asked to wait; None or 0 if it did not say.
        """
        with self._lock:
            now = self._clock()
            self._throttles_in_a_row += 1
            # Requests that were in flight, or sent while nothing is accepted, are throttled for the same reason.
            if self._throttles_in_a_row == 1 and now - self._last_decrease > _WINDOW:
                accepted = sum(success > now - _WINDOW for success in self._successes)
                self._rate = max(min(self._rate, accepted + 1) * _DECREASE, self._rate * _LARGEST_DECREASE)
                self._last_decrease = now
            self._last_increase, self._unused = now, 0.0
            self._next_start = max(self._next_start, now + (seconds or min(_PAUSE * self._throttles_in_a_row, _WINDOW)))

    def on_limit(self, limit: float) -> None:
        """Lower the ceiling to the limit that the server announces, as in Zoom's ``X-RateLimit-Limit``."""
        with self._lock:
            if 0 < limit < self._ceiling:
                self._ceiling, self._rate = limit, min(self._rate, limit)
                self._starts = deque(self._starts, maxlen=max(1, math.floor(limit)))

    def _seconds_to_turn(self, ticket: Callable[[], float]) -> float:
        """Start the request and return 0, or return the seconds until it is worth checking again."""
        with self._lock:
            now, turn = self._clock(), self._next_start
            if len(self._starts) == self._starts.maxlen:
                turn = max(turn, self._starts[0] + _WINDOW * max(1.0, 1.0 / self._ceiling))
            if turn > now:
                return turn - now
            if ticket is not min(list(self._queue), key=lambda waiting: waiting()):
                return _YIELD_DELAY
            self._next_start = (turn if now - turn < _LATENESS else now) + 1.0 / self._rate
            self._starts.append(now)
            return 0.0
