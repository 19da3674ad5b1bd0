"""Finds out whether an interval's data is available."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    conf,
)

from airflow_provider_zcc.arguments import FILTERS, TemplatedArguments, filters_of
from airflow_provider_zcc.availability import Availability
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, airflow_errors
from airflow_provider_zcc.interval import Interval, resolve_interval
from airflow_provider_zcc.killable import KillableTask
from airflow_provider_zcc.triggers.engagements import CHECK_RETRY_TIMEOUT, EngagementsTrigger
from airflow_provider_zcc.zoom.errors import InvalidQuery, PermanentError, ZoomError
from airflow_provider_zcc.zoom.query import Filters, Query

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Messages of Airflow 3 and 2 for a deferral that took too long.
_TIMEOUTS = ("Trigger timeout", "Trigger/execution timeout")


class EngagementsSensor(TemplatedArguments, KillableTask, BaseSensorOperator):
    """
    Waits until the Zoom Contact Center engagements of ``[start, end)`` are available.

    They are when the interval ended at least ``settle`` ago, Zoom counts at least ``min_engagements`` in it and,
    if requested, the count was the same in ``stable_checks`` consecutive checks. Zoom lists an engagement once it has
    been processed, which by its documentation takes about a minute after its end; one that lasts longer than
    ``settle`` beyond the interval's end is not waited for. A check sends one request for each 28 days of the
    interval; before ``settle`` is over, none is sent.

    All arguments of its own are template fields. A template renders text: for a number or a boolean, use another
    task's output, or ``render_template_as_native_obj=True`` in the Dag.

    :param start: first instant of the interval: a timezone-aware datetime, or ISO 8601 with an offset. Goes
        with ``end``; by default the run's data interval is meant.
    :param end: the instant after the last, likewise.
    :param interval_length: length of the interval where the run's own has none: a timedelta or an ISO 8601
        duration. It ends at a zero-length data interval, or starts at the ``partition_date``.
    :param queue_id: only this queue. A filter that is empty after rendering fails the task, as for all filters.
    :param user_id: only this agent.
    :param consumer_number: only this consumer's phone number. It is kept out of the rendered template fields that
        Airflow shows, because it is personal.
    :param channel_types: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
    :param channel: only this one: voice, video, messaging, email.
    :param channel_sources: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
    :param direction: inbound or outbound.
    :param timezone: accepted as everywhere; the count does not depend on it.
    :param zcc_conn_id: connection to Zoom.
    :param min_engagements: how many engagements the interval needs to have; 0 accepts an empty one.
    :param settle: how long after the end of the interval its engagements may still arrive: a timedelta or seconds.
    :param stable_checks: how many consecutive checks need to return the same count; 0 and 1 require none. Needs the
        mode ``poke`` or ``deferrable``: in ``reschedule`` nothing is remembered from one check to the next.
    :param deferrable: after a first check, make the further checks in the triggerer, without a worker slot, every
        ``poke_interval`` until ``timeout``. An outage is waited out then; a permanent error fails the task at once.
        Ignored with ``consumer_number``, since Airflow up to 3.2 shows the arguments of triggers in its REST API:
        the sensor continues in its ``mode``.
    """

    template_fields: Sequence[str] = (
        "start",
        "end",
        "interval_length",
        *FILTERS,
        "zcc_conn_id",
        "min_engagements",
        "settle",
        "stable_checks",
        "deferrable",
    )
    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        interval_length: timedelta | str | None = None,
        queue_id: str | None = None,
        user_id: str | None = None,
        consumer_number: str | None = None,
        channel_types: str | Sequence[str] | None = None,
        channel: str | None = None,
        channel_sources: str | Sequence[str] | None = None,
        direction: str | None = None,
        timezone: str | None = None,
        zcc_conn_id: str = ZoomContactCenterHook.default_conn_name,
        min_engagements: int = 1,
        settle: timedelta | float = timedelta(minutes=5),
        stable_checks: int = 0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.interval_length = interval_length
        self.queue_id = queue_id
        self.user_id = user_id
        self.consumer_number = consumer_number
        self.channel_types = channel_types
        self.channel = channel
        self.channel_sources = channel_sources
        self.direction = direction
        self.timezone = timezone
        self.zcc_conn_id = zcc_conn_id
        self.min_engagements = min_engagements
        self.settle = settle
        self.stable_checks = stable_checks
        self.deferrable = deferrable
        self._hide_literal_number()
        self._availability: Availability | None = None

    def execute(self, context: Context) -> Any:
        """Wait until the engagements are available.

        :param context: the task's context.
        """
        with self._killable():
            if self._defers:
                # There the base class applies soft_fail and never_fail to what is raised.
                return self.resume_execution("check_or_defer", None, context)
            if self.deferrable:
                self.log.info("A sensor with consumer_number is not deferred. It continues in mode %s.", self.mode)
            return super().execute(context)

    def poke(self, context: Context) -> bool:
        """Check once.

        :param context: the task's context.
        """
        with airflow_errors():
            self._require_arguments(context)
            return self._is_available(self._interval(context), filters_of(self), self._hook.count_engagements)

    def check_or_defer(self, context: Context) -> None:
        """Check once, and leave the further checks to the triggerer.

        :param context: the task's context.
        """
        started = time.monotonic()
        with airflow_errors():
            self._require_arguments(context)
            interval, filters = self._interval(context), filters_of(self)
            try:
                count = partial(self._hook.count_engagements, retry_timeout=CHECK_RETRY_TIMEOUT)
                if self._is_available(interval, filters, count):
                    return
            except PermanentError:
                raise
            except ZoomError as error:
                self.log.warning("%s Checking again from the triggerer.", error)
        left = self.timeout - (time.monotonic() - started)
        if left <= 0:
            raise _timed_out(self.timeout)
        trigger = EngagementsTrigger(
            zcc_conn_id=self.zcc_conn_id,
            start=interval.start,
            end=interval.end,
            **filters,
            min_engagements=self.min_engagements,
            settle=self.settle,
            stable_checks=self.stable_checks,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait,
        )
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=left))

    def execute_complete(self, context: Context, event: Any = None) -> None:  # noqa: ARG002
        """Succeed only if the trigger found that the engagements are available.

        :param context: the task's context.
        :param event: what the trigger sent.
        """
        match event:
            case {"status": "available", "engagements": count}:
                self.log.info("The trigger found that Zoom counts %d engagements.", count)
            case {"status": "failed", "message": message}:
                raise AirflowFailException(message)
            case _:
                raise AirflowException("The trigger ended with an event that this version of the sensor does not know.")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a deferral, with what older versions of Airflow forget.

        A timeout is not retried, and ``soft_fail`` and ``never_fail`` apply to every error.

        :param next_method: what to call.
        :param next_kwargs: with what.
        :param context: the task's context.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped because of soft_fail or never_fail: {error}") from error
            timed_out = next_method == "__fail__" and (next_kwargs or {}).get("error") in _TIMEOUTS
            if timed_out and not self._may_run_out_of_execution_time:
                raise _timed_out(self.timeout) from error
            raise

    @property
    def _may_run_out_of_execution_time(self) -> bool:
        """Whether ``execution_timeout``, after which a task may be tried again, comes before ``timeout``."""
        return bool(self.execution_timeout) and self.execution_timeout.total_seconds() < self.timeout

    @property
    def _defers(self) -> bool:
        return self.deferrable and self.consumer_number is None

    @property
    def _hook(self) -> ZoomContactCenterHook:
        return ZoomContactCenterHook(self.zcc_conn_id)

    def _interval(self, context: Context) -> Interval:
        return resolve_interval(context, start=self.start, end=self.end, interval_length=self.interval_length)

    def _is_available(self, interval: Interval, filters: dict[str, Any], count: Callable[..., int]) -> bool:
        if not isinstance(self.deferrable, bool):
            raise InvalidQuery(f"Invalid deferrable {self.deferrable!r}. Use True or False.")
        Query(*interval, Filters.validated(**filters))
        if self._availability is None:
            self._availability = Availability(
                interval, min_engagements=self.min_engagements, settle=self.settle, stable_checks=self.stable_checks
            )
        if self.stable_checks > 1 and self.reschedule and not self._defers:
            raise InvalidQuery(
                "stable_checks cannot work in mode 'reschedule': nothing is remembered from one check to the next. "
                "Use mode='poke' or deferrable=True, or remove the argument."
            )
        if self._availability.seconds_to_settle():
            return False
        return self._availability.is_reached(count(*interval, **filters))


def _timed_out(timeout: float) -> AirflowSensorTimeout:
    return AirflowSensorTimeout(f"The engagements were not available within {timeout} s.")
