"""The sensor in both modes, before the operator: with a connection id in a template, and a filter."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

with DAG(
    dag_id="sensor_modes",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
) as dag:
    poke = EngagementsSensor(task_id="poke", mode="poke", poke_interval=0.1, stable_checks=3)
    reschedule = EngagementsSensor(task_id="reschedule", mode="reschedule", channel="Voice")
    too_many = EngagementsSensor(
        task_id="too_many", min_engagements=10**9, poke_interval=0.1, timeout=timedelta(seconds=1), soft_fail=True
    )
    rejected = EngagementsSensor(task_id="rejected", zcc_conn_id="zcc_wrong_secret", retries=2, retry_delay=0)
    write = EngagementsToS3Operator(
        task_id="write",
        s3_key="s3://{{ var.value.zcc_bucket }}/voice/{{ data_interval_start | ds }}.jsonl",
        channel="{{ 'VOICE' }}",
        zcc_conn_id="{{ 'zcc_default' }}",
        consumer_number="{{ '+1205930' }}0905",
    )
    [poke, reschedule] >> write
