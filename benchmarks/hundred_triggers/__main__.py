"""
``make triggers``: a hundred deferred sensors in one ``airflow triggerer``, and whether one starves another.

Airflow's own components run them; the connection to Zoom, which is the simulator, is in Airflow's database. Together
their checks exceed the connection's rate. At first nothing is available, and the checks of each are counted; then the
engagements of all arrive at once, and the time until Airflow has each one's event is measured.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

from tests.airflow_services import RunningAirflow
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAG = "hundred"
FIRST, HOUR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), 3_600
TRIGGERS = 100
POKE_INTERVAL, LATENCY, REQUESTS_PER_SECOND = 2, 0.1, 20
#: Checks of each before the engagements arrive.
CHECKS = 12
#: The share of the median's checks that the one with the fewest has to have.
FAIR = 0.75
#: The share of the time that the loop may be blocked: a loop that sent requests itself would be nearly always.
BLOCKED_AT_MOST = 0.1
#: What a triggerer logs of a loop that was blocked for 0.2 s or more.
BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
#: Tasks at a time: each waits for Airflow more than it works.
PARALLELISM = "16"

report = partial(print, flush=True)


def main() -> int:
    """Run the sensors, and print how often each was checked."""
    logging.disable(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config = Config(latency=LATENCY, requests_per_second=REQUESTS_PER_SECOND)
    environment = {
        "ZCC_TRIGGERS": str(TRIGGERS),
        "ZCC_POKE_INTERVAL": str(POKE_INTERVAL),
        "AIRFLOW__CORE__PARALLELISM": PARALLELISM,
        "AIRFLOW__OPENLINEAGE__DISABLED": "True",
    }
    dags = Path(__file__).parent / "dags"
    with (
        SimulatorServer(ZoomSimulator(Engagements([]), config)) as zoom,
        RunningAirflow(dags, environment) as airflow,
    ):
        report(
            f"Zoom:    simulated, {LATENCY * 1_000:.0f} ms a response, {REQUESTS_PER_SECOND} requests/s allowed\n"
            f"Airflow: {TRIGGERS} sensors with a poke_interval of {POKE_INTERVAL} s, one triggerer, the connection in "
            "its database"
        )
        connection = zoom.connection
        connection["extra"]["requests_per_second"] = REQUESTS_PER_SECOND
        connections = airflow.home / "connections.json"
        connections.write_text(json.dumps({"zcc_in_database": connection}))
        airflow.call("airflow", "connections", "import", str(connections))
        airflow.start_components(triggerer=True)
        return Triggers(zoom.simulator, airflow).run()


class Triggers:
    """A hundred triggers, and what becomes of them.

    :param simulator: where their requests go.
    :param airflow: where they are.
    """

    def __init__(self, simulator: ZoomSimulator, airflow: RunningAirflow) -> None:
        self._simulator = simulator
        self._airflow = airflow

    def run(self) -> int:
        """Wait, make the engagements arrive, and report whether each trigger had its share."""
        self._airflow.trigger(DAG)
        self._airflow.wait_until("all to be deferred", lambda: len(self._deferred()) == TRIGGERS)
        # Their tasks, which would continue one after the other as the events come, are not what is measured.
        self._airflow.call("airflow", "dags", "pause", DAG)
        report(f"\nAll {TRIGGERS} are deferred.")
        blocked_before = len(self._blocked())
        checks, seconds = self._wait_for_checks()
        blocked = self._blocked()[blocked_before:]
        events = self._seconds_to_events()
        self._airflow.call("airflow", "dags", "unpause", DAG)
        tasks = self._airflow.outcome(DAG)["tasks"].values()
        ended = Counter(f"{task['state']}, tries: {task['tries']}" for task in tasks)
        throttled = self._simulator.stats.statuses[429]
        report(
            f"\n{'':32}{'min':>8}{'median':>8}{'max':>8}\n"
            f"{f'checks of each in {seconds:.0f} s':32}{_row(checks, '8.0f')}\n"
            f"{'seconds from arrival to event':32}{_row(events, '8.1f')}\n\n"
            f"requests     {sum(checks) / seconds:.1f} per second, {throttled} throttled in all\n"
            f"loop blocked {len(blocked)}x, for {sum(blocked):.1f} of the {seconds:.0f} s\n"
            f"tasks ended  {', '.join(f'{count} {how}' for how, count in ended.items())}"
        )
        fair = min(checks) >= FAIR * median(checks) and sum(blocked) <= BLOCKED_AT_MOST * seconds
        well = fair and ended == {"success, tries: 1": TRIGGERS}
        report("none starved" if well else "STARVED" if not fair else "NOT ALL ENDED WELL")
        return 0 if well else 1

    def _deferred(self) -> set[str]:
        rows = self._airflow.rows("select task_id from task_instance where dag_id = ? and state = 'deferred'", DAG)
        return {task_id for (task_id,) in rows}

    def _blocked(self) -> list[float]:
        """Return for how many seconds the loop was blocked each time."""
        return [float(seconds) for seconds in BLOCKED.findall(self._airflow.output_of("triggerer"))]

    def _checks(self) -> Counter[str]:
        """Return how many checks there were of each interval, by its start."""
        return Counter(dict(query)["from"] for query in list(self._simulator.stats.queries))

    def _wait_for_checks(self) -> tuple[list[int], float]:
        """Return how many checks there were of each in some time, and how long that was."""
        # The triggerer may not have begun with the last of them.
        before = self._checks()
        self._airflow.wait_until("a check of each", lambda: len(self._checks() - before) == TRIGGERS)
        before, started = self._checks(), time.monotonic()
        wanted = before.total() + CHECKS * TRIGGERS
        self._airflow.wait_until(f"{CHECKS} checks of each", lambda: self._checks().total() >= wanted)
        checked, seconds = self._checks(), time.monotonic() - started
        return [checked[start] - before[start] for start in checked], seconds

    def _seconds_to_events(self) -> list[float]:
        """Make the engagements arrive, and return after how many seconds Airflow had the event of each trigger."""
        starts = [FIRST + number * HOUR for number in range(TRIGGERS)]
        arrival = Fault("arrival", details={"starts": starts})
        self._simulator.faults = [arrival]
        self._airflow.wait_until("the arrival", lambda: arrival.affected)
        arrived, seconds = time.monotonic(), list[float]()

        def all_have_come() -> bool:
            left = TRIGGERS - len(self._deferred())
            seconds.extend([time.monotonic() - arrived] * (left - len(seconds)))
            return left == TRIGGERS

        self._airflow.wait_until("the events", all_have_come)
        return seconds


def _row(figures: Iterable[float], style: str) -> str:
    figures = list(figures)
    return "".join(f"{figure:{style}}" for figure in (min(figures), median(figures), max(figures)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
