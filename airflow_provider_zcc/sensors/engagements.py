"""Finds out whether an interval's data is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import BaseSensorOperator

from airflow_provider_zcc.filters import FILTER_TEMPLATE_FIELDS, rendered_filters
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, airflow_errors
from airflow_provider_zcc.interval import resolve_interval
from airflow_provider_zcc.zoom.errors import InvalidQuery
from airflow_provider_zcc.zoom.query import Filters, Query

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class EngagementsSensor(BaseSensorOperator):
    """
    Waits until the Zoom Contact Center engagements of ``[start, end)`` are available.

    They are when the interval ended at least ``settle`` ago, Zoom counts at least ``min_engagements`` in it and,
    if asked, the count has been the same for ``stable_checks`` checks in a row. Zoom lists an engagement once it
    has been processed, which by its documentation is within about a minute of its end; one that lasts longer than
    ``settle`` beyond the interval's end is not waited for. A check is one request for each 28 days of the
    interval; before ``settle`` is over, none is made.

    :param start: first instant of the interval: a timezone-aware datetime, or ISO 8601 with an offset. Goes
        with ``end``; by default the run's data interval is meant. (templated)
    :param end: the instant after the last, likewise. (templated)
    :param interval_length: length of the interval where the run's own has none: a timedelta or an ISO 8601
        duration. It ends at a zero-length data interval, or begins at the ``partition_date``. (templated)
    :param queue_id: only this queue. (templated)
    :param user_id: only this agent. (templated)
    :param consumer_number: only this consumer's phone number. Templated, but kept out of the rendered template
        fields that Airflow shows, because it is a person's.
    :param channel_types: see :class:`~airflow_provider_zcc.zoom.query.Filters`. (templated)
    :param channel: only this one: voice, video, messaging, email. (templated)
    :param channel_sources: see :class:`~airflow_provider_zcc.zoom.query.Filters`. (templated)
    :param direction: inbound or outbound. (templated)
    :param timezone: accepted as everywhere; the count does not depend on it. (templated)
    :param zcc_conn_id: connection to Zoom. (templated)
    :param min_engagements: how many there have to be at least; 0 allows an empty interval.
    :param settle: how long after the end of the interval its engagements may still be on their way.
    :param stable_checks: how many checks in a row have to count the same; 0 and 1 ask for none. Needs the mode
        ``poke``: in ``reschedule`` nothing is remembered from one check to the next.
    """

    template_fields: Sequence[str] = (
        "start",
        "end",
        "interval_length",
        *FILTER_TEMPLATE_FIELDS,
        "zcc_conn_id",
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
        settle: timedelta = timedelta(minutes=5),
        stable_checks: int = 0,
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
        self._same_counts = (-1, 0)

    def poke(self, context: Context) -> bool:
        """Check once.

        :param context: the task's context.
        """
        with airflow_errors():
            return self._is_available(context)

    def _is_available(self, context: Context) -> bool:
        if self.stable_checks > 1 and self.reschedule:
            raise InvalidQuery("stable_checks cannot work in mode 'reschedule'. Use mode='poke', or leave it out.")
        interval = resolve_interval(context, start=self.start, end=self.end, interval_length=self.interval_length)
        filters = rendered_filters(self, context)
        Query(*interval, Filters.checked(**filters))
        settled = pendulum.instance(interval.end) + self.settle
        if pendulum.now("UTC") < settled:
            self.log.info("The interval that ends at %s settles at %s.", interval.end, settled)
            return False
        count = ZoomContactCenterHook(self.zcc_conn_id).count_engagements(*interval, **filters)
        same = self._count_same(count)
        self.log.info(
            "Zoom counts %d engagements from %s to %s, wanted are %d; the same for %d checks, wanted are %d.",
            count,
            interval.start,
            interval.end,
            self.min_engagements,
            same,
            self.stable_checks,
        )
        return count >= self.min_engagements and same >= self.stable_checks

    def _count_same(self, count: int) -> int:
        last, times = self._same_counts
        self._same_counts = (count, times + 1 if count == last else 1)
        return self._same_counts[1]
