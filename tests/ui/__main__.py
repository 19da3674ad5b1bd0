"""
``make ui``: Airflow's web page with everything ready: a simulated Zoom, an S3 server, the connections to them and the
example Dags. With a command, that is run as soon as Airflow is ready, and its end is the end.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial

from tests.airflow_process import EXAMPLE_DAGS
from tests.airflow_version import AIRFLOW
from tests.s3_server import S3Server
from tests.simulated import BUCKET, SimulatedServices, simulated_services
from tests.ui.standalone import AirflowStandalone
from tests.ui.three_months import DAYS, ENGAGEMENTS, engagements_by_day, fill
from tests.zoom_simulator.history import History


def main(command: list[str]) -> int:
    """Serve until Ctrl-C, or run a command, which finds address and login in its environment; return its exit code."""
    logging.disable(logging.INFO)
    # Both for here and for Airflow: started in the background of a shell, a process would ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    # One of these would hide the connection of the same name that the page shows.
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
        del os.environ[name]
    with simulated_services(ENGAGEMENTS, DAYS + 1, History(late=0.01)) as services:
        allow_anyone_to_read(services.s3)
        shows_coverage = AIRFLOW >= (3, 1)
        print("Airflow: making a database, and reading three months on 3.1 or newer; some minutes", flush=True)
        # Up to 3.3.2, Airflow 3.3 rejects the test of a connection whose port is not set: apache/airflow#73298.
        connections = {name: {**connection, "port": 0} for name, connection in services.connections.items()}
        prepare = partial(fill, services=services) if shows_coverage else str
        with AirflowStandalone(EXAMPLE_DAGS, connections, {"zcc_bucket": BUCKET}, prepare) as airflow:
            airflow.wait_until_ready()
            show(airflow, services)
            if not command:
                airflow.wait()
            environment = {
                "ZCC_UI_AIRFLOW": airflow.url,
                "ZCC_UI_PASSWORD": airflow.password,
                "ZCC_UI_PASSWORD_OF_NOBODY": airflow.password_of("nobody"),
                "ZCC_UI_DAYS": json.dumps(engagements_by_day(services) if shows_coverage else {}),
                "ZCC_UI_CONNECTION": json.dumps(services.connections["zcc_default"]),
            }
            return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


def allow_anyone_to_read(s3: S3Server) -> None:
    """Let curl fetch objects, without keys and signatures."""
    everything = f"arn:aws:s3:::{BUCKET}/*"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": everything}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


def show(airflow: AirflowStandalone, services: SimulatedServices) -> None:
    """Print what a user needs to look around."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    connections = "connections" if AIRFLOW >= (3, 0) else "connection/list/"
    object_url = f"{services.s3.url}/{BUCKET}/zoom/engagements/date={yesterday:%Y-%m-%d}/engagements.jsonl.gz"
    print(
        f"""
  {airflow.url}
  user admin, password {airflow.password}

The Dags are paused, as Airflow takes them up:
  to run one    {airflow.url}/dags/zcc_daily > Trigger; it reads yesterday
  the form      {airflow.url}/{connections} > zcc_default > Edit, Test
  the coverage  {airflow.url}/plugin/zcc-coverage, on Airflow 3.1 or newer
  the object    curl -s {shlex.quote(object_url)} | gunzip | head -n 1
  all objects   curl -s {shlex.quote(f"{services.s3.url}/{BUCKET}")}
  Airflow's log {airflow.log_of("standalone")}

Ctrl-C ends everything, and deletes what was written.""",
        flush=True,
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
