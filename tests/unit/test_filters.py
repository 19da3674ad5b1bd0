from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_zcc.filters import FILTER_TEMPLATE_FIELDS, rendered_filters
from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import context_of

FILTERS = {
    "queue_id": "queue",
    "user_id": "agent",
    "consumer_number": "+15550001111",
    "channel_types": ["voice", "sms"],
    "channel": "voice",
    "channel_sources": "sms,whatsapp",
    "direction": "inbound",
    "timezone": "Europe/Berlin",
}
TASKS = [
    pytest.param(EngagementsToS3Operator, {"s3_key": "s3://bucket/key"}, id="operator"),
    pytest.param(EngagementsSensor, {}, id="sensor"),
]


def test_every_filter_is_templated_but_the_consumer_number():
    assert set(FILTER_TEMPLATE_FIELDS) == set(FILTERS) - {"consumer_number"}


@pytest.mark.parametrize(("kind", "arguments"), TASKS)
def test_a_task_takes_and_hands_on_every_filter(kind: Any, arguments: dict[str, str]):
    assert rendered_filters(kind(task_id="task", **arguments, **FILTERS), context_of()) == FILTERS


@pytest.mark.parametrize(("kind", "arguments"), TASKS)
def test_a_task_without_filters_hands_on_none(kind: Any, arguments: dict[str, str]):
    assert rendered_filters(kind(task_id="task", **arguments), context_of()) == dict.fromkeys(FILTERS)


@pytest.mark.parametrize(("kind", "arguments"), TASKS)
def test_the_consumer_number_is_rendered_and_not_kept(kind: Any, arguments: dict[str, str]):
    task = kind(task_id="task", consumer_number="{{ dag_run.conf['number'] }}", **arguments)
    context = context_of(dag_run=SimpleNamespace(conf={"number": "+15550001111"}))
    assert "consumer_number" not in task.template_fields
    assert rendered_filters(task, context)["consumer_number"] == "+15550001111"
    assert task.consumer_number == "{{ dag_run.conf['number'] }}"
