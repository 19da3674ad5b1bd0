from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from operator import itemgetter
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from pytest_mock import MockerFixture

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, airflow_errors
from airflow_provider_zcc.zoom.errors import ConnectionFailed, InvalidQuery, InvalidSettings, TransientError, ZoomError
from tests.airflow_version import AIRFLOW
from tests.conftest import StartSimulator
from tests.unit.conftest import (
    END,
    QUIET,
    START,
    ConnectZoom,
    StartZoom,
    hours_from_now,
    no_request_was_sent,
    rejecting,
)
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAY = timedelta(days=1)
ID = itemgetter("engagement_id")
#: Nobody listens there.
NOBODY = "http://127.0.0.1:9"


class TestConnection:
    def test_every_missing_field_is_named_with_its_place(self, zoom: SimulatorServer, connect_zoom: ConnectZoom):
        for changes, extra, missing in [
            ({"login": "\t"}, {}, "login (Client ID)"),
            ({"password": ""}, {"account_id": None}, "password (Client Secret), account_id (in extra)"),
        ]:
            connect_zoom(zoom, extra, **changes)
            with pytest.raises(InvalidSettings, match=r"^Connection 'zcc_default': ") as raised:
                ZoomContactCenterHook().get_conn()
            assert f" lacks {missing}. " in str(raised.value)

    @pytest.mark.parametrize(
        "uri",
        ["zcc://{id}:{secret}@{quoted_host}/?{extra}", "zcc://http://{id}:{secret}@{authority}/v2?{extra}"],
    )
    def test_a_connection_may_be_a_uri(
        self, start_simulator: StartSimulator, monkeypatch: pytest.MonkeyPatch, uri: str
    ):
        server = start_simulator(client_secret="s/e:c@r?e&t=1%")
        config = server.simulator.config
        connection = uri.format(
            id=config.client_id,
            secret=quote(config.client_secret, safe=""),
            quoted_host=quote(f"{server.url}/v2", safe=""),
            authority=server.url.removeprefix("http://"),
            extra=f"account_id={config.account_id}&oauth_url={quote_plus(f'{server.url}/oauth/token')}&timeout=5",
        )
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", connection)
        assert ZoomContactCenterHook().count_engagements(START, END) == len(server.simulator.truth(START, END))

    def test_numbers_and_the_extra_may_be_text_with_white_space_and_fields_left_empty(
        self, zoom: SimulatorServer, monkeypatch: pytest.MonkeyPatch
    ):
        connection = zoom.connection
        extra = {
            "account_id": f" {connection['extra']['account_id']}\n",
            "oauth_url": f" {zoom.url}/oauth/token\n",
            "requests_per_second": "1000",
            "timeout": "",
        }
        # The page of Airflow 3 tests with port 0 where none is set.
        empty = {"port": 0, "schema": "", "description": None}
        connection |= {"login": f"\t{connection['login']} ", "host": f" {connection['host']}\n", **empty}
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(connection | {"extra": json.dumps(extra)}))
        hook = ZoomContactCenterHook()
        assert (hook.count_engagements(*QUIET), hook.requests_per_second) == (0, 1_000)

    @pytest.mark.parametrize("names", [["oauth_url"], ["token_url"], ["oauth_url", "token_url"]])
    def test_the_oauth_url_may_have_its_old_name(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, names: list[str]
    ):
        urls = dict.fromkeys(("oauth_url", "token_url"), "") | dict.fromkeys(names, NOBODY)
        connect_zoom(zoom, urls | {names[0]: f"{zoom.url}/oauth/token"})
        assert ZoomContactCenterHook().count_engagements(*QUIET) == 0

    @pytest.mark.parametrize(
        ("extra", "changes", "words"),
        [
            ({"requests_per_second": "fast"}, {}, "requests_per_second is 'fast'"),
            ({"timeout": 10**400}, {}, "timeout is 1000"),
            ({"timeout": [30]}, {}, "timeout is"),
            ({}, {"host": "https://api.zoom.us:port/v2", "port": 8443}, "host is not the URL of a server"),
        ],
    )
    def test_what_makes_no_sense_is_rejected_and_the_connection_named(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, extra: Any, changes: dict[str, str], words: str
    ):
        connect_zoom(zoom, extra, **changes)
        with pytest.raises(InvalidSettings, match=f"^Connection 'zcc_default': .*{words}"):
            ZoomContactCenterHook().get_conn()

    @pytest.mark.skipif((3, 0) <= AIRFLOW < (3, 2), reason="Airflow 3.0 and 3.1 reject it themselves")
    def test_an_extra_that_is_not_an_object_is_rejected(self, zoom: SimulatorServer, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(zoom.connection | {"extra": '["account_id"]'}))
        with pytest.raises(InvalidSettings, match="'zcc_default'"):
            ZoomContactCenterHook().get_conn()

    @pytest.mark.parametrize("host", [None, "api.zoom.us/v2"])
    def test_the_host_is_zooms_unless_another_is_given(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, host: str | None
    ):
        connect_zoom(zoom, host=host)
        signed = requests.Request("GET", "https://api.zoom.us/v2/users", auth=ZoomContactCenterHook().get_conn().auth)
        assert signed.prepare().headers["Authorization"].startswith("Bearer ")


