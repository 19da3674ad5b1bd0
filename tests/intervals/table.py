"""What was seen on each Airflow, as tables: ``python -m tests.intervals.table`` writes them into docs and README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

SEEN = Path(__file__).parent / "seen"
REPOSITORY = Path(__file__).parent.parent.parent
TABLE = REPOSITORY / "docs" / "intervals-seen.md"
README = REPOSITORY / "README.md"
#: What the README has its table between.
BEGIN, END = "<!-- made by python -m tests.intervals.table -->\n\n", "\n<!-- until here -->"
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
    "cron_partition": Way("`CronPartitionTimetable`, from 3.2 on", since=(3, 2)),
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
    for name, title in (("alone", "The run alone tells"), ("interval_length", 'With `interval_length="P1D"`')):
        columns = {
            version: {dag_id: cell(told.get(dag_id, {}).get(name)) for dag_id in WAYS} for version, told in seen.items()
        }
        parts.append(f"## {title}\n\n{table(columns)}")
    return "\n".join(parts)


def render_in_short() -> str:
    """Write what was seen with both readings in one cell, and a column for versions that do the same."""
    columns: dict[str, dict[str, str]] = {}
    for version, told in all_seen().items():
        column = {dag_id: short_cell(told[dag_id]) for dag_id in WAYS if dag_id in told}
        last, before = next(reversed(columns.items()), ("", None))
        if before is not None and all(before.get(dag_id, said) == said for dag_id, said in column.items()):
            del columns[last]
            columns[f"{last.partition(' ')[0]} to {version}"] = before | column
        else:
            columns[version] = column
    return table(columns)


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


def short_cell(outcomes: dict[str, Any]) -> str:
    """Write what a run reads; if it is refused, what it reads with an ``interval_length``."""
    alone, with_length = outcomes["alone"], outcomes["interval_length"]
    if not isinstance(alone, str):
        return cell(alone)
    return "*refused*" if isinstance(with_length, str) else f"*refused*; with a length {cell(with_length)}"


def with_table(readme: str) -> str:
    """Put the table into the README."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}{render_in_short()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    TABLE.write_text(render())
    README.write_text(with_table(README.read_text()))
