from __future__ import annotations

import gzip
import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    Asset,
    TaskDeferred,
)

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import (
    END,
    QUIET,
    START,
    Bucket,
    ConnectZoom,
    StartZoom,
    asked_nothing,
    context_of,
    daily_limit_until,
    exactly,
    hours_from_now,
    refusing,
)
from tests.zoom_simulator.app import Config
from tests.zoom_simulator.data import NUMBERS, QUEUES, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

KEY = "day.jsonl"
SUMMARY = {
    "uri", "start", "end", "records", "requests", "duplicates_dropped", "outside_interval", "bytes", "seconds",
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
        assert exactly(body.decode().split("\n")[:-1]) == exactly(truth)
        assert sorted(body.split(b"\n")[:-1]) == sorted(map(raw, truth))

    def test_a_large_interval_arrives_whole_in_several_parts(
        self, busy_zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        make_task(start=THREE_DAYS[0]).execute(context_of())
        assert sorted(bucket.body(KEY).split(b"\n")[:-1]) == sorted(map(raw, busy_zoom.simulator.truth(*THREE_DAYS)))
        assert bucket.client.head_object(Bucket=bucket.name, Key=KEY)["ETag"].strip('"').endswith("-3")
        assert bucket.unfinished_uploads() == []

    def test_an_engagement_at_the_end_belongs_to_the_next_interval(
        self, start_zoom: StartZoom, bucket: Bucket, make_task: MakeTask
    ):
        second = int(END.timestamp())
        start_zoom(Engagements([second - 86_400, second - 1, second, second, second + 1]))
        make_task().execute(context_of())
        make_task(s3_key="next", start=END, end=END + timedelta(days=1)).execute(context_of())
        times = {
            key: sorted(json.loads(line)["start_time"] for line in bucket.body(key).splitlines())
            for key in (KEY, "next")
        }
        assert times == {
            KEY: ["2026-11-03T00:00:00Z", "2026-11-03T23:59:59Z"],
            "next": ["2026-11-04T00:00:00Z", "2026-11-04T00:00:00Z", "2026-11-04T00:00:01Z"],
        }

    def test_records_that_come_twice_leave_once(self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask):
        zoom.simulator.faults = [Fault("doubled", times=2)]
        context = context_of()
        make_task().execute(context)
        truth = zoom.simulator.truth(START, END)
        assert sorted(bucket.body(KEY).split(b"\n")[:-1]) == sorted(map(raw, truth))
        assert context["ti"].xcom_push.call_args.kwargs["value"]["duplicates_dropped"] == 200

    @pytest.mark.parametrize(
        ("key", "compression", "compressed"),
        [
            ("day.jsonl", "infer", False),
            ("day.jsonl.gz", "infer", True),
            ("day.gz.jsonl", "infer", False),
            ("day.jsonl", "gzip", True),
            ("day.jsonl.gz", "gzip", True),
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
        for start, end in ((START, END), QUIET):
            make_task(s3_key=key, compression=compression, start=start, end=end).execute(context_of())
            body = bucket.body(key)
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
            pytest.param({}, context_of(START, END), id="the run's"),
            pytest.param({"interval_length": "P1D"}, context_of(END, END), id="ends where the run has no length"),
            pytest.param({"interval_length": timedelta(days=1)}, context_of(partition_date=START), id="a partition"),
            pytest.param({"start": START, "end": END}, context_of(END, END), id="given"),
            pytest.param(
                {"start": "{{ data_interval_start }}", "end": "{{ data_interval_end }}"},
                context_of(START, END),
                id="templated",
            ),
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
    def test_the_run_or_the_arguments_tell_the_interval(
        self,
        zoom: SimulatorServer,
        bucket: Bucket,
        make_task: MakeTask,
        arguments: dict[str, Any],
        context: dict[str, Any],
    ):
        task = make_task(**{"start": None, "end": None} | arguments)
        task.render_template_fields(context)
        task.execute(context)
        truth = zoom.simulator.truth(START, END)
        assert sorted(bucket.body(KEY).split(b"\n")[:-1]) == sorted(map(raw, truth))


class TestResult:
    def test_uri_summary_and_asset_events_tell_the_same(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        assets = [Asset("s3://lake/engagements"), Asset("x-lake://engagements")]
        context = context_of()
        uri = make_task(s3_key="a/day.jsonl.gz", outlets=assets).execute(context)
        context["ti"].xcom_push.assert_called_once()
        pushed = context["ti"].xcom_push.call_args.kwargs
        summary = pushed["value"]
        assert uri == f"s3://{bucket.name}/a/day.jsonl.gz"
        assert pushed["key"] == "summary"
        assert set(summary) == SUMMARY
        assert summary["seconds"] > 0
        assert summary | {"seconds": 0} == {
            "uri": uri,
            "start": "2026-11-03T00:00:00+00:00",
            "end": "2026-11-04T00:00:00+00:00",
            "records": len(zoom.simulator.truth(START, END)),
            "requests": zoom.simulator.stats.api_requests,
            "duplicates_dropped": 0,
            "outside_interval": 0,
            "bytes": len(bucket.body("a/day.jsonl.gz")),
            "seconds": 0,
        }
        assert [context["outlet_events"][asset].extra for asset in assets] == [summary, summary]
        assert json.loads(json.dumps(summary)) == summary

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
    def test_an_object_is_replaced_by_default(self, bucket: Bucket, make_task: MakeTask):
        bucket.put(KEY, b"old")
        make_task().execute(context_of())
        assert bucket.body(KEY).startswith(b"{")

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


class TestEmptyInterval:
    @pytest.fixture
    def make_quiet_task(self, make_task: MakeTask) -> MakeTask:
        return lambda **arguments: make_task(start=QUIET[0], end=QUIET[1], **arguments)

    @pytest.mark.usefixtures("zoom")
    def test_an_object_without_lines_is_written(self, bucket: Bucket, make_quiet_task: MakeTask):
        context = context_of()
        make_quiet_task().execute(context)
        assert bucket.body(KEY) == b""
        assert context["ti"].xcom_push.call_args.kwargs["value"]["records"] == 0

    @pytest.mark.usefixtures("zoom")
    @pytest.mark.parametrize(("on_empty", "error"), [("skip", AirflowSkipException), ("fail", AirflowFailException)])
    def test_nothing_is_written(self, bucket: Bucket, make_quiet_task: MakeTask, on_empty: str, error: type[Exception]):
        bucket.put(KEY, b"old")
        context = context_of()
        with pytest.raises(error, match=f"on_empty is '{on_empty}'"):
            make_quiet_task(on_empty=on_empty).execute(context)
        assert bucket.body(KEY) == b"old"
        assert not context["ti"].xcom_push.called


class TestIncompleteAnswer:
    @pytest.fixture
    def short_zoom(self, zoom: SimulatorServer) -> SimulatorServer:
        """Zoom reports more engagements than it delivers."""
        zoom.simulator.faults = [Fault("page", times=-1, details={"total_records": 999})]
        return zoom

    @pytest.mark.usefixtures("short_zoom")
    def test_it_fails_the_task_and_may_be_tried_again(self, bucket: Bucket, make_task: MakeTask):
        bucket.put(KEY, b"old")
        with pytest.raises(AirflowException, match="reports 999 engagements") as raised:
            make_task().execute(context_of())
        assert not isinstance(raised.value, AirflowFailException)
        assert (bucket.body(KEY), bucket.unfinished_uploads()) == (b"old", [])

    def test_what_came_is_written_if_that_is_accepted(
        self, short_zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, caplog: pytest.LogCaptureFixture
    ):
        make_task(on_incomplete="warn").execute(context_of())
        assert exactly(bucket.body(KEY).split(b"\n")[:-1]) == exactly(short_zoom.simulator.truth(START, END))
        assert "Zoom reports 999 engagements" in caplog.text


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"channel": "fax"}, ["channel", "'fax'", "voice, video, messaging, email"]),
            ({"channel_types": "voice,fax"}, ["channel_types", "'fax'", "voice, sms, chat, video, kiosk"]),
            ({"channel_sources": ["fax"]}, ["channel_sources", "'fax'", "web_chat"]),
            ({"direction": "sideways"}, ["direction", "inbound, outbound"]),
            ({"timezone": "Mars/Olympus"}, ["timezone", "'Mars/Olympus'"]),
            ({"start": START.replace(tzinfo=None)}, ["start has no timezone"]),
            ({"end": "2026-11-04 00:00:00"}, ["end has no timezone"]),
            ({"end": None}, ["end is missing"]),
            ({"start": END, "end": START}, ["is not after start"]),
            ({"interval_length": "a day"}, ["interval_length", "'a day'"]),
            ({"compression": "zip"}, ["compression", "'zip'", "infer, gzip, none"]),
            ({"on_empty": "ignore"}, ["on_empty", "'ignore'", "write, skip, fail"]),
            ({"on_incomplete": "ignore"}, ["on_incomplete", "'ignore'", "fail, warn"]),
            ({"max_concurrency": 0}, ["max_concurrency is 0"]),
            ({"max_concurrency": "8"}, ["max_concurrency is '8'"]),
            ({"s3_key": "s3://bucket/day.jsonl"}, ["s3_bucket", "s3_key", "s3:// URL"]),
            ({"s3_bucket": None}, ["s3_bucket", "s3:// URL"]),
            ({"s3_bucket": ""}, ["bucket", "empty"]),
            ({"s3_key": ""}, ["key", "empty"]),
            ({"s3_bucket": None, "s3_key": "s3://bucket"}, ["key", "empty"]),
        ],
    )  # fmt: skip
    def test_a_wrong_argument_fails_before_anything_is_asked(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, arguments: dict[str, Any], words: list[str]
    ):
        with pytest.raises(AirflowFailException) as raised:
            make_task(**arguments).execute(context_of())
        assert [word for word in words if word not in str(raised.value)] == []
        assert asked_nothing(zoom)
        assert bucket.keys() == []

    @pytest.mark.parametrize("context", [context_of(), context_of(END, END)], ids=["no interval", "zero length"])
    def test_a_run_without_an_interval_fails_before_anything_is_asked(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, context: dict[str, Any]
    ):
        with pytest.raises(AirflowFailException, match="CronDataIntervalTimetable"):
            make_task(start=None, end=None).execute(context)
        assert asked_nothing(zoom)
        assert bucket.keys() == []

    def test_an_object_that_must_not_be_replaced_fails_before_anything_is_asked(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        bucket.put(KEY, b"old")
        with pytest.raises(AirflowFailException, match=f"s3://{bucket.name}/{KEY} exists and replace is False"):
            make_task(replace=False).execute(context_of())
        assert asked_nothing(zoom)
        assert bucket.body(KEY) == b"old"

    @pytest.mark.usefixtures("zoom")
    def test_an_object_that_is_new_needs_no_replacing(self, bucket: Bucket, make_task: MakeTask):
        make_task(replace=False).execute(context_of())
        assert bucket.keys() == [KEY]

    def test_a_missing_bucket_fails_before_anything_is_asked(self, zoom: SimulatorServer, make_task: MakeTask):
        with pytest.raises(AirflowFailException, match="The bucket no-such-bucket does not exist"):
            make_task(s3_bucket="no-such-bucket").execute(context_of())
        assert asked_nothing(zoom)

    def test_an_s3_that_cannot_be_reached_may_be_tried_again_and_zoom_is_not_asked(
        self, zoom: SimulatorServer, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
    ):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            extra = {
                "endpoint_url": f"http://127.0.0.1:{nobody.getsockname()[1]}",
                "region_name": "us-east-1",
                "config_kwargs": {"retries": {"max_attempts": 0}},
            }
            connection = {"conn_type": "aws", "login": "dummy-key", "password": "dummy-secret", "extra": extra}
            monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
            with pytest.raises(AirflowException, match="aws_conn_id") as raised:
                make_task().execute(context_of())
        assert not isinstance(raised.value, AirflowFailException)
        assert asked_nothing(zoom)


class TestRefusal:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"password": "wrong"}, "Client Secret"),
            ({"extra": {"account_id": "wrong"}}, "account_id"),
            ({"login": ""}, r"lacks login \(Client ID\)"),
            ({"host": "http://api.zoom.us/v2"}, "host is not an https URL"),
        ],
    )
    def test_a_wrong_connection_fails_for_good(
        self,
        zoom: SimulatorServer,
        bucket: Bucket,
        make_task: MakeTask,
        *,
        connect_zoom: ConnectZoom,
        changes: dict[str, Any],
        words: str,
    ):
        connect_zoom(zoom, **changes)
        with pytest.raises(AirflowFailException, match=words):
            make_task().execute(context_of())
        assert (bucket.keys(), zoom.simulator.stats.api_requests) == ([], 0)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"scopes": ["user:read"]}, "contact_center:read:list_engagements:admin"),
            ({"refusal": (403, {"code": 9001, "message": "No permission."})}, "No permission.*role"),
            ({"refusal": (401, {"code": 1601, "message": "Lacks privileges."})}, "Lacks privileges.*role"),
            ({"refusal": (403, {"code": 1022, "message": "No licence."})}, "No licence.*licence"),
            ({"refusal": (400, {"code": 300, "message": "Invalid field: to."})}, "Invalid field: to"),
        ],
    )
    def test_a_refusal_fails_for_good(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask, config: dict[str, Any], words: str
    ):
        zoom.simulator.config = Config(**config)
        with pytest.raises(AirflowFailException, match=words):
            make_task().execute(context_of())
        assert (bucket.keys(), zoom.simulator.stats.api_requests) == ([], 1)

    @pytest.mark.usefixtures("zoom")
    @pytest.mark.parametrize("argument", ["queue_id", "user_id"])
    def test_an_unknown_queue_or_agent_fails_for_good(self, bucket: Bucket, make_task: MakeTask, argument: str):
        with pytest.raises(AirflowFailException, match=f"does not exist: nobody.*Check {argument}"):
            make_task(**{argument: "nobody"}).execute(context_of())
        assert bucket.keys() == []

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            pytest.param(
                refusing(403, 9001, "No permission.", on="next", after=108), AirflowFailException, id="refused"
            ),
            pytest.param(Fault("again", on="next", after=100, times=-1), AirflowException, id="pages in a circle"),
            pytest.param(daily_limit_until(hours_from_now(6), on="next", after=108), TaskDeferred, id="daily limit"),
        ],
    )
    def test_an_error_in_the_middle_leaves_the_old_object(
        self,
        busy_zoom: SimulatorServer,
        bucket: Bucket,
        make_task: MakeTask,
        *,
        caplog: pytest.LogCaptureFixture,
        fault: Fault,
        error: type[BaseException],
    ):
        caplog.set_level(logging.INFO, "werkzeug")
        bucket.put(KEY, b"old")
        busy_zoom.simulator.faults = [fault]
        context = context_of()
        with pytest.raises(error) as raised:
            make_task(start=THREE_DAYS[0], max_concurrency=1, deferrable=True).execute(context)
        assert isinstance(raised.value, AirflowFailException) == (error is AirflowFailException)
        assert f"POST /{bucket.name}/{KEY}?uploads" in caplog.text
        assert (bucket.body(KEY), bucket.unfinished_uploads()) == (b"old", [])
        assert not context["ti"].xcom_push.called


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

    def test_without_a_triggerer_the_error_names_the_time(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        moment = hours_from_now(6)
        zoom.simulator.faults = [daily_limit_until(moment)]
        with pytest.raises(AirflowException, match="daily rate limit") as raised:
            make_task(deferrable=False).execute(context_of())
        assert str(moment) in str(raised.value)
        assert not isinstance(raised.value, AirflowFailException)
        assert bucket.keys() == []


class TestArguments:
    def test_the_consumer_number_is_rendered_and_not_shown(
        self, zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        task = make_task(consumer_number="{{ params.number }}")
        context = context_of(params={"number": NUMBERS[2]})
        task.render_template_fields(context)
        task.execute(context)
        truth = zoom.simulator.truth(START, END, consumer_number=NUMBERS[2])
        assert sorted(bucket.body(KEY).split(b"\n")[:-1]) == sorted(map(raw, truth))
        assert task.consumer_number == "{{ params.number }}"


def test_secrets_and_numbers_stay_out_of_what_is_written(
    start_zoom: StartZoom,
    bucket: Bucket,
    make_task: MakeTask,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    caplog.set_level(logging.DEBUG)
    number = "+15550003333"
    server = start_zoom(client_secret="another-secret-for-this-test")
    task, context = make_task(consumer_number=number, on_incomplete="warn"), context_of()
    task.execute(context)
    server.simulator.faults = [refusing(404, 1001, f"Consumer does not exist: {number}.")]
    with pytest.raises(AirflowFailException) as raised:
        task.execute(context)
    # urllib3 and botocore log requests word for word, which is for Airflow's masker: see the test of the hook.
    own = [record.getMessage() for record in caplog.records if not record.name.startswith(("urllib3", "botocore"))]
    written = "".join(
        [*own, *capfd.readouterr(), str(raised.value), repr(raised.value.__cause__), str(context["ti"].mock_calls)]
    )
    assert "Zoom rejected the request" in written
    assert bucket.keys() == [KEY]
    assert [word for word in ("another-secret-for-this-test", "simulated.", "5550003333") if word in written] == []


def test_the_log_says_first_how_much_was_written_and_then_where(
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
    assert f"Wrote {len(zoom.simulator.truth(START, END))} records, {len(bucket.body(KEY)):,} bytes, in " in logged
    assert f" 0 duplicates dropped, 0 outside the interval, to s3://{bucket.name}/{KEY}." in logged


def test_numbers_keep_their_spelling(zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask):
    make_task().execute(context_of())
    lines = bucket.body(KEY).decode().split("\n")[:-1]
    spellings = {json.loads(line, parse_float=str)["sentiment_beta"]["score"] for line in lines}
    assert spellings == {"-0.50", "1.0e-2", "0.10", "1E2"}
    assert {json.loads(line, parse_int=Decimal)["serial_2026"] for line in lines} == {
        json.loads(engagement, parse_int=Decimal)["serial_2026"] for engagement in zoom.simulator.truth(START, END)
    }


class TestInterruption:
    """Airflow ends a task that is out of time by an exception in its main thread."""

    @pytest.fixture
    def interrupt_after(self, busy_zoom: SimulatorServer) -> Iterator[Callable[[int], None]]:
        """Interrupt the main thread as soon as Zoom was asked so often."""

        def raise_timeout(*_: object) -> None:
            raise AirflowTaskTimeout

        def interrupt(requests: int) -> None:
            while busy_zoom.simulator.stats.api_requests < requests:
                time.sleep(0.01)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, raise_timeout)
        yield lambda requests: threading.Thread(target=interrupt, args=(requests,), daemon=True).start()
        signal.signal(signal.SIGUSR1, before)

    def test_it_ends_the_reading_and_leaves_the_old_object(
        self,
        busy_zoom: SimulatorServer,
        bucket: Bucket,
        make_task: MakeTask,
        interrupt_after: Callable[[int], None],
    ):
        bucket.put(KEY, b"old")
        busy_zoom.simulator.faults = [Fault("delay", on="next", after=105, times=-1, details={"seconds": 0.2})]
        interrupt_after(110)
        with pytest.raises(AirflowTaskTimeout):
            make_task(start=THREE_DAYS[0], max_concurrency=1).execute(context_of())
        assert busy_zoom.simulator.stats.api_requests < len(busy_zoom.simulator.truth(*THREE_DAYS)) // 100
        assert (bucket.body(KEY), bucket.unfinished_uploads()) == (b"old", [])
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("zcc-s3")]

    def test_on_kill_ends_the_reading_and_leaves_the_old_object(
        self, busy_zoom: SimulatorServer, bucket: Bucket, make_task: MakeTask
    ):
        bucket.put(KEY, b"old")
        busy_zoom.simulator.faults = [Fault("delay", on="next", after=105, times=-1, details={"seconds": 0.2})]
        task = make_task(start=THREE_DAYS[0], max_concurrency=1)

        def kill() -> None:
            while busy_zoom.simulator.stats.api_requests < 110:
                time.sleep(0.01)
            task.on_kill()

        threading.Thread(target=kill, daemon=True).start()
        with pytest.raises(AirflowException, match="stopped"):
            task.execute(context_of())
        assert busy_zoom.simulator.stats.api_requests < len(busy_zoom.simulator.truth(*THREE_DAYS)) // 100
        assert (bucket.body(KEY), bucket.unfinished_uploads()) == (b"old", [])

    def test_a_task_that_does_not_run_can_be_killed(self, make_task: MakeTask):
        make_task().on_kill()
