"""The check of this provider, over as many days before the end of the job as its options say."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from benchmarks.clients.provider import connections
from benchmarks.job import Job


def extract(job: Job) -> None:
    """Check the days, each of which has an object with a manifest."""
    os.environ.update(connections(job))
    end = datetime.fromisoformat(job.end)
    coverage: dict[str, Any] = {}
    EngagementsCheckOperator(
        task_id="benchmark",
        s3_bucket=job.bucket,
        s3_key="checked/date={start:%Y-%m-%d}/engagements.jsonl.gz",
        start=end - timedelta(days=job.options["days"]),
        end=end,
    ).execute({"ti": SimpleNamespace(xcom_push=lambda value, **_: coverage.update(value))})
    assert coverage["intervals"] == job.options["days"]
    assert coverage["missing"] == coverage["untracked"] == 0
