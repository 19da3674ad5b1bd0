from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_zcc.sensors.engagements import EngagementsSensor
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import END, START, Bucket, context_of, no_request_was_sent
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES
from tests.zoom_simulator.server import SimulatorServer

FILTERS = {
    "queue_id": next(iter(QUEUES)),
    "user_id": next(iter(AGENTS)),
    "consumer_number": NUMBERS[0],
    "channel_types": ["voice", "sms"],
    "channel_sources": "sms,whatsapp",
    "direction": "inbound",
    "timezone": "Europe/Berlin",
}


@pytest.fixture(params=["operator", "sensor"])
def run(request: pytest.FixtureRequest, bucket: Bucket) -> Any:
    """Render a task of one kind and run it."""

    def render_and_run(context: dict[str, Any], **arguments: Any) -> Any:
        common = {"task_id": "task", "start": START, "end": END, **arguments}
        if request.param == "operator":
            task: Any = EngagementsToS3Operator(s3_key="day.jsonl", s3_bucket=bucket.name, **common)
        else:
            task = EngagementsSensor(min_engagements=0, **common)
        task.render_template_fields(context)
        task.execute(context) if request.param == "operator" else task.poke(context)
        return task

    return render_and_run


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_reaches_zoom(zoom: SimulatorServer, run: Any, name: str):
    template = f"{{{{ params.{name} }}}}"
    value = FILTERS[name]
    run(context_of(params=FILTERS), **{name: value if isinstance(value, list) else template})
    wanted = value if isinstance(value, list) else value.split(",")
    sent = [[given for key, given in query if key == name] for query in zoom.simulator.stats.queries]
    assert sent
    assert [given for given in sent if given != wanted] == []


def test_without_filters_none_is_sent(zoom: SimulatorServer, run: Any):
    run(context_of(), queue_id=None)
    sent = {key for query in zoom.simulator.stats.queries for key, _ in query}
    assert sent & set(FILTERS) == {"timezone"}


@pytest.mark.parametrize("template", ["{{ none }}", "{{ params.missing }}", "{{ '  ' }}"])
@pytest.mark.parametrize("name", [*FILTERS, "channel"])
def test_a_filter_that_renders_to_nothing_fails_the_task_and_is_named(
    zoom: SimulatorServer, run: Any, name: str, template: str
):
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
    zoom: SimulatorServer, bucket: Bucket, name: str, value: object
):
    arguments = {"s3_key": "key", "s3_bucket": bucket.name, "start": START, "end": END, name: "{{ given }}"}
    with DAG("dag", schedule=None, render_template_as_native_obj=True):
        task = EngagementsToS3Operator(task_id="task", **arguments)
    task.render_template_fields(context_of(given=value))
    with pytest.raises(AirflowFailException, match=f"{name} was given"):
        task.execute(context_of(START, END))
    assert no_request_was_sent(zoom)


@pytest.mark.parametrize("names", [*((name,) for name in FILTERS), ("start", "end")])
def test_so_does_one_that_a_mapped_task_receives_as_none(zoom: SimulatorServer, run: Any, names: tuple[str, ...]):
    context = context_of(START, END)
    context["ti"] = SimpleNamespace(map_index=0, xcom_push=None)
    with pytest.raises(AirflowFailException, match="was given"):
        run(context, **dict.fromkeys(names))
    assert no_request_was_sent(zoom)


def test_a_none_among_several_values_fails_the_task(zoom: SimulatorServer, run: Any):
    with pytest.raises(AirflowFailException, match="channel_types None"):
        run(context_of(), channel_types=["voice", None])
    assert no_request_was_sent(zoom)


@pytest.mark.parametrize("given", ["{{ dag_run.conf['number'] }}", NUMBERS[1]])
@pytest.mark.usefixtures("zoom")
def test_the_consumer_number_is_rendered_and_no_rendered_template_field(run: Any, given: str):
    task = run(context_of(dag_run=SimpleNamespace(conf={"number": NUMBERS[1]})), consumer_number=given)
    assert task.consumer_number == NUMBERS[1]
    assert "consumer_number" not in task.template_fields
    assert NUMBERS[1] not in str({name: getattr(task, name) for name in task.template_fields})
