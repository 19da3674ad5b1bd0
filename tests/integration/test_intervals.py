"""
Which interval is read in each way that a run comes to be, on the Airflow that is installed.

The runs are Airflow's own. Its scheduler makes those of schedules and assets. Others are requested through the REST
API, as the page does it (on Airflow 2 on the command line), with ``airflow dags trigger`` and with ``airflow backfill
create`` (on Airflow 2 ``airflow dags backfill``, which runs them itself). Only ``dag.test()`` is run by
:mod:`tests.run_airflow`. What comes of them is compared with ``seen/``, of which ``docs/intervals-seen.md`` is made.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_process import WAIT_TIMEOUT
from tests.airflow_version import AIRFLOW
from tests.integration.conftest import Components
from tests.intervals.runs import RAN
from tests.intervals.table import SEEN, TABLE, cell, render
from tests.zoom_simulator.server import SimulatorServer

RECORD = os.environ.get("ZCC_RECORD_INTERVALS")
READINGS = ("alone", "interval_length")


@pytest.fixture(scope="module")
def reported(components: Components) -> dict[str, dict[str, Any]]:
    """What the tasks wrote down."""
    for way in RAN:
        components.airflow.wait_until(f"a run of {way}", (components.reported / f"{way}.json").exists)
    return {way: json.loads((components.reported / f"{way}.json").read_text()) for way in RAN}


@pytest.fixture(scope="module")
def outcomes(components: Components, reported: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is compared and shown: times, or the first words of an error."""
    return {
        way: {name: in_words(said[name], datetime.fromisoformat(said["due"]), components.begun) for name in READINGS}
        for way, said in reported.items()
    }


def seen() -> dict[str, dict[str, Any]]:
    """What the table says of the Airflow that is installed."""
    version = ".".join(map(str, AIRFLOW))
    file = SEEN / f"airflow-{version}.json"
    assert file.exists(), f"Nothing was recorded of Airflow {version}: make matrix-cell AIRFLOW=newest RECORD=1"
    return json.loads(file.read_text())


def in_words(outcome: dict[str, Any], due: datetime, begun: datetime) -> str | list[str]:
    if "error" in outcome:
        return outcome["error"].partition(". ")[0].partition(":")[0]
    start, end = (datetime.fromisoformat(outcome[bound]) for bound in ("start", "end"))
    words = [moment_in_words(moment, begun) for moment in (start, end)]
    # These runs catch up on days long past, so they read it all the same.
    return words if end <= due else f"Not over when the run is due: {cell(words)}"


def moment_in_words(moment: datetime, begun: datetime) -> str:
    """Name a moment so that it reads the same whenever the tests run."""
    midnight = begun.replace(hour=0, minute=0, second=0, microsecond=0)
    near = {
        "today 00:00": midnight,
        "yesterday 00:00": midnight - timedelta(days=1),
    }
    for words, there in near.items():
        if moment == there:
            return words
    for days, words in ((0, "now"), (1, "a day before now")):
        if timedelta() <= moment - begun + timedelta(days=days) < timedelta(seconds=WAIT_TIMEOUT):
            return words
    return f"{moment:%-d %b %H:%M}"


@pytest.mark.skipif(not RECORD, reason="nothing is to be recorded")
def test_what_was_seen_is_recorded(outcomes: dict[str, dict[str, Any]]) -> None:
    file = Path(str(RECORD), f"airflow-{'.'.join(map(str, AIRFLOW))}.json")
    file.write_text(json.dumps(outcomes, indent=1) + "\n")


@pytest.mark.skipif(bool(RECORD), reason="it is being recorded")
@pytest.mark.parametrize("way", RAN)
def test_a_run_reads_what_the_table_says(outcomes: dict[str, dict[str, Any]], way: str) -> None:
    assert outcomes[way] == seen()[way]


def test_what_is_read_is_an_interval_and_all_that_zoom_has_there(
    reported: dict[str, dict[str, Any]], zoom: SimulatorServer
) -> None:
    counted = []
    for outcome in (said[name] for said in reported.values() for name in READINGS):
        if "error" not in outcome:
            start, end = (datetime.fromisoformat(outcome[bound]) for bound in ("start", "end"))
            counted.append(len(list(zoom.simulator.truth(start, end))))
            assert start < end
            assert outcome["records"] == counted[-1]
    assert max(counted) > 0


@pytest.mark.skipif(bool(RECORD), reason="it is being recorded")
def test_the_tables_show_what_was_seen() -> None:
    assert TABLE.read_text() == render()
