"""Ends a task at once when Airflow kills it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowException


class _Killed(BaseException):
    """Airflow ends the task. No library that catches Exception may take it for an error to retry."""


class KillableTask:
    """What tasks share that end in the middle of whatever they do. Mixed into an operator or sensor.

    Airflow calls ``on_kill`` in its handler of SIGTERM. On Airflow 3 nothing else happens then, and the task would go
    on. ``execution_timeout`` needs nothing: Airflow raises in the middle of the task, and calls ``on_kill`` after it.
    """

    _is_running = False

    def on_kill(self) -> None:
        """End the task, wherever it is; one that does not run is left alone."""
        if self._is_running and threading.current_thread() is threading.main_thread():
            self._is_running = False
            raise _Killed

    @contextmanager
    def _killable(self) -> Iterator[None]:
        """Make ``on_kill`` end what is done within this context.

        :raises AirflowException: if it does.
        """
        self._is_running = True
        try:
            yield
        except _Killed:
            raise AirflowException("Airflow ended the task before it was done.") from None
        finally:
            self._is_running = False
