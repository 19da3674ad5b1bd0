"""The page "Zoom coverage" in Airflow's navigation."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

_PREFIX = "/zcc-coverage"


class CoveragePlugin(AirflowPlugin):
    """Adds the page. Every process of Airflow imports this class, and only an API server what serves the page."""

    name = "zcc_coverage"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The files of the page."""
        if not hasattr(AirflowPlugin, "external_views"):
            return []  # Airflow has pages of plugins since 3.1.
        from airflow_provider_zcc.plugins.files import PageFiles  # noqa: PLC0415

        return [{"app": PageFiles(), "url_prefix": _PREFIX, "name": "Zoom coverage"}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:
        """The entry in the navigation. The relative address also leads to the page if Airflow is below a path."""
        return [{"name": "Zoom coverage", "href": f"{_PREFIX[1:]}/", "url_route": "zcc-coverage", "destination": "nav"}]
