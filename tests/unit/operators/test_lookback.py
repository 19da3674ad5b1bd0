from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from tests.unit.conftest import END, START, Bucket, context_of


@pytest.mark.usefixtures("zoom")
@pytest.mark.parametrize(("shorter", "days"), [({}, 8), ({"lookback": "P7D"}, 7)])
def test_by_default_a_daily_check_looks_at_a_day_until_it_was_due_for_the_last_time(
    bucket: Bucket,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    shorter: dict[str, str],
    days: int,
):
    caplog.set_level(logging.INFO)
    task = EngagementsCheckOperator(task_id="check", s3_bucket=bucket.name, s3_key="{start}", **shorter)
    found = task.execute(context_of(START, END))
    assert [bounds["end"] for bounds in found] == [(END - n * timedelta(days=1)).isoformat() for n in range(days)][::-1]
    # Airflow's loggers write to the one or the other.
    assert ("lookback is too short" in caplog.text + "".join(capfd.readouterr())) == bool(shorter)
