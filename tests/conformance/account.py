"""Sends the requests of the probes, and keeps what Zoom returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import PageTokenExpired, PermanentError
from airflow_provider_zcc.zoom.http import Response, error_body
from airflow_provider_zcc.zoom.query import PATH
from airflow_provider_zcc.zoom.settings import Settings
from tests.conformance.scrub import plain_words

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
#: Of no timezone that is requested.
OFFSET = timezone(timedelta(hours=5, minutes=30))


class Ended(Exception):
    """Ends a probe: with its verdict, and with what was seen or is needed."""


@dataclass(frozen=True, eq=False)
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
            raise Ended(False, self.error)  # noqa: FBT003
        return list(self.body["engagements"])


def lasted(record: dict[str, Any]) -> bool:
    return (record.get("end_time") or "") > record["start_time"]


class Account(ZoomClient):
    """A client that keeps its exchanges.

    :ivar last: end of the 28 days that are looked at; after it, engagements may still arrive.
    :ivar used: numbers of the exchanges that the present probe looks at.
    """

    def __init__(self, settings: Settings, **more: Any) -> None:
        super().__init__(settings, **more)
        self.settings, self.last = settings, datetime.now(UTC).replace(microsecond=0) - DAY
        self.exchanges: list[Exchange] = []
        self.used: set[int] = set()

    def _learn_limit(self, response: Response) -> int | None:
        self._response = response
        return super()._learn_limit(response)

    def request(self, params: dict[str, str]) -> Exchange:
        """Send a request, and keep the response even if it is an error."""
        try:
            self.get(PATH, list(params.items()), bytes)
        except (PermanentError, PageTokenExpired) as error:
            if error.status is None:
                raise
        number, response = len(self.exchanges) + 1, self._response
        self.exchanges.append(Exchange(number, params, response.status, response.headers, error_body(response)))
        return self.exchanges[-1]

    def range(self, first: datetime, last: datetime, zone: Any = UTC, *, offset: bool = False, **more: Any) -> Exchange:
        """Request a range, unless the same request was sent before."""
        start, end = (
            bound.astimezone(OFFSET).isoformat() if offset else f"{bound.astimezone(zone):%Y-%m-%dT%H:%M:%SZ}"
            for bound in (first, last)
        )
        query = {"page_size": 100, "timezone": zone, "from": start, "to": end, **more}
        params = {name: str(value) for name, value in query.items()}
        known = [exchange for exchange in self.exchanges if exchange.params == params]
        exchange = known[0] if known else self.request(params)
        self.used.add(exchange.number)
        return exchange

    def survey(self, **more: Any) -> Exchange:
        """Request the first page of 28 days."""
        return self.range(self.last - 28 * DAY, self.last, **more)

    @property
    def pivot(self) -> dict[str, Any]:
        """The engagement that most probes look for: one that lasted, and shares its second with few others."""
        records = self.survey().records
        if not records:
            raise Ended(None, "an engagement in the last 28 days")
        starts = [record["start_time"] for record in records]
        return min(records, key=lambda record: (not lasted(record), starts.count(record["start_time"])))

    def around(self, first: int, last: int, zone: Any = UTC, *, offset: bool = False) -> Exchange:
        """Request a range of seconds from the start of the pivot."""
        start = datetime.fromisoformat(self.pivot["start_time"])
        return self.range(start + first * SECOND, start + last * SECOND, zone, offset=offset)

    def start_of_pivot(self, exchange: Exchange) -> str:
        """Return the start of the pivot as a response has it; nothing if that does not list it."""
        for record in exchange.records:
            if record["engagement_id"] == self.pivot["engagement_id"]:
                return str(record["start_time"])
        if exchange.body.get("next_page_token"):
            raise Ended(None, "a second with fewer than 100 engagements")
        return ""

    def pages(self) -> list[Exchange]:
        """Request the ten newest engagements of the survey with a page size of 1, and then all pages of 4."""
        newest = sorted(datetime.fromisoformat(record["start_time"]) for record in self.survey().records)[-10:]
        if len(newest) < 2:
            raise Ended(None, "two engagements in the last 28 days")
        pages = [self.range(newest[0], newest[-1], page_size=size) for size in (1, 4)]
        while pages[-1].records and (token := pages[-1].body.get("next_page_token")):
            if len(pages) == 6:
                raise Ended(None, "a range with 2 to 20 engagements")
            pages.append(self.range(newest[0], newest[-1], page_size=4, next_page_token=token))
        return pages
