from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, redact

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, airflow_errors
from airflow_provider_zcc.zoom.errors import (
    IncompleteResponse,
    InvalidQuery,
    InvalidSettings,
    PermanentError,
    RateLimited,
    TransientError,
    ZoomError,
)
from tests.airflow_version import AIRFLOW
from tests.conftest import StartSimulator
from tests.unit.conftest import (
    END,
    QUIET,
    START,
    ConnectZoom,
    StartZoom,
    asked_nothing,
    daily_limit_until,
    exactly,
    hours_from_now,
    refusing,
)
from tests.zoom_simulator.app import Config
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

DAY = timedelta(days=1)
QUEUE, AGENT = next(iter(QUEUES)), next(iter(AGENTS))
#: Each with the spelling that the simulator's truth takes.
FILTERS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {}),
    ({"queue_id": QUEUE}, {"queue_id": QUEUE}),
    ({"user_id": AGENT}, {"user_id": AGENT}),
    ({"consumer_number": NUMBERS[1]}, {"consumer_number": NUMBERS[1]}),
    ({"channel_types": ["voice", "SMS"]}, {"channel_types": "voice,sms"}),
    ({"channel_types": "Voice, chat"}, {"channel_types": "voice,chat"}),
    ({"channel": "MESSAGING"}, {"channel": "messaging"}),
    ({"channel_sources": ("whatsapp", "sms")}, {"channel_sources": "whatsapp,sms"}),
    ({"direction": "Inbound"}, {"direction": "inbound"}),
    ({"timezone": "America/Los_Angeles"}, {"timezone": "America/Los_Angeles"}),
    ({"queue_id": QUEUE, "channel": "voice", "direction": "outbound"},) * 2,
]
#: What a user may get wrong, with what the error has to name.
WRONG_FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"channel": "fax"}, ["channel", "'fax'", "voice, video, messaging, email"]),
    ({"channel_types": ["voice", "fax"]}, ["channel_types", "'fax'", "voice, sms, chat, video, kiosk, in_app_chat"]),
    ({"channel_types": []}, ["channel_types", "empty", "voice, sms"]),
    ({"channel_sources": "pigeon"}, ["channel_sources", "'pigeon'", "whatsapp", "email_address"]),
    ({"direction": "sideways"}, ["direction", "'sideways'", "inbound, outbound"]),
    ({"channel": "voice", "channel_types": "voice"}, ["channel", "channel_types", "one of the two"]),
    ({"queue_id": " "}, ["queue_id", "empty"]),
    ({"user_id": 7}, ["user_id", "not text"]),
    ({"timezone": "Mars/Olympus"}, ["timezone", "'Mars/Olympus'", "IANA"]),
]

Ask = Callable[..., object]
ASKS: list[Ask] = [
    pytest.param(lambda *bounds, **filters: ZoomContactCenterHook().count_engagements(*bounds, **filters), id="count"),
    pytest.param(lambda *bounds, **filters: ZoomContactCenterHook().iter_engagements(*bounds, **filters), id="iter"),
]


