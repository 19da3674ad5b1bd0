"""Finds out from the triggerer whether an interval's data is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_zcc.availability import Availability
from airflow_provider_zcc.filters import filters_of
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.interval import Interval, resolve_interval
from airflow_provider_zcc.zoom.errors import PermanentError, RateLimitedUntil, ZoomError
from airflow_provider_zcc.zoom.query import Filters, Query

#: Checks of one connection that a triggerer has in flight at most. The others wait in line.
CHECKS_IN_FLIGHT = 8


class EngagementsTrigger(BaseTrigger):
    """
    Fires when the Zoom Contact Center engagements of ``[start, end)`` are available, or never can be.

    Asks what :class:`~airflow_provider_zcc.sensors.engagements.EngagementsSensor` asks. Between two checks it
    sleeps; for a check, a thread asks Zoom. All triggers of a triggerer that use a connection share 8 such
    threads, in the order in which they come, and one pace. A check is a short attempt: an outage is logged, and
    Zoom asked again at the next check; if Zoom names a time at which requests are welcome again, it is asked then.

    The event is ``{"status": "available", "engagements": count}``, or ``{"status": "failed", "message": why}``
    when asking again cannot help, as without a connection. Any other error is for Airflow: the trigger has failed, and
    with it the task, which may be tried again.

    Nothing secret is serialized: the connection is looked up for every check, so that a corrected one counts from
    the next check on. Airflow encrypts a trigger's arguments in its database (with ``[core] fernet_key``), but up to
    3.2 shows them in its REST API to everyone who may see the task instance. So the sensor never hands
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
    :param min_engagements: how many there have to be at least; 0 allows an empty interval.
    :param settle: how long after the end of the interval its engagements may still be on their way. Nothing is
        asked before.
    :param stable_checks: how many checks in a row have to count the same; 0 and 1 ask for none. A restarted
        triggerer counts from the beginning.
    :param poke_interval: seconds between two checks.
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
        settle: timedelta = timedelta(minutes=5),
        stable_checks: int = 0,
        poke_interval: float = 60.0,
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
                "settle": timedelta(seconds=self.settle.total_seconds()),
                "stable_checks": self.stable_checks,
                "poke_interval": self.poke_interval,
            },
        )

    def __repr__(self) -> str:
        path, arguments = self.serialize()
        if self.consumer_number is not None:
            arguments["consumer_number"] = "***"
        return f"<{path} {', '.join(f'{name}={value}' for name, value in arguments.items())}>"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the engagements are there, or never can be."""
        try:
            count = await self._available_count()
        except PermanentError as error:
            yield _failed(str(error))
        except AirflowNotFoundException as error:
            yield _failed(f"Zoom could not be asked: {error}. Check the connection {self.zcc_conn_id!r}.")
        else:
            yield TriggerEvent({"status": "available", "engagements": count})

    async def _available_count(self) -> int:
        interval = resolve_interval({}, start=self.start, end=self.end)
        Query(*interval, Filters.validated(**filters_of(self)))
        availability = Availability(
            interval, min_engagements=self.min_engagements, settle=self.settle, stable_checks=self.stable_checks
        )
        while seconds := availability.seconds_to_settle():
            await asyncio.sleep(seconds)
        while True:
            wait = self.poke_interval
            try:
                count = await self._count(interval)
                if availability.is_reached(count):
                    return count
            except PermanentError:
                raise
            except RateLimitedUntil as error:
                self.log.warning("%s Asking again then.", error)
                wait = error.wait.total_seconds()
            except ZoomError as error:
                self.log.warning("%s Asking again in %.0f s.", error, wait)
            await asyncio.sleep(wait)

    async def _count(self, interval: Interval) -> int:
        """Let a thread ask."""
        ask = sync_to_async(self._ask, thread_sensitive=False, executor=_threads_of(self.zcc_conn_id))
        asking = asyncio.ensure_future(ask(interval))
        try:
            # The thread looks up the connection through this loop. To break that off in the middle ends the triggerer
            # of Airflow 3.0 and 3.1: it takes the answer for that of the next look-up.
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._cancelled = True
            raise

    def _ask(self, interval: Interval) -> int:
        if self._cancelled:
            return 0
        return ZoomContactCenterHook(self.zcc_conn_id).count_engagements_briefly(*interval, **filters_of(self))


@lru_cache(maxsize=64)
def _threads_of(zcc_conn_id: str) -> ThreadPoolExecutor:
    """Return the threads that ask Zoom through a connection: if it hangs, no other one waits for it."""
    return ThreadPoolExecutor(CHECKS_IN_FLIGHT, thread_name_prefix=f"zoom-{zcc_conn_id}")


def _failed(message: str) -> TriggerEvent:
    return TriggerEvent({"status": "failed", "message": message})


def _text(moment: datetime | str) -> str:
    return moment if isinstance(moment, str) else moment.isoformat()
