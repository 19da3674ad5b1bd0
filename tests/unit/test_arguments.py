"""What operators and sensor do with their arguments before they run: store them, and depend on who gives them."""

from __future__ import annotations

import inspect
import json
import runpy
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # before Airflow 3.2
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

ALL = (EngagementsToS3Operator, EngagementsCheckOperator, EngagementsSensor)
KINDS = pytest.mark.parametrize("kind", ALL)
NUMBER = "+15550001111"


def names_of(kind: type) -> list[str]:
    return sorted(set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"})


ARGUMENTS = [pytest.param(kind, name, id=f"{kind.__name__}-{name}") for kind in ALL for name in names_of(kind)]


def required(kind: type, *given: str) -> dict[str, Any]:
    return {"s3_key": "key"} if kind is not EngagementsSensor and "s3_key" not in given else {}


@KINDS
def test_they_are_stored_word_for_word(kind: type) -> None:
    given = {name: f"{{{{ {name} }}}}" for name in names_of(kind)}
    made = kind(task_id="task", **given)
    assert {name: getattr(made, name) for name in given} == given


@KINDS
def test_each_of_them_is_a_template_field_and_an_attribute(kind: type) -> None:
    made = kind(task_id="task", **required(kind))
    assert isinstance(kind.template_fields, tuple)
    assert set(names_of(kind)) <= set(kind.template_fields)
    assert [name for name in kind.template_fields if not hasattr(made, name)] == []


@pytest.mark.parametrize("way", ["plain", "partial", "expand", "expand_kwargs"])
@pytest.mark.parametrize(("kind", "name"), ARGUMENTS)
def test_a_task_that_returns_one_is_upstream(kind: Any, name: str, way: str) -> None:
    @task
    def give() -> Any: ...

    with DAG("dag", schedule=None):
        given, rest = give(), required(kind, name)
        other = "queue_id" if name == "user_id" else "user_id"
        made = {
            "plain": lambda: kind(task_id="task", **{name: given}, **rest),
            "partial": lambda: kind.partial(task_id="task", **{name: given}, **rest).expand(**{other: ["a", "b"]}),
            "expand": lambda: kind.partial(task_id="task", **rest).expand(**{name: given}),
            "expand_kwargs": lambda: kind.partial(task_id="task", **rest).expand_kwargs(given),
        }[way]()
    assert made.upstream_task_ids == {"give"}


@pytest.mark.parametrize("kind", [EngagementsToS3Operator, EngagementsSensor])
def test_the_default_of_deferrable_is_airflows(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind(task_id="task", **required(kind)).deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    # The default of an argument is found when a module is imported.
    anew = runpy.run_path(inspect.getfile(kind))[kind.__name__]
    assert anew(task_id="task", **required(kind)).deferrable is True


@KINDS
def test_a_consumer_number_is_not_stored_with_the_dag(kind: Any) -> None:
    @task
    def give() -> str:
        return NUMBER

    with DAG("dag", schedule=None) as dag:
        kind(task_id="literal", consumer_number=NUMBER, **required(kind))
        kind.partial(task_id="mapped", consumer_number=give(), **required(kind)).expand(queue_id=["a", "b"])
    assert NUMBER not in json.dumps(DagSerialization.to_dict(dag))
