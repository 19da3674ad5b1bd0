"""How fast requests may start, learned from what the server says."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from airflow_provider_zcc.zoom.errors import Stopped

#: Share of the throughput seen at a refusal that the pace falls back to.
_BACK_OFF = 0.95
#: Share of the pace that one refusal leaves at least: other apps may have taken all of that one second.
_DEEPEST_CUT = 0.25
#: Seconds in which further refusals are taken for echoes of the first.
_ECHO = 1.0
#: Share of the ceiling that the pace wins back in each second without a refusal.
_RECOVERY = 0.01


class Pacer:
    """Spaces the starts of requests evenly, for all threads that share it.

    The pace begins at the ceiling. A refusal (HTTP 429) sets it to what Zoom let through in the second
    before, which is the account's limit less what other apps took of it; it climbs back slowly.

    :param requests_per_second: the ceiling.
    :param clock: monotonic seconds.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ceiling = requests_per_second
        self._pace = requests_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._next_start = 0.0
        self._paused_until = 0.0
        self._last_refusal = float("-inf")
        self._last_recovery = float("-inf")
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
        start = self._reserve()
        while True:
            if stop.wait(max(0.0, start - self._clock())):
                raise Stopped("Reading was stopped.")
            if start >= self._paused_until:
                return
            start = self._reserve()

    def accepted(self) -> None:
        """Take note that the server let a request through."""
        with self._lock:
            now = self._clock()
            self._accepted.append(now)
            self._forget_before(now - 1.0)
            self._recover(now)

    def announced(self, limit: float) -> None:
        """Lower the ceiling to the limit that the server announced.

        :param limit: requests per second, as in Zoom's ``X-RateLimit-Limit`` of type ``QPS``.
        """
        with self._lock:
            if 0 < limit < self._ceiling:
                self._ceiling = limit
                self._pace = min(self._pace, limit)

    def refused(self, seconds: float) -> None:
        """Slow down all threads after a 429.

        :param seconds: how long the server asked to wait before the next request.
        """
        with self._lock:
            now = self._clock()
            self._paused_until = max(self._paused_until, now + seconds)
            self._next_start = max(self._next_start, self._paused_until)
            if now - self._last_refusal > _ECHO:
                self._forget_before(now - 1.0)
                let_through = min(self._pace, float(len(self._accepted)))
                self._pace = max(let_through * _BACK_OFF, self._pace * _DEEPEST_CUT)
            self._last_refusal = self._last_recovery = now

    def _reserve(self) -> float:
        with self._lock:
            start = max(self._clock(), self._next_start)
            self._next_start = start + 1.0 / self._pace
            return start

    def _recover(self, now: float) -> None:
        if self._pace < self._ceiling:
            elapsed = now - self._last_recovery
            self._pace = min(self._ceiling, self._pace + elapsed * _RECOVERY * self._ceiling)
            self._last_recovery = now

    def _forget_before(self, moment: float) -> None:
        while self._accepted and self._accepted[0] < moment:
            self._accepted.popleft()
