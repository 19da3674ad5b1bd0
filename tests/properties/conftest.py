"""A server that stands for all examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.zoom_simulator.server import SimulatorServer


@pytest.fixture(scope="session")
def server(standing_server: Callable[[int], SimulatorServer]) -> SimulatorServer:
    """A simulator that each example sets up anew."""
    return standing_server(0)
