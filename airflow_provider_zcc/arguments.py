"""Arguments as template fields that are never dropped silently, and filters among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow_provider_zcc.zoom.errors import InvalidQuery
from airflow_provider_zcc.zoom.query import Filters

if TYPE_CHECKING:
    from typing import Self

    from airflow.providers.common.compat.sdk import Context

#: Names of the filters.
FILTERS = tuple(field.name for field in fields(Filters))
#: Arguments whose None means something else than leaving them out, where data decides: in a mapped task.
_NONE_IN_MAPPED = (*FILTERS, "start", "end", "interval_length", "s3_bucket", "acl_policy", "extra_args")


def filters_of(owner: object) -> dict[str, Any]:
    """Collect the filter attributes of a task or trigger.

    :param owner: the task or trigger.
    """
    return {name: getattr(owner, name) for name in FILTERS}


def redacted_filters_of(owner: object) -> dict[str, str | list[str]]:
    """Return the filters of a task as a manifest has them.

    :param owner: the task.
    """
    return Filters.validated(**filters_of(owner)).redacted()


def invalid_argument(name: str, value: object, allowed: str) -> InvalidQuery:
    """Return the error for an argument that has another value than it may have.

    :param name: of the argument.
    :param value: its value.
    :param allowed: what it may be.
    """
    return InvalidQuery(f"Invalid {name} {repr(value)[:100]}. Use {allowed}.")


def check_aws_arguments(aws_conn_id: object, verify: object) -> None:
    """Check the arguments of S3Hook.

    :param aws_conn_id: id of the connection.
    :param verify: how certificates are verified.
    :raises InvalidQuery: naming the one that is wrong.
    """
    if not isinstance(aws_conn_id, str | None):
        raise invalid_argument("aws_conn_id", aws_conn_id, "the id of a connection, or None")
    if not isinstance(verify, bool | str | None) or (isinstance(verify, str) and not verify.strip()):
        raise invalid_argument("verify", verify, "True, False, None, or the path of a CA bundle")


class TemplatedArguments:
    """
    What tasks share whose arguments are template fields. Mixed into an operator or sensor.

    An argument that another task returns makes that task an upstream. One that was given but is empty after rendering
    is an error: without a filter, Zoom would return everything; without ``start`` and ``end``, the task would read
    another interval.

    Airflow stores and shows rendered template fields. ``consumer_number``, which is personal, is none once rendered.
    """

    template_fields: Sequence[str]
    _passed: frozenset[str] = frozenset()
    _lost: frozenset[str] = frozenset()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG004
        """Note which arguments were passed: a mapped task gets those that it was mapped over."""
        made = super().__new__(cls)
        object.__setattr__(made, "_passed", frozenset(kwargs))
        return made

    def _hide_literal_number(self) -> None:
        """Keep a literal ``consumer_number`` out of the stored Dag. There is nothing in it to render."""
        number = getattr(self, "consumer_number", None)
        if isinstance(number, str) and "{" not in number:
            self._hide_number()

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        # Plain and mapped tasks are both rendered by this method, on every version of Airflow.
        given = [name for name in self.template_fields if not _is_nothing(getattr(self, name))]
        super()._do_render_template_fields(*args, **kwargs)  # type: ignore[misc]
        self._lost = frozenset(name for name in given if _is_nothing(getattr(self, name)))
        self._hide_number()

    def _hide_number(self) -> None:
        self.template_fields = tuple(name for name in self.template_fields if name != "consumer_number")

    def _require_arguments(self, context: Context) -> None:
        """Check that no argument was lost.

        :param context: the task's context.
        :raises InvalidQuery: naming the one that was.
        """
        lost = set(self._lost)
        if getattr(context.get("ti"), "map_index", -1) >= 0:
            lost |= {name for name in _NONE_IN_MAPPED if name in self._passed and _is_nothing(getattr(self, name))}
        lost |= {name for name in FILTERS if getattr(self, name) is not None and _is_nothing(getattr(self, name))}
        for name in sorted(lost):
            raise InvalidQuery(
                f"{name} was given, but is empty after rendering. Without it, the task would read or write something "
                "else. Check the template, or the task that returns the value, or remove the argument."
            )


def _is_nothing(value: Any) -> bool:
    """Return whether a rendered argument is none; Jinja renders None as text."""
    if isinstance(value, str):
        return value.strip() in ("", "None")
    return value is None or (isinstance(value, Sequence | set | frozenset | dict) and not value)
