"""What tasks do with their arguments: store and render them, depend on who gives them, and never drop one silently."""

from __future__ import annotations

import inspect
import json
import runpy
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import END, START, Bucket, context_of, no_request_was_sent
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES
from tests.zoom_simulator.server import SimulatorServer

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # before Airflow 3.2
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

ALL = (EngagementsToS3Operator, EngagementsCheckOperator, EngagementsSensor)
KINDS = pytest.mark.parametrize("kind", ALL)
FILTERS = {
    "queue_id": next(iter(QUEUES)),
    "user_id": next(iter(AGENTS)),
    "consumer_number": NUMBERS[0],
    "channel_types": ["voice", "sms"],
    "channel_sources": "sms,whatsapp",
    "direction": "inbound",
    "timezone": "Europe/Berlin",
}


def names_of(kind: type) -> list[str]:
    return sorted(set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"})


def required(kind: type, *given: str) -> dict[str, Any]:
    return {"s3_key": "key"} if kind is not EngagementsSensor and "s3_key" not in given else {}


@KINDS
def test_they_are_stored_word_for_word_as_template_fields(kind: type) -> None:
    given = {name: f"{{{{ {name} }}}}" for name in names_of(kind)}
    made = kind(task_id="task", **given)
    assert {name: getattr(made, name) for name in given} == given
    assert isinstance(kind.template_fields, tuple)
    assert set(given) <= set(kind.template_fields)
    assert [name for name in kind.template_fields if not hasattr(made, name)] == []


@pytest.mark.parametrize("way", ["plain", "partial", "expand", "expand_kwargs"])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in ALL for name in names_of(kind)])
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
        return NUMBERS[0]

    with DAG("dag", schedule=None) as dag:
        kind(task_id="literal", consumer_number=NUMBERS[0], **required(kind))
        kind.partial(task_id="mapped", consumer_number=give(), **required(kind)).expand(queue_id=["a", "b"])
    assert NUMBERS[0] not in json.dumps(DagSerialization.to_dict(dag))


class TestRendered:
    @pytest.fixture(params=ALL)
    def run(self, request: pytest.FixtureRequest, bucket: Bucket) -> Any:
        """Render a task of one kind and run it."""
        kind = request.param
        own = {"min_engagements": 0} if kind is EngagementsSensor else {"s3_key": "key", "s3_bucket": bucket.name}

        def render_and_run(context: dict[str, Any], **arguments: Any) -> Any:
            task = kind(task_id="task", **own, **{"start": START, "end": END} | arguments)
            task.render_template_fields(context)
            task.execute(context)
            return task

        return render_and_run

    @pytest.mark.parametrize("name", FILTERS)
    def test_a_filter_reaches_zoom(self, zoom: SimulatorServer, run: Any, name: str) -> None:
        value = FILTERS[name]
        run(context_of(params=FILTERS), **{name: value if isinstance(value, list) else f"{{{{ params.{name} }}}}"})
        wanted = value if isinstance(value, list) else value.split(",")
        sent = [[given for key, given in query if key == name] for query in zoom.simulator.stats.queries]
        assert sent
        assert [given for given in sent if given != wanted] == []

    def test_without_filters_none_is_sent(self, zoom: SimulatorServer, run: Any) -> None:
        run(context_of(), queue_id=None)
        sent = {key for query in zoom.simulator.stats.queries for key, _ in query}
        assert sent & set(FILTERS) == {"timezone"}

    @pytest.mark.usefixtures("zoom")
    def test_a_consumer_number_is_no_rendered_template_field(self, run: Any) -> None:
        task = run(context_of(params=FILTERS), consumer_number="{{ params.consumer_number }}")
        assert NUMBERS[0] not in str({name: getattr(task, name) for name in task.template_fields})

    @pytest.mark.parametrize("template", ["{{ none }}", "{{ params.missing }}", "{{ '  ' }}"])
    @pytest.mark.parametrize("name", [*FILTERS, "channel"])
    def test_a_filter_that_renders_to_nothing_fails_the_task_and_is_named(
        self, zoom: SimulatorServer, run: Any, name: str, template: str
    ) -> None:
        with pytest.raises(AirflowFailException, match=f"{name} was given"):
            run(context_of(params={}), **{name: template})
        assert no_request_was_sent(zoom)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *((name, None) for name in ("start", "end", "interval_length", "s3_bucket", "acl_policy", "extra_args")),
            *(("queue_id", value) for value in (None, "", [], {})),
        ],
    )
    def test_so_does_any_argument_that_renders_to_a_native_nothing(
        self, zoom: SimulatorServer, name: str, value: object
    ) -> None:
        with DAG("dag", schedule=None, render_template_as_native_obj=True):
            task = EngagementsToS3Operator(
                task_id="task", **{"s3_key": "key", "s3_bucket": "lake", name: "{{ given }}"}
            )
        task.render_template_fields(context_of(given=value))
        with pytest.raises(AirflowFailException, match=f"{name} was given"):
            task.execute(context_of(START, END))
        assert no_request_was_sent(zoom)

    @pytest.mark.parametrize("names", [*((name,) for name in FILTERS), ("start", "end")])
    def test_so_does_one_that_a_mapped_task_receives_as_none(
        self, zoom: SimulatorServer, run: Any, names: tuple[str, ...]
    ) -> None:
        mapped = SimpleNamespace(map_index=0, xcom_push=None)
        with pytest.raises(AirflowFailException, match="was given"):
            run(context_of(START, END, ti=mapped), **dict.fromkeys(names))
        assert no_request_was_sent(zoom)
