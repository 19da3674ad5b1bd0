"""How fast requests may start, learned from what the server says."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from airflow_provider_zcc.zoom.errors import Stopped

#: Seconds in which no more requests start than the ceiling allows in one: they arrive a little unevenly.
_SECOND = 1.006
#: Share of the pace that a refusal leaves.
_BACK_OFF = 0.97
#: When the server let through less than this share of the pace, the pace falls to what it let through...
_FAR_BELOW = 0.7
#: ...but no lower than this share at once, since other apps may have taken all of that one second,
_DEEPEST_CUT = 0.25
#: and never lower than this share of the ceiling.
_FLOOR = 0.05
#: Seconds in which further refusals are taken for echoes of the first.
_ECHO = 1.0
#: Growth of the pace for each second, and each second since the last refusal: 3 % in 8 s, double in 40 s.
_GROWTH = 0.001
#: Seconds that all threads pause after a refusal that names no time; doubled for each one in a row, up to the last.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class Pacer:
    """Spaces the starts of requests evenly, for all threads that share it.

    The pace begins at the ceiling. A refusal (HTTP 429) lowers it: to what the server let through in the second
    before if that is much less, which finds a limit that nobody announced, otherwise a little. It climbs back
    slowly at first, and the faster the longer nothing is refused. Several processes that share an account's limit
    settle near it in this way, without knowing of each other.

    :param requests_per_second: the ceiling.
    :param clock: monotonic seconds.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ceiling = self._pace = requests_per_second
        self._starts = _latest_starts([], requests_per_second)
        self._clock = clock
        self._lock = threading.Lock()
        self._next_start = self._paused_until = self._grown_until = 0.0
        self._last_refusal = -math.inf
        self._refusals_in_a_row = 0
        self._accepted: deque[float] = deque()

    @property
    def pace(self) -> float:
        """Requests per second at present."""
        return self._pace

    def wait(self, stop: threading.Event) -> None:
        """Return when the next request may start.

        :param stop: ends the wait.
        :raises Stopped: if ``stop`` is set.
        """
        with self._lock:
            start = self._reserve()
        while True:
            if stop.wait(max(0.0, start - self._clock())):
                raise Stopped("Reading was stopped.")
            with self._lock:
                now = self._clock()
                if start < self._paused_until:
                    start = self._reserve()
                start = max(start, self._earliest_after_a_full_second())
                if start <= now:
                    self._starts.append(now)
                    return

    def accepted(self) -> None:
        """Take note that the server let a request through."""
        with self._lock:
            now = self._clock()
            self._refusals_in_a_row = 0
            self._accepted.append(now)
            self._let_through(now)
            if self._pace < self._ceiling:
                since, until = self._grown_until - self._last_refusal, now - self._last_refusal
                self._pace = min(self._ceiling, self._pace * math.exp(_GROWTH / 2 * (until**2 - since**2)))
                self._grown_until = now

    def announced(self, limit: float) -> None:
        """Lower the ceiling to the limit that the server announced.

        :param limit: requests per second, as in Zoom's ``X-RateLimit-Limit`` of type ``QPS``.
        """
        with self._lock:
            if 0 < limit < self._ceiling:
                self._ceiling = limit
                self._pace = min(self._pace, limit)
                self._starts = _latest_starts(self._starts, limit)

    def refused(self, seconds: float | None) -> None:
        """Slow down all threads after a 429.

        :param seconds: how long the server asked to wait before the next request; None or 0 if it did not say.
        """
        with self._lock:
            now = self._clock()
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._refusals_in_a_row, 10))
            self._paused_until = max(self._paused_until, now + (seconds or pause))
            self._next_start = max(self._next_start, self._paused_until)
            # While nothing gets through, the first refusal has told all there is to know.
            if self._refusals_in_a_row == 0 and now - self._last_refusal > _ECHO:
                let_through = self._let_through(now)
                known = let_through if let_through < self._pace * _FAR_BELOW else self._pace
                deepest = max(self._pace * _DEEPEST_CUT, self._ceiling * _FLOOR)
                self._pace = min(self._pace, max(known * _BACK_OFF, deepest))
                self._last_refusal = self._grown_until = now
            self._refusals_in_a_row += 1

    def _reserve(self) -> float:
        start = max(self._clock(), self._next_start)
        self._next_start = start + 1.0 / self._pace
        return start

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
