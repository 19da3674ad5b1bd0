"""What was seen on each Airflow, as a table: ``python -m tests.intervals.table`` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

SEEN = Path(__file__).parent / "seen"
TABLE = Path(__file__).parent.parent.parent / "docs" / "intervals-seen.md"
HEAD = """\
# Which interval is read, by the way that a run comes to be

Made by `tests/intervals/`, which runs each way on each Airflow; do not edit. The Dags start on 2 November 2026. Those
with a schedule have their first run, backfills are of that day, and a logical date that is given is 3 November, 12:00.
An error is shown by its first words.

Two traps are Airflow's own. On Airflow 3, `airflow dags trigger --logical-date` takes the interval from the time of the
command instead of the date that it is given; the page and the REST API take the date. And the first run of a
`CronTriggerTimetable` with `interval`, which is for the interval before the Dag's start, succeeds without a task: start
the Dag one interval earlier.
"""


class Way(NamedTuple):
    """A way that a run comes to be.

    :param title: what a user calls it.
    :param group: how it is made to run.
    :param since: the first Airflow that knows it.
    """

    title: str
    group: str = "scheduled"
    since: tuple[int, ...] = (2, 11)


CRON, INTERVAL, TRIGGER = '`"@daily"`', "`CronDataIntervalTimetable`", "`CronTriggerTimetable` with `interval`"
#: By the id of the Dag.
WAYS = {
    "cron_string": Way(f"{CRON}, and any cron string"),
    "delta": Way("`timedelta(days=1)`"),
    "cron_data_interval": Way(INTERVAL),
    "delta_data_interval": Way("`DeltaDataIntervalTimetable`"),
    "cron_trigger": Way("`CronTriggerTimetable` without `interval`"),
    "cron_trigger_with_interval": Way(TRIGGER),
    "cron_partition": Way("`CronPartitionTimetable`", since=(3, 2)),
    "once": Way('`"@once"`'),
    "asset": Way("triggered by an asset", "asset"),
    "manual": Way("manual with a logical date, no schedule", "manual"),
    "manual_cron_string": Way(f"manual with a logical date, {CRON}", "manual"),
    "manual_cron_data_interval": Way(f"manual with a logical date, {INTERVAL}", "manual"),
    "manual_cron_trigger_with_interval": Way(f"manual with a logical date, {TRIGGER}", "manual"),
    "command_line_cron_data_interval": Way(f"`airflow dags trigger --logical-date`, {INTERVAL}", "command_line"),
    "undated": Way("manual without a logical date, no schedule", "undated"),
    "undated_cron_data_interval": Way(f"manual without a logical date, {INTERVAL}", "undated"),
    "backfill_cron_string": Way(f"backfill, {CRON}", "backfill"),
    "backfill_cron_data_interval": Way(f"backfill, {INTERVAL}", "backfill"),
    "backfill_cron_trigger_with_interval": Way(f"backfill, {TRIGGER}", "backfill"),
    "dag_test_cron_string": Way(f"`dag.test` with a logical date, {CRON}", "dag_test"),
    "dag_test_cron_data_interval": Way(f"`dag.test` with a logical date, {INTERVAL}", "dag_test"),
    "dag_test_cron_trigger_with_interval": Way(f"`dag.test` with a logical date, {TRIGGER}", "dag_test"),
    "dag_test_undated_cron_data_interval": Way(
        f"`dag.test` with the logical date None, {INTERVAL}", "dag_test_undated"
    ),
}


def render() -> str:
    """Write what was seen as Markdown."""
    files = sorted(SEEN.glob("airflow-*.json"), key=lambda path: [int(part) for part in path.stem[8:].split(".")])
    seen = {path.stem.removeprefix("airflow-"): json.loads(path.read_text()) for path in files}
    parts = [HEAD]
    for name, title in (("alone", "The run alone tells"), ("interval_length", 'With `interval_length="P1D"`')):
        rows = [["run", *(f"Airflow {version}" for version in seen)], ["---"] * (len(seen) + 1)]
        rows += [
            [way.title, *(cell(told.get(dag_id, {}).get(name)) for told in seen.values())]
            for dag_id, way in WAYS.items()
        ]
        parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
    return "\n".join(parts)


def cell(outcome: Any) -> str:
    """Write one outcome."""
    if outcome is None:
        return ""
    return f"*{outcome}*" if isinstance(outcome, str) else " → ".join(outcome)


if __name__ == "__main__":
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(render())
