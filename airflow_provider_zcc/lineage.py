"""What a task reads and writes, in OpenLineage's terms. Imported when OpenLineage asks, and never before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.openlineage.facet import (
    InputDataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
)
from airflow.providers.openlineage.extractors import OperatorLineage

try:
    from openlineage.client.facet_v2 import base_subset_dataset as subset
except ImportError:  # openlineage-python before 1.38 cannot say which part of a dataset is read
    subset = None  # type: ignore[assignment]


def on_start(target: str) -> OperatorLineage:
    """Return what a task is about to write.

    :param target: ``s3://`` URI of the object.
    """
    return OperatorLineage(outputs=[OutputDataset(*_name(target))])


def on_end(source: str | None, summary: Mapping[str, Any] | None) -> OperatorLineage:
    """Return what a task has read and written.

    :param source: URL that it read; None if it did not get so far.
    :param summary: its summary; None if it wrote nothing.
    """
    if source is None:
        return OperatorLineage()
    if summary is None:
        return OperatorLineage(inputs=[InputDataset(*_name(source))])
    part = {"subset": _began_in(summary["start"], summary["end"])} if subset else {}
    statistics = OutputStatisticsOutputDatasetFacet(rowCount=summary["records"], size=summary["bytes"])
    return OperatorLineage(
        inputs=[InputDataset(*_name(source), inputFacets=part)],
        outputs=[OutputDataset(*_name(summary["uri"]), outputFacets={"outputStatistics": statistics})],
    )


def _name(url: str) -> tuple[str, str]:
    """Return a dataset's namespace and name: together they are its URI."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    return f"{scheme}://{authority}", path


def _began_in(start: str, end: str) -> Any:
    def start_time_is(comparison: str, moment: str) -> Any:
        field = subset.FieldBaseCompareExpression("start_time")
        return subset.CompareSubsetCondition(field, subset.LiteralCompareExpression(moment), comparison)

    return subset.InputSubsetInputDatasetFacet(
        subset.BinarySubsetCondition(
            start_time_is("GREATER_EQUAL_THAN", start), start_time_is("LESS_THAN", end), operator="AND"
        )
    )
