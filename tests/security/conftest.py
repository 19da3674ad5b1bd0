"""The connections, the S3 server and the simulator of the unit tests, and a client that gives up soon."""

from __future__ import annotations

import pytest
from tenacity import wait_fixed

from airflow_provider_zcc.sensors import engagements as sensor
from airflow_provider_zcc.triggers import engagements as trigger
from airflow_provider_zcc.zoom import client
from tests.unit.conftest import botocore_data_is_read_once, bucket, connect_zoom, s3_server, start_zoom, zoom

__all__ = ["botocore_data_is_read_once", "bucket", "connect_zoom", "s3_server", "start_zoom", "zoom"]


@pytest.fixture(autouse=True)
def short_retry_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an outage up after a few attempts, so that a retry is logged, and takes no two minutes."""
    monkeypatch.setitem(client.ZoomClient.__init__.__kwdefaults__, "retry_timeout", 0.04)
    for module in (sensor, trigger):
        monkeypatch.setattr(module, "CHECK_RETRY_TIMEOUT", 0.04)
    monkeypatch.setattr(client, "wait_random_exponential", lambda **_: wait_fixed(0.02))
