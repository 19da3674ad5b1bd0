"""The filters as arguments of operators: templated, named, and never dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow_provider_zcc.zoom.errors import InvalidQuery
from airflow_provider_zcc.zoom.query import Filters

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Names of the filters.
FILTERS = tuple(field.name for field in fields(Filters))


class _Unset:
    def __repr__(self) -> str:
        return "None"


#: Default of a filter. It differs from the None that a mapped task may be given.
UNSET: Any = _Unset()


def filters_of(owner: object) -> dict[str, Any]:
    """Collect the filter attributes of a task or trigger.

    :param owner: the task or trigger.
    """
    return {name: getattr(owner, name) for name in FILTERS}


class FilteredTask:
    """
    What tasks with filters share. Mixed into an operator or sensor.

    The filters are template fields, so that a filter that another task returns makes that task an upstream. Airflow
    stores and shows rendered template fields; ``consumer_number``, which is personal, stops being one once rendered.
    """

    template_fields: Sequence[str]

    def _set_filters(self, **filters: Any) -> None:
        """Store each filter under its name.

        :param filters: the arguments as given, UNSET where they were not.
        """
        self._passed = frozenset(name for name, value in filters.items() if value is not UNSET)
        self._given = frozenset(name for name in self._passed if filters[name] is not None)
        for name, value in filters.items():
            setattr(self, name, None if value is UNSET else value)
        number = filters["consumer_number"]
        if isinstance(number, str) and "{" not in number:
            # Airflow stores the template fields of a Dag's tasks, and there is nothing to render.
            self._hide_consumer_number()

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        # Plain and mapped tasks are both rendered by this method, on every version of Airflow.
        super()._do_render_template_fields(*args, **kwargs)  # type: ignore[misc]
        self._hide_consumer_number()

    def _hide_consumer_number(self) -> None:
        self.template_fields = tuple(name for name in self.template_fields if name != "consumer_number")

    def _rendered_filters(self, context: Context) -> dict[str, Any]:
        """Return the filters for Zoom.

        :param context: the task's context.
        :raises InvalidQuery: if a filter that was given rendered to nothing: without it, Zoom would return everything.
        """
        filters = filters_of(self)
        # In a mapped task, None comes from the data that it was mapped over.
        is_mapped = getattr(context.get("ti"), "map_index", -1) >= 0
        for name in self._passed if is_mapped else self._given:
            if _is_nothing(filters[name]):
                shown = "None or empty" if name == "consumer_number" else repr(filters[name])
                raise InvalidQuery(
                    f"The filter {name} was given, and its value is {shown}. Without it, the engagements of everybody "
                    "would be read. Check the template or the task that returns it, or remove the argument."
                )
        return filters


def _is_nothing(value: Any) -> bool:
    """Return whether a rendered filter is none; Jinja renders None as text."""
    if isinstance(value, str):
        return value.strip() in ("", "None")
    return value is None or (isinstance(value, Sequence | set | frozenset | dict) and not value)
