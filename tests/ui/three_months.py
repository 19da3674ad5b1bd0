"""Three months in the lake of ``make ui``, read by real runs of the example Dags before Airflow starts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tests.airflow_process import AirflowProcess
from tests.simulated import BUCKET, SimulatedServices
from tests.zoom_simulator.faults import Fault

ENGAGEMENTS, DAYS = 45_000, 90
#: How many of the last days are read in the night after, as the Dag does every day.
NIGHTS = 4
DAY, SOON = timedelta(days=1), timedelta(minutes=5)
DOWN = {"status": 400, "body": {"code": 300, "message": "Down for maintenance."}}


def fill(airflow: AirflowProcess, services: SimulatedServices) -> None:
    """Read three months but for one day, read again what is listed late, and overwrite one day by hand.

    A last check finds the two days. To read them fails, because Zoom is down by then.
    """
    simulator = services.zoom.simulator
    config, connection = simulator.config, services.connections["zcc_default"]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, failing = midnight - DAYS * DAY, midnight - DAYS // 2 * DAY
    nights = [midnight - number * DAY for number in reversed(range(NIGHTS))]
    fast = {"AIRFLOW_CONN_ZCC_DEFAULT": json.dumps({**connection, "extra": services.zoom.connection["extra"]})}

    def run(*runs: str) -> None:
        airflow.call("tests.run_airflow", "--clock", services.zoom.url, "--runs", *runs, **fast)

    def backfill(start: datetime, end: datetime, now: datetime) -> str:
        days = json.dumps({"from": f"{start:%Y-%m-%d}", "to": f"{end - DAY:%Y-%m-%d}"})
        return f"zcc_backfill@{now:%Y-%m-%dT%H:%MZ}@{days}"

    usual = config.latency, config.requests_per_second
    config.latency, config.requests_per_second = 0.0, None
    start = nights[0] - DAY
    run(
        backfill(first, failing, start + SOON),
        backfill(failing + DAY, start, start + 2 * SOON),
        *(f"zcc_daily@{night + SOON:%Y-%m-%dT%H:%MZ}" for night in nights),
    )
    key = f"zoom/engagements/date={midnight - DAYS // 4 * DAY:%Y-%m-%d}/engagements.jsonl.gz"
    services.s3.client.put_object(Bucket=BUCKET, Key=key, Body=b"by hand")
    # The check sends one request a day.
    simulator.faults = [Fault("answer", "first", after=DAYS, times=-1, details=DOWN)]
    run(backfill(first, midnight, midnight + SOON))
    simulator.faults, simulator.history.now = [], None
    config.latency, config.requests_per_second = usual


def engagements_by_day(services: SimulatedServices) -> dict[str, int]:
    """Return how many engagements the manifest of each day counts."""
    s3 = services.s3.client
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix="zoom/engagements/")["Contents"]]
    manifests = [json.load(s3.get_object(Bucket=BUCKET, Key=key)["Body"]) for key in keys if key.endswith(".json")]
    return {manifest["start"][:10]: manifest["records"] for manifest in manifests}
