from __future__ import annotations

import gzip
import hashlib
import json
import logging
import re
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
    ConnectZoom,
    StartZoom,
    context_of,
    daily_limit_until,
    hours_from_now,
    no_request_was_sent,
    rejecting,
)
from tests.zoom_simulator.data import NUMBERS, QUEUES, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

KEY = "day.jsonl"
SUMMARY = {
    "uri", "start", "end", "records", "reported", "changed", "requests", "rate_limited", "duplicates_dropped",
    "outside_interval", "bytes", "uncompressed_bytes", "sha256", "seconds",
}  # fmt: skip
THREE_DAYS = (END - timedelta(days=3), END)

MakeTask = Callable[..., EngagementsToS3Operator]


@pytest.fixture
def make_task(bucket: Bucket) -> MakeTask:
    """An operator that reads the chosen day into KEY, unless told otherwise."""

    def make(**arguments: Any) -> EngagementsToS3Operator:
        chosen = {"s3_bucket": bucket.name, "s3_key": KEY, "start": START, "end": END, "deferrable": False} | arguments
        return EngagementsToS3Operator(task_id="task", **chosen)

    return make


@pytest.fixture
def busy_zoom(start_zoom: StartZoom) -> SimulatorServer:
    """12,000 engagements in three days: more than fits into one part of an upload."""
    return start_zoom(Engagements.of_a_contact_centre(12_000, 3, end=END))


def alias_event(accessor: Any) -> tuple[dict[str, Any], str]:
    """Return the extra of the only event of an alias, and the URI of its asset."""
    if AIRFLOW < (3, 0):
        [event] = accessor.dataset_alias_events
        return event["extra"], event["dest_dataset_uri"]
    [event] = accessor.asset_alias_events
    return event.extra, event.dest_asset_key.uri


def raw(engagement: str) -> bytes:
    """Return an engagement as Zoom wrote it, on one line."""
    return engagement.replace("\r", "").replace("\n", "").encode()


class TestContent:
    @pytest.mark.parametrize(
        ("arguments", "wanted"),
        [
            ({}, {}),
            ({"consumer_number": NUMBERS[1]}, {"consumer_number": NUMBERS[1]}),
            (
                {"queue_id": next(iter(QUEUES)), "direction": "INBOUND"},
                {"queue_id": next(iter(QUEUES)), "direction": "inbound"},
            ),
            ({"channel_types": ["voice", "SMS"]}, {"channel_types": "voice,sms"}),
            ({"timezone": "Asia/Kolkata"}, {"timezone": "Asia/Kolkata"}),
        ],
    )
    def test_the_object_holds_what_zoom_has(
        self,
        zoom: SimulatorServer,
        bucket: Bucket,
        make_task: MakeTask,
        arguments: dict[str, Any],
        wanted: dict[str, str],
    ):
        make_task(**arguments).execute(context_of())
        body = bucket.body(KEY)
        assert body.endswith(b"\n")
        truth = zoom.simulator.truth(START, END, **wanted)
        assert truth
        assert sorted(body.split(b"\n")[:-1]) == sorted(map(raw, truth))

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
    def test_the_object_is_compressed_as_chosen(
        self,
        zoom: SimulatorServer,
        bucket: Bucket,
        make_task: MakeTask,
        *,
        key: str,
        compression: str,
        compressed: bool,
    ):
        for day, (start, end) in {"busy": (START, END), "quiet": QUIET}.items():
            make_task(s3_key=f"{day}/{key}", compression=compression, start=start, end=end).execute(context_of())
            body = bucket.body(f"{day}/{key}")
            lines = gzip.decompress(body) if compressed else body
            assert body.startswith(b"\x1f\x8b") == compressed
            assert sorted(lines.split(b"\n")) == sorted([b"", *map(raw, zoom.simulator.truth(start, end))])

    @pytest.mark.parametrize("key", ["day.jsonl", "day.jsonl.gz"])
    def test_a_rerun_gives_the_same_bytes(self, start_zoom: StartZoom, bucket: Bucket, make_task: MakeTask, key: str):
        start_zoom(Engagements.of_a_contact_centre(4_500, 1, end=END))
        task, bodies = make_task(s3_key=key), set()
        for _ in range(3):
            task.execute(context_of())
            bodies.add(bucket.body(key))
        assert len(bodies) == 1


