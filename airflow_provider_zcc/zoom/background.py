"""Threads in the background, whose results the main thread waits for and which it can leave behind.

A signal handler may raise in the main thread at any point, even just after a lock was acquired, which then stays
locked. So the methods that the main thread calls take no lock that another thread, or a second call, may need.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from airflow_provider_zcc.zoom.errors import ReadCancelled

Item = TypeVar("Item")

#: Seconds between checks for an error or a stop while there is no result.
_POLL_INTERVAL = 0.05
#: Seconds that ``stop`` waits for the threads to end.
_GRACE_PERIOD = 1.0


class BackgroundThreads:
    """Daemon threads that are stopped together: the first error of any ends all of them.

    :ivar stopped: set when they are to end.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def start(self, target: Callable[[], None]) -> None:
        """Start a thread.

        :param target: what to run. Its ReadCancelled is no error.
        """

        def run() -> None:
            try:
                target()
            except ReadCancelled:
                return
            except BaseException as error:
                self._error = self._error or error
                self.stopped.set()

        thread = threading.Thread(target=run, name="zcc-reader", daemon=True)
        thread.start()
        self._threads.append(thread)

    def get(self, results: queue.SimpleQueue[Item]) -> Item:
        """Return the next result, once there is one.

        :param results: where a thread puts it.
        :raises Exception: the first error of any thread.
        :raises ReadCancelled: if the threads were stopped.
        """
        while True:
            if self._error:
                raise self._error
            if self.stopped.is_set():
                raise ReadCancelled
            try:
                return results.get(timeout=_POLL_INTERVAL)
            except queue.Empty:
                continue

    def stop(self) -> None:
        """Stop all threads, and wait a second for them. One that waits for a response is left to its timeout."""
        deadline = time.monotonic() + _GRACE_PERIOD
        # Setting an event takes its lock, so it is left to another thread.
        setter = threading.Thread(target=self.stopped.set, name="zcc-stop", daemon=True)
        try:
            setter.start()
        except RuntimeError:
            # When the interpreter exits, no thread can be started.
            self.stopped.set()
            return
        for thread in (setter, *self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
