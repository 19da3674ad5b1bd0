"""Interval and filters, checked before the first request -> the parameters that Zoom understands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo

import pendulum

from airflow_provider_zcc.zoom.errors import InvalidQuery
from airflow_provider_zcc.zoom.window import Window, after_first_pass, windows_between

PATH = "/contact_center/engagements"
#: The most that Zoom allows.
PAGE_SIZE = 100
#: Zoom's spelling of the enumerations. Source: its "List engagements" reference, as of 2026.
ALLOWED = {
    "channel_types": ("voice", "sms", "chat", "video", "kiosk", "in_app_chat", "in_app_video"),
    "channel": ("voice", "video", "messaging", "email"),
    "channel_sources": (
        "in_app_video",
        "kiosk_video",
        "web_video",
        "web_chat",
        "in_app_chat",
        "sms",
        "facebook_messenger",
        "whatsapp",
        "email_address",
    ),
    "direction": ("inbound", "outbound"),
}

Strings = str | Iterable[str] | None


@dataclass(frozen=True)
class Filters:
    """Which engagements to request, in Zoom's own words. None everywhere means all of them.

    :param queue_id: one Contact Center queue.
    :param user_id: one agent.
    :param consumer_number: one phone number of a consumer; kept out of the repr.
    :param channel_types: one or more of voice, sms, chat, video, kiosk, in_app_chat, in_app_video, as a
        list or separated by commas. Deprecated by Zoom, which ignores it when ``channel`` is given.
    :param channel: one of voice, video, messaging, email.
    :param channel_sources: one or more of in_app_video, kiosk_video, web_video, web_chat, in_app_chat, sms,
        facebook_messenger, whatsapp, email_address, as a list or separated by commas.
    :param direction: inbound or outbound.
    :param timezone: IANA name of the timezone in which the times of the records are written. It does not
        change which engagements are read.
    """

    queue_id: str | None = None
    user_id: str | None = None
    consumer_number: str | None = None
    channel_types: tuple[str, ...] = ()
    channel: str | None = None
    channel_sources: tuple[str, ...] = ()
    direction: str | None = None
    timezone: str = "UTC"

    @classmethod
    def validated(
        cls,
        *,
        queue_id: str | None = None,
        user_id: str | None = None,
        consumer_number: str | None = None,
        channel_types: Strings = None,
        channel: str | None = None,
        channel_sources: Strings = None,
        direction: str | None = None,
        timezone: str | None = None,
    ) -> Filters:
        """Check what a user gave, and bring it into Zoom's spelling.

        :raises InvalidQuery: naming the argument and the values that it allows.
        """
        if channel is not None and channel_types is not None:
            raise InvalidQuery("Zoom ignores channel_types when channel is given. Use one of the two.")
        return cls(
            queue_id=_one("queue_id", queue_id),
            user_id=_one("user_id", user_id),
            consumer_number=_one("consumer_number", consumer_number),
            channel_types=_several("channel_types", channel_types),
            channel=_listed("channel", channel),
            channel_sources=_several("channel_sources", channel_sources),
            direction=_listed("direction", direction),
            timezone="UTC" if timezone is None else _known_timezone(timezone),
        )

    def redacted(self) -> dict[str, str | list[str]]:
        """Return what was given, with ``***`` in place of a consumer's number."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        if "consumer_number" in values:
            values["consumer_number"] = "***"
        return {name: sorted(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def __repr__(self) -> str:
        return f"Filters({', '.join(f'{name}={value!r}' for name, value in self.redacted().items())})"


@dataclass(frozen=True)
class Query:
    """The engagements that started in ``[start, end)`` and pass the filters.

    Zoom's clock ticks in whole seconds, so bounds between two ticks move to the later one: of two
    intervals that meet, a record still belongs to exactly one.

    :param start: first instant, timezone-aware.
    :param end: the instant after the last, timezone-aware.
    :param filters: which engagements.
    :raises InvalidQuery: if a bound is naive, or the end is not after the start.
    """

    start: datetime
    end: datetime
    filters: Filters = Filters()

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment = getattr(self, name)
            if not isinstance(moment, datetime) or moment.utcoffset() is None:
                raise InvalidQuery(f"{name} has no timezone: {moment!r}. Use a timezone-aware datetime.")
        if self.end <= self.start:
            raise InvalidQuery(f"end ({self.end}) is not after start ({self.start}). Use an interval [start, end).")
        for name in ("start", "end"):
            object.__setattr__(self, name, _next_whole_second(name, getattr(self, name)))

    def windows(self) -> list[Window]:
        """Split the interval into windows that Zoom accepts, and whose records can be told apart."""
        boundary = after_first_pass(self.end, self.tz)
        if boundary is None or not self.start < boundary < self.end:
            return windows_between(self.start, self.end, self.tz)
        return [
            *windows_between(self.start, boundary, self.tz),
            *windows_between(boundary, self.end, self.tz),
        ]

    def counting_parameters(self) -> list[list[tuple[str, str]]]:
        """Return the parameters of the requests that count: one for each 28 days.

        Zoom's upper bound is inclusive, in whole seconds: what is counted ends one second before the interval.
        """
        if self.start == self.end:
            return []
        return [
            self.parameters(Window(window.start, window.end - timedelta(seconds=1)), page_size=1)
            for window in windows_between(self.start, self.end, self.tz)
        ]

    def parameters(
        self, window: Window, *, page_size: int = PAGE_SIZE, next_page_token: str | None = None
    ) -> list[tuple[str, str]]:
        """Return the query parameters of one page.

        :param window: the part of the interval.
        :param page_size: 1 to 100.
        :param next_page_token: of the page before; None for the first page.
        """
        filters = self.filters
        parameters = [
            ("page_size", str(page_size)),
            ("timezone", filters.timezone),
            ("from", self.format_timestamp(window.start)),
            ("to", self.format_timestamp(window.end)),
            *[("channel_types", value) for value in filters.channel_types],
            *[("channel_sources", value) for value in filters.channel_sources],
        ]
        single = ("queue_id", "user_id", "consumer_number", "channel", "direction")
        parameters += [(name, value) for name in single if (value := getattr(filters, name))]
        if next_page_token:
            parameters.append(("next_page_token", next_page_token))
        return parameters

    def format_timestamp(self, instant: datetime) -> str:
        """Write an instant as Zoom reads it.

        In the ``Z`` form Zoom reads the clock of ``timezone``, whatever the letter; that is right for UTC
        alone. Elsewhere the offset form says which of an hour that daylight saving repeats is meant.

        :param instant: timezone-aware.
        """
        if self.tz is UTC:
            return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return instant.astimezone(self.tz).isoformat(timespec="seconds")

    @property
    def tz(self) -> tzinfo:
        """The timezone in which Zoom reads and writes times for this query."""
        return UTC if self.filters.timezone == "UTC" else pendulum.timezone(self.filters.timezone)


def _next_whole_second(name: str, moment: datetime) -> datetime:
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        utc = datetime.max.replace(tzinfo=UTC)
    # In the first and the last year, other timezones have no name for every instant.
    if not 1 < utc.year < 9999:
        raise InvalidQuery(f"{name} is {moment}. Use a time within the years 2 to 9998.")
    utc = datetime(*utc.timetuple()[:6], utc.microsecond, tzinfo=UTC)
    return utc.replace(microsecond=0) + timedelta(seconds=1) if utc.microsecond else utc


def _one(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidQuery(
            f"{name} is of type {type(value).__name__}, not text. Use one value as text. With "
            "render_template_as_native_obj, a template of digits only becomes a number."
        )
    if not value.strip() or not value.isprintable():
        raise InvalidQuery(f"{name} is empty or not printable. Use one value, or remove the argument to read all.")
    return value.strip()


def _listed(name: str, value: str | None) -> str | None:
    return None if value is None else _spelled(name, value)


def _spelled(name: str, value: object) -> str:
    spelled = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(spelled, str) or spelled not in ALLOWED[name]:
        raise InvalidQuery(f"Invalid {name} {value!r}. Use one of: {', '.join(ALLOWED[name])}.")
    return spelled


def _several(name: str, values: Strings) -> tuple[str, ...]:
    if values is None:
        return ()
    items = values.split(",") if isinstance(values, str) else values if isinstance(values, Iterable) else [values]
    spelled = tuple(dict.fromkeys(_spelled(name, item) for item in items))
    if not spelled:
        raise InvalidQuery(f"{name} is empty. Use one or more of: {', '.join(ALLOWED[name])}, or remove the argument.")
    return spelled


def _known_timezone(name: str) -> str:
    try:
        return pendulum.timezone(str.strip(name)).name
    except (ValueError, TypeError, OSError):
        raise InvalidQuery(
            f"Unknown timezone {name!r}. Use an IANA name such as America/Los_Angeles, or remove the argument for UTC."
        ) from None
