"""Serves the page's files, which hold no data: the page calls Airflow's API with the session of its user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class PageFiles(StaticFiles):
    """The ASGI application: HTML page, script and stylesheet."""

    def __init__(self) -> None:
        super().__init__(directory=Path(__file__).parent / "coverage_page", html=True)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Add the headers that keep everything out that is not Airflow's own."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        return response