class TestArguments:
    def test_making_a_hook_reads_no_connection_and_checks_nothing(self, zoom: SimulatorServer):
        hook = ZoomContactCenterHook("no_such_connection", max_concurrency=0)
        assert (hook.zcc_conn_id, hook.max_concurrency) == ("no_such_connection", 0)
        assert no_request_was_sent(zoom)

    @pytest.mark.parametrize(
        ("hook", "arguments", "problem"),
        [
            *(({"max_concurrency": value}, {}, "max_concurrency is") for value in (0, 1.5, True, 1_001)),
            ({"zcc_conn_id": 7}, {}, "zcc_conn_id is"),
            ({}, {"queue_id": " "}, "queue_id"),
            ({}, {"queue_name": "Support"}, "queue_name"),
        ],
    )
    def test_a_wrong_argument_is_named_before_any_request(
        self, zoom: SimulatorServer, hook: dict[str, Any], arguments: dict[str, Any], problem: str
    ):
        for call in (ZoomContactCenterHook.count_engagements, ZoomContactCenterHook.iter_engagements):
            with pytest.raises((InvalidSettings, InvalidQuery, TypeError), match=problem):
                call(ZoomContactCenterHook(**hook), **{"start": START, "end": END} | arguments)
        assert no_request_was_sent(zoom)

    @pytest.mark.parametrize("retry_timeout", ["2", -1, float("nan")])
    def test_a_wrong_retry_timeout_is_named(self, zoom: SimulatorServer, retry_timeout: Any):
        with pytest.raises(InvalidQuery, match="retry_timeout is"):
            ZoomContactCenterHook().count_engagements(START, END, retry_timeout=retry_timeout)
        assert no_request_was_sent(zoom)


class TestTheTestButton:
    def test_it_counts_the_engagements_of_the_last_day_in_one_request_with_a_token_of_its_own(
        self, start_zoom: StartZoom
    ):
        starts = [int(hours_from_now(-hours).timestamp()) for hours in [1] * 1_998 + [2, 23, 25, 48]]
        stats = start_zoom(Engagements(starts)).simulator.stats
        for _ in range(2):
            ZoomContactCenterHook().count_engagements(*QUIET)
        assert (stats.api_requests, stats.token_requests) == (2, 1)
        works, message = ZoomContactCenterHook().test_connection()
        assert (works, "2,000 engagements" in message) == (True, True)
        assert (stats.api_requests, stats.token_requests) == (3, 2)

    @pytest.mark.parametrize(
        ("changes", "faults", "problem"),
        [
            ({"password": "wrong"}, [], "Invalid client_id or client_secret"),
            ({"login": ""}, [], "login (Client ID)"),
            ({"host": NOBODY}, [], "connection refused"),
            ({}, [rejecting(400, 4711, "Invalid access token")], "contact_center:read:list_engagements:admin"),
            ({}, [rejecting(503, 0, "")], "status page"),
        ],
    )
    def test_it_reports_the_problem_and_no_connection_because_airflow_tests_it_under_another_id(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, changes: Any, faults: list[Fault], problem: str
    ):
        zoom.simulator.faults = faults
        connect_zoom(zoom, **changes)
        works, message = ZoomContactCenterHook().test_connection()
        assert (works, problem in message, "zcc_default" in message) == (False, True, False)
        assert zoom.simulator.stats.api_requests <= 1

    @pytest.mark.usefixtures("zoom")
    def test_it_reports_a_connection_that_does_not_exist(self):
        works, message = ZoomContactCenterHook("nowhere").test_connection()
        assert (works, "nowhere" in message) == (False, True)


