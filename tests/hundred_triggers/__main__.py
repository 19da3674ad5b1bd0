"""
``make triggers``: a hundred deferred sensors in one ``airflow triggerer``, and whether one starves another.

Airflow's own components run them; the connection to Zoom, which is the simulator, is in Airflow's database. Together
they want to ask more often than the connection's pace allows. For a while nothing is there, and it is counted how often
each is asked about; then the engagements of all arrive at once, and it is measured when Airflow has each one's event.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.airflow_services import RunningAirflow
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAG = "hundred"
FIRST, HOUR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), 3_600
POKE_INTERVAL, LATENCY, REQUESTS_PER_SECOND = 2, 0.1, 20
#: How often each is to be asked about before the engagements arrive.
CHECKS = 12
#: The share of the median's checks that the one with the fewest has to have.
FAIR = 0.75
#: The share of the time that the loop may stand still: a loop that asked by itself would nearly always.
BLOCKED_AT_MOST = 0.1
#: What a triggerer says of a loop that stood still for 0.2 s or more.
BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
#: Tasks at a time: each waits for Airflow more than it works.
PARALLELISM = 16


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hundred_triggers", description="Many deferred sensors.")
    parser.add_argument("--triggers", type=int, default=100, help="how many; default: 100")
    triggers = parser.parse_args().triggers
    logging.disable(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config = Config(latency=LATENCY, requests_per_second=REQUESTS_PER_SECOND)
    environment = {
        "ZCC_TRIGGERS": str(triggers),
        "ZCC_POKE_INTERVAL": str(POKE_INTERVAL),
        "AIRFLOW__OPENLINEAGE__DISABLED": "True",
    }
    dags = Path(__file__).parent / "dags"
    with (
        SimulatorServer(ZoomSimulator(Engagements([]), config)) as zoom,
        RunningAirflow(dags, environment, parallelism=PARALLELISM) as airflow,
    ):
        say(
            f"Zoom:    simulated, {LATENCY * 1_000:.0f} ms an answer, {REQUESTS_PER_SECOND} requests/s allowed\n"
            f"Airflow: {triggers} sensors with a poke_interval of {POKE_INTERVAL} s, one triggerer, the connection in "
            "its database"
        )
        connection = airflow.home / "connections.json"
        connection.write_text(json.dumps({"zcc_in_database": paced(zoom.connection)}))
        airflow.call("airflow", "connections", "import", str(connection))
        airflow.start_components(triggerer=True)
        return Triggers(triggers, zoom.simulator, airflow).run()


def say(text: str) -> None:
    print(text, flush=True)


def paced(connection: dict[str, object]) -> dict[str, object]:
    """Let a connection ask as often as Zoom allows."""
    return {**connection, "extra": {**connection["extra"], "requests_per_second": REQUESTS_PER_SECOND}}  # type: ignore[dict-item]


class Triggers:
    """So many triggers, and what becomes of them.

    :param number: how many.
    :param simulator: whom they ask.
    :param airflow: where they are.
    """

    def __init__(self, number: int, simulator: ZoomSimulator, airflow: RunningAirflow) -> None:
        self._number = number
        self._simulator = simulator
        self._airflow = airflow

    def run(self) -> int:
        """Let them wait, then let the engagements arrive, and say whether each had its share."""
        self._airflow.trigger(DAG)
        self._airflow.wait_until("all to be deferred", lambda: len(self._deferred()) == self._number)
        # Their tasks, which would go on one after the other as the events come, are not what is measured.
        self._airflow.call("airflow", "dags", "pause", DAG)
        say(f"\nAll {self._number} are deferred.")
        blocked_before = len(self._blocked())
        checks, seconds = self._wait_for_checks()
        blocked = self._blocked()[blocked_before:]
        events = self._seconds_to_events()
        self._airflow.call("airflow", "dags", "unpause", DAG)
        tasks = self._airflow.outcome(DAG)["tasks"].values()
        ended = Counter(f"{task['state']}, tries: {task['tries']}" for task in tasks)
        refused = self._simulator.stats.statuses[429]
        say(
            f"\n{'':32}{'min':>8}{'median':>8}{'max':>8}\n"
            f"{f'checks of each in {seconds:.0f} s':32}{_row(checks, '8.0f')}\n"
            f"{'seconds from arrival to event':32}{_row(events, '8.1f')}\n\n"
            f"requests     {sum(checks) / seconds:.1f} per second, {refused} refused in all\n"
            f"loop blocked {len(blocked)}x, for {sum(blocked):.1f} of the {seconds:.0f} s\n"
            f"tasks ended  {', '.join(f'{count} {how}' for how, count in ended.items())}"
        )
        fair = min(checks) >= FAIR * median(checks) and sum(blocked) <= BLOCKED_AT_MOST * seconds
        well = fair and ended == {"success, tries: 1": self._number}
        say("none starved" if well else "STARVED" if not fair else "NOT ALL ENDED WELL")
        return 0 if well else 1

    def _deferred(self) -> set[str]:
        rows = self._airflow.rows("select task_id from task_instance where dag_id = ? and state = 'deferred'", DAG)
        return {task_id for (task_id,) in rows}

    def _blocked(self) -> list[float]:
        """Return for how many seconds the loop was blocked each time."""
        return [float(seconds) for seconds in BLOCKED.findall(self._airflow.output_of("triggerer"))]

    def _asked(self) -> Counter[str]:
        """Return how often each interval was asked about, by its beginning."""
        return Counter(dict(query)["from"] for query in list(self._simulator.stats.queries))

    def _wait_for_checks(self) -> tuple[list[int], float]:
        """Return how often each was asked about in some while, and how long that was."""
        # The triggerer may not have begun with the last of them.
        before = self._asked()
        self._airflow.wait_until("a check of each", lambda: len(self._asked() - before) == self._number)
        before, started = self._asked(), time.monotonic()
        wanted = before.total() + CHECKS * self._number
        self._airflow.wait_until(f"{CHECKS} checks of each", lambda: self._asked().total() >= wanted)
        asked, seconds = self._asked(), time.monotonic() - started
        return [asked[start] - before[start] for start in asked], seconds

    def _seconds_to_events(self) -> list[float]:
        """Let the engagements arrive, and return after how many seconds Airflow had the event of each trigger."""
        starts = [FIRST + number * HOUR for number in range(self._number)]
        arrival = Fault("arrival", details={"starts": starts})
        self._simulator.faults = [arrival]
        self._airflow.wait_until("the arrival", lambda: arrival.befell)
        arrived, seconds = time.monotonic(), list[float]()

        def all_have_come() -> bool:
            left = self._number - len(self._deferred())
            seconds.extend([time.monotonic() - arrived] * (left - len(seconds)))
            return left == self._number

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
