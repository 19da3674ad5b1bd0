"""Sends the requests of the probes, with the session of the hook, and keeps what Zoom returned."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.zoom.errors import TransientError
from airflow_provider_zcc.zoom.http import error_body, send
from airflow_provider_zcc.zoom.settings import Settings
from tests.conformance.scrub import plain_words

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
#: Of no timezone that is requested.
OFFSET = timezone(timedelta(hours=5, minutes=30))


class Ended(Exception):
    """Ends a probe: with its verdict, and what was seen."""


def need(found: object, what: str) -> None:
    """End the probe if nothing is found."""
    if not found:
        raise Ended("not enough data", f"the account lacks {what}")


@dataclass(frozen=True)
class Exchange:
    """One request and its response."""

    number: int
    params: dict[str, str]
    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def error(self) -> str:
        return f"HTTP {self.status}, code {self.body.get('code')}: {plain_words(self.body.get('message'))}"

    @property
    def records(self) -> list[dict[str, Any]]:
        if self.status != 200:
            raise Ended("different", self.error)
        return list(self.body["engagements"])


class Account:
    """The account that a connection leads to.

    :ivar last: end of the 28 days that are looked at; after it, engagements may still arrive.
    :ivar used: numbers of the exchanges that the present probe looks at.
    """

    def __init__(self, hook: ZoomContactCenterHook, settings: Settings) -> None:
        self.settings, self.url, self.session = settings, hook.engagements_url, hook.get_conn()
        self.last = datetime.now(UTC).replace(microsecond=0) - DAY
        self.exchanges: list[Exchange] = []
        self.used: set[int] = set()

    def request(self, params: dict[str, str]) -> Exchange:
        """Send a request, and keep its response, which may be an error."""
        time.sleep(1 / self.settings.requests_per_second)
        response = send(self.session, "GET", self.url, params=params, timeout=self.settings.timeout)
        if response.status == 429 or response.status >= 500:
            raise TransientError(f"Zoom is throttling or unavailable (HTTP {response.status}). Try again later.")
        number = len(self.exchanges) + 1
        self.exchanges.append(Exchange(number, params, response.status, response.headers, error_body(response)))
        self.used.add(number)
        return self.exchanges[-1]

    def range(self, first: datetime, last: datetime, zone: Any = UTC, *, offset: bool = False, **more: Any) -> Exchange:
        """Request a range, unless the same request was sent before."""
        start, end = (
            bound.astimezone(OFFSET).isoformat() if offset else f"{bound.astimezone(zone):%Y-%m-%dT%H:%M:%SZ}"
            for bound in (first, last)
        )
        query = {"page_size": 100, "timezone": zone, "from": start, "to": end, **more}
        params = {name: str(value) for name, value in query.items()}
        [exchange] = [known for known in self.exchanges if known.params == params] or [self.request(params)]
        self.used.add(exchange.number)
        return exchange

    def survey(self, **more: Any) -> Exchange:
        """Request the first page of 28 days."""
        return self.range(self.last - 28 * DAY, self.last, **more)

    @property
    def pivot(self) -> dict[str, Any]:
        """The engagement that most probes look for: one that lasted, and shares its second with few others."""
        records = self.survey().records
        need(records, "an engagement in the last 28 days")
        starts = [record["start_time"] for record in records]
        return min(records, key=lambda record: (not lasted(record), starts.count(record["start_time"])))

    def around(self, first: int, last: int, zone: Any = UTC, *, offset: bool = False) -> Exchange:
        """Request a range of seconds from the start of the pivot."""
        start = datetime.fromisoformat(self.pivot["start_time"])
        return self.range(start + first * SECOND, start + last * SECOND, zone, offset=offset)

    def start_of_pivot(self, exchange: Exchange) -> str:
        """Return the start of the pivot as a response has it; nothing if that does not list it."""
        starts = {record["engagement_id"]: record["start_time"] for record in exchange.records}
        pivot = self.pivot["engagement_id"]
        need(pivot in starts or len(starts) < 100, "a second with fewer engagements than a page")
        return str(starts.get(pivot, ""))


def lasted(record: dict[str, Any]) -> bool:
    return (record.get("end_time") or "") > record["start_time"]
