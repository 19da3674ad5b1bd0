"""Run only the simulator: ``python -m tests.zoom_simulator --port 8080 --engagements 30000 --days 30``."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timedelta

import uvicorn

from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import SHAPES
from tests.zoom_simulator.history import History
from tests.zoom_simulator.server import server_config


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.zoom_simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="on loopback; default 8080")
    parser.add_argument("--engagements", type=int, default=30_000, help="how many; default 30000")
    parser.add_argument("--days", type=int, default=30, help="over how many days before today; default 30")
    parser.add_argument(
        "--shape", choices=SHAPES, default="contact-centre", help="how they spread; default contact-centre"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other engagements; default 0")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds a response takes; default 0")
    parser.add_argument("--requests-per-second", type=int, help="the account's rate limit; default none")
    parser.add_argument("--hide-limits", action="store_true", help="do not send X-RateLimit headers")
    history = parser.add_argument_group("history", "what happens to engagements after they started")
    history.add_argument("--now", type=datetime.fromisoformat, help="the clock, with an offset; default: none")
    history.add_argument("--late", type=float, default=0.0, help="share of engagements that are listed late; default 0")
    history.add_argument("--lag", type=float, default=12.0, help="by up to so many hours; default 12")
    history.add_argument("--edited", type=float, default=0.0, help="share of days that are edited; default 0")
    history.add_argument("--deleted", type=float, default=0.0, help="share of engagements that are deleted; default 0")
    history.add_argument("--retention", type=float, help="days for which engagements are listed; default: always")
    arguments = parser.parse_args()
    config = Config(
        latency=arguments.latency / 1_000,
        requests_per_second=arguments.requests_per_second,
        announces_limits=not arguments.hide_limits,
        history=History(
            arguments.now,
            late=arguments.late,
            lag=timedelta(hours=arguments.lag),
            edited=arguments.edited,
            deleted=arguments.deleted,
            retention=arguments.retention and timedelta(days=arguments.retention),
        ),
    )
    engagements = SHAPES[arguments.shape](arguments.engagements, arguments.days, seed=arguments.seed)
    simulator = ZoomSimulator(engagements, config)
    host = f"http://127.0.0.1:{arguments.port}"
    connection = {
        "conn_type": "zcc",
        "login": config.client_id,
        "password": config.client_secret,
        "host": f"{host}/v2",
        "extra": {"account_id": config.account_id, "oauth_url": f"{host}/oauth/token", "requests_per_second": 100},
    }
    print(f"AIRFLOW_CONN_ZCC_DEFAULT='{json.dumps(connection)}'", flush=True)
    uvicorn.Server(server_config(simulator, arguments.port)).run()


if __name__ == "__main__":
    main()