class TestConnection:
    @pytest.mark.parametrize(
        ("changes", "extra", "missing"),
        [
            ({"login": None}, {}, ["login (Client ID)"]),
            ({"password": ""}, {}, ["password (Client Secret)"]),
            ({}, {"account_id": None}, ["account_id (in extra)"]),
            (
                {"login": None, "password": None},
                {"account_id": ""},
                ["login (Client ID)", "password (Client Secret)", "account_id (in extra)"],
            ),
        ],
    )
    def test_every_missing_field_is_named_with_its_place(
        self,
        zoom: SimulatorServer,
        connect_zoom: ConnectZoom,
        changes: dict[str, object],
        extra: dict[str, object],
        missing: list[str],
    ):
        connect_zoom(zoom, extra, **changes)
        with pytest.raises(InvalidSettings, match="'zcc_default'") as raised:
            ZoomContactCenterHook().get_conn()
        named = str(raised.value).partition(" lacks ")[2].partition(". ")[0]
        assert named.split(", ") == missing

    @pytest.mark.parametrize(
        "uri",
        [
            "zcc://{id}:{secret}@{quoted_host}?{extra}",
            "zcc://{id}:{secret}@{quoted_host}/?{extra}",
            "zcc://http://{id}:{secret}@{authority}/v2?{extra}",
        ],
    )
    def test_a_connection_may_be_a_uri(
        self, start_simulator: StartSimulator, monkeypatch: pytest.MonkeyPatch, uri: str
    ):
        server = start_simulator(client_secret="s/e:c@r?e&t=1%")
        config, token_url = server.simulator.config, f"{server.url}/oauth/token"
        connection = uri.format(
            id=config.client_id,
            secret=quote(config.client_secret, safe=""),
            quoted_host=quote(f"{server.url}/v2", safe=""),
            authority=server.url.removeprefix("http://"),
            extra=f"account_id={config.account_id}&token_url={quote_plus(token_url)}&timeout=5&requests_per_second=99.5",
        )
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", connection)
        assert ZoomContactCenterHook().count_engagements(START, END) == len(server.simulator.truth(START, END))

    @pytest.mark.parametrize(
        "extra", [{"requests_per_second": "1000", "timeout": "2.5"}, {"timeout": ""}, {"timeout": None}]
    )
    def test_numbers_in_extra_may_be_text_or_left_empty(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, extra: dict[str, object]
    ):
        connect_zoom(zoom, extra)
        assert ZoomContactCenterHook().count_engagements(*QUIET) == 0

    @pytest.mark.parametrize("empty", [None, ""])
    def test_fields_of_the_form_may_be_left_empty(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, empty: str | None
    ):
        # The page of Airflow 3 tests with port 0 where none is set.
        connect_zoom(zoom, {"requests_per_second": empty, "timeout": empty}, port=0, schema=empty, description=empty)
        assert ZoomContactCenterHook().count_engagements(*QUIET) == 0

    def test_the_whole_extra_may_be_text(self, zoom: SimulatorServer, monkeypatch: pytest.MonkeyPatch):
        connection = zoom.connection
        connection["extra"] = json.dumps(connection["extra"])
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(connection))
        assert ZoomContactCenterHook().count_engagements(*QUIET) == 0

    def test_a_slow_answer_is_given_up_after_the_timeout(self, zoom: SimulatorServer, connect_zoom: ConnectZoom):
        connect_zoom(zoom, {"timeout": "0.2"})
        zoom.simulator.faults = [Fault("delay", times=-1, details={"seconds": 3.0})]
        works, message = ZoomContactCenterHook().test_connection()
        assert (works, "Timeout" in message) == (False, True)

    def test_requests_per_second_is_the_ceiling_of_the_pace(self, zoom: SimulatorServer, connect_zoom: ConnectZoom):
        connect_zoom(zoom, {"requests_per_second": "10"})
        hook = ZoomContactCenterHook()
        began = time.monotonic()
        for _ in range(6):
            hook.count_engagements(*QUIET)
        assert time.monotonic() - began >= 0.5

    @pytest.mark.parametrize(
        ("extra", "words"),
        [
            ({"requests_per_second": "fast"}, "requests_per_second is 'fast'"),
            ({"requests_per_second": 0}, "requests_per_second is 0"),
            ({"requests_per_second": 10**400}, "requests_per_second is 1000"),
            ({"timeout": "-1"}, "timeout is -1"),
            ({"timeout": "nan"}, "timeout is nan"),
            ({"timeout": [30]}, "timeout is"),
        ],
    )
    def test_numbers_that_make_no_sense_are_refused(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, extra: dict[str, object], words: str
    ):
        connect_zoom(zoom, extra)
        with pytest.raises(InvalidSettings, match=words):
            ZoomContactCenterHook().get_conn()

    @pytest.mark.parametrize(
        ("host", "token_url", "named"),
        [
            ("http://api.zoom.us/v2", "https://zoom.us/oauth/token", "host"),
            ("https://api.zoom.us/v2", "http://zoom.us/oauth/token", "token_url"),
            ("http://localhost.example.com/v2", "https://zoom.us/oauth/token", "host"),
            ("http://127.0.0.1.example.com/v2", "https://zoom.us/oauth/token", "host"),
            ("ftp://127.0.0.1/v2", "https://zoom.us/oauth/token", "host"),
            ("https://id:secret@api.zoom.us/v2", "https://zoom.us/oauth/token", "host"),
        ],
    )
    def test_a_secret_does_not_travel_in_the_clear(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, host: str, token_url: str, named: str
    ):
        connect_zoom(zoom, {"token_url": token_url}, host=host)
        with pytest.raises(InvalidSettings, match=f"'zcc_default': The connection's {named} is not"):
            ZoomContactCenterHook().get_conn()

    @pytest.mark.skipif((3, 0) <= AIRFLOW < (3, 2), reason="Airflow 3.0 and 3.1 refuse it themselves")
    @pytest.mark.parametrize("extra", [[], ["account_id"], "text", 7, True])
    def test_an_extra_that_is_not_an_object_is_refused(
        self, zoom: SimulatorServer, monkeypatch: pytest.MonkeyPatch, extra: object
    ):
        connection = zoom.connection | {"extra": json.dumps(extra)}
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(connection))
        with pytest.raises(InvalidSettings, match="'zcc_default'"):
            ZoomContactCenterHook().get_conn()

    @pytest.mark.parametrize("token_url", [7, True, ["https://zoom.us/oauth/token"]])
    def test_a_token_url_that_is_not_text_is_refused(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, token_url: object
    ):
        connect_zoom(zoom, {"token_url": token_url})
        with pytest.raises(InvalidSettings, match="The connection's token_url is not the URL of a server"):
            ZoomContactCenterHook().get_conn()

    @pytest.mark.parametrize(
        "host",
        [
            "https://api.zoom.us:port/v2",
            "https://api.zoom.us:99999/v2",
            "https://api.zoom.us:-1/v2",
            "api.zoom.us:port/v2",
            "https://[::1/v2",
        ],
    )
    @pytest.mark.parametrize("port", [None, 8443])
    def test_a_host_with_a_port_that_is_none_is_refused(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, host: str, port: int | None
    ):
        connect_zoom(zoom, host=host, port=port)
        with pytest.raises(InvalidSettings, match="The connection's host is not the URL of a server"):
            ZoomContactCenterHook().get_conn()

    def test_white_space_around_a_value_is_left_out(self, zoom: SimulatorServer, connect_zoom: ConnectZoom):
        connection = zoom.connection
        extra = {name: f" {connection['extra'][name]}\n" for name in ("account_id", "token_url")}
        connect_zoom(zoom, extra, login=f"\t{connection['login']} ", host=f" {connection['host']}\n")
        assert ZoomContactCenterHook().count_engagements(START, END) == len(zoom.simulator.truth(START, END))

    def test_a_field_of_white_space_is_missing(self, zoom: SimulatorServer, connect_zoom: ConnectZoom):
        connect_zoom(zoom, {"account_id": " ", "token_url": " "}, login="\t")
        with pytest.raises(InvalidSettings, match=r"lacks login \(Client ID\), account_id \(in extra\)\."):
            ZoomContactCenterHook().get_conn()

    @pytest.mark.parametrize("host", ["http://127.0.0.1:8080/v2", "http://localhost/v2", "http://[::1]:8080/v2"])
    def test_loopback_may_speak_http(self, zoom: SimulatorServer, connect_zoom: ConnectZoom, host: str):
        connect_zoom(zoom, host=host)
        assert ZoomContactCenterHook().get_conn()

    @pytest.mark.parametrize("host", [None, "", "api.zoom.us/v2", "https://api.zoom.us/v2/"])
    def test_the_host_is_zooms_unless_another_is_given(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, host: str | None
    ):
        connect_zoom(zoom, host=host)
        signed = requests.Request("GET", "https://api.zoom.us/v2/users", auth=ZoomContactCenterHook().get_conn().auth)
        assert signed.prepare().headers["Authorization"].startswith("Bearer ")


