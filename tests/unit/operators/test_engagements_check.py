from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from pytest_mock import MockerFixture

from airflow_provider_zcc.operators.engagements_check import EngagementsCheckOperator
from airflow_provider_zcc.s3.location import Location
from airflow_provider_zcc.s3.manifest import Manifest, dump_manifest, manifest_location
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import (
    END,
    QUIET,
    START,
    Bucket,
    Logged,
    StartZoom,
    context_of,
    hours_from_now,
    no_request_was_sent,
    rejecting,
)
from tests.zoom_simulator.data import NUMBERS, Engagements
from tests.zoom_simulator.server import SimulatorServer

pytestmark = pytest.mark.usefixtures("zoom")

KEY = "date={start:%Y-%m-%d}/engagements.jsonl"
DAY = timedelta(days=1)
COVERAGE = {
    "intervals", "complete", "missing", "untracked", "short", "due", "surplus", "engagements", "requests", "seconds",
    "to_read",
}  # fmt: skip
BERLIN = SimpleNamespace(timezone=pendulum.timezone("Europe/Berlin"))

MakeTask = Callable[..., EngagementsCheckOperator]
Store = Callable[..., None]


@pytest.fixture
def make_task(bucket: Bucket) -> MakeTask:
    """A check of the chosen day, never due."""

    def make(**arguments: Any) -> EngagementsCheckOperator:
        chosen = {"s3_bucket": bucket.name, "s3_key": KEY, "start": START, "end": END, "reread_after": ()} | arguments
        return EngagementsCheckOperator(task_id="check", **chosen)

    return make


@pytest.fixture
def store(zoom: SimulatorServer, bucket: Bucket) -> Store:
    """Put an object of a day with its manifest, which says what Zoom has."""

    def put(start: datetime = START, body: bytes = b"{}\n" * 9, **changes: Any) -> None:
        location = Location(bucket.name, f"date={start:%Y-%m-%d}/engagements.jsonl")
        etag = bucket.client.put_object(Bucket=bucket.name, Key=location.key, Body=body)["ETag"]
        count = len(zoom.simulator.truth(start, start + DAY))
        known: dict[str, Any] = {
            "uri": location.uri, "etag": etag, "start": start, "end": start + DAY, "filters": {}, "records": count,
            "reported": count, "bytes": len(body), "uncompressed_bytes": len(body), "sha256": "0", "requests": 1,
            "read_at": start + DAY, "provider_version": "0",
        }  # fmt: skip
        relative = {name: known[name] + change for name, change in changes.items() if isinstance(change, int)}
        bucket.put(manifest_location(location).key, dump_manifest(Manifest(**known | changes | relative)))

    return put


