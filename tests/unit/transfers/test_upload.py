from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_zcc.transfers.upload import ChunkStream, upload
from airflow_provider_zcc.zoom.errors import TransientError
from tests.unit.conftest import Bucket

#: More than a part of an upload.
MUCH = 9 * 2**20


def test_an_error_of_the_reading_is_not_taken_for_one_of_s3_while_a_part_is_on_its_way(bucket: Bucket) -> None:
    on_its_way, failed = threading.Event(), threading.Event()

    def batches() -> Iterator[bytes]:
        yield os.urandom(MUCH)
        assert on_its_way.wait(20)
        raise TransientError("Zoom is down.")

    def hold(**_: Any) -> None:
        on_its_way.set()
        assert failed.wait(20)

    hook = S3Hook()
    client = hook.get_conn()
    client.meta.events.register("before-sign.s3.UploadPart", hold)
    lines = ChunkStream(batches())
    # Once the transfer knows of the failure, what is left of the part fails with the same error.
    threading.Timer(0.5, failed.set).start()

    with pytest.raises(TransientError, match=r"Zoom is down\."):
        upload(lines, hook, bucket.name, "day.jsonl", reader=Mock(), killed=lambda: False)

    assert bucket.keys() == []