class TestInterval:
    @pytest.mark.parametrize(
        ("arguments", "context"),
        [
            pytest.param({}, context_of(START, END), id="of the run"),
            pytest.param({"interval_length": "P1D"}, context_of(END, END), id="before the end of a zero-length one"),
            pytest.param({"interval_length": timedelta(days=1)}, context_of(partition_date=START), id="of a partition"),
            pytest.param({"start": START, "end": END}, context_of(END, END), id="given"),
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
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, arguments: dict[str, Any], context: Any
    ):
        key = "date={start:%Y-%m-%d}/until={end:%d}.jsonl"
        task = make_task(**{"start": None, "end": None, "s3_key": key} | arguments)
        task.render_template_fields(context)
        assert task.execute(context) == f"s3://{bucket.name}/date=2026-11-03/until=04.jsonl"
        written = bucket.body("date=2026-11-03/until=04.jsonl")
        assert sorted(written.split(b"\n")[:-1]) == sorted(map(raw, zoom.simulator.truth(START, END)))


class TestName:
    @pytest.mark.usefixtures("zoom")
    def test_it_is_in_the_timezone_of_the_dag(self, bucket: Bucket, make_task: MakeTask):
        dag = SimpleNamespace(timezone=pendulum.timezone("America/Los_Angeles"))
        make_task(
            s3_key="s3://{{ bucket }}/{start:%Y-%m-%dT%H}".replace("{{ bucket }}", bucket.name), s3_bucket=None
        ).execute(context_of(dag=dag))
        assert bucket.keys() == ["2026-11-02T16"]

    @pytest.mark.usefixtures("zoom")
    def test_it_survives_rendering(self, bucket: Bucket, make_task: MakeTask):
        task = make_task(s3_key="{{ params.team }}/{start:%Y-%m-%d}/{end:%H%M}")
        context = context_of(params={"team": "a{b}"})
        task.render_template_fields(context)
        task.execute(context)
        assert bucket.keys() == ["a{b}/2026-11-03/0000"]


class TestOpenInterval:
    @pytest.mark.parametrize("hours", [(-12, 12), (24, 48), (-1, 0.1)])
    def test_an_interval_that_is_not_over_fails_before_any_request(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, hours: tuple[float, float]
    ):
        start, end = map(hours_from_now, hours)
        with pytest.raises(AirflowFailException, match="not over"):
            make_task(start=start, end=end).execute(context_of())
        assert no_request_was_sent(zoom)
        assert bucket.keys() == []


class TestResult:
    def test_uri_summary_and_asset_events_agree(self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask):
        assets = [Asset("s3://lake/engagements"), Asset("x-lake://engagements")]
        context = context_of()
        uri = make_task(s3_key="a/day.jsonl.gz", outlets=assets).execute(context)
        [(key, summary)] = context["ti"].xcoms.items()
        assert uri == f"s3://{bucket.name}/a/day.jsonl.gz"
        assert key == "summary"
        assert set(summary) == SUMMARY
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
        assert json.loads(json.dumps(summary)) == summary

    @pytest.mark.usefixtures("zoom")
    def test_without_xcoms_no_summary_is_pushed(self, make_task: MakeTask):
        context = context_of()
        make_task(do_xcom_push=False).execute(context)
        assert context["ti"].xcoms == {}

    @pytest.mark.usefixtures("zoom")
    def test_an_alias_gets_an_event_of_the_objects_own_asset(self, bucket: Bucket, make_task: MakeTask):
        alias, context = AssetAlias("engagements"), context_of()
        make_task(outlets=[alias]).execute(context)
        extra, uri = alias_event(context["outlet_events"][alias])
        summary = context["ti"].xcoms["summary"]
        assert uri == f"s3://{bucket.name}/{KEY}" == summary["uri"]
        assert extra == summary

    @pytest.mark.usefixtures("zoom")
    @pytest.mark.parametrize(("key", "path"), [("a?b", "a%3Fb"), ("a#b", "a%23b"), ("100%", "100%25")])
    def test_its_uri_names_the_whole_key(self, bucket: Bucket, make_task: MakeTask, key: str, path: str):
        alias, context = AssetAlias("engagements"), context_of()
        make_task(outlets=[alias], s3_key=key).execute(context)
        assert alias_event(context["outlet_events"][alias])[1] == f"s3://{bucket.name}/{path}"

    def test_the_summary_counts_throttled_requests_and_duplicates(self, zoom: SimulatorServer, make_task: MakeTask):
        zoom.simulator.faults = [rejecting(429, 429, "Too many requests.", times=2), Fault("doubled", times=2)]
        context = context_of()
        make_task().execute(context)
        summary = context["ti"].xcoms["summary"]
        assert (summary["rate_limited"], summary["duplicates_dropped"]) == (2, 200)

    @pytest.mark.usefixtures("zoom")
    def test_metrics_count_records_and_requests(self, make_task: MakeTask, mocker: MockerFixture):
        incr = mocker.patch(f"{EngagementsToS3Operator.__module__}.Stats").incr
        context = context_of()
        make_task().execute(context)
        counted = {call.args[0]: call.args[1] for call in incr.call_args_list}
        summary = context["ti"].xcoms["summary"]
        assert counted == {"zcc.records": summary["records"], "zcc.requests": summary["requests"]}

    def test_hook_lineage_names_the_object_once(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, mocker: MockerFixture
    ):
        collector = mocker.patch(f"{EngagementsToS3Operator.__module__}.get_hook_lineage_collector").return_value
        make_task().execute(context_of())
        [call] = collector.add_output_asset.call_args_list
        assert call.kwargs["asset_kwargs"] == {"bucket": bucket.name, "key": KEY}
        assert zoom.simulator.stats.api_requests

    @pytest.mark.parametrize("bucket_in_url", [True, False])
    def test_the_key_may_be_a_url(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, bucket_in_url: bool
    ):
        uri = f"s3://{bucket.name}/a/b/day.jsonl"
        place = {"s3_key": uri, "s3_bucket": None} if bucket_in_url else {"s3_key": "a/b/day.jsonl"}
        assert make_task(**place).execute(context_of()) == uri
        assert bucket.keys() == ["a/b/day.jsonl"]
        assert zoom.simulator.stats.api_requests

    @pytest.mark.usefixtures("zoom")
    def test_encryption_and_acl_reach_s3(self, bucket: Bucket, make_task: MakeTask):
        make_task(encrypt=True, acl_policy="public-read").execute(context_of())
        make_task(s3_key="plain").execute(context_of())
        heads = {key: bucket.client.head_object(Bucket=bucket.name, Key=key) for key in (KEY, "plain")}
        assert {key: head.get("ServerSideEncryption") for key, head in heads.items()} == {KEY: "AES256", "plain": None}
        grants = {
            key: {
                grant["Grantee"].get("URI", "owner").rpartition("/")[2]
                for grant in bucket.client.get_object_acl(Bucket=bucket.name, Key=key)["Grants"]
            }
            for key in heads
        }
        assert grants == {KEY: {"owner", "AllUsers"}, "plain": {"owner"}}

    @pytest.mark.parametrize("engagements", ["zoom", "busy_zoom"])
    def test_extra_arguments_reach_s3(
        self, request: pytest.FixtureRequest, bucket: Bucket, make_task: MakeTask, engagements: str
    ):
        request.getfixturevalue(engagements)
        extra_args = {
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": "alias/lake",
            "StorageClass": "STANDARD_IA",
            "Tagging": "team=data",
            "Metadata": {"source": "zoom"},
            "RequestPayer": "requester",
        }
        make_task(start=THREE_DAYS[0], extra_args=extra_args, replace=False).execute(context_of())
        head = bucket.client.head_object(Bucket=bucket.name, Key=KEY)
        assert {name: head.get(name) for name in ("ServerSideEncryption", "StorageClass", "Metadata")} == {
            name: extra_args[name] for name in ("ServerSideEncryption", "StorageClass", "Metadata")
        }
        assert head["SSEKMSKeyId"].endswith("alias/lake")
        tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=KEY)["TagSet"]
        assert tags == [{"Key": "team", "Value": "data"}]

    @pytest.mark.usefixtures("zoom")
    def test_the_connection_may_name_the_bucket(
        self, bucket: Bucket, s3_server: S3Server, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
    ):
        connection = s3_server.connection
        connection["extra"] = connection["extra"] | {"service_config": {"s3": {"bucket_name": bucket.name}}}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        assert make_task(s3_bucket=None).execute(context_of()) == f"s3://{bucket.name}/{KEY}"