def check(task: EngagementsCheckOperator, **context: Any) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return what a task returns, and its XCom."""
    given = context_of(**context)
    return task.execute(given), given["ti"].xcoms["coverage"]


def statuses(coverage: dict[str, Any]) -> dict[str, int]:
    """Return how many intervals have each status that any has."""
    return {name: coverage[name] for name in ("complete", "surplus", *sorted(READ)) if coverage[name]}


READ = {"missing", "untracked", "short", "due"}
LATER = {"read_at": datetime.now(UTC)}


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "manifest", "arguments"),
        [
            pytest.param("complete", {}, {}, id="what Zoom has"),
            pytest.param("complete", {"records": -1}, {}, id="incomplete, and accepted as such"),
            pytest.param("complete", LATER, {"reread_after": DAY}, id="read since"),
            pytest.param("complete", {}, {"reread_after": "P300Y"}, id="not yet due"),
            pytest.param("untracked", {"etag": '"0"'}, {}, id="overwritten"),
            pytest.param("untracked", {"end": END + DAY}, {}, id="another interval"),
            pytest.param("untracked", {"filters": {"channel": "voice"}}, {}, id="other filters"),
            pytest.param("short", {"reported": -1}, {}, id="listed since"),
            pytest.param("short", {"reported": None, "records": -1}, {}, id="fewer than Zoom has"),
            pytest.param("due", {}, {"reread_after": "P1D"}, id="due"),
            pytest.param("due", {}, {"reread_after": "PT1H, P300Y"}, id="due at one of the ages"),
            pytest.param("surplus", {"reported": 1}, {}, id="deleted since"),
            pytest.param("surplus", {"reported": None, "records": 1}, {}, id="more than Zoom has"),
            pytest.param("surplus", {"reported": -1, "records": 1}, {}, id="more than Zoom has and reported"),
            pytest.param("surplus", {"reported": 1, "end": END + DAY}, {}, id="another interval with more"),
            pytest.param("surplus", {"reported": 1}, {"reread_after": DAY}, id="surplus, and due"),
        ],
    )
    def test_it_follows_from_the_manifest_and_the_count_of_zoom(
        self, zoom: SimulatorServer, store: Store, make_task: MakeTask, *, status: str, manifest: Any, arguments: Any
    ):
        store(**manifest)
        returned, coverage = check(make_task(**arguments))
        assert statuses(coverage) == {status: 1}
        assert returned == ([{"start": START.isoformat(), "end": END.isoformat()}] if status in READ else [])
        assert coverage["engagements"] == len(zoom.simulator.truth(START, END))
        assert zoom.simulator.stats.api_requests == 1

    @pytest.mark.parametrize(
        ("day", "body", "status"),
        [
            pytest.param((START, END), None, "missing", id="no object"),
            pytest.param((START, END), b"{}" * 99, "untracked", id="no manifest"),
            pytest.param(QUIET, b"", "untracked", id="an empty object without manifest"),
            pytest.param(QUIET, b"{}" * 99, "surplus", id="an object without manifest, and nothing in Zoom"),
        ],
    )
    def test_an_object_without_manifest_is_read_unless_zoom_has_nothing(
        self, bucket: Bucket, make_task: MakeTask, day: tuple[datetime, datetime], body: bytes | None, status: str
    ):
        if body is not None:
            bucket.put(f"date={day[0]:%Y-%m-%d}/engagements.jsonl", body)
        returned, coverage = check(make_task(start=day[0], end=day[1]))
        assert statuses(coverage) == {status: 1}
        assert bool(returned) == (status in READ)

    @pytest.mark.parametrize(
        ("read", "checked"),
        [
            ({"channel": "voice"}, {"channel": "Voice"}),
            ({"channel_types": "sms,voice"}, {"channel_types": ["voice", "SMS"]}),
            ({"consumer_number": NUMBERS[1]}, {"consumer_number": NUMBERS[1], "timezone": "UTC"}),
            ({"timezone": "Europe/Berlin"}, {"timezone": "Europe/Berlin"}),
        ],
    )
    def test_an_object_that_was_read_with_the_same_filters_is_complete(
        self, bucket: Bucket, make_task: MakeTask, read: dict[str, str], checked: dict[str, Any]
    ):
        arguments = {"s3_bucket": bucket.name, "s3_key": KEY, "start": START, "end": END} | read
        EngagementsToS3Operator(task_id="read", **arguments).execute(context_of())
        assert statuses(check(make_task(**checked))[1]) == {"complete": 1}


class TestResult:
    @pytest.fixture
    def week(self, store: Store) -> None:
        """A week of days: complete, missing, short, surplus, due, and two without an object."""
        store(START, **LATER)
        store(START + 2 * DAY, reported=-1, records=-2, **LATER)
        store(START + 3 * DAY, reported=5, **LATER)
        store(START + 4 * DAY)

    @pytest.mark.usefixtures("week")
    def test_what_is_to_be_read_is_returned_oldest_first_with_its_cost(
        self, zoom: SimulatorServer, make_task: MakeTask, logged: Logged
    ):
        returned, coverage = check(make_task(end=START + 7 * DAY, reread_after=("P1D",)))
        assert [bounds["start"][:10] for bounds in returned] == [
            "2026-11-04", "2026-11-05", "2026-11-07", "2026-11-08", "2026-11-09",
        ]  # fmt: skip
        assert set(coverage) == COVERAGE
        assert coverage["intervals"] == zoom.simulator.stats.api_requests == 7
        assert statuses(coverage) == {"complete": 1, "missing": 3, "short": 1, "due": 1, "surplus": 1}
        assert coverage["engagements"] == len(zoom.simulator.truth(START, START + 7 * DAY))
        assert coverage["seconds"] == pytest.approx(coverage["requests"] / 1_000, abs=0.1)
        count = len(zoom.simulator.truth(START + 2 * DAY, START + 3 * DAY))
        assert coverage["to_read"][1] == {
            "start": "2026-11-05T00:00:00+00:00",
            "end": "2026-11-06T00:00:00+00:00",
            "status": "short",
            "in_s3": count - 2,
            "in_zoom": count,
        }
        assert [{"start": found["start"], "end": found["end"]} for found in coverage["to_read"]] == returned
        assert "replace='any'" in logged()

    @pytest.mark.usefixtures("week")
    def test_no_more_are_returned_than_a_task_can_be_mapped_over(
        self, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, logged: Logged
    ):
        monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
        returned, coverage = check(make_task(end=START + 7 * DAY))
        assert [bounds["start"][:10] for bounds in returned] == ["2026-11-04", "2026-11-05"]
        assert coverage["missing"] == 3
        assert len(coverage["to_read"]) == 4
        assert "max_map_length" in logged()

    @pytest.mark.usefixtures("week")
    def test_gaps_are_counted_and_can_fail_the_task_with_a_message_for_an_alert(
        self, make_task: MakeTask, mocker: MockerFixture
    ):
        gauge = mocker.patch(f"{EngagementsCheckOperator.__module__}.Stats").gauge
        context = context_of()
        with pytest.raises(AirflowFailException) as raised:
            make_task(end=START + 7 * DAY, on_gaps="fail", reread_after=DAY).execute(context)
        message = str(raised.value)
        days = [f"2026-11-0{day}" for day in range(3, 10) if f"2026-11-0{day}T" in message]
        # Neither due nor surplus is a gap.
        assert days == ["2026-11-04", "2026-11-05", "2026-11-08", "2026-11-09"]
        assert "4 of 7" in message
        assert "from 2026-11-04T00:00:00+00:00 to 2026-11-10T00:00:00+00:00" in message
        assert context["ti"].xcoms["coverage"]["due"] == 1
        assert [call.args for call in gauge.call_args_list] == [("zcc.gaps", 4)]

    def test_what_is_only_due_or_surplus_is_no_gap(self, store: Store, make_task: MakeTask):
        store()
        store(START - DAY, reported=9)
        returned, coverage = check(make_task(start=START - DAY, on_gaps="fail", reread_after=DAY))
        assert statuses(coverage) == {"due": 1, "surplus": 1}
        assert [bounds["start"] for bounds in returned] == [START.isoformat()]

    def test_without_xcoms_none_is_pushed(self, make_task: MakeTask):
        context = context_of()
        assert len(make_task(do_xcom_push=False).execute(context)) == 1
        assert context["ti"].xcoms == {}

    def test_a_lookback_that_ends_before_the_last_read_is_due_is_reported(self, make_task: MakeTask, logged: Logged):
        for days, reported in ((8, False), (7, True)):
            check(make_task(start=None, lookback=timedelta(days=days), reread_after="P1D,P7D"))
            assert ("lookback is too short" in logged()) == reported

    def test_the_xcom_names_the_first_hundred(self, make_task: MakeTask):
        returned, coverage = check(make_task(every="PT1H", s3_key="{start}", start=END - 5 * DAY))
        assert (len(returned), coverage["missing"], len(coverage["to_read"])) == (120, 120, 100)


class TestIntervals:
    def test_they_are_the_calendars_in_the_timezone_of_the_dag(self, make_task: MakeTask):
        task = make_task(start=None, end="2026-11-02", lookback="P2W", every="P1W")
        starts = [bounds["start"] for bounds in check(task, dag=BERLIN)[0]]
        assert starts == ["2026-10-19T00:00:00+02:00", "2026-10-26T00:00:00+01:00"]

    def test_an_hour_that_comes_twice_is_counted_twice(self, start_zoom: StartZoom, make_task: MakeTask):
        again = datetime(2026, 10, 25, 1, tzinfo=UTC)
        start_zoom(Engagements([int(again.timestamp()) + 60]))
        task = make_task(start=again - DAY / 24, end=again + DAY / 24, every="PT1H", s3_key="{start}")
        coverage = check(task, dag=BERLIN)[1]
        assert [hour["in_zoom"] for hour in coverage["to_read"]] == [0, 1]

    def test_those_that_are_not_over_are_left_out(self, zoom: SimulatorServer, make_task: MakeTask):
        # Far from the end of an interval, for which the task would wait.
        last = hours_from_now(-12)
        returned, _ = check(make_task(start=last - 2 * DAY, end=last + 3 * DAY))
        assert [bounds["end"] for bounds in returned] == [(last - DAY).isoformat(), last.isoformat()]
        assert zoom.simulator.stats.api_requests == 2

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"every": "P1M"}, "no whole interval"),
            ({"every": "daily"}, "every is not a length"),
            ({"lookback": "-P1D"}, "lookback is not a length"),
            ({"reread_after": ("P1D", "a week")}, "reread_after is not a length"),
            ({"reread_after": 7}, "Invalid reread_after 7"),
            ({"every": timedelta(microseconds=1)}, "more than"),
            ({"on_gaps": "warn"}, "Invalid on_gaps 'warn'"),
            ({"verify": " "}, "Invalid verify"),
            ({"s3_key": "day.jsonl", "start": START - DAY}, "the same name"),
            ({"s3_key": "{start:%d}", "start": "2026-08-01"}, "the same name"),
            ({"s3_bucket": "no-such-bucket"}, "does not exist"),
        ],
    )
    def test_arguments_that_cannot_be_right_fail_the_task_before_any_request(
        self, zoom: SimulatorServer, make_task: MakeTask, arguments: dict[str, Any], words: str
    ):
        with pytest.raises(AirflowFailException, match=words):
            make_task(**arguments).execute(context_of())
        assert no_request_was_sent(zoom)

    def test_one_interval_needs_no_placeholder(self, make_task: MakeTask):
        assert check(make_task(s3_key="day.jsonl"))[1]["missing"] == 1


def test_a_permanent_error_of_zoom_fails_the_task(zoom: SimulatorServer, make_task: MakeTask):
    zoom.simulator.faults = [rejecting(403, 9001, "No permission.")]
    with pytest.raises(AirflowFailException, match="No permission"):
        make_task(start=START - 5 * DAY).execute(context_of())
