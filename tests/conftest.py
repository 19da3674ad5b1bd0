"""The simulator, on a socket, and retries that do not take long, for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count

import pytest
from pytest_mock import MockerFixture
from tenacity import wait_fixed
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.oauth import shared_token_source
from airflow_provider_zcc.zoom.settings import Credentials, Settings
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

#: Midnight after the last day of the simulated engagements.
END = datetime(2026, 11, 9, tzinfo=UTC)
ENGAGEMENTS = Engagements.of_a_contact_centre(3_000, 10, end=END)

StartSimulator = Callable[..., SimulatorServer]


def pytest_configure() -> None:
    """Keep a contributor's own Airflow, connections and proxy out of the tests, before Airflow is imported."""
    for name in list(os.environ):
        if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_")) or name == "AIRFLOW_CONFIG":
            del os.environ[name]
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Let one worker run all tests that share an Airflow; of others, those of a file."""

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            shared = "tests/integration/"
            return shared if nodeid.startswith(shared) else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def standing_server() -> Iterator[Callable[[int], SimulatorServer]]:
    """Return the server of a number, started when it is first needed: stopping one takes longer than most tests."""
    with ExitStack() as stack:
        servers: list[SimulatorServer] = []

        def server(number: int) -> SimulatorServer:
            while len(servers) <= number:
                servers.append(stack.enter_context(SimulatorServer(ZoomSimulator(ENGAGEMENTS))))
            return servers[number]

        yield server


@pytest.fixture
def start_simulator(standing_server: Callable[[int], SimulatorServer]) -> Iterator[StartSimulator]:
    """Set up simulators for one test, as if they had just started.

    Takes the engagements (default: 3,000 over the ten days before END), and the fields of Config.
    """
    numbers = count()

    def start(engagements: Engagements | None = None, **config: object) -> SimulatorServer:
        server = standing_server(next(numbers))
        server.simulator.__init__(engagements or ENGAGEMENTS, Config(**config))  # type: ignore[arg-type, misc]
        return server

    yield start
    shared_token_source.cache_clear()


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> SimulatorServer:
    """A simulator with 3,000 engagements over the ten days before END."""
    return start_simulator()


def settings_for(server: SimulatorServer, **changes: object) -> Settings:
    """Return the settings that lead to a simulator."""
    config = server.simulator.config
    credentials = Credentials(config.client_id, config.client_secret, config.account_id, f"{server.url}/oauth/token")
    return Settings(credentials, **{"api_url": f"{server.url}/v2", "requests_per_second": 1_000.0, **changes})  # type: ignore[arg-type]


def client_for(server: SimulatorServer, *, retry_timeout: float = 10.0, **changes: object) -> ZoomClient:
    """Return a client for a simulator that gives up sooner than in production."""
    return ZoomClient(settings_for(server, **changes), retry_timeout=retry_timeout)


def shorten_retries(mocker: MockerFixture, retry_timeout: float) -> None:
    """Let clients retry at once, and give up sooner than in production.

    :param retry_timeout: seconds after which an outage ends a request.
    """
    mocker.patch("airflow_provider_zcc.zoom.client.wait_random_exponential", return_value=wait_fixed(0.02))
    mocker.patch.dict(ZoomClient.__init__.__kwdefaults__, {"retry_timeout": retry_timeout})
