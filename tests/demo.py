"""
``make demo``: yesterday's engagements, from Zoom into S3, by the example Dag in Airflow.

Zoom is the simulator and S3 is moto, both on loopback. With ``AIRFLOW_CONN_ZCC_DEFAULT``, ``AIRFLOW_CONN_AWS_DEFAULT``
and ``AIRFLOW_VAR_ZCC_BUCKET`` in the environment, the real services are used instead.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from tests.airflow_process import EXAMPLE_DAGS, KNOWING_ASSETS, AirflowProcess
from tests.simulated import BUCKET, simulated_services
from tests.zoom_simulator.app import ZoomSimulator

CONNECTIONS = ("AIRFLOW_CONN_ZCC_DEFAULT", "AIRFLOW_CONN_AWS_DEFAULT")
BUCKET_VARIABLE = "AIRFLOW_VAR_ZCC_BUCKET"
TASK = "engagements_to_s3"


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
        simulator = None if given else start_simulated(stack)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        print("Airflow: making an empty database, then running the Dag zcc_daily for one day", flush=True)
        runs = [f"zcc_daily@{today.isoformat()}"]
        airflow = stack.enter_context(AirflowProcess(EXAMPLE_DAGS, {}, commands=KNOWING_ASSETS, runs=runs))
        [run] = airflow.report.values()
        for line in airflow.log.splitlines():
            if "EngagementsToS3Operator]" in line:
                print(f"  {line.partition('] ')[2].partition(' [airflow.task')[0].strip()}")
        if run["state"] != "success":
            print("\n".join(airflow.log.splitlines()[-40:]), f"\nThe Dag run ended as {run['state']}.", sep="\n")
            return 1
        return show(simulator, run["xcoms"])


def start_simulated(stack: ExitStack) -> ZoomSimulator:
    """Start the simulator and an S3 server, and let the connections lead there."""
    services = stack.enter_context(simulated_services())
    for name, connection in services.connections.items():
        os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(connection)
    os.environ[BUCKET_VARIABLE] = BUCKET
    return services.zoom.simulator


def show(simulator: ZoomSimulator | None, xcoms: dict[str, Any]) -> int:
    """Print what a user wants to see, and whether it is all there."""
    uri, summary = xcoms[f"{TASK}.return_value"], xcoms[f"{TASK}.summary"]
    lines = list(read_lines(uri))
    records = [json.loads(line, parse_float=str, parse_int=str) for line in lines]
    print(f"\nobject    {uri}")
    print(f"interval  {summary['start']} to {summary['end']}")
    print(f"size      {summary['bytes']:,} bytes, {sum(map(len, lines)) + len(lines):,} uncompressed")
    print(f"records   {summary['records']:,}")
    print(f"seconds   {summary['seconds']}")
    print(f"requests  {summary['requests']}")
    if records and simulator:
        print(f"\none record, as it came:\n{sorted(lines, key=len)[len(lines) // 4]}")
    print_table(records)
    start, end = (datetime.fromisoformat(summary[bound]) for bound in ("start", "end"))
    if simulator:
        truth = [json.loads(text, parse_float=str, parse_int=str) for text in simulator.truth(start, end)]
        expected = len(truth)
        correct = len(truth) if by_id(records) == by_id(truth) else sum(record in truth for record in records)
    else:
        expected, correct = ZoomContactCenterHook().count_engagements(start, end), len(records)
    whole = expected == correct == len(records)
    print(f"\n{'complete' if whole else 'NOT COMPLETE'}: {correct:,} of {expected:,}")
    return 0 if whole else 1


def read_lines(uri: str) -> Iterator[str]:
    """Yield the lines of an object in S3."""
    bucket, key = S3Hook.parse_s3_url(uri)
    with gzip.open(S3Hook().get_key(key, bucket).get()["Body"], "rt", encoding="utf-8", newline="\n") as file:
        yield from (line.removesuffix("\n") for line in file)


def by_id(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort engagements."""
    return sorted(records, key=lambda record: str(record["engagement_id"]))


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
