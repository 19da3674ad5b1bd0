from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    Asset,
    AssetAlias,
    TaskDeferred,
)
from pytest_mock import MockerFixture

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.airflow_version import AIRFLOW
from tests.s3_server import S3Server
from tests.unit.conftest import (
    END,
    QUIET,
    START,
    Bucket,
    Logged,
    StartZoom,
    context_of,
    daily_limit_until,
    hours_from_now,
    no_request_was_sent,
    rejecting,
)
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

pytestmark = pytest.mark.usefixtures("zoom")

KEY = "day.jsonl"

MakeTask = Callable[..., EngagementsToS3Operator]


@pytest.fixture
def make_task(bucket: Bucket) -> MakeTask:
    """An operator that reads the chosen day into KEY, unless told otherwise."""

    def make(**arguments: Any) -> EngagementsToS3Operator:
        chosen = {"s3_bucket": bucket.name, "s3_key": KEY, "start": START, "end": END, "deferrable": False} | arguments
        return EngagementsToS3Operator(task_id="task", **chosen)

    return make


@pytest.mark.parametrize(
    ("key", "compression", "compressed"),
    [
        ("day.jsonl", "infer", False),
        ("day.jsonl.gz", "infer", True),
        ("day.gz.jsonl", "infer", False),
        ("day.jsonl", "gzip", True),
        ("day.jsonl.gz", "none", False),
    ],
)
def test_the_object_holds_what_zoom_has_compressed_as_chosen(
    zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, *, key: str, compression: str, compressed: bool
):
    for day, (start, end) in {"busy": (START, END), "quiet": QUIET}.items():
        make_task(s3_key=f"{day}/{key}", compression=compression, start=start, end=end).execute(context_of())
        body = bucket.body(f"{day}/{key}")
        assert body.startswith(b"\x1f\x8b") == compressed
        lines = (gzip.decompress(body) if compressed else body).split(b"\n")
        truth = [line.encode() for line in zoom.simulator.truth(start, end)]
        assert sorted(lines) == [b"", *sorted(truth)]


@pytest.mark.parametrize(
    ("arguments", "context"),
    [
        pytest.param({}, context_of(START, END), id="of the run"),
        pytest.param({"interval_length": "P1D"}, context_of(partition_date=START), id="of a partition"),
        pytest.param(
            {"start": "{{ data_interval_end.subtract(days=1) }}", "end": "{{ data_interval_end | string }}"},
            context_of(END, END),
            id="computed in a template",
        ),
        pytest.param(
            {"interval_length": "{{ params.length }}"},
            context_of(END, END, params={"length": "PT24H"}),
            id="templated length",
        ),
    ],
)
def test_the_interval_is_read_into_an_object_that_is_named_after_it(
    zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, arguments: dict[str, Any], context: dict[str, Any]
):
    key = "date={start:%Y-%m-%d}/until={end:%d}.jsonl"
    task = make_task(**{"start": None, "end": None, "s3_key": key} | arguments)
    task.render_template_fields(context)
    assert task.execute(context) == f"s3://{bucket.name}/date=2026-11-03/until=04.jsonl"
    assert context["ti"].xcoms["summary"]["records"] == len(zoom.simulator.truth(START, END))


def test_the_key_may_be_a_url_with_templates_beside_placeholders_in_the_timezone_of_the_dag(
    bucket: Bucket, make_task: MakeTask
):
    task = make_task(s3_bucket=None, s3_key="s3://{{ params.bucket }}/{{ params.team }}/{start:%Y-%m-%dT%H}")
    dag = SimpleNamespace(timezone=pendulum.timezone("America/Los_Angeles"))
    context = context_of(dag=dag, params={"bucket": bucket.name, "team": "a{b}"})
    task.render_template_fields(context)
    task.execute(context)
    assert bucket.keys() == ["a{b}/2026-11-02T16"]


