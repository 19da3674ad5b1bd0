"""What the operator does with what is in S3 already, and what it records about what it writes."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, Asset

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import END, QUIET, START, Bucket, StartZoom, context_of
from tests.zoom_simulator.data import NUMBERS, QUEUES, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

pytestmark = pytest.mark.usefixtures("zoom")

KEY, MANIFEST = "zoom/day.jsonl.gz", "zoom/_day.jsonl.gz.manifest.json"
DAY = timedelta(days=1)

Write = Callable[..., dict[str, Any]]


@pytest.fixture
def write(bucket: Bucket) -> Write:
    """Run the operator, by default for a day into KEY, and return its summary."""

    def write(context: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        chosen = {"s3_bucket": bucket.name, "s3_key": KEY, "start": START, "end": END} | arguments
        context = context or context_of()
        EngagementsToS3Operator(task_id="task", **chosen).execute(context)
        summary: dict[str, Any] = context["ti"].xcoms["summary"]
        return summary

    return write


class TestManifest:
    def test_it_describes_the_object_agrees_with_the_summary_and_holds_no_consumers_number(
        self, bucket: Bucket, write: Write
    ):
        before = datetime.now(UTC)
        summary = write(consumer_number=NUMBERS[1], channel_sources=["whatsapp", "sms"])
        manifest, body = bucket.manifest(KEY), bucket.body(KEY)
        shared = ("uri", "start", "end", "records", "reported", "bytes", "uncompressed_bytes", "sha256", "requests")
        assert {name: manifest.pop(name) for name in shared} == {name: summary[name] for name in shared}
        assert summary["sha256"] == hashlib.sha256(body).hexdigest()
        assert before <= datetime.fromisoformat(manifest.pop("read_at")) <= datetime.now(UTC)
        assert manifest.pop("provider_version")
        assert manifest == {
            "version": 1,
            "etag": bucket.etag(KEY),
            "filters": {"consumer_number": "***", "channel_sources": ["sms", "whatsapp"]},
        }

    def test_it_is_encrypted_as_its_object_and_never_archived(self, bucket: Bucket, write: Write):
        write(extra_args={"ServerSideEncryption": "aws:kms", "StorageClass": "GLACIER"})
        head = bucket.client.head_object(Bucket=bucket.name, Key=MANIFEST)
        assert (head["ServerSideEncryption"], head.get("StorageClass")) == ("aws:kms", None)

    def test_there_is_none_if_it_is_turned_off(self, bucket: Bucket, write: Write):
        assert write(manifest=False)["changed"]
        with pytest.raises(bucket.client.exceptions.NoSuchKey):
            bucket.manifest(KEY)


class TestUnchanged:
    @pytest.mark.parametrize(
        ("engagements", "key"), [(400, "day.jsonl.gz"), (12_000, "day.jsonl")], ids=["one request", "several parts"]
    )
    def test_the_object_stays_and_only_the_manifest_is_renewed(
        self, start_zoom: StartZoom, bucket: Bucket, write: Write, engagements: int, key: str
    ):
        start_zoom(Engagements.of_a_contact_centre(engagements, 1, end=END))
        bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
        first = write(s3_key=key)
        read_at = bucket.manifest(key)["read_at"]
        asset, context = Asset("engagements"), context_of()
        again = write(context, s3_key=key, outlets=[asset])
        assert (first["changed"], again["changed"]) == (True, False)
        assert context["outlet_events"][asset].extra == again
        assert [first[name] == again[name] for name in ("records", "bytes", "sha256")] == [True] * 3
        [version] = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=key)["Versions"]
        assert bucket.unfinished_uploads() == []
        assert bucket.manifest(key)["etag"] == version["ETag"]
        assert bucket.manifest(key)["read_at"] > read_at

    @pytest.mark.parametrize(("hours", "changed"), [(-1, True), (1, False)])
    def test_what_an_earlier_attempt_of_the_run_wrote_counts_as_changed(
        self, write: Write, hours: float, *, changed: bool
    ):
        """Its event may have been lost."""
        write()
        run = SimpleNamespace(start_date=datetime.now(UTC) + timedelta(hours=hours))
        assert write(context_of(dag_run=run))["changed"] == changed

    def test_other_bytes_under_the_same_manifest_are_replaced(self, bucket: Bucket, write: Write):
        write()
        right = bucket.body(KEY)
        bucket.put(KEY, b"written by hand, and more than nothing")
        assert write()["changed"]
        assert bucket.body(KEY) == right
        assert bucket.manifest(KEY)["etag"] == bucket.etag(KEY)

    @pytest.mark.parametrize("changes", [{"version": 2}, {"records": "many"}, {"etag": "other"}, {"read_at": 7}])
    def test_a_manifest_that_says_nothing_is_replaced(self, bucket: Bucket, write: Write, changes: dict[str, Any]):
        write()
        original = bucket.manifest(KEY)
        bucket.put(MANIFEST, json.dumps(original | changes).encode())
        assert write()["changed"]
        assert bucket.manifest(KEY) | {"read_at": original["read_at"]} == original


class TestAnotherObject:
    def test_another_intervals_object_is_not_replaced(self, zoom: SimulatorServer, bucket: Bucket, write: Write):
        write()
        before, requests = bucket.etag(KEY), zoom.simulator.stats.api_requests
        with pytest.raises(AirflowFailException, match=r"2026-11-03.*2026-11-02.*replace='any'"):
            write(start=START - DAY, end=END - DAY)
        assert zoom.simulator.stats.api_requests == requests
        assert bucket.etag(KEY) == before
        assert write(start=START - DAY, end=END - DAY, replace="any")["changed"]
        assert bucket.manifest(KEY)["start"].startswith("2026-11-02")

    def test_tasks_of_one_run_that_share_a_key_are_found_out(self, bucket: Bucket, write: Write):
        first, second, _ = QUEUES
        run = {"dag_run": SimpleNamespace(start_date=datetime.now(UTC))}
        write(context_of(**run), queue_id=first)
        before = bucket.etag(KEY)
        with pytest.raises(AirflowFailException, match="share a key"):
            write(context_of(**run), queue_id=second)
        assert bucket.etag(KEY) == before
        write(context_of(dag_run=SimpleNamespace(start_date=datetime.now(UTC))))
        assert bucket.manifest(KEY)["filters"] == {}

    @pytest.mark.parametrize(
        ("others", "error"),
        [({"queue_id": next(iter(QUEUES))}, AirflowFailException), ({"channel": "voice"}, AirflowException)],
        ids=["of the same run", "of another run"],
    )
    def test_an_object_that_another_task_writes_while_this_one_reads_is_not_replaced(
        self, zoom: SimulatorServer, bucket: Bucket, write: Write, others: dict[str, str], error: type[Exception]
    ):
        write(**others)
        objects = {key: bucket.body(key) for key in (KEY, MANIFEST)}
        for key in objects:
            bucket.client.delete_object(Bucket=bucket.name, Key=key)

        def other_task_writes() -> bool:
            for key, body in objects.items():
                bucket.put(key, body)
            return True

        zoom.simulator.faults = [Fault("hold", details={"until": other_task_writes})]
        hours = -1 if error is AirflowFailException else 1
        run = SimpleNamespace(start_date=datetime.now(UTC) + timedelta(hours=hours))
        with pytest.raises(error) as raised:
            write(context_of(dag_run=run))
        assert type(raised.value) is error
        assert {key: bucket.body(key) for key in objects} == objects


class TestNeverLess:
    @pytest.mark.parametrize("keep", [0, 100])
    def test_an_object_is_not_replaced_by_one_with_fewer_engagements(
        self, start_zoom: StartZoom, bucket: Bucket, write: Write, keep: int
    ):
        many = Engagements.of_a_contact_centre(400, 1, end=END)
        start_zoom(many)
        held = write()["records"]
        before = bucket.etag(KEY)
        start_zoom(Engagements(many.starts[:keep]))
        with pytest.raises(AirflowFailException, match=f"lists {keep} .*holds {held}.*replace='any'"):
            write()
        assert bucket.etag(KEY) == before
        assert write(replace="any")["records"] == keep

    def test_engagements_that_zoom_counts_but_does_not_return_may_come_with_the_next_attempt(
        self, zoom: SimulatorServer, bucket: Bucket, write: Write
    ):
        write()
        before = bucket.etag(KEY)
        zoom.simulator.faults = [Fault("page", "first", 0, -1, {"engagements": [], "next_page_token": ""})]
        with pytest.raises(AirflowException, match="but returned 0") as raised:
            write(on_incomplete="warn")
        assert not isinstance(raised.value, AirflowFailException)
        assert bucket.etag(KEY) == before

    @pytest.mark.parametrize("compress", [gzip.compress, bytes])
    @pytest.mark.parametrize("lines", [1, 1_000])
    def test_an_object_without_a_manifest_is_not_replaced_by_fewer(
        self, bucket: Bucket, write: Write, compress: Callable[[bytes], bytes], lines: int
    ):
        old = compress(b'{"engagement_id": "a"}\n' * lines)
        bucket.put(KEY, old)
        start, end = QUIET if lines == 1 else (START, END)
        with pytest.raises(AirflowFailException, match=f"holds {lines:,}"):
            write(start=start, end=end)
        assert bucket.body(KEY) == old

    def test_what_is_no_object_of_engagements_is_replaced(self, bucket: Bucket, write: Write):
        bucket.put(KEY, gzip.compress(b"cut short " * 100)[:20] + bytes(100))
        assert write()["changed"]
