"""How a run is requested in each way that Airflow offers."""

from __future__ import annotations

from pathlib import Path

from tests.airflow_version import AIRFLOW
from tests.intervals.table import WAYS

DAGS = Path(__file__).parent / "dags" / "ways.py"
DATE = "2026-11-03T12:00:00+00:00"
RAN = [dag_id for dag_id, way in WAYS.items() if way.since <= AIRFLOW]


def those(group: str) -> list[str]:
    return [way for way in RAN if WAYS[way].group == group]


if AIRFLOW >= (3, 0):
    _DATE, _BACKFILL = "--logical-date", "backfill create --from-date 2026-11-02 --to-date 2026-11-02 --dag-id"
    #: Of the REST API, as the page does.
    TRIGGERED = those("manual")
else:
    _DATE, _BACKFILL = "--exec-date", "dags backfill --start-date 2026-11-02 --end-date 2026-11-02"
    TRIGGERED = []
_dated = those("command_line") + [way for way in those("manual") if way not in TRIGGERED]
#: On the command line.
COMMANDS = (
    *(f"dags trigger {way} {_DATE} {DATE}" for way in _dated),
    *(f"dags trigger {way}" for way in those("undated")),
    *(f"{_BACKFILL} {way}" for way in those("backfill")),
)
#: With ``dag.test()``.
TESTED = (*(f"{way}@{DATE}" for way in those("dag_test")), *(f"{way}@" for way in those("dag_test_undated")))