class TestEmptyInterval:
    @pytest.fixture
    def make_quiet_task(self, make_task: MakeTask) -> MakeTask:
        return lambda **arguments: make_task(start=QUIET[0], end=QUIET[1], **arguments)

    @pytest.mark.usefixtures("zoom")
    def test_an_object_without_lines_is_written(self, bucket: Bucket, make_quiet_task: MakeTask):
        context = context_of()
        make_quiet_task().execute(context)
        assert bucket.body(KEY) == b""
        assert context["ti"].xcoms["summary"]["records"] == 0

    @pytest.mark.usefixtures("zoom")
    @pytest.mark.parametrize(("on_empty", "error"), [("skip", AirflowSkipException), ("fail", AirflowFailException)])
    def test_nothing_is_written(self, bucket: Bucket, make_quiet_task: MakeTask, on_empty: str, error: type[Exception]):
        bucket.put(KEY, b"old")
        context = context_of()
        with pytest.raises(error, match=f"on_empty is '{on_empty}'"):
            make_quiet_task(on_empty=on_empty).execute(context)
        assert bucket.body(KEY) == b"old"
        assert context["ti"].xcoms == {}


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"channel": "fax"}, ["channel", "'fax'", "voice, video, messaging, email"]),
            ({"end": "2026-11-04 00:00:00"}, ["end has no timezone"]),
            ({"compression": "zip"}, ["compression 'zip'", "'infer', 'gzip', 'none'"]),
            ({"on_empty": ["write"]}, ["on_empty ['write']", "'write', 'skip', 'fail'"]),
            ({"on_incomplete": None}, ["on_incomplete None", "'fail', 'warn'"]),
            ({"replace": "yes"}, ["replace 'yes'", "True, False"]),
            ({"encrypt": 1}, ["encrypt 1", "True, False"]),
            ({"deferrable": None}, ["deferrable None", "True, False"]),
            ({"max_concurrency": 0}, ["max_concurrency", "0"]),
            ({"max_concurrency": "8"}, ["max_concurrency", "'8'"]),
            ({"aws_conn_id": 7}, ["aws_conn_id 7"]),
            ({"verify": 7}, ["verify 7"]),
            ({"acl_policy": "everybody"}, ["acl_policy 'everybody'", "bucket-owner-full-control"]),
            ({"acl_policy": ["private"]}, ["acl_policy ['private']"]),
            ({"extra_args": "StorageClass"}, ["extra_args 'StorageClass'", "a dict"]),
            ({"extra_args": {"Body": b""}}, ["extra_args ['Body']", "StorageClass"]),
            ({"extra_args": {"ChecksumSHA256": "x"}}, ["extra_args ['ChecksumSHA256']"]),
            ({"extra_args": {"StorageClass": 7}}, ["StorageClass", "extra_args"]),
            ({"extra_args": {"ContentType": "a\nb"}}, ["ContentType", "extra_args"]),
            ({"extra_args": {"SSECustomerKey": "secret"}}, ["SSECustomerKey", "SSEKMSKeyId"]),
            ({"encrypt": True, "extra_args": {"ServerSideEncryption": "aws:kms"}}, ["encrypt", "extra_args"]),
            ({"acl_policy": "private", "extra_args": {"ACL": "public-read"}}, ["acl_policy", "extra_args"]),
            ({"verify": " "}, ["verify ' '"]),
            ({"zcc_conn_id": "nowhere"}, ["nowhere"]),
            ({"max_concurrency": 10**30}, ["max_concurrency"]),
            ({"s3_bucket": None}, ["bucket", "s3_bucket=None"]),
            ({"s3_key": ""}, ["key", "s3_key=''"]),
            ({"s3_key": 20261108}, ["s3_key 20261108", "render_template_as_native_obj"]),
            ({"s3_key": "{start:YYYY}"}, ["'{start:YYYY}'", "strftime"]),
            ({"s3_bucket": "s3://my-lake"}, ['"s3://my-lake"', "s3_bucket"]),
            ({"start": "9999-12-31T00:00:00Z", "end": "9999-12-31T23:59:59.999999Z"}, ["9999-12-31"]),
        ],
    )  # fmt: skip
    def test_a_wrong_argument_fails_before_any_request(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, arguments: dict[str, Any], words: list[str]
    ):
        with pytest.raises(AirflowFailException) as raised:
            make_task(**arguments).execute(context_of())
        assert [word for word in words if word not in str(raised.value)] == []
        assert no_request_was_sent(zoom)
        assert bucket.keys() == []

    @pytest.mark.parametrize("context", [context_of(), context_of(END, END)], ids=["no interval", "zero length"])
    def test_a_run_without_an_interval_fails_before_any_request(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, context: dict[str, Any]
    ):
        with pytest.raises(AirflowFailException, match="CronDataIntervalTimetable"):
            make_task(start=None, end=None).execute(context)
        assert no_request_was_sent(zoom)
        assert bucket.keys() == []

    def test_an_object_that_must_not_be_replaced_fails_before_any_request(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        bucket.put(KEY, b"old")
        with pytest.raises(AirflowFailException, match=f"s3://{bucket.name}/{KEY} exists and replace is False"):
            make_task(replace=False).execute(context_of())
        assert no_request_was_sent(zoom)
        assert bucket.body(KEY) == b"old"

    @pytest.mark.parametrize(
        "extra",
        [
            {"service_config": {"s3": {"bucket_name": 5}}},
            {"service_config": "s3"},
            {"endpoint_url": "nope"},
            {"config_kwargs": {"no_such_setting": 1}},
            {"config_kwargs": "x"},
        ],
    )
    def test_a_connection_to_aws_that_cannot_be_used_fails_permanently(
        self,
        zoom: SimulatorServer,
        bucket: Bucket,  # noqa: ARG002  sets AIRFLOW_CONN_AWS_DEFAULT
        make_task: MakeTask,
        monkeypatch: pytest.MonkeyPatch,
        *,
        extra: dict[str, Any],
    ):
        connection = {"conn_type": "aws", "login": "dummy-key", "password": "dummy-secret", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        with pytest.raises(AirflowFailException):
            make_task(s3_bucket=None).execute(context_of())
        assert no_request_was_sent(zoom)

    @pytest.mark.parametrize("conn_id", ["aws_empty", "nowhere", None])
    def test_credentials_that_cannot_be_found_fail_permanently_and_the_connection_is_named(
        self,
        zoom: SimulatorServer,
        bucket: Bucket,  # noqa: ARG002  sets AIRFLOW_CONN_AWS_DEFAULT
        make_task: MakeTask,
        monkeypatch: pytest.MonkeyPatch,
        *,
        conn_id: str | None,
    ):
        monkeypatch.setenv("AIRFLOW_CONN_AWS_EMPTY", json.dumps({"conn_type": "aws"}))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, "/nonexistent")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(AirflowFailException, match=f"(?s){conn_id!r}.*default chain"):
            make_task(aws_conn_id=conn_id).execute(context_of())
        assert no_request_was_sent(zoom)


class TestRejection:
    @pytest.mark.parametrize(
        ("connection", "config", "arguments", "words"),
        [
            ({"password": "wrong"}, {}, {}, "Client Secret"),
            ({"extra": {"account_id": "wrong"}}, {}, {}, "account_id"),
            ({"login": ""}, {}, {}, r"lacks login \(Client ID\)"),
            ({"host": "http://api.zoom.us/v2"}, {}, {}, "host is not an https URL"),
            ({}, {"scopes": ["user:read"]}, {}, "contact_center:read:list_engagements:admin"),
            ({}, {"rejection": (403, {"code": 9001, "message": "No permission."})}, {}, "No permission.*role"),
            ({}, {"rejection": (403, {"code": 1022, "message": "No licence."})}, {}, "No licence.*licence"),
            ({}, {}, {"queue_id": "nobody"}, "does not exist: nobody.*Check queue_id"),
            ({}, {}, {"user_id": "nobody"}, "does not exist: nobody.*Check user_id"),
        ],
        ids=lambda value: next(iter(value), None) if isinstance(value, dict) else None,
    )
    def test_it_fails_permanently_and_says_what_to_correct(
        self,
        start_zoom: StartZoom,
        connect_zoom: ConnectZoom,
        bucket: Bucket,
        make_task: MakeTask,
        *,
        connection: dict[str, Any],
        config: dict[str, Any],
        arguments: dict[str, Any],
        words: str,
    ):
        server = start_zoom(**config)
        connect_zoom(server, **connection)
        with pytest.raises(AirflowFailException, match=words):
            make_task(**arguments).execute(context_of())
        assert (bucket.keys(), server.simulator.stats.api_requests) == ([], 0 if connection else 1)


class TestDailyLimit:
    def test_the_task_waits_without_a_worker_slot_and_begins_anew(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        moment = hours_from_now(6)
        zoom.simulator.faults = [daily_limit_until(moment, after=1)]
        task = make_task(deferrable=True)
        with pytest.raises(TaskDeferred) as raised:
            task.execute(context_of())
        deferral = raised.value
        assert abs(deferral.trigger.moment - moment) < timedelta(seconds=5)
        assert bucket.keys() == []

        zoom.simulator.faults = []
        resume = getattr(task, deferral.method_name)
        uri = resume(context_of(), **(deferral.kwargs or {}), event=moment)
        assert uri == f"s3://{bucket.name}/{KEY}"
        truth = zoom.simulator.truth(START, END)
        assert sorted(bucket.body(KEY).split(b"\n")[:-1]) == sorted(map(raw, truth))

    def test_a_limit_that_is_used_up_again_and_again_is_waited_for_three_times(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        zoom.simulator.faults = [daily_limit_until(hours_from_now(6), times=-1)]
        task = make_task(deferrable=True)
        run = partial(task.execute, context_of())
        for _ in range(3):
            with pytest.raises(TaskDeferred) as raised:
                run()
            deferral = raised.value
            run = partial(getattr(task, deferral.method_name), context_of(), **deferral.kwargs)
        with pytest.raises(AirflowException, match="daily rate limit"):
            run()
        assert bucket.keys() == []


@pytest.mark.usefixtures("zoom")
def test_the_log_reports_progress_against_zooms_count(
    make_task: MakeTask, mocker: MockerFixture, capfd: pytest.CaptureFixture[str], caplog: Any
):
    caplog.set_level(logging.INFO)
    mocker.patch(f"{EngagementsToS3Operator.__module__}._PROGRESS_INTERVAL", 0.0)
    make_task(start=THREE_DAYS[0]).execute(context_of())
    logged = caplog.text + "".join(capfd.readouterr())
    assert re.search(r"\d+ % \([\d,]+ of about [\d,]+\), [\d.]+ requests/s, about \d+ s left", logged)


def test_the_last_line_of_the_log_begins_with_the_object_and_leaves_zeros_out(
    zoom: SimulatorServer,
    bucket: Bucket,
    make_task: MakeTask,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    caplog.set_level(logging.INFO)
    make_task().execute(context_of())
    # Airflow's loggers write to the one or the other.
    logged = caplog.text + "".join(capfd.readouterr())
    line = next(line for line in logged.splitlines() if f"s3://{bucket.name}/{KEY}: " in line)
    assert f"{len(zoom.simulator.truth(START, END)):,} records, {len(bucket.body(KEY)):,} bytes, " in line
    assert [word for word in ("duplicates", "outside", "rate limited") if word in line] == []
