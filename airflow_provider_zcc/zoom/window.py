"""A stretch of time that is asked for at once, and which records belong to it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

#: Zoom refuses a range of more than one month; 28 days fit into every month.
LONGEST_WINDOW = timedelta(days=28)
_SECOND = timedelta(seconds=1)
#: Of a minute: where a window is cut.
_QUIET_SECOND = 37


class Place(enum.Enum):
    """Where a record lies, seen from a window."""

    INSIDE = enum.auto()
    #: The next window, or the next interval, asks from this instant on and gets the record.
    LATER = enum.auto()
    #: It cannot be told, or the record did not begin in the window: keep it, and look out for a second copy.
    UNSURE = enum.auto()


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval ``[start, end)``, in whole seconds.

    Zoom's bounds are both inclusive, with a resolution of one second. So a window asks for ``end`` as well,
    and leaves the records of that second to the next window.

    :param start: first instant, UTC.
    :param end: the instant after the last, UTC.
    :param timezone: the one in which Zoom writes the times of its answer.
    """

    start: datetime
    end: datetime
    timezone: tzinfo = UTC

    def split(self, parts: int) -> list[Window]:
        """Cut the window into equal parts. The second of a cut is asked for on both sides, so it should be a quiet one.

        :param parts: how many; there are fewer if they would be shorter than a minute.
        """
        minutes = (self.start + (self.end - self.start) * part / parts for part in range(1, parts))
        # Traffic peaks at full hours and minutes.
        quiet = {minute.replace(second=_QUIET_SECOND, microsecond=0) for minute in minutes}
        cuts = [self.start, *sorted(cut for cut in quiet if self.start < cut < self.end), self.end]
        return [Window(start, end, self.timezone) for start, end in pairwise(cuts)]

    def place(self, start_time: object) -> Place:
        """Tell where a record belongs. Only one that certainly began in the second of the end is left to others.

        :param start_time: the record's ``start_time`` as it came.
        """
        instants = possible_instants(start_time, self.timezone)
        after_end = self.end + _SECOND
        candidates = [instant for instant in instants if self.start <= instant < after_end]
        if candidates and min(candidates) >= self.end:
            return Place.LATER
        if candidates and all(self.start <= instant < self.end for instant in instants):
            return Place.INSIDE
        return Place.UNSURE


def possible_instants(text: object, timezone: tzinfo) -> tuple[datetime, ...]:
    """Read one of Zoom's times.

    The ``Z`` of ``yyyy-MM-ddTHH:mm:ssZ`` is a literal: the time is a reading of the clock in the timezone of
    the request. Where daylight saving repeats an hour, that is two instants; an offset makes it one.

    :param text: the time as it came.
    :param timezone: the request's.
    :return: the instants in UTC that it can mean; none if it is unreadable.
    """
    if not isinstance(text, str):
        return ()
    try:
        moment = datetime.fromisoformat(text[:-1] if text.endswith(("Z", "z")) else text)
        if moment.tzinfo is not None:
            return (moment.astimezone(UTC),)
        if timezone is UTC:
            return (moment.replace(tzinfo=UTC),)
        readings = {moment.replace(tzinfo=timezone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    except (ValueError, OverflowError):
        return ()
    return tuple(sorted(readings))


def windows_between(start: datetime, end: datetime, timezone: tzinfo) -> list[Window]:
    """Cut an interval into as few windows as Zoom accepts.

    :param start: first instant, UTC, whole seconds.
    :param end: the instant after the last, UTC, whole seconds.
    :param timezone: the one in which Zoom writes the times of its answer.
    """
    cuts = [start]
    while end - cuts[-1] > LONGEST_WINDOW:
        cuts.append(cuts[-1] + LONGEST_WINDOW)
    cuts.append(end)
    return [Window(*bounds, timezone) for bounds in pairwise(cuts)]


def after_first_pass(end: datetime, timezone: tzinfo) -> datetime | None:
    """Find where to cut an interval whose end daylight saving makes ambiguous.

    If the clock reads the time of ``end`` for the second time, a record with that reading may belong to the
    first pass, and to the interval, or to ``end``, and to the next one. A cut just after the first pass leaves
    one meaning to each side.

    :param end: the end of the interval, UTC.
    :param timezone: the one in which Zoom writes the times of its answer.
    :return: the second after the first pass; None if the reading is not repeated or has its first pass at ``end``.
    """
    reading = end.astimezone(timezone).replace(tzinfo=None).isoformat()
    first_pass = possible_instants(reading, timezone)[0]
    return first_pass + _SECOND if first_pass < end else None
