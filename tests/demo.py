"""
``make demo``: a day's engagements, from Zoom into S3, by the example Dag in Airflow.

Zoom is the simulator and S3 is moto, both on loopback. The Dag runs at the midnight that ends the day, and again a day
later: by then Zoom lists engagements of the first day that it did not list before. With ``AIRFLOW_CONN_ZCC_DEFAULT``,
``AIRFLOW_CONN_AWS_DEFAULT`` and ``AIRFLOW_VAR_ZCC_BUCKET`` in the environment, the real services are used instead, and
the Dag runs once, for yesterday.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from tests.airflow_process import EXAMPLE_DAGS, KNOWING_ASSETS, AirflowProcess
from tests.simulated import BUCKET, simulated_services
from tests.zoom_simulator.server import SimulatorServer

CONNECTIONS = ("AIRFLOW_CONN_ZCC_DEFAULT", "AIRFLOW_CONN_AWS_DEFAULT")
BUCKET_VARIABLE = "AIRFLOW_VAR_ZCC_BUCKET"
TASK = "engagements_to_s3"
DAY = timedelta(days=1)
#: Share of the engagements that the simulated Zoom lists hours after they ended.
LATE = 0.03


def main() -> int:
    logging.disable(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given = [name for name in CONNECTIONS if os.environ.get(name)]
    if given and (len(given) < len(CONNECTIONS) or not os.environ.get(BUCKET_VARIABLE)):
        print(
            f"For the real services, set {', '.join(CONNECTIONS)} and {BUCKET_VARIABLE}; "
            "for the simulated ones, none of them."
        )
        return 2
    with ExitStack() as stack:
        zoom = None if given else start_simulated(stack)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        midnights = [today - DAY, today] if zoom else [today]
        days = " and then for ".join(f"{midnight - DAY:%Y-%m-%d}" for midnight in midnights)
        print(f"Airflow: making an empty database, then running the Dag zcc_daily for {days}", flush=True)
        airflow = stack.enter_context(
            AirflowProcess(
                EXAMPLE_DAGS,
                {},
                commands=KNOWING_ASSETS,
                runs=[f"zcc_daily@{midnight.isoformat()}" for midnight in midnights],
                clock=zoom.url if zoom else None,
                on_line=Progress(zoom).show,
            )
        )
        runs = list(airflow.report.values())
        tasks = [task for run in runs for task in run["tasks"].items()]
        if failed := [name for name, task in tasks if task["state"] not in ("success", "skipped")]:
            print("\n".join(airflow.log.splitlines()[-40:]), f"\nFailed: {', '.join(failed)}", sep="\n")
            return 1
        return show(zoom, runs[0]["xcoms"])


def start_simulated(stack: ExitStack) -> SimulatorServer:
    """Start the simulator and an S3 server, and let the connections lead there."""
    services = stack.enter_context(simulated_services())
    services.zoom.simulator.history.late = LATE
    print(f"Late:    {LATE:.0%} of the engagements, which Zoom lists up to 12 hours after they ended")
    for name, connection in services.connections.items():
        os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(connection)
    os.environ[BUCKET_VARIABLE] = BUCKET
    return services.zoom


class Progress:
    """Prints which task starts, and the essence of what the operators log."""

    def __init__(self, zoom: SimulatorServer | None) -> None:
        self._zoom = zoom
        self._task = ""

    def show(self, line: str) -> None:
        """Print what a line of Airflow's log says."""
        if started := re.search(r"\[DAG TEST\] starting task_id=(\w+)", line):
            if started[1] == TASK and self._zoom:
                print(f"\nIt is {self._zoom.simulator.history.now:%Y-%m-%d %H:%M} UTC by Zoom's clock.")
            if started[1] != self._task:
                print(started[1], flush=True)
            self._task = started[1]
        elif re.search(r"Engagements(ToS3|Check)Operator\]", line):
            message = line.partition("] ")[2].partition(" [airflow.task")[0].strip()
            if not message.startswith(("Reading", "Looking")):
                print(f"  {message}", flush=True)


def show(zoom: SimulatorServer | None, xcoms: dict[str, Any]) -> int:
    """Print what a user wants to see of the first day, and whether it is all there."""
    uri, at_midnight = xcoms[f"{TASK}.return_value"], xcoms[f"{TASK}.summary"]
    folder, _, name = uri.rpartition("/")
    manifest_uri = f"{folder}/_{name}.manifest.json"
    manifest = json.load(open_object(manifest_uri))
    with gzip.open(open_object(uri), "rt", encoding="utf-8", newline="\n") as file:
        lines = [line.removesuffix("\n") for line in file]
    records = [json.loads(line) for line in lines]
    print(f"\nobject    {uri}")
    print(f"manifest  {manifest_uri}")
    print(f"interval  {manifest['start']} to {manifest['end']}")
    print(f"size      {manifest['bytes']:,} bytes, {manifest['uncompressed_bytes']:,} uncompressed")
    print(f"records   {manifest['records']:,}")
    print(f"requests  {manifest['requests']}")
    if records and zoom:
        print(f"\none record, as it came:\n{sorted(lines, key=len)[len(lines) // 4]}")
    print_table(records)
    start, end = (datetime.fromisoformat(manifest[bound]) for bound in ("start", "end"))
    if zoom:
        truth = Counter(zoom.simulator.truth(start, end))
        expected, correct = truth.total(), (truth & Counter(lines)).total()
    else:
        expected, correct = ZoomContactCenterHook().count_engagements(start, end), len(records)
    whole = expected == correct == len(records)
    late = f", {len(records) - at_midnight['records']:,} of them listed after midnight" if zoom else ""
    print(f"\n{'complete' if whole else 'NOT COMPLETE'}: {correct:,} of {expected:,}{late}")
    return 0 if whole else 1


def open_object(uri: str) -> Any:
    """Return the body of an object in S3."""
    bucket, key = S3Hook.parse_s3_url(uri)
    return S3Hook().get_key(key, bucket).get()["Body"]


def print_table(records: list[dict[str, Any]]) -> None:
    """Print how many engagements began in each hour, by channel."""
    cells = Counter((channel_of(record), str(record["start_time"])[11:13]) for record in records)
    hours = [f"{hour:02}" for hour in range(24)]
    print("\nengagements per channel and hour (UTC)")
    print(f"{'':19}{''.join(f'{hour:>4}' for hour in hours)}{'all':>7}")
    for channel in sorted({channel for channel, _ in cells}):
        row = [cells[channel, hour] for hour in hours]
        print(f"{channel:19}{''.join(f'{count or chr(0xB7):>4}' for count in row)}{sum(row):>7}")


def channel_of(record: dict[str, Any]) -> str:
    """Name the channel of an engagement."""
    [channel, *_] = record.get("channels") or [{}]
    return channel.get("channel_source") or channel.get("channel") or "(none)"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
