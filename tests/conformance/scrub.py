"""Replaces what belongs to people and to the account: whatever is not in a list here."""

from __future__ import annotations

import hmac
import re
import secrets
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


def plain_words(text: object) -> str:
    """Return a message with ``***`` in place of each word that it may quote."""
    return " ".join(word if word.strip(".,:").lower() in WORDS.split() else "***" for word in str(text).split())


class Scrubber:
    """Replaces equal values by equal pseudonyms. The key is never stored, so that nobody can find the values."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def scrub(self, value: Any, name: str = "") -> Any:
        """Return JSON without what may belong to a person or the account; ``name`` is the key that holds it."""
        if isinstance(value, dict):
            return {key if key in KEYS else self._pseudonym(key): self.scrub(value[key], key) for key in value}
        if isinstance(value, list):
            return [self.scrub(inner, name) for inner in value]
        if value in (None, "") or isinstance(value, bool) or _is_harmless(name, value):
            return value
        if isinstance(value, str):
            return plain_words(value) if name == "message" else self._pseudonym(value)
        return type(value)(int(self._pseudonym(value)[-15:], 16) % 10 ** min(len(str(value)), 15))

    def _pseudonym(self, value: object) -> str:
        return f"scrubbed-{hmac.new(self._key, repr(value).encode(), 'sha256').hexdigest()[:16]}"


def _is_harmless(name: str, value: object) -> bool:
    if isinstance(value, int):
        return re.fullmatch(INTEGERS, name) is not None
    return value in VALUES.get(name, ()) or bool(re.fullmatch(TIMES, name) and re.fullmatch(TIME, str(value)))
