"""The filters as arguments: one list for operator, sensor and trigger."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow_provider_zcc.zoom.query import Filters

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context

_NAMES = tuple(field.name for field in fields(Filters))

#: All but the consumer's number: Airflow shows rendered template fields, and the number is a person's.
FILTER_TEMPLATE_FIELDS = tuple(name for name in _NAMES if name != "consumer_number")


def filters_of(owner: object) -> dict[str, Any]:
    """Return the filters of what keeps each in an attribute of its name.

    :param owner: a task or a trigger.
    """
    return {name: getattr(owner, name) for name in _NAMES}


def rendered_filters(task: BaseOperator, context: Context) -> dict[str, Any]:
    """Return a task's filters, the consumer's number rendered without being shown.

    :param task: a task that keeps each filter in an attribute of its name.
    :param context: the task's context.
    """
    filters = filters_of(task)
    filters["consumer_number"] = task.render_template(filters["consumer_number"], context)
    return filters
