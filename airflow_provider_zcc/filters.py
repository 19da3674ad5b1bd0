"""The filters as arguments of a task: one list for operator and sensor."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow_provider_zcc.zoom.query import Filters

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context

_NAMES = tuple(field.name for field in fields(Filters))

#: All but the consumer's number: Airflow shows rendered template fields, and the number is a person's.
FILTER_TEMPLATE_FIELDS = tuple(name for name in _NAMES if name != "consumer_number")


def rendered_filters(task: BaseOperator, context: Context) -> dict[str, Any]:
    """Return a task's filters, the consumer's number rendered without being shown.

    :param task: a task that keeps each filter in an attribute of its name.
    :param context: the task's context.
    """
    filters = {name: getattr(task, name) for name in _NAMES}
    filters["consumer_number"] = task.render_template(filters["consumer_number"], context)
    return filters