class TestCounting:
    def test_what_is_counted_with_one_request_is_what_is_read(self, zoom: SimulatorServer):
        hook, filters = ZoomContactCenterHook(), {"channel_types": ["voice", "SMS"]}
        truth = [json.loads(text) for text in zoom.simulator.truth(START, END, channel_types="voice,sms")]
        assert hook.count_engagements(START, END, **filters) == len(truth) > 0
        assert hook.requests_sent == 1
        assert sorted(hook.iter_engagements(START, END, **filters), key=ID) == sorted(truth, key=ID)
        assert hook.requests_sent == zoom.simulator.stats.api_requests

    def test_bounds_are_half_open_also_between_two_seconds(self, start_zoom: StartZoom):
        second, half = int(END.timestamp()), timedelta(microseconds=500_000)
        start_zoom(Engagements([second - 86_400, second - 1, second, second, second + 1]))
        count = ZoomContactCenterHook().count_engagements
        assert [count(START, END), count(END, END + DAY), count(END, END + timedelta(seconds=1))] == [2, 3, 2]
        assert [count(END - half, END + half), count(END + half, END + half + timedelta(microseconds=1))] == [2, 0]

    def test_a_response_without_a_total_is_transient_and_names_the_connection(self, zoom: SimulatorServer):
        zoom.simulator.faults = [Fault("page", times=-1, details={"total_records": None})]
        with pytest.raises(TransientError, match=r"^Connection 'zcc_default': ") as raised:
            ZoomContactCenterHook().count_engagements(START, END, retry_timeout=0)
        assert raised.value.status == 200

    def test_an_outage_ends_it_soon_however_long_the_connections_timeout_is(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, mocker: MockerFixture
    ):
        mocker.patch("airflow_provider_zcc.hooks.zoom_contact_center._CHECK_TIMEOUT", 0.5)
        connect_zoom(zoom, {"timeout": 30})
        zoom.simulator.faults = [Fault("delay", times=-1, details={"seconds": 60.0})]
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="timed out"):
            ZoomContactCenterHook().count_engagements(START, END, retry_timeout=0.4)
        assert time.monotonic() - began < 5

    def test_hooks_of_one_account_share_a_rate_limiter_across_threads_and_connections(
        self, start_zoom: StartZoom, monkeypatch: pytest.MonkeyPatch
    ):
        server = start_zoom(requests_per_second=20)
        connection = server.connection
        connection["extra"]["requests_per_second"] = 20
        for conn_id in ("ZCC_DEFAULT", "ZCC_OTHER"):
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))

        def count(number: int) -> int:
            hook = ZoomContactCenterHook(("zcc_default", "zcc_other")[number % 2])
            return hook.count_engagements(*QUIET, retry_timeout=2)

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(count, range(40))) == {0}
        # Each with a rate limiter of its own, they would be rejected by the dozen.
        assert server.simulator.stats.statuses[429] <= 4


@pytest.mark.parametrize(("hours", "warnings"), [(1, 1), (-1, 0)])
def test_an_interval_that_is_not_over_is_read_with_a_warning(
    start_zoom: StartZoom, caplog: pytest.LogCaptureFixture, hours: int, warnings: int
):
    start_zoom(Engagements([int(hours_from_now(-2).timestamp())]))
    engagements = ZoomContactCenterHook().iter_engagements(hours_from_now(-3), hours_from_now(hours))
    assert len(list(engagements)) == 1
    assert [record.levelname for record in caplog.records].count("WARNING") == warnings


@pytest.mark.parametrize(("error", "is_permanent"), [(InvalidQuery("words"), True), (TransientError("words"), False)])
def test_only_what_a_retry_cannot_help_fails_a_task_permanently(error: ZoomError, is_permanent: bool):
    with pytest.raises(AirflowException, match="words") as raised, airflow_errors():
        raise error
    assert isinstance(raised.value, AirflowFailException) == is_permanent
    assert raised.value.__cause__ is error