def test_the_connection_may_name_the_bucket(
    bucket: Bucket, s3_server: S3Server, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
):
    connection = s3_server.connection
    connection["extra"] = connection["extra"] | {"service_config": {"s3": {"bucket_name": bucket.name}}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    assert make_task(s3_bucket=None).execute(context_of()) == f"s3://{bucket.name}/{KEY}"


class TestResult:
    def test_uri_summary_asset_events_and_metrics_agree(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, mocker: MockerFixture
    ):
        incr = mocker.patch(f"{EngagementsToS3Operator.__module__}.Stats").incr
        assets = [Asset("s3://lake/engagements"), Asset("x-lake://engagements")]
        context = context_of()
        uri = make_task(s3_key="a/day.jsonl.gz", outlets=assets).execute(context)
        assert [*context["ti"].xcoms] == ["summary"]
        summary = context["ti"].xcoms["summary"]
        assert summary["seconds"] > 0
        body, count = bucket.body("a/day.jsonl.gz"), len(zoom.simulator.truth(START, END))
        assert summary | {"seconds": 0} == {
            "uri": uri,
            "start": "2026-11-03T00:00:00+00:00",
            "end": "2026-11-04T00:00:00+00:00",
            "records": count,
            "reported": count,
            "changed": True,
            "requests": zoom.simulator.stats.api_requests,
            "rate_limited": 0,
            "duplicates_dropped": 0,
            "outside_interval": 0,
            "bytes": len(body),
            "uncompressed_bytes": len(gzip.decompress(body)),
            "sha256": hashlib.sha256(body).hexdigest(),
            "seconds": 0,
        }
        assert [context["outlet_events"][asset].extra for asset in assets] == [summary, summary]
        counted = {call.args[0]: call.args[1] for call in incr.call_args_list}
        assert counted == {"zcc.records": count, "zcc.requests": summary["requests"]}

    def test_without_xcoms_no_summary_is_pushed(self, make_task: MakeTask):
        context = context_of()
        make_task(do_xcom_push=False).execute(context)
        assert context["ti"].xcoms == {}

    @pytest.mark.parametrize(("key", "path"), [("a?b", "a%3Fb"), ("a#b", "a%23b"), ("100%", "100%25")])
    def test_an_alias_gets_an_event_of_an_asset_whose_uri_names_the_whole_key(
        self, bucket: Bucket, make_task: MakeTask, key: str, path: str
    ):
        alias, context = AssetAlias("engagements"), context_of()
        make_task(outlets=[alias], s3_key=key).execute(context)
        accessor = context["outlet_events"][alias]
        if AIRFLOW < (3, 0):
            [event] = accessor.dataset_alias_events
            extra, uri = event["extra"], event["dest_dataset_uri"]
        else:
            [event] = accessor.asset_alias_events
            extra, uri = event.extra, event.dest_asset_key.uri
        assert uri == f"s3://{bucket.name}/{path}"
        assert extra == context["ti"].xcoms["summary"]

    def test_the_summary_counts_throttled_requests_and_duplicates(self, zoom: SimulatorServer, make_task: MakeTask):
        zoom.simulator.faults = [rejecting(429, 429, "Too many requests.", times=2), Fault("doubled", times=2)]
        context = context_of()
        make_task().execute(context)
        summary = context["ti"].xcoms["summary"]
        assert (summary["rate_limited"], summary["duplicates_dropped"]) == (2, 200)

    def test_hook_lineage_names_the_object_once(self, bucket: Bucket, make_task: MakeTask, mocker: MockerFixture):
        collector = mocker.patch(f"{EngagementsToS3Operator.__module__}.get_hook_lineage_collector").return_value
        make_task().execute(context_of())
        [call] = collector.add_output_asset.call_args_list
        assert call.kwargs["asset_kwargs"] == {"bucket": bucket.name, "key": KEY}

    def test_the_log_reports_progress_and_ends_with_what_was_written(
        self, make_task: MakeTask, mocker: MockerFixture, logged: Logged
    ):
        mocker.patch(f"{EngagementsToS3Operator.__module__}._PROGRESS_INTERVAL", 0.0)
        context = context_of()
        make_task(start=END - timedelta(days=3)).execute(context)
        summary, log = context["ti"].xcoms["summary"], logged()
        assert re.search(r"\d+ % .*left", log)
        assert f"{summary['uri']}: {summary['records']:,} records, {summary['bytes']:,} bytes" in log


class TestHeaders:
    def test_encryption_reaches_s3(self, bucket: Bucket, make_task: MakeTask):
        make_task(encrypt=True).execute(context_of())
        assert bucket.client.head_object(Bucket=bucket.name, Key=KEY)["ServerSideEncryption"] == "AES256"

    @pytest.mark.parametrize("engagements", [400, 12_000], ids=["single put", "multipart upload"])
    def test_extra_arguments_and_acl_reach_s3(
        self, start_zoom: StartZoom, bucket: Bucket, make_task: MakeTask, engagements: int
    ):
        start_zoom(Engagements.of_a_contact_centre(engagements, 1, end=END))
        given = {"ServerSideEncryption": "aws:kms", "StorageClass": "STANDARD_IA", "Metadata": {"source": "zoom"}}
        more = {"SSEKMSKeyId": "alias/lake", "Tagging": "team=data", "RequestPayer": "requester"}
        make_task(extra_args=given | more, acl_policy="public-read", replace=False).execute(context_of())
        head = bucket.client.head_object(Bucket=bucket.name, Key=KEY)
        assert {name: head.get(name) for name in given} == given
        assert head["SSEKMSKeyId"].endswith("alias/lake")
        tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=KEY)["TagSet"]
        assert tags == [{"Key": "team", "Value": "data"}]
        grants = bucket.client.get_object_acl(Bucket=bucket.name, Key=KEY)["Grants"]
        assert any(grant["Grantee"].get("URI", "").endswith("/AllUsers") for grant in grants)


