"""What happens to engagements after they started: listed late, edited, deleted, no longer retained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.zoom_simulator.data import Engagements

NEVER, END_OF_TIME = float("inf"), 2.0**62


@dataclass
class History:
    """The account's clock, and what has happened by then.

    An engagement is listed from its end on. What happens to a share of them is the same for the same seed; what happens
    to single ones is given by their id, in epoch seconds as in :attr:`Engagements.starts`.

    :param now: the clock, timezone-aware. None: after everything else, except that retention does not end.
    :param late: share of the engagements that are listed later, by up to ``lag``.
    :param edited: share of the days (UTC) whose engagements get other notes and dispositions, at each of ``edit_ages``.
    :param retention: how long after its start an engagement is listed; None: always.
    :param listed_at: when single engagements are listed, instead of at their end.
    :param edited_at: when single engagements are edited as well.
    :param deleted_at: when single engagements are deleted.
    """

    now: datetime | None = None
    late: float = 0.0
    lag: timedelta = timedelta(hours=12)
    edited: float = 0.0
    edit_ages: Sequence[timedelta] = (timedelta(hours=12), timedelta(days=3))
    retention: timedelta | None = None
    listed_at: dict[str, float] = field(default_factory=dict)
    edited_at: dict[str, list[float]] = field(default_factory=dict)
    deleted_at: dict[str, float] = field(default_factory=dict)

    @property
    def moment(self) -> tuple[object, ...]:
        """What changes whenever other engagements are listed."""
        return self.now, self.retention, len(self.listed_at), len(self.deleted_at)

    def listed(self, engagements: Engagements, numbers: Sequence[int]) -> Sequence[int]:
        """Return those of the engagements that are listed now."""
        if self.now is None and not self.deleted_at:
            return numbers
        now = self._seconds
        oldest = now - self.retention.total_seconds() if self.now and self.retention else -NEVER
        return [
            number
            for number in numbers
            if engagements.starts[number] >= oldest
            and self._listed_at(engagements, number) <= now < self.deleted_at.get(engagements.identity(number), NEVER)
        ]

    def edits(self, engagements: Engagements, number: int) -> int:
        """Return how often an engagement has been edited by now."""
        if not self.edited and not self.edited_at:
            return 0
        times = list(self.edited_at.get(engagements.identity(number), ()))
        start = engagements.starts[number]
        if engagements.chance("edited", start // 86_400) < self.edited:
            times += [start + age.total_seconds() for age in self.edit_ages]
        return sum(time <= self._seconds for time in times)

    @property
    def _seconds(self) -> float:
        return self.now.timestamp() if self.now else END_OF_TIME

    def _listed_at(self, engagements: Engagements, number: int) -> float:
        if (given := self.listed_at.get(engagements.identity(number))) is not None:
            return given
        late = self.late and engagements.chance("late", number) < self.late
        lag = engagements.chance("lag", number) * self.lag.total_seconds() if late else 0.0
        return engagements.end(number) + lag
