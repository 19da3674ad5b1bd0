from __future__ import annotations

from tests.unit.conftest import connect_zoom, start_zoom, zoom

__all__ = ["connect_zoom", "start_zoom", "zoom"]
