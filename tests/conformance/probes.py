"""What is believed of Zoom, and how to find out.

A probe is a function whose docstring is the belief. It returns True if Zoom confirms it, False if Zoom differs, None if
there is not enough data; and what was seen, which is nothing that belongs to a person or the account.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from zoneinfo import ZoneInfo

from openapi_schema_validator import OAS31Validator

from airflow_provider_zcc.zoom.http import quote
from airflow_provider_zcc.zoom.oauth import TokenSource
from tests.conformance.account import DAY, SECOND, Account, Ended, Exchange, lasted
from tests.conformance.scrub import TIME, VALUES
from tests.contract.contract import DESCRIPTION, LISTING

Seen = tuple[bool | None, str]
#: Without daylight saving: each of its local times is one instant.
PHOENIX = ZoneInfo("America/Phoenix")
#: The description, without what it does not name.
CLOSED = json.loads(json.dumps(DESCRIPTION).replace('"properties":', '"additionalProperties": false, "properties":'))


def bounds(zoom: Account) -> Seen:
    """Both are inclusive, to the second."""
    ranges = {"at `from`": (0, 1), "at `to`": (-1, 0), "1 s before `from`": (1, 2), "1 s after `to`": (-2, -1)}
    listed = [words for words, seconds in ranges.items() if zoom.start_of_pivot(zoom.around(*seconds))]
    return listed == ["at `from`", "at `to`"], f"listed: {', '.join(listed)}; not: {', '.join(ranges.keys() - listed)}"


def filtered_time(zoom: Account) -> Seen:
    """It is start_time, not end_time."""
    if not lasted(zoom.pivot):
        raise Ended(None, "an engagement that lasted")
    end = datetime.fromisoformat(zoom.pivot["end_time"])
    ranges = {"start_time": zoom.around(0, 1), "end_time": zoom.range(end, end + SECOND)}
    listed = [name for name, exchange in ranges.items() if zoom.start_of_pivot(exchange)]
    return listed == ["start_time"], f"listed by {' and '.join(listed)}"


def literal_z(zoom: Account) -> Seen:
    """`…Z` is local time of `timezone`, in requests and responses."""
    return _is_local(zoom, zoom.around(0, 1, PHOENIX), "Z")


def offset_form(zoom: Account) -> Seen:
    """A request's offset decides; a response has local time of `timezone`."""
    return _is_local(zoom, zoom.around(0, 1, PHOENIX, offset=True), "Z", "-07:00")


def order(zoom: Account) -> Seen:
    """Newest first (the package accepts any order)."""
    starts = [record["start_time"] for record in zoom.survey().records]
    if len(set(starts)) < 3:
        raise Ended(None, "three engagements in the last 28 days")
    falls = starts == sorted(starts, reverse=True)
    return falls, "newest first" if falls else "oldest first" if starts == sorted(starts) else "no order by start_time"


def total(zoom: Account) -> Seen:
    """total_records counts all pages, on each page, for any page_size."""
    first, *pages = zoom.pages()
    totals = [page.body["total_records"] for page in (first, *pages)]
    found = len({record["engagement_id"] for page in pages for record in page.records})
    return set(totals) == {found}, f"{quote(totals)}; {found} engagements on {len(pages)} pages"


def echo(zoom: Account) -> Seen:
    """`from` and `to` are echoed as they were sent."""
    exchanges = [zoom.survey(), *(zoom.around(0, 1, PHOENIX, offset=offset) for offset in (False, True))]
    pairs = [(exchange.params[name], exchange.body.get(name)) for exchange in exchanges for name in ("from", "to")]
    changed = [f"{sent} as {_time(echoed)}" for sent, echoed in pairs if sent != echoed]
    return not changed, ", ".join(changed) or f"{len(pairs)} times, unchanged"


def page_size(zoom: Account) -> Seen:
    """At most 100: 101 is rejected, or returns 100."""
    exchange = zoom.survey(page_size=101)
    if exchange.status != 200:
        return _is_rejected(exchange)
    if len(exchange.records) < 100:
        raise Ended(None, "101 engagements in 28 days")
    return len(exchange.records) == 100, f"{len(exchange.records)} engagements"


def longest_range(zoom: Account) -> Seen:
    """28 days are accepted, 40 are rejected with 300."""
    return _is_rejected(zoom.range(zoom.last - 40 * DAY, zoom.last), accepted=zoom.survey())


def unknown_timezone(zoom: Account) -> Seen:
    """It is rejected with 300."""
    return _is_rejected(zoom.survey(timezone="Mars/Olympus"))


def unknown_page_token(zoom: Account) -> Seen:
    """It is rejected with 300 and "next page token"."""
    return _is_rejected(zoom.survey(next_page_token="unknown"), "next page token")


