"""Timezones, and instants around which their local time is peculiar."""

from __future__ import annotations

from datetime import UTC, datetime

ZONES = ("UTC", "America/Los_Angeles", "Australia/Lord_Howe", "Europe/London", "Asia/Kathmandu", "Pacific/Apia")
#: When daylight saving ends, so that local time repeats an hour, or half an hour.
PUT_BACK = {
    "America/Los_Angeles": datetime(2026, 11, 1, 9, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 15, tzinfo=UTC),
    "Europe/London": datetime(2026, 10, 25, 1, tzinfo=UTC),
}
#: When it begins, when a calendar skips a day, and when nothing happens.
PUT_FORWARD = datetime(2026, 3, 8, 10, tzinfo=UTC)
ANCHORS = (
    *PUT_BACK.values(),
    PUT_FORWARD,
    datetime(2011, 12, 30, 10, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
)
