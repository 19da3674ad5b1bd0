"""Engagements that Zoom lists only after some of its pages were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements, Traits


class Arrivals(Engagements):
    """Engagements some of which are listed later than others.

    :param starts: epoch seconds at which each begins.
    :param later: for the numbers of some of them, in the order of their starts, how many requests come first.
    """

    def __init__(self, starts: Iterable[int], later: Mapping[int, int]) -> None:
        super().__init__(starts)
        self._later = later
        self._asked = 0

    def between(self, first: int, last: int, passes: Callable[[Traits], bool] | None = None) -> list[int]:
        """Return what is listed by now: each call is a request."""
        self._asked += 1
        return [number for number in super().between(first, last, passes) if self._later.get(number, 0) < self._asked]

    def there_from_the_beginning(self, number: int) -> bool:
        return self._later.get(number, 0) == 0


class SimulatorWithArrivals(ZoomSimulator):
    """A simulator that looks anew for each page, so that pages shift while they are read."""

    def __init__(self, engagements: Engagements, config: Config | None = None) -> None:
        super().__init__(engagements, config)
        self._numbers = self._find