def open_engagements(zoom: Account) -> Seen:
    """They are not listed before they end."""
    recent = zoom.range(zoom.last + DAY - 3_600 * SECOND, zoom.last + DAY)
    now = f"{parsedate_to_datetime(recent.headers['Date']):%Y-%m-%dT%H:%M:%SZ}"
    if not recent.records:
        raise Ended(None, "an engagement in the last hour")
    latest = max(record.get("end_time") or "never" for record in recent.records)
    return latest <= now, f"the latest of {len(recent.records)} ended {_time(latest)}, listed {now}"


def rate_limit_headers(zoom: Account) -> Seen:
    """If they are sent, they name the limit per second."""
    found = [exchange.headers for exchange in zoom.exchanges if "X-RateLimit-Type" in exchange.headers]
    if not found:
        raise Ended(None, "responses with X-RateLimit-Type")
    kind, limit, left = (quote(found[-1].get(f"X-RateLimit-{name}")) for name in ("Type", "Limit", "Remaining"))
    seen = f"{kind}, {limit}, {left} left; in {len(found)} of {len(zoom.exchanges)} responses"
    return kind == "QPS" and limit.isdigit() and left.isdigit(), seen


def several_tokens(zoom: Account) -> Seen:
    """A new access token leaves the one before valid."""
    older, params = zoom.session.auth.token(), zoom.survey().params | {"page_size": "1"}
    Account(zoom.settings, token_source=TokenSource(zoom.settings.credentials)).request(params)
    zoom.request(params)
    is_valid = zoom.session.auth.token() == older  # else the client has replaced it
    return is_valid, f"the older was {'accepted' if is_valid else 'rejected'}"


def description(zoom: Account) -> Seen:
    """Responses are as described in OpenAPI, but for what is new."""
    found = [place for exchange in zoom.exchanges for place, is_new in violations(exchange) if not is_new]
    return not found, _counted(found) or f"all {len(zoom.exchanges)} responses"


def additions(zoom: Account) -> Seen:
    """Zoom adds keys, and values of enumerations, without notice."""
    found = [place for exchange in zoom.exchanges for place, is_new in violations(exchange) if is_new]
    return True if found else None, _counted(found) or "an engagement with what is not described"


PROBES: list[Callable[[Account], Seen]] = [bounds, filtered_time, literal_z, offset_form, order, total, echo, page_size]
PROBES += [longest_range, unknown_timezone, unknown_page_token, open_engagements, rate_limit_headers]
PROBES += [several_tokens, description, additions]


def page_token_life(zoom: Account) -> Seen:
    """It is valid after 14 minutes, and not after 16."""
    first = zoom.pages()[0].params
    tokens = [zoom.request(first).body["next_page_token"] for _ in range(2)]
    time.sleep(14 * 60)
    valid = zoom.request(first | {"next_page_token": tokens[0]})
    time.sleep(2 * 60)
    return _is_rejected(zoom.request(first | {"next_page_token": tokens[1]}), "next page token", accepted=valid)


@cache
def violations(exchange: Exchange) -> list[tuple[str, bool]]:
    """Return where a response is not as described, and whether that is a key or a value that is new."""
    described = CLOSED["paths"][LISTING]["get"]["responses"].get(str(exchange.status))
    schema = described["content"]["application/json"]["schema"] if described else {"not": {}}
    found: list[tuple[str, bool]] = []
    for error in OAS31Validator({**schema, "components": CLOSED["components"]}).iter_errors(exchange.body):
        place, value = re.sub(r"\[\d+\]|^\$\.?", "", error.json_path), error.instance
        if error.validator == "additionalProperties":
            new = value.keys() - error.schema["properties"]
            found += [(f"{place}.{key if re.fullmatch('[a-z0-9_]{,40}', key) else '***'}", True) for key in new]
        elif isinstance(value, str) and "enum" in [error.validator, *(inner.validator for inner in error.context)]:
            found.append((f"{place} {value if value in VALUES.get(place.rpartition('.')[2], ()) else '***'}", True))
        else:
            found.append((f"{place or f'HTTP {exchange.status}'}: {error.validator}", False))
    return found


def _is_local(zoom: Account, exchange: Exchange, *endings: str) -> Seen:
    start, written = datetime.fromisoformat(zoom.pivot["start_time"]), zoom.start_of_pivot(exchange)
    expected = [f"{start.astimezone(PHOENIX):%Y-%m-%dT%H:%M:%S}{ending}" for ending in endings]
    return written in expected, f"{exchange.params['from']} finds {_time(written) if written else 'nothing'}"


def _is_rejected(exchange: Exchange, words: str = "", *, accepted: Exchange | None = None) -> Seen:
    if accepted and accepted.status != 200:
        return False, accepted.error
    if exchange.status == 200:
        return False, f"accepted, from {_time(exchange.body.get('from'))}"
    return exchange.body.get("code") == 300 and words in str(exchange.body.get("message")).lower(), exchange.error


def _time(value: object) -> str:
    return str(value) if re.fullmatch(TIME, str(value)) else "***"


def _counted(found: list[str]) -> str:
    return ", ".join(f"{what} ({found.count(what)}x)" for what in sorted(set(found)))
