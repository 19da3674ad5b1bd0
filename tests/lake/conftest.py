"""A lake that is kept right by what the tasks of ``zcc_daily`` do, at a time that a test chooses."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import (
    Bucket,
    botocore_data_is_read_once,
    bucket,
    connect_zoom,
    context_of,
    s3_server,
    start_zoom,
)
from tests.zoom_simulator.server import SimulatorServer

__all__ = ["botocore_data_is_read_once", "bucket", "connect_zoom", "s3_server", "start_zoom"]

DAY = timedelta(days=1)
KEY = "date={start:%Y-%m-%d}.jsonl.gz"


@dataclass
class Lake:
    """Days of engagements in a bucket, and the Zoom account that they come from."""

    zoom: SimulatorServer
    bucket: Bucket
    folder: str = ""

    @contextmanager
    def at(self, moment: datetime) -> Iterator[None]:
        """Set the clock, of Zoom and of the tasks."""
        self.zoom.simulator.history.now = moment
        with time_machine.travel(moment):
            yield

    def read(self, start: datetime, **arguments: Any) -> dict[str, Any]:
        """Read a day, and return the summary."""
        return self._run(
            EngagementsToS3Operator, "summary", start=start, end=start + DAY, max_concurrency=1, **arguments
        )

    def check(self, end: datetime, **arguments: Any) -> dict[str, Any]:
        """Check the days before a time, and return the coverage."""
        return self._run(EngagementsCheckOperator, "coverage", end=end, **arguments)

    def repair(self, end: datetime, **arguments: Any) -> list[dict[str, Any]]:
        """Check the days before a time, read again what the check returns, and return the summaries."""
        to_read = self.check(end, **arguments)["to_read"]
        return [self.read(datetime.fromisoformat(interval["start"])) for interval in to_read]

    def lines(self, start: datetime) -> list[str]:
        """Return the sorted lines of a day's object."""
        return sorted(gzip.decompress(self.bucket.body(self.key(start))).decode().split("\n")[:-1])

    def truth(self, start: datetime) -> list[str]:
        """Return what Zoom lists of a day, as sorted lines."""
        return sorted(self.zoom.simulator.truth(start, start + DAY))

    def listed(self, start: datetime) -> int:
        """Return how many engagements of a day Zoom lists."""
        return len(self.truth(start))

    def exists(self, start: datetime) -> bool:
        return self.bucket.holds(self.key(start))

    def key(self, start: datetime) -> str:
        return f"{self.folder}date={start:%Y-%m-%d}.jsonl.gz"

    def _run(self, operator: Any, xcom: str, **arguments: Any) -> dict[str, Any]:
        context = context_of()
        operator(task_id="task", s3_bucket=self.bucket.name, s3_key=f"{self.folder}{KEY}", **arguments).execute(context)
        result: dict[str, Any] = context["ti"].xcoms[xcom]
        return result


@pytest.fixture(autouse=True)
def quiet_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds of tasks write more than anybody reads."""
    caplog.set_level("ERROR")
