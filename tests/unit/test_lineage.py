from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.openlineage.facet import OutputStatisticsOutputDatasetFacet
from airflow.providers.common.compat.sdk import AirflowSkipException, Asset
from airflow.providers.openlineage.extractors import ExtractorManager, OperatorLineage
from airflow.utils.state import TaskInstanceState
from openlineage.client.serde import Serde

from airflow_provider_zcc import lineage
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import END, QUIET, START, Bucket, context_of
from tests.zoom_simulator.data import NUMBERS
from tests.zoom_simulator.server import SimulatorServer

KEY = "date=2026-11-03/engagements.jsonl.gz"


@pytest.fixture
def task(zoom: SimulatorServer, bucket: Bucket) -> EngagementsToS3Operator:  # noqa: ARG001
    """An operator that reads only one person's engagements of a day."""
    arguments = {"s3_bucket": bucket.name, "s3_key": KEY, "start": START, "end": END, "consumer_number": NUMBERS[1]}
    return EngagementsToS3Operator(task_id="task", outlets=[Asset("s3://lake/engagements")], **arguments)


def reported(task: EngagementsToS3Operator, state: TaskInstanceState) -> OperatorLineage:
    """Return what OpenLineage finds out about a task, without a connection or an XCom."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AIRFLOW_CONN_ZCC_DEFAULT")
        return ExtractorManager().extract_metadata(SimpleNamespace(run_id="run"), task, state, None)


def names(datasets: list[Any]) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


def test_a_success_has_one_input_and_one_output_with_statistics_and_nothing_of_the_account_or_a_person(
    zoom: SimulatorServer, bucket: Bucket, task: EngagementsToS3Operator
):
    task.execute(context_of())
    found = reported(task, TaskInstanceState.SUCCESS)
    assert names(found.inputs) == [(zoom.url, "v2/contact_center/engagements")]
    assert names(found.outputs) == [(f"s3://{bucket.name}", KEY)]
    records = len(zoom.simulator.truth(START, END, consumer_number=NUMBERS[1]))
    assert records
    statistics = OutputStatisticsOutputDatasetFacet(rowCount=records, size=len(bucket.body(KEY)))
    assert [written.outputFacets for written in found.outputs] == [{"outputStatistics": statistics}]
    text = "".join(Serde.to_json(dataset) for dataset in (*found.inputs, *found.outputs))
    config = zoom.simulator.config
    for secret in (config.client_id, config.client_secret, config.account_id, "simulated.", NUMBERS[1][1:]):
        assert secret not in text


@pytest.mark.skipif(lineage.subset is None, reason="openlineage-python before 1.38 has no such facet")
def test_the_input_has_the_interval(task: EngagementsToS3Operator):
    task.execute(context_of())
    [read] = reported(task, TaskInstanceState.SUCCESS).inputs
    condition = read.inputFacets["subset"].inputCondition
    assert condition.operator == "AND"
    assert [(bound.left.field, bound.comparison, bound.right.value) for bound in (condition.left, condition.right)] == [
        ("start_time", "GREATER_EQUAL_THAN", "2026-11-03T00:00:00+00:00"),
        ("start_time", "LESS_THAN", "2026-11-04T00:00:00+00:00"),
    ]


def test_a_task_that_begins_reports_its_object_and_not_its_outlets(bucket: Bucket, task: EngagementsToS3Operator):
    found = reported(task, TaskInstanceState.RUNNING)
    assert names(found.outputs) == [(f"s3://{bucket.name}", KEY)]
    assert found.inputs == []


def test_a_task_that_begins_names_no_object_while_the_interval_in_its_key_is_unknown(task: EngagementsToS3Operator):
    task.s3_key, task.outlets = "date={start:%Y-%m-%d}/engagements.jsonl.gz", []
    assert reported(task, TaskInstanceState.RUNNING).outputs == []


def test_a_task_that_failed_before_it_read_has_neither_input_nor_output(task: EngagementsToS3Operator):
    found = reported(task, TaskInstanceState.FAILED)
    assert (found.inputs, found.outputs) == ([], [])


def test_a_task_that_wrote_nothing_has_no_output(zoom: SimulatorServer, task: EngagementsToS3Operator):
    task.on_empty, task.start, task.end = "skip", *QUIET
    with pytest.raises(AirflowSkipException):
        task.execute(context_of())
    found = reported(task, TaskInstanceState.SKIPPED)
    assert names(found.inputs) == [(zoom.url, "v2/contact_center/engagements")]
    assert found.outputs == []


def test_an_openlineage_without_that_facet_is_given_the_rest(
    bucket: Bucket, task: EngagementsToS3Operator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lineage, "subset", None)
    task.execute(context_of())
    found = reported(task, TaskInstanceState.SUCCESS)
    assert [dataset.inputFacets for dataset in found.inputs] == [{}]
    assert names(found.outputs) == [(f"s3://{bucket.name}", KEY)]


def test_the_operator_is_imported_without_openlineage():
    code = (
        "import sys; sys.modules.update({'openlineage': None, 'airflow_provider_zcc.lineage': None});"
        "import airflow_provider_zcc.transfers.engagements_to_s3"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
