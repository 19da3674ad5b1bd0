"""The Airflow that the tests run on."""

from __future__ import annotations

from importlib.metadata import version

#: As in ``(3, 1)``; read without importing Airflow.
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
