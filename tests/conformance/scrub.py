"""Replaces what belongs to people and to the account: whatever is not in a list here."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import available_timezones

from airflow_provider_zcc.zoom.query import ALLOWED
from tests.contract.contract import DESCRIPTION

#: Names of the fields that are described.
KEYS = set(re.findall(r"'(\w+)': \{", repr(DESCRIPTION["components"]["schemas"]))) - {"items", "properties"}
INTEGERS = r"code|errorCode|page_size|total_records|transfer_count|((talk|flow|waiting|handling|wrap_up)_)?duration"
TIMES, TIME = r"from|to|(start|end|last_modified)_time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"
#: Those of ALLOWED, and kinds of engagements that Zoom's other descriptions name.
VALUES: dict[str, Any] = ALLOWED | {
    "timezone": available_timezones(),
    "channel": (*ALLOWED["channel"], "work_item"),
    "channel_source": (*ALLOWED["channel_sources"], "instagram", "team_chat", "api"),
}
#: Of error messages.
WORDS = """1-month a access and be channel code date does error exceeds exist expired field for format from in invalid
is limit maximum must next not of or page page_size range report requested than the time timezone to token value"""
#: By value. They are numbered, so nobody can find the values.
_PSEUDONYMS: dict[object, str] = {}


def plain_words(text: object) -> str:
    """Return a message with ``***`` in place of each word that it may quote."""
    return " ".join(word if word.strip(".,:").lower() in WORDS.split() else "***" for word in str(text).split())


def scrub(value: Any, name: str = "") -> Any:
    """Return JSON without what may belong to a person or the account; ``name`` is the key that holds it."""
    if isinstance(value, dict):
        return {key if key in KEYS else _pseudonym(key): scrub(value[key], key) for key in value}
    if isinstance(value, list):
        return [scrub(inner, name) for inner in value]
    if isinstance(value, int | float):
        return value if isinstance(value, bool) or re.fullmatch(INTEGERS, name) else 0
    if name == "message":
        return plain_words(value)
    is_time = re.fullmatch(TIMES, name) and re.fullmatch(TIME, str(value))
    return value if is_time or value in (None, "", *VALUES.get(name, ())) else _pseudonym(value)


def _pseudonym(value: object) -> str:
    return _PSEUDONYMS.setdefault(value, f"scrubbed-{len(_PSEUDONYMS) + 1}")