class TestAuthorisation:
    def test_making_a_hook_reads_no_connection(self, zoom: SimulatorServer, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("AIRFLOW_CONN_ZCC_DEFAULT")
        hook = ZoomContactCenterHook("no_such_connection", max_concurrency=2)
        assert (hook.zcc_conn_id, hook.max_concurrency) == ("no_such_connection", 2)
        ZoomContactCenterHook()
        assert asked_nothing(zoom)

    def test_the_session_is_authorised_for_the_connections_host(self, zoom: SimulatorServer):
        session = ZoomContactCenterHook().get_conn()
        assert isinstance(session, requests.Session)
        assert asked_nothing(zoom)
        answer = session.get(
            f"{zoom.url}/v2/contact_center/engagements", params={"from": "2026-11-03", "to": "2026-11-03"}
        )
        assert answer.json()["total_records"] == len(zoom.simulator.truth(START, END))

    @pytest.mark.usefixtures("zoom")
    def test_the_session_is_authorised_for_no_other_host(self, start_simulator: StartSimulator):
        other = start_simulator()
        with pytest.raises(PermanentError, match="host alone"):
            ZoomContactCenterHook().get_conn().get(f"{other.url}/v2/contact_center/engagements")
        assert asked_nothing(other)

    def test_hooks_share_a_token(self, zoom: SimulatorServer):
        for _ in range(3):
            ZoomContactCenterHook().count_engagements(*QUIET)
        assert zoom.simulator.stats.token_requests == 1


class TestTheTestButton:
    def test_it_tells_how_many_engagements_the_last_day_had(self, start_zoom: StartZoom):
        starts = [int(hours_from_now(-hours).timestamp()) for hours in [1] * 1_998 + [2, 23, 25, 48]]
        server = start_zoom(Engagements(starts))
        works, message = ZoomContactCenterHook().test_connection()
        assert (works, message) == (True, "Zoom answered: 2,000 engagements began in the last 24 hours.")
        assert server.simulator.stats.api_requests == 1

    def test_it_asks_once_with_a_token_of_its_own(self, zoom: SimulatorServer):
        hook = ZoomContactCenterHook()
        hook.count_engagements(*QUIET)
        stats = zoom.simulator.stats
        before = (stats.api_requests, stats.token_requests)
        assert hook.test_connection()[0]
        assert (stats.api_requests, stats.token_requests) == (before[0] + 1, before[1] + 1)

    @pytest.mark.parametrize(
        ("changes", "extra", "words"),
        [
            ({"password": "wrong"}, {}, ["Invalid client_id or client_secret", "login (Client ID)", "password"]),
            ({"login": "wrong"}, {}, ["invalid_client", "login (Client ID)"]),
            ({}, {"account_id": "wrong"}, ["invalid_request", "account_id", "activated"]),
            ({"login": ""}, {"account_id": ""}, ["login (Client ID), account_id (in extra)"]),
            ({"host": "http://api.zoom.us/v2"}, {}, ["host is not an https URL"]),
        ],
    )
    def test_it_says_what_is_wrong_with_the_connection(
        self,
        zoom: SimulatorServer,
        connect_zoom: ConnectZoom,
        changes: dict[str, object],
        extra: dict[str, object],
        words: list[str],
    ):
        connect_zoom(zoom, extra, **changes)
        works, message = ZoomContactCenterHook().test_connection()
        assert not works
        assert [word for word in words if word not in message] == []
        assert zoom.simulator.stats.api_requests == 0
        assert zoom.simulator.stats.token_requests <= 1

    @pytest.mark.parametrize(("changes", "extra"), [({"login": ""}, {}), ({}, {"timeout": 0}), ({"host": "http:"}, {})])
    def test_it_names_no_connection_because_airflow_tests_it_under_another_name(
        self, zoom: SimulatorServer, connect_zoom: ConnectZoom, changes: dict[str, object], extra: dict[str, object]
    ):
        connect_zoom(zoom, extra, **changes)
        works, message = ZoomContactCenterHook().test_connection()
        assert (works, "zcc_default" in message) == (False, False)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (
                {"scopes": ["user:read"]},
                [
                    "4711",
                    "contact_center:read:list_engagements:admin",
                    "contact_center_report:read:admin",
                    "contact_center_engagement:read:admin",
                ],
            ),
            ({"refusal": (403, {"code": 9001, "message": "No permission."})}, ["9001", "No permission.", "role"]),
            ({"refusal": (401, {"code": 1601, "message": "Lacks privileges."})}, ["1601", "Lacks privileges.", "role"]),
            ({"refusal": (403, {"code": 1022, "message": "No licence."})}, ["1022", "No licence.", "licence"]),
            ({"refusal": (503, {})}, ["503", "status page"]),
            ({"refusal": (404, {"message": "No such page."})}, ["404", "host"]),
        ],
    )
    def test_it_says_what_is_wrong_with_the_account(
        self, zoom: SimulatorServer, config: dict[str, Any], words: list[str]
    ):
        zoom.simulator.config = Config(**config)
        works, message = ZoomContactCenterHook().test_connection()
        assert not works
        assert [word for word in words if word not in message] == []
        assert zoom.simulator.stats.api_requests == 1

    @pytest.mark.parametrize("on", ["host", "token_url"])
    def test_it_returns_quickly_when_nobody_listens(self, zoom: SimulatorServer, connect_zoom: ConnectZoom, on: str):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            connect_zoom(zoom, **({"host": url} if on == "host" else {"extra": {"token_url": url}}))
            works, message = ZoomContactCenterHook().test_connection()
        assert (works, "broke (ConnectionError)" in message) == (False, True)

    def test_it_says_that_a_connection_is_unknown(self, zoom: SimulatorServer):
        works, message = ZoomContactCenterHook("no_such_connection").test_connection()
        assert (works, "no_such_connection" in message) == (False, True)
        assert asked_nothing(zoom)

    def test_it_says_that_the_token_endpoint_is_not_there(self, zoom: SimulatorServer, connect_zoom: ConnectZoom):
        connect_zoom(zoom, {"token_url": f"{zoom.url}/oauth/tokens"})
        works, message = ZoomContactCenterHook().test_connection()
        assert (works, "HTTP 404" in message, "token_url" in message) == (False, True, True)

    def test_it_names_the_end_of_a_daily_limit(self, zoom: SimulatorServer):
        moment = hours_from_now(6)
        zoom.simulator.faults = [daily_limit_until(moment)]
        works, message = ZoomContactCenterHook().test_connection()
        assert (works, str(moment) in message) == (False, True)
        assert zoom.simulator.stats.api_requests == 1

    def test_it_replaces_a_token_that_has_ended(self, zoom: SimulatorServer):
        zoom.simulator.faults = [refusing(401, 124, "Access token is expired.", times=1)]
        assert ZoomContactCenterHook().test_connection()[0]


