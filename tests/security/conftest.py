"""The connections, the S3 server and the simulator of the unit tests, and a client that gives up soon."""

from __future__ import annotations

import pytest
from pytest_mock import MockerFixture

from tests.conftest import shorten_retries
from tests.unit.conftest import botocore_data_is_read_once, bucket, connect_zoom, s3_server, start_zoom, zoom

__all__ = ["botocore_data_is_read_once", "bucket", "connect_zoom", "s3_server", "start_zoom", "zoom"]


@pytest.fixture(autouse=True)
def outages_are_given_up_soon(mocker: MockerFixture) -> None:
    """Give an outage up after a few attempts, so that retries are logged, and take no two minutes."""
    shorten_retries(mocker, 0.04)
    for module in ("sensors", "triggers"):
        mocker.patch(f"airflow_provider_zcc.{module}.engagements.CHECK_RETRY_TIMEOUT", 0.04)
