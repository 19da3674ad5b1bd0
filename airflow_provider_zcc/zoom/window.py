"""A range of time that one request covers, and which records belong to it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

#: Zoom rejects a range of more than one month; 28 days fit into every month.
LONGEST_WINDOW = timedelta(days=28)
_SECOND = timedelta(seconds=1)
#: Second of the minute at which windows are split. Fewer engagements start then than at full minutes and hours.
_QUIET_SECOND = 37


class Place(enum.Enum):
    """Where a record belongs, seen from a window."""

    INSIDE = enum.auto()
    #: The next window, or the next interval, starts at this instant and returns the record too.
    NEXT = enum.auto()
    #: Its time is ambiguous, unreadable or outside of the window: keep it, unless another window has returned it.
    IN_DOUBT = enum.auto()


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval ``[start, end)``, in whole seconds.

    Zoom's bounds are both inclusive, with a resolution of one second. So a request for a window covers the second
    of its ``end`` too, and the records of that second are left to the next window.

    :param start: first instant, UTC.
    :param end: the instant after the last, UTC.
    :param timezone: in which Zoom writes the times of its response.
    """

    start: datetime
    end: datetime
    timezone: tzinfo = UTC

    def split(self, parts: int) -> list[Window]:
        """Split the window into parts of nearly equal length.

        Each bound between them moves to the quiet second of its minute. Bounds of the same minute become one, so a
        window of a few minutes gives fewer parts.

        :param parts: how many, at most.
        """
        even_bounds = (self.start + (self.end - self.start) * part / parts for part in range(1, parts))
        quiet_bounds = {bound.replace(second=_QUIET_SECOND, microsecond=0) for bound in even_bounds}
        bounds = [self.start, *sorted(bound for bound in quiet_bounds if self.start < bound < self.end), self.end]
        return [Window(start, end, self.timezone) for start, end in pairwise(bounds)]

    def place(self, start_time: object) -> Place:
        """Return where a record belongs. Only one that certainly started in the second of the end is left to the next.

        :param start_time: the record's, as Zoom sent it.
        """
        instants = possible_instants(start_time, self.timezone)
        after_end = self.end + _SECOND
        candidates = [instant for instant in instants if self.start <= instant < after_end]
        if candidates and min(candidates) >= self.end:
            return Place.NEXT
        if candidates and all(self.start <= instant < self.end for instant in instants):
            return Place.INSIDE
        return Place.IN_DOUBT


def possible_instants(text: object, timezone: tzinfo) -> tuple[datetime, ...]:
    """Parse one of Zoom's times.

    The ``Z`` of ``yyyy-MM-ddTHH:mm:ssZ`` is a literal: it is local time in the timezone of the request. Where
    daylight saving repeats an hour, that can be two instants; with an offset, it is always one.

    :param text: the time, as Zoom sent it.
    :param timezone: of the request.
    :return: the instants that it can mean, in UTC; none if it is unreadable.
    """
    if not isinstance(text, str):
        return ()
    try:
        local = datetime.fromisoformat(text[:-1] if text.endswith(("Z", "z")) else text)
        if local.tzinfo is not None:
            return (local.astimezone(UTC),)
        if timezone is UTC:
            return (local.replace(tzinfo=UTC),)
        instants = {local.replace(tzinfo=timezone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    except (ValueError, OverflowError):
        return ()
    return tuple(sorted(instants))


def windows_between(start: datetime, end: datetime, timezone: tzinfo) -> list[Window]:
    """Split an interval into as few windows as Zoom accepts.

    :param start: first instant, UTC, whole seconds.
    :param end: the instant after the last, UTC, whole seconds.
    :param timezone: in which Zoom writes the times of its response.
    """
    bounds = [start]
    while end - bounds[-1] > LONGEST_WINDOW:
        bounds.append(bounds[-1] + LONGEST_WINDOW)
    bounds.append(end)
    return [Window(*pair, timezone) for pair in pairwise(bounds)]


def after_first_pass(end: datetime, timezone: tzinfo) -> datetime | None:
    """Return where to split an interval whose end daylight saving makes ambiguous.

    If the local time of ``end`` occurs for the second time, a record with that local time may belong to the first
    occurrence, and so to the interval, or to ``end``, and so to the next interval. When the interval is split just
    after the first occurrence, each of its parts contains at most one of the two.

    :param end: the end of the interval, UTC.
    :param timezone: in which Zoom writes the times of its response.
    :return: the second after the first occurrence; None if there is only one, or ``end`` is the first.
    """
    local = end.astimezone(timezone).replace(tzinfo=None).isoformat()
    first = possible_instants(local, timezone)[0]
    return first + _SECOND if first < end else None
