"""What operator and sensor do with their arguments before they run, which is nothing."""

from __future__ import annotations

import inspect

import pytest

from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

TASKS = (
    (EngagementsSensor, {"start", "end", "interval_length", "zcc_conn_id"}),
    (
        EngagementsToS3Operator,
        {"s3_key", "s3_bucket", "start", "end", "interval_length", "zcc_conn_id", "aws_conn_id"},
    ),
)


@pytest.mark.parametrize(("kind", "templated"), TASKS)
class TestArguments:
    def test_they_are_stored_word_for_word(self, kind: type, templated: set[str]) -> None:
        names = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"}
        given = {name: f"{{{{ {name} }}}}" for name in names}
        task = kind(task_id="task", **given)
        assert templated <= names
        assert {name: getattr(task, name) for name in names} == given

    def test_template_fields_are_attributes(self, kind: type, templated: set[str]) -> None:
        fields = kind.template_fields
        task = kind(task_id="task", **({"s3_key": "key"} if kind is EngagementsToS3Operator else {}))
        assert isinstance(fields, tuple)
        assert [name for name in fields if not hasattr(task, name)] == []
        assert templated <= set(fields)
        assert "consumer_number" not in fields
