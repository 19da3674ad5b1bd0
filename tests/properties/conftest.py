"""Servers that stand for all examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.properties.arrivals import SimulatorWithArrivals
from tests.properties.profile import TRIED
from tests.properties.raw_server import RawServer
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer


@pytest.fixture(scope="session")
def server(standing_server: Callable[[int], SimulatorServer]) -> SimulatorServer:
    """A simulator that each example sets up anew."""
    return standing_server(0)


@pytest.fixture(scope="session")
def growing_server() -> Iterator[SimulatorServer]:
    """A simulator whose engagements arrive while it is asked; each example sets it up anew."""
    with SimulatorServer(SimulatorWithArrivals(Engagements([]))) as growing:
        yield growing


@pytest.fixture(scope="session")
def raw_server() -> Iterator[RawServer]:
    with RawServer() as raw:
        yield raw


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was tried."""
    if TRIED["examples"]:
        terminalreporter.write_line(", ".join(f"{count:,} {what}" for what, count in TRIED.items()))
