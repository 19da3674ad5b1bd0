"""What is believed of Zoom, and how to find out.

A probe is a function whose docstring is the belief. It returns whether Zoom confirms it, and what was seen, which is
nothing that belongs to a person or the account.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

from openapi_schema_validator import OAS31Validator

from airflow_provider_zcc.zoom.http import quote
from airflow_provider_zcc.zoom.oauth import TokenSource
from tests.conformance.account import DAY, SECOND, Account, Exchange, lasted, need
from tests.conformance.scrub import KEYS
from tests.contract.contract import DESCRIPTION, LISTING

Seen = tuple[bool, str]
#: Without daylight saving: each of its local times is one instant.
PHOENIX = ZoneInfo("America/Phoenix")


def bounds(zoom: Account) -> Seen:
    """`from` and `to` are both inclusive, to the second."""
    ranges = {"at `from`": (0, 1), "at `to`": (-1, 0), "1 s before `from`": (1, 2), "1 s after `to`": (-2, -1)}
    listed = [place for place, seconds in ranges.items() if zoom.start_of_pivot(zoom.around(*seconds))]
    others = [place for place in ranges if place not in listed]
    return listed == ["at `from`", "at `to`"], f"listed: {', '.join(listed)}; not listed: {', '.join(others)}"


def filtered_time(zoom: Account) -> Seen:
    """`from` and `to` select by start_time, not by end_time."""
    need(lasted(zoom.pivot), "an engagement that lasted")
    end = datetime.fromisoformat(zoom.pivot["end_time"])
    ranges = {"start_time": zoom.around(0, 1), "end_time": zoom.range(end, end + SECOND)}
    listed = [name for name, exchange in ranges.items() if zoom.start_of_pivot(exchange)]
    return listed == ["start_time"], f"listed by {' and by '.join(listed) or 'neither'}"


def literal_z(zoom: Account) -> Seen:
    """`…Z` is local time of `timezone`, in requests and in responses."""
    return _is_local(zoom, zoom.around(0, 1, PHOENIX), "Z")


def offset_form(zoom: Account) -> Seen:
    """An offset in `from` decides; the response has local time of `timezone`."""
    return _is_local(zoom, zoom.around(0, 1, PHOENIX, offset=True), "Z", "-07:00")


def _is_local(zoom: Account, exchange: Exchange, *endings: str) -> Seen:
    start, written = datetime.fromisoformat(zoom.pivot["start_time"]), zoom.start_of_pivot(exchange)
    expected = [f"{start.astimezone(PHOENIX):%Y-%m-%dT%H:%M:%S}{ending}" for ending in endings]
    seen = f"what started {start:%H:%M:%S} UTC is {written or 'not listed'}"
    return written in expected, f"{seen}, from {exchange.params['from']}, timezone {PHOENIX}"


def order(zoom: Account) -> Seen:
    """Newest first (the package accepts any order)."""
    starts = [record["start_time"] for record in zoom.survey().records]
    need(len(set(starts)) > 2, "three engagements in the last 28 days")
    falls = starts == sorted(starts, reverse=True)
    return falls, "newest first" if falls else "oldest first" if starts == sorted(starts) else "no order by start_time"


def total(zoom: Account) -> Seen:
    """total_records counts all pages, on each page, for any page_size."""
    newest = sorted(datetime.fromisoformat(record["start_time"]) for record in zoom.survey().records)[-10:]
    need(len(newest) > 1, "two engagements in the last 28 days")
    single, *pages = (zoom.range(newest[0], newest[-1], page_size=size) for size in (1, 4))
    while pages[-1].records and (token := pages[-1].body.get("next_page_token")):
        need(len(pages) < 6, "a range with 2 to 20 engagements")
        pages.append(zoom.request(pages[0].params | {"next_page_token": token}))
    totals = [page.body["total_records"] for page in (single, *pages)]
    found = len({record["engagement_id"] for page in pages for record in page.records})
    return set(totals) == {found}, f"total_records {quote(totals)}; {found} engagements on {len(pages)} pages"


def page_size(zoom: Account) -> Seen:
    """At most 100: page_size=101 is rejected, or returns 100."""
    exchange = zoom.survey(page_size=101)
    if exchange.status != 200:
        return _is_rejected(exchange)
    need(len(exchange.records) >= 100, "101 engagements in 28 days")
    return len(exchange.records) == 100, f"{len(exchange.records)} engagements"


def longest_range(zoom: Account) -> Seen:
    """28 days are accepted, 40 are rejected with code 300."""
    need(zoom.survey().records, "an engagement in the last 28 days")
    return _is_rejected(zoom.range(zoom.last - 40 * DAY, zoom.last))


def unknown_timezone(zoom: Account) -> Seen:
    """It is rejected with code 300."""
    return _is_rejected(zoom.survey(timezone="Mars/Olympus"))


def unknown_page_token(zoom: Account) -> Seen:
    """It is rejected with code 300 and "next page token"."""
    return _is_rejected(zoom.survey(next_page_token="unknown"), "next page token")


def page_token_life(zoom: Account) -> Seen:
    """A page token is valid after 14 minutes, and not after 16."""
    params = zoom.survey().params | {"page_size": "1"}
    tokens = [zoom.request(params).body.get("next_page_token") for _ in range(2)]
    need(all(tokens), "two engagements in the last 28 days")
    after_14, after_16 = (params | {"next_page_token": str(token)} for token in tokens)
    time.sleep(14 * 60)
    zoom.request(after_14).records  # noqa: B018  which raises if it was rejected
    time.sleep(2 * 60)
    return _is_rejected(zoom.request(after_16), "next page token")


def _is_rejected(exchange: Exchange, words: str = "") -> Seen:
    if exchange.status == 200:
        return False, f"accepted, from {exchange.body.get('from')}"
    return exchange.body.get("code") == 300 and words in str(exchange.body.get("message")).lower(), exchange.error


def open_engagements(zoom: Account) -> Seen:
    """An engagement is not listed before it ends."""
    recent = zoom.range(zoom.last + DAY - 3_600 * SECOND, zoom.last + DAY)
    now = f"{parsedate_to_datetime(recent.headers['Date']):%Y-%m-%dT%H:%M:%SZ}"
    need(recent.records, "an engagement in the last hour")
    latest = max(record.get("end_time") or "never" for record in recent.records)
    return latest <= now, f"the latest of {len(recent.records)} ended {latest}, listed at {now}"


def echo(zoom: Account) -> Seen:
    """A response repeats `from` and `to` as they were sent."""
    pages = [exchange for exchange in zoom.exchanges if exchange.status == 200]
    pairs = [(page.params[name], page.body.get(name)) for page in pages for name in ("from", "to")]
    changed = [f"{sent} as {echoed}" for sent, echoed in pairs if sent != echoed]
    return not changed, ", ".join(changed) or f"unchanged in {len(pages)} responses"


def rate_limit_headers(zoom: Account) -> Seen:
    """If X-RateLimit headers are sent, they have the limit per second."""
    found = [exchange for exchange in zoom.exchanges if "X-RateLimit-Type" in exchange.headers]
    need(found, "responses with X-RateLimit-Type")
    kind, limit, left = (quote(found[-1].headers.get(f"X-RateLimit-{name}")) for name in ("Type", "Limit", "Remaining"))
    return kind == "QPS" and limit.isdigit() and left.isdigit(), f"type {kind}, limit {limit}, {left} remaining"


def several_tokens(zoom: Account) -> Seen:
    """A new access token leaves the one before valid."""
    TokenSource(zoom.settings.credentials).token(zoom.settings.timeout, None)
    exchange = zoom.survey(page_size=1)
    return exchange.status == 200, "the older one was accepted" if exchange.status == 200 else exchange.error


def description(zoom: Account) -> Seen:
    """Responses are as `tests/contract` describes them (new keys are allowed)."""
    found = {place for exchange in zoom.exchanges for place in violations(exchange.status, exchange.body)}
    records = [record for exchange in zoom.exchanges for record in exchange.body.get("engagements", ())]
    new = {key if re.fullmatch("[a-z0-9_]{,40}", key) else "***" for record in records for key in record} - KEYS
    return not found, f"{', '.join(sorted(found)) or 'no violation'}; new keys: {', '.join(sorted(new)) or 'none'}"


PROBES: list[Callable[[Account], Seen]] = [bounds, filtered_time, literal_z, offset_form, order, total, page_size]
PROBES += [longest_range, unknown_timezone, unknown_page_token, open_engagements, echo, rate_limit_headers]
PROBES += [several_tokens, description]


def violations(status: int, body: object) -> list[str]:
    """Return where a response is not as described, without what it holds there."""
    described = DESCRIPTION["paths"][LISTING]["get"]["responses"].get(str(status))
    schema = described["content"]["application/json"]["schema"] if described else {"not": {}}
    errors = OAS31Validator({**schema, "components": DESCRIPTION["components"]}).iter_errors(body)
    return [
        f"HTTP {status} {'.'.join(filter(str.isidentifier, map(str, error.path)))}: {error.validator}"
        for error in errors
    ]
