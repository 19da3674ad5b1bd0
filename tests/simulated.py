"""Zoom and S3 on loopback, as ``make demo`` and ``make ui`` show them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.s3_server import S3Server
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.history import History
from tests.zoom_simulator.server import SimulatorServer

BUCKET = "my-lake"
ENGAGEMENTS, DAYS = 100_000, 30
LATENCY, REQUESTS_PER_SECOND = 0.08, 20


@dataclass(frozen=True)
class SimulatedServices:
    """A contact centre of Zoom's, and S3 with an empty bucket."""

    zoom: SimulatorServer
    s3: S3Server

    @property
    def connections(self) -> dict[str, dict[str, object]]:
        """The Airflow connections that lead here, by id, as ``AIRFLOW_CONN_*`` takes them in JSON."""
        zoom = self.zoom.connection
        zoom["extra"] = {**zoom["extra"], "requests_per_second": REQUESTS_PER_SECOND}  # type: ignore[dict-item]
        return {"zcc_default": zoom, "aws_default": self.s3.connection}


@contextmanager
def simulated_services(
    engagements: int = ENGAGEMENTS, days: int = DAYS, history: History | None = None
) -> Iterator[SimulatedServices]:
    """Start both, with so many engagements in the days up to the last midnight, and print where they are."""
    config = Config(latency=LATENCY, requests_per_second=REQUESTS_PER_SECOND, history=history or History())
    simulator = ZoomSimulator(Engagements.of_a_contact_centre(engagements, days), config)
    with SimulatorServer(simulator) as zoom, S3Server() as s3:
        s3.client.create_bucket(Bucket=BUCKET)
        print(
            f"Zoom:    simulated at {zoom.url}, {engagements:,} engagements in {days} days, "
            f"{LATENCY * 1_000:.0f} ms a response, {REQUESTS_PER_SECOND} requests/s allowed"
        )
        print(f"S3:      moto at {s3.url}")
        yield SimulatedServices(zoom, s3)