def test_nothing_is_written_to_local_disk(start_zoom: StartZoom, make_task: MakeTask):
    start_zoom(Engagements.of_a_contact_centre(20_000, 1, end=END))
    written: list[object] = []
    recording = True

    def record(event: str, arguments: tuple[Any, ...]) -> None:
        # A hook cannot be removed. S3 and Zoom are threads of this process.
        if recording and event == "open" and set(str(arguments[1])) & set("wax+"):
            files = {frame.filename for frame in traceback.extract_stack()}
            if any("airflow_provider_zcc" in file or "s3transfer" in file for file in files):
                written.append(arguments[0])

    sys.addaudithook(record)
    make_task(s3_key="day.jsonl.gz").execute(context_of())
    recording = False
    assert written == []


@pytest.mark.parametrize(("on_empty", "error"), [("skip", AirflowSkipException), ("fail", AirflowFailException)])
def test_an_interval_without_engagements_may_write_nothing(
    bucket: Bucket, make_task: MakeTask, on_empty: str, error: type[Exception]
):
    bucket.put(KEY, b"old")
    context = context_of()
    with pytest.raises(error, match=f"on_empty is '{on_empty}'"):
        make_task(start=QUIET[0], end=QUIET[1], on_empty=on_empty).execute(context)
    assert bucket.body(KEY) == b"old"
    assert context["ti"].xcoms == {}


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"start": hours_from_now(-12), "end": hours_from_now(12)}, "not over"),
            ({"start": None, "end": None}, "no data interval"),
            ({"start": "9999-12-31T00:00:00Z", "end": "9999-12-31T23:59:59Z"}, "9999-12-31"),
            ({"compression": "zip"}, "compression 'zip'.*'infer', 'gzip', 'none'"),
            ({"replace": "yes"}, "replace 'yes'.*True, False, 'any'"),
            ({"encrypt": 1}, "encrypt 1"),
            ({"manifest": "yes"}, "manifest 'yes'"),
            ({"max_concurrency": 0}, "max_concurrency"),
            ({"zcc_conn_id": "nowhere"}, "nowhere"),
            ({"aws_conn_id": 7}, "aws_conn_id 7"),
            ({"verify": " "}, "verify ' '"),
            ({"acl_policy": "everybody"}, "acl_policy 'everybody'.*bucket-owner-full-control"),
            ({"extra_args": "StorageClass"}, "extra_args 'StorageClass'.*a dict"),
            ({"extra_args": {"Body": b""}}, r"extra_args \['Body'\].*StorageClass"),
            ({"extra_args": {"StorageClass": 7}}, "StorageClass"),
            ({"extra_args": {"ContentType": "a\nb"}}, "ContentType"),
            ({"extra_args": {"SSECustomerKey": "secret"}}, "SSECustomerKey"),
            ({"encrypt": True, "extra_args": {"ServerSideEncryption": "aws:kms"}}, "encrypt and extra_args"),
            ({"s3_key": "{start:YYYY}"}, "strftime"),
            ({"s3_bucket": "s3://my-lake"}, "s3://my-lake.*s3_bucket"),
        ],
    )  # fmt: skip
    def test_a_wrong_argument_fails_before_any_request(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, arguments: dict[str, Any], words: str
    ):
        with pytest.raises(AirflowFailException, match=words):
            make_task(**arguments).execute(context_of())
        assert no_request_was_sent(zoom)
        assert bucket.keys() == []

    def test_an_object_that_must_not_be_replaced_fails_before_any_request(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        bucket.put(KEY, b"old")
        with pytest.raises(AirflowFailException, match="exists and replace is False"):
            make_task(replace=False).execute(context_of())
        assert no_request_was_sent(zoom)
        assert bucket.body(KEY) == b"old"

    @pytest.mark.parametrize("conn_id", ["aws_empty", "nowhere", None])
    def test_credentials_that_cannot_be_found_fail_permanently_and_the_connection_is_named(
        self, zoom: SimulatorServer, make_task: MakeTask, mocker: MockerFixture, conn_id: str | None
    ):
        mocker.patch.dict("os.environ", AIRFLOW_CONN_AWS_EMPTY='{"conn_type": "aws"}')
        mocker.patch("botocore.session.Session.get_credentials", return_value=None)
        with pytest.raises(AirflowFailException, match=f"(?s){conn_id!r}.*default chain"):
            make_task(aws_conn_id=conn_id).execute(context_of())
        assert no_request_was_sent(zoom)


def test_a_daily_limit_is_waited_for_without_a_worker_slot_three_times(
    zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
):
    moment = hours_from_now(6)
    zoom.simulator.faults = [daily_limit_until(moment, after=1)]
    task = make_task(deferrable=True)
    run = partial(task.execute, context_of())
    for _ in range(3):
        with pytest.raises(TaskDeferred) as raised:
            run()
        deferral = raised.value
        assert abs(deferral.trigger.moment - moment) < timedelta(seconds=5)
        run = partial(getattr(task, deferral.method_name), context_of(), event=moment, **deferral.kwargs)
    with pytest.raises(AirflowException, match="daily rate limit"):
        run()
    assert bucket.keys() == []

    zoom.simulator.faults = []
    assert run() == f"s3://{bucket.name}/{KEY}"
    assert bucket.keys() == [KEY]
