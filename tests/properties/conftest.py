"""Servers that stand for all examples."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.properties.raw_server import RawServer
from tests.zoom_simulator.server import SimulatorServer


@pytest.fixture(scope="session")
def server(standing_server: Callable[[int], SimulatorServer]) -> SimulatorServer:
    """A simulator that each example sets up anew."""
    return standing_server(0)


@pytest.fixture(scope="session")
def raw_server() -> Iterator[RawServer]:
    with RawServer() as raw:
        threading.Thread(target=raw.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield raw
        raw.shutdown()
