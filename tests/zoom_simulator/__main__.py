"""Run only the simulator: ``python -m tests.zoom_simulator --port 8080 --engagements 30000 --days 30``."""

from __future__ import annotations

import argparse
import json
import signal

from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import SHAPES
from tests.zoom_simulator.server import SimulatorServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.zoom_simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="on loopback; default 8080")
    parser.add_argument("--engagements", type=int, default=30_000, help="how many; default 30000")
    parser.add_argument("--days", type=int, default=30, help="over how many days before today; default 30")
    parser.add_argument(
        "--shape", choices=SHAPES, default="contact-centre", help="how they spread; default contact-centre"
    )
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds a response takes; default 0")
    parser.add_argument("--requests-per-second", type=int, help="the account's rate limit; default none")
    parser.add_argument("--hide-limits", action="store_true", help="do not send X-RateLimit headers")
    arguments = parser.parse_args()
    config = Config(
        latency=arguments.latency / 1_000,
        requests_per_second=arguments.requests_per_second,
        announces_limits=not arguments.hide_limits,
    )
    engagements = SHAPES[arguments.shape](arguments.engagements, arguments.days)
    simulator = ZoomSimulator(engagements, config)
    with SimulatorServer(simulator, arguments.port) as server:
        print(f"AIRFLOW_CONN_ZCC_DEFAULT='{json.dumps(server.connection)}'", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
