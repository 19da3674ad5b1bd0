"""What was seen on each Airflow, as tables: ``python -m tests.intervals.table`` writes ``docs/intervals-seen.md``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

SEEN = Path(__file__).parent / "seen"
TABLE = Path(__file__).parent.parent.parent / "docs" / "intervals-seen.md"
HEAD = """\
# Which interval each run reads

<!-- Written by `python -m tests.intervals.table`. -->

Every kind of run on every Airflow, and the interval that `EngagementsToS3Operator` reads in it, as recorded by tests
that run each of them. To choose a schedule, [start here](intervals.md).

The Dags start on 2 November 2026. A Dag with a schedule has its first run, a backfill is for that day, and a logical
date is 3 November, 12:00. If the task fails, the first words of its error are shown in italics. *Not over when the run
is due* marks an interval that ends after the time at which Airflow schedules the run: a run that starts on time fails,
because Zoom does not have the whole interval yet.

Two traps are Airflow's own:

- On Airflow 3, `airflow dags trigger --logical-date` takes the interval from the time of the command instead of the
  given date. The UI and the REST API take the date.
- The first run of a `CronTriggerTimetable` with `interval`, which is for the interval before the Dag's start, succeeds
  without running a task. Start the Dag one interval earlier.
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
    "cron_partition": Way("`CronPartitionTimetable`, from 3.2 on", since=(3, 2)),
    "cron_partition_offset": Way("`CronPartitionTimetable` with `run_offset=-1`", since=(3, 2)),
    "once": Way('`"@once"`'),
    "asset": Way("triggered by an asset", "asset"),
    "manual": Way("manual with a logical date, no schedule", "manual"),
    "manual_cron_string": Way(f"manual with a logical date, {CRON}", "manual"),
    "manual_delta": Way("manual with a logical date, `timedelta(days=1)`", "manual"),
    "manual_cron_data_interval": Way(f"manual with a logical date, {INTERVAL}", "manual"),
    "manual_cron_trigger_with_interval": Way(f"manual with a logical date, {TRIGGER}", "manual"),
    "manual_cron_partition": Way("manual with a logical date, `CronPartitionTimetable`", "manual", since=(3, 2)),
    "command_line_cron_data_interval": Way(f"`airflow dags trigger --logical-date`, {INTERVAL}", "command_line"),
    "undated": Way("manual without a logical date, no schedule", "undated"),
    "undated_cron_data_interval": Way(f"manual without a logical date, {INTERVAL}", "undated"),
    "backfill_cron_string": Way(f"backfill, {CRON}", "backfill"),
    "backfill_delta": Way("backfill, `timedelta(days=1)`", "backfill"),
    "backfill_cron_data_interval": Way(f"backfill, {INTERVAL}", "backfill"),
    "backfill_cron_trigger_with_interval": Way(f"backfill, {TRIGGER}", "backfill"),
    "dag_test_cron_string": Way(f"`dag.test` with a logical date, {CRON}", "dag_test"),
    "dag_test_cron_data_interval": Way(f"`dag.test` with a logical date, {INTERVAL}", "dag_test"),
    "dag_test_cron_trigger_with_interval": Way(f"`dag.test` with a logical date, {TRIGGER}", "dag_test"),
    "dag_test_undated_cron_data_interval": Way(
        f"`dag.test` with the logical date None, {INTERVAL}", "dag_test_undated"
    ),
}


def all_seen() -> dict[str, dict[str, dict[str, Any]]]:
    """Return what was seen, by version and Dag."""
    files = sorted(SEEN.glob("airflow-*.json"), key=lambda path: [int(part) for part in path.stem[8:].split(".")])
    return {path.stem.removeprefix("airflow-"): json.loads(path.read_text()) for path in files}


def render() -> str:
    """Write what was seen as Markdown."""
    seen = all_seen()
    parts = [HEAD]
    for name, title in (("alone", "Without arguments"), ("interval_length", 'With `interval_length="P1D"`')):
        columns = {
            version: {dag_id: cell(reported.get(dag_id, {}).get(name)) for dag_id in WAYS}
            for version, reported in seen.items()
        }
        parts.append(f"## {title}\n\n{table(columns)}")
    return "\n".join(parts)


def table(columns: dict[str, dict[str, str]]) -> str:
    """Write a table with a row for each way."""
    rows = [["run", *(f"Airflow {version}" for version in columns)], ["---"] * (len(columns) + 1)]
    rows += [[way.title, *(column.get(dag_id, "") for column in columns.values())] for dag_id, way in WAYS.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def cell(outcome: Any) -> str:
    """Write one outcome."""
    if outcome is None:
        return ""
    return f"*{outcome}*" if isinstance(outcome, str) else " → ".join(outcome)


if __name__ == "__main__":
    TABLE.write_text(render())