class TestCounting:
    @pytest.mark.parametrize(("filters", "wanted"), FILTERS)
    def test_the_count_is_exact(self, zoom: SimulatorServer, filters: dict[str, Any], wanted: dict[str, str]):
        hook = ZoomContactCenterHook()
        expected = len(zoom.simulator.truth(START, END, **wanted))
        assert hook.count_engagements(START, END, **filters) == expected > 0
        assert (zoom.simulator.stats.api_requests, hook.requests_sent) == (1, 1)

    def test_an_engagement_at_the_end_belongs_to_the_next_interval(self, start_zoom: StartZoom):
        second = int(END.timestamp())
        start_zoom(Engagements([second - 86_400, second - 1, second, second, second + 1]))
        hook = ZoomContactCenterHook()
        assert hook.count_engagements(START, END) == 2
        assert hook.count_engagements(END, END + DAY) == 3
        assert hook.count_engagements(END, END + timedelta(seconds=1)) == 2

    def test_bounds_between_two_seconds_lose_nothing(self, start_zoom: StartZoom):
        second = int(END.timestamp())
        start_zoom(Engagements([second - 1, second, second + 1]))
        hook, half = ZoomContactCenterHook(), timedelta(microseconds=500_000)
        assert hook.count_engagements(END - half, END + half) == 1
        assert hook.count_engagements(END + half, END + half + timedelta(microseconds=1)) == 0

    def test_seventy_days_are_three_requests(self, start_zoom: StartZoom):
        server = start_zoom(Engagements.of_a_contact_centre(4_000, 75, end=END))
        start, end = END - 72 * DAY, END - 2 * DAY
        hook = ZoomContactCenterHook()
        assert hook.count_engagements(start, end) == len(server.simulator.truth(start, end))
        assert [dict(query)["page_size"] for query in server.simulator.stats.queries] == ["1"] * 3

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            (datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
            (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        ],
    )
    def test_an_hour_that_daylight_saving_repeats_is_counted_once(
        self, start_zoom: StartZoom, start: datetime, end: datetime
    ):
        server = start_zoom(Engagements(range(int(start.timestamp()) - 7_200, int(end.timestamp()) + 7_200, 60)))
        count = ZoomContactCenterHook().count_engagements(start, end, timezone="Europe/Berlin")
        assert count == len(server.simulator.truth(start, end)) == 60


