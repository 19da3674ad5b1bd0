"""Finds out from the triggerer whether an interval's data is available."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import count, repeat
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_zcc.arguments import filters_of
from airflow_provider_zcc.availability import Availability, seconds
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.interval import Interval, resolve_interval
from airflow_provider_zcc.zoom.errors import InvalidQuery, PermanentError, RateLimitedUntil, ZoomError
from airflow_provider_zcc.zoom.query import Filters, Query
from airflow_provider_zcc.zoom.shared import shared_in_process

#: Checks of one connection that a triggerer has in flight at most. The others wait in line.
CHECKS_IN_FLIGHT = 8
#: Seconds after which a check gives up in an outage: the next one is made anyway.
CHECK_RETRY_TIMEOUT = 2.0
#: A wait is doubled so many times at most: it exceeds every timeout then.
_MOST_DOUBLINGS = 30


class EngagementsTrigger(BaseTrigger):
    """
    Fires when the Zoom Contact Center engagements of ``[start, end)`` are available, or never can be.

    It makes the checks of :class:`~airflow_provider_zcc.sensors.engagements.EngagementsSensor`. Between two checks it
    sleeps; a thread sends the requests of a check. All triggers of a triggerer that use a connection share 8 such
    threads, in the order in which they come; all that use an account share one rate limiter. A check ends within
    seconds: an outage is logged, and the next check made as usual; if Zoom names a time at which it accepts requests
    again, the next check is made then.

    The event is ``{"status": "available", "engagements": count}``, or ``{"status": "failed", "message": why}``
    when a further check cannot help, as without a connection. Any other error is left to Airflow: the trigger has
    failed, and with it the task, which may be retried.

    Nothing secret is serialized: the connection is looked up for every check, so that a corrected one counts from
    the next check on. Airflow encrypts a trigger's arguments in its database (with ``[core] fernet_key``), but up to
    3.2 shows them in its REST API to everyone who may see the task instance. So the sensor never passes
    ``consumer_number`` to the trigger.

    :param zcc_conn_id: connection to Zoom.
    :param start: first instant of the interval: a timezone-aware datetime, or ISO 8601 with an offset.
    :param end: the instant after the last, likewise.
    :param queue_id: see :class:`~airflow_provider_zcc.zoom.query.Filters`, as for all filters.
    :param user_id: only this agent.
    :param consumer_number: only this consumer's phone number. See above for who may read it.
    :param channel_types: only these.
    :param channel: only this one.
    :param channel_sources: only these.
    :param direction: inbound or outbound.
    :param timezone: accepted as everywhere; the count does not depend on it.
    :param min_engagements: how many engagements the interval needs to have; 0 accepts an empty one.
    :param settle: how long after the end of the interval its engagements may still arrive: a timedelta or seconds. No
        request is sent before.
    :param stable_checks: how many consecutive checks need to return the same count; 0 and 1 require none. After a
        restart of the triggerer, it counts from the beginning.
    :param poke_interval: seconds between two checks.
    :param exponential_backoff: double the seconds between two checks each time, as Airflow's sensors do: the first
        wait is half of ``poke_interval``, and up to as much again is added at random.
    :param max_wait: the longest wait that ``exponential_backoff`` leads to: a timedelta or seconds; None for no limit.
    """

    def __init__(
        self,
        *,
        zcc_conn_id: str = ZoomContactCenterHook.default_conn_name,
        start: datetime | str,
        end: datetime | str,
        queue_id: str | None = None,
        user_id: str | None = None,
        consumer_number: str | None = None,
        channel_types: str | Sequence[str] | None = None,
        channel: str | None = None,
        channel_sources: str | Sequence[str] | None = None,
        direction: str | None = None,
        timezone: str | None = None,
        min_engagements: int = 1,
        settle: timedelta | float = timedelta(minutes=5),
        stable_checks: int = 0,
        poke_interval: float = 60.0,
        exponential_backoff: bool | float = False,
        max_wait: timedelta | float | None = None,
    ) -> None:
        super().__init__()
        self.zcc_conn_id = zcc_conn_id
        self.start = start
        self.end = end
        self.queue_id = queue_id
        self.user_id = user_id
        self.consumer_number = consumer_number
        self.channel_types = channel_types
        self.channel = channel
        self.channel_sources = channel_sources
        self.direction = direction
        self.timezone = timezone
        self.min_engagements = min_engagements
        self.settle = settle
        self.stable_checks = stable_checks
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self._cancelled = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on, in types that every Airflow can store."""
        return (
            "airflow_provider_zcc.triggers.engagements.EngagementsTrigger",
            {
                "zcc_conn_id": self.zcc_conn_id,
                "start": _text(self.start),
                "end": _text(self.end),
                **filters_of(self),
                "min_engagements": self.min_engagements,
                "settle": _plain(self.settle),
                "stable_checks": self.stable_checks,
                "poke_interval": self.poke_interval,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": _plain(self.max_wait),
            },
        )

    def __repr__(self) -> str:
        path, arguments = self.serialize()
        if self.consumer_number is not None:
            arguments["consumer_number"] = "***"
        return f"<{path} {', '.join(f'{name}={value}' for name, value in arguments.items())}>"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check until the engagements are available, or never can be."""
        try:
            engagements = await self._available_count()
        except PermanentError as error:
            yield _failed(str(error))
        except AirflowNotFoundException as error:
            yield _failed(f"The connection {self.zcc_conn_id!r} was not found: {error}.")
        else:
            yield TriggerEvent({"status": "available", "engagements": engagements})

    async def _available_count(self) -> int:
        interval = resolve_interval({}, start=self.start, end=self.end)
        Query(*interval, Filters.validated(**filters_of(self)))
        availability = Availability(
            interval, min_engagements=self.min_engagements, settle=self.settle, stable_checks=self.stable_checks
        )
        waits = self._waits()
        while left := availability.seconds_to_settle():
            await asyncio.sleep(left)
        while True:
            wait = next(waits)
            try:
                engagements = await self._count(interval)
                if availability.is_reached(engagements):
                    return engagements
            except PermanentError:
                raise
            except RateLimitedUntil as error:
                self.log.warning("%s The next check is made then.", error)
                wait = error.time_left.total_seconds()
            except ZoomError as error:
                self.log.warning("%s The next check is made in %.0f s.", error, wait)
            await asyncio.sleep(wait)

    def _waits(self) -> Iterator[float]:
        """Return the seconds to wait after each check, as a sensor in poke mode waits.

        :raises InvalidQuery: if an argument has a wrong type or is out of range.
        """
        poke_interval = seconds("poke_interval", self.poke_interval)
        longest = math.inf if self.max_wait is None else seconds("max_wait", self.max_wait)
        if not isinstance(self.exponential_backoff, int | float):
            raise InvalidQuery(f"exponential_backoff is {self.exponential_backoff!r}. Set True or False.")
        if not self.exponential_backoff:
            return repeat(poke_interval)
        waits = (max(poke_interval * 2.0 ** min(doubled, _MOST_DOUBLINGS), 1.0) for doubled in count(-1))
        return (min(wait * (1 + random.random()), longest) for wait in waits)  # noqa: S311  jitter

    async def _count(self, interval: Interval) -> int:
        """Count in a thread."""
        in_thread = sync_to_async(self._check, thread_sensitive=False, executor=_threads_of(str(self.zcc_conn_id)))
        checking = asyncio.ensure_future(in_thread(interval))
        try:
            # The thread looks up the connection through this loop. To break that off in the middle ends the triggerer
            # of Airflow 3.0 and 3.1: it takes the response for that of the next look-up.
            return await asyncio.shield(checking)
        except asyncio.CancelledError:
            self._cancelled = True
            raise

    def _check(self, interval: Interval) -> int:
        if self._cancelled:
            return 0
        hook = ZoomContactCenterHook(self.zcc_conn_id)
        return hook.count_engagements(*interval, retry_timeout=CHECK_RETRY_TIMEOUT, **filters_of(self))


@shared_in_process
def _threads_of(zcc_conn_id: str) -> ThreadPoolExecutor:
    """Return the threads that send the requests of a connection: if it hangs, no other one waits for it."""
    return ThreadPoolExecutor(CHECKS_IN_FLIGHT, thread_name_prefix=f"zoom-{zcc_conn_id}")


def _failed(message: str) -> TriggerEvent:
    return TriggerEvent({"status": "failed", "message": message})


def _plain(length: timedelta | float | None) -> timedelta | float | None:
    """Return a subclass of timedelta, such as pendulum's, as a timedelta: Airflow stores no other."""
    if isinstance(length, timedelta) and type(length) is not timedelta:
        return timedelta(seconds=length.total_seconds())
    return length


def _text(instant: datetime | str) -> str:
    return instant.isoformat() if isinstance(instant, datetime) else instant
