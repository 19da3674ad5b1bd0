"""A deferrable sensor for each of so many hours, one after the other."""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_zcc.sensors.engagements import EngagementsSensor

HOUR = timedelta(hours=1)
FIRST = pendulum.datetime(2026, 1, 1, tz="UTC")

with DAG("hundred", schedule=None, start_date=FIRST, max_active_tasks=1_000) as dag:
    for number in range(int(os.environ["ZCC_TRIGGERS"])):
        EngagementsSensor(
            task_id=f"hour_{number:03}",
            start=FIRST + number * HOUR,
            end=FIRST + (number + 1) * HOUR,
            zcc_conn_id="zcc_in_database",
            deferrable=True,
            poke_interval=float(os.environ["ZCC_POKE_INTERVAL"]),
        )