class TestReading:
    @pytest.mark.parametrize(("filters", "wanted"), FILTERS)
    def test_the_engagements_are_exact(self, zoom: SimulatorServer, filters: dict[str, Any], wanted: dict[str, str]):
        hook = ZoomContactCenterHook()
        engagements = list(hook.iter_engagements(START, END, **filters))
        assert exactly(map(json.dumps, engagements)) == exactly(zoom.simulator.truth(START, END, **wanted))
        assert all(engagement["serial_2026"] > 2**53 for engagement in engagements)
        assert hook.requests_sent == zoom.simulator.stats.api_requests

    def test_a_long_interval_holds_each_engagement_once(self, start_zoom: StartZoom):
        server = start_zoom(Engagements.of_a_contact_centre(1_500, 75, end=END))
        start, end = END - 72 * DAY, END - 2 * DAY
        engagements = ZoomContactCenterHook().iter_engagements(start, end)
        assert exactly(map(json.dumps, engagements)) == exactly(server.simulator.truth(start, end))

    def test_an_engagement_at_the_end_belongs_to_the_next_interval(self, start_zoom: StartZoom):
        second = int(END.timestamp())
        start_zoom(Engagements([second - 1, second, second + 1]))
        hook = ZoomContactCenterHook()
        [before] = hook.iter_engagements(START, END)
        after = list(hook.iter_engagements(END, END + DAY))
        assert before["start_time"] == "2026-11-03T23:59:59Z"
        assert sorted(record["start_time"] for record in after) == ["2026-11-04T00:00:00Z", "2026-11-04T00:00:01Z"]

    @pytest.mark.usefixtures("zoom")
    def test_an_empty_interval_yields_nothing(self):
        assert list(ZoomContactCenterHook().iter_engagements(*QUIET)) == []

    @pytest.mark.usefixtures("zoom")
    def test_reading_may_end_early(self):
        engagements = ZoomContactCenterHook(max_concurrency=1).iter_engagements(END - 10 * DAY, END)
        assert next(engagements)["engagement_id"]
        engagements.close()

    @pytest.mark.parametrize("concurrency", [0, -1, 1.5, "8", None])
    def test_a_concurrency_that_makes_no_sense_is_refused(self, zoom: SimulatorServer, concurrency: Any):
        with pytest.raises(InvalidSettings, match="max_concurrency is"):
            ZoomContactCenterHook(max_concurrency=concurrency).iter_engagements(START, END)
        assert asked_nothing(zoom)


class TestWrongQuestions:
    @pytest.mark.parametrize("ask", ASKS)
    @pytest.mark.parametrize(("filters", "words"), WRONG_FILTERS)
    def test_a_wrong_value_is_refused_at_once(
        self, zoom: SimulatorServer, ask: Ask, filters: dict[str, Any], words: list[str]
    ):
        with pytest.raises(InvalidQuery) as raised:
            ask(START, END, **filters)
        assert [word for word in words if word not in str(raised.value)] == []
        assert asked_nothing(zoom)

    @pytest.mark.parametrize("ask", ASKS)
    def test_an_unknown_name_is_refused_at_once(self, zoom: SimulatorServer, ask: Ask):
        with pytest.raises(TypeError, match="queue_name"):
            ask(START, END, queue_name="Support")
        assert asked_nothing(zoom)

    @pytest.mark.parametrize("ask", ASKS)
    @pytest.mark.parametrize(
        ("start", "end", "words"),
        [
            (START.replace(tzinfo=None), END, "start has no timezone"),
            (START, END.replace(tzinfo=None), "end has no timezone"),
            (START, "2026-11-04", "end has no timezone"),
            (START, START, "is not after start"),
            (END, START, "is not after start"),
        ],
    )
    def test_bounds_that_make_no_interval_are_refused_at_once(
        self, zoom: SimulatorServer, ask: Ask, start: Any, end: Any, words: str
    ):
        with pytest.raises(InvalidQuery, match=words):
            ask(start, end)
        assert asked_nothing(zoom)


@pytest.mark.parametrize(
    ("error", "fails_for_good"),
    [
        (PermanentError("words"), True),
        (InvalidQuery("words"), True),
        (InvalidSettings("words"), True),
        (TransientError("words"), False),
        (IncompleteResponse("words"), False),
        (RateLimited("words"), False),
    ],
)
def test_only_what_trying_again_cannot_help_fails_for_good(error: ZoomError, fails_for_good: bool):
    with pytest.raises(AirflowException, match="words") as raised, airflow_errors():
        raise error
    assert isinstance(raised.value, AirflowFailException) == fails_for_good
    assert raised.value.__cause__ is error


def test_secrets_and_numbers_stay_out_of_logs_and_errors(
    start_zoom: StartZoom, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    number = "+15550002222"
    server = start_zoom(client_secret="a-secret-for-this-test")
    hook = ZoomContactCenterHook()
    assert list(hook.iter_engagements(START, END, consumer_number=number)) == []
    server.simulator.faults = [refusing(400, 300, f"Invalid field: consumer_number {number}.")]
    with pytest.raises(PermanentError) as raised:
        hook.count_engagements(START, END, consumer_number=number)
    written = "".join(capfd.readouterr()) + str(raised.value)
    for record in caplog.records:
        # urllib3 logs the path of each request: Airflow's masker, which every log of a task passes, knows the number.
        message = record.getMessage()
        written += str(redact(message)) if record.name.startswith("urllib3") else message
    assert "/contact_center/engagements" in written
    assert [word for word in ("a-secret-for-this-test", "simulated.", "5550002222") if word in written] == []
