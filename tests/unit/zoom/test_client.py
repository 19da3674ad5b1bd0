from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
from pytest_mock import MockerFixture
from tenacity import wait_fixed

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import (
    PageTokenExpired,
    PermanentError,
    RateLimited,
    RateLimitedUntil,
    ReadCancelled,
    TransientError,
    ZoomError,
)
from airflow_provider_zcc.zoom.http import user_agent
from airflow_provider_zcc.zoom.page import Page, parse_page
from airflow_provider_zcc.zoom.query import PATH, Filters, Query
from airflow_provider_zcc.zoom.rate_limiter import RateLimiter
from tests.conftest import END, StartSimulator, client_for, settings_for
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

QUERY = Query(END - timedelta(days=5), END - timedelta(days=4))
NUMBER = "+12059300900"
PAGE_TOKEN_DIED = {"code": 300, "message": "The next page token is invalid or expired."}
SCOPE_CURE = (
    "Add the scope contact_center:read:list_engagements:admin (classic: contact_center_report:read:admin, "
    "before contact_center_engagement:read:admin) to the app and activate it."
)
OUTAGE_CURE = "Look at Zoom's status page if this goes on."


def ask(
    client: ZoomClient, *, page_token: str | None = None, stop: threading.Event | None = None, **filters: Any
) -> Page:
    query = Query(QUERY.start, QUERY.end, Filters.validated(**filters))
    return client.get(PATH, query.parameters(query.windows()[0], next_page_token=page_token), parse_page, stop)


def answering(status: int, body: object = b"", times: int = 1, **headers: str) -> Fault:
    return Fault("answer", times=times, details={"status": status, "body": body, "headers": headers})


def sent(server: SimulatorServer) -> tuple[int, int]:
    stats = server.simulator.stats
    return stats.api_requests, stats.token_requests


def test_a_page_comes_back_as_what_read_makes_of_it(simulator: SimulatorServer) -> None:
    client = client_for(simulator)

    page = ask(client)

    newest_first = simulator.simulator.truth(QUERY.start, QUERY.end + timedelta(seconds=1))[::-1]
    assert [bytes(record.line).decode() for record in page.records] == [
        line.replace("\n", "") for line in newest_first[:100]
    ]
    assert client.requests_sent == 1


def test_every_request_names_this_package(simulator: SimulatorServer) -> None:
    ask(client_for(simulator))

    assert simulator.simulator.stats.user_agents == {user_agent()}


def test_clients_of_one_app_share_a_token(simulator: SimulatorServer) -> None:
    ask(client_for(simulator))
    ask(client_for(simulator))

    assert sent(simulator) == (2, 1)


# Tokens


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"code": 124, "message": "Invalid access token."}),
        (400, {"code": 124, "message": "Access token is expired."}),
        (401, {"status": False, "errorCode": 401, "errorMessage": "Invalid access token."}),
        (401, "<html>Unauthorized</html>"),
    ],
)
def test_a_dead_token_is_replaced_by_one_new_token(simulator: SimulatorServer, status: int, body: object) -> None:
    client = client_for(simulator)
    expected = ask(client)
    simulator.simulator.faults = [answering(status, body)]

    page = ask(client)

    assert page.records == expected.records
    assert sent(simulator) == (3, 2)


def test_a_token_that_zoom_ended_is_replaced_by_one_new_token(simulator: SimulatorServer) -> None:
    client = client_for(simulator)
    expected = ask(client)
    simulator.simulator.end_tokens()

    assert ask(client).records == expected.records
    assert sent(simulator) == (3, 2)


def test_threads_whose_token_died_share_one_new_token(simulator: SimulatorServer) -> None:
    client = client_for(simulator)
    expected = ask(client)
    simulator.simulator.end_tokens()
    barrier = threading.Barrier(8)

    def ask_together(_: int) -> Page:
        barrier.wait(5)
        return ask(client)

    with ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(ask_together, range(8)))

    assert [page.records for page in pages] == [expected.records] * 8
    assert simulator.simulator.stats.token_requests == 2


def test_every_token_is_announced_before_a_request_carries_it(simulator: SimulatorServer) -> None:
    requests_before: list[int] = []
    client = ZoomClient(
        settings_for(simulator), on_token=lambda _: requests_before.append(simulator.simulator.stats.api_requests)
    )
    ask(client)
    simulator.simulator.end_tokens()

    ask(client)

    assert requests_before == [0, 2]


def test_a_token_that_is_refused_again_and_again_fails_and_may_be_tried_later(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [answering(401, {"code": 124, "message": "Invalid access token."}, times=-1)]

    with pytest.raises(TransientError) as error:
        ask(client_for(simulator))

    assert str(error.value) == (
        "Zoom refused the access token (HTTP 401, code 124: Invalid access token.). So were 2 new ones. "
        "Check that the OAuth app is active, and whether other programs that fetch tokens for the same app "
        "end each other's."
    )
    assert sent(simulator) == (3, 3)


def test_a_scope_that_was_added_is_found_by_the_next_request(start_simulator: StartSimulator) -> None:
    server = start_simulator(scopes=("user:read:admin",))
    client = client_for(server)
    with pytest.raises(PermanentError):
        ask(client)

    server.simulator.config.scopes = ("contact_center_report:read:admin",)
    ask(client)

    assert sent(server) == (2, 2)


def test_an_outage_of_the_token_endpoint_is_waited_out(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("answer", on="token", details={"status": 503})]

    assert ask(client_for(simulator)).total_records
    assert sent(simulator) == (1, 2)


def test_refused_credentials_are_not_tried_again(simulator: SimulatorServer) -> None:
    settings = settings_for(simulator)
    simulator.simulator.config.client_secret = "another"

    with pytest.raises(PermanentError, match="Invalid client_id or client_secret"):
        ask(ZoomClient(settings))

    assert sent(simulator) == (0, 1)


def test_a_far_away_limit_of_the_token_endpoint_names_its_time(simulator: SimulatorServer) -> None:
    details = {"status": 429, "body": b"", "headers": {"Retry-After": "2099-01-01T00:00:00Z"}}
    simulator.simulator.faults = [Fault("answer", on="token", details=details)]

    with pytest.raises(RateLimitedUntil) as error:
        ask(client_for(simulator))

    assert error.value.retry_at == datetime(2099, 1, 1, tzinfo=UTC)


# What is refused for good


@pytest.mark.parametrize(
    ("status", "code", "words", "remedy"),
    [
        (400, 4711, "Invalid access token, does not contain scopes:[contact_center:read].", SCOPE_CURE),
        (400, 300, "The requested report exceeds the 1-month limit.", "Correct the query."),
        (400, 300, "Timezone does not exist: Mars/Base.", "Correct the query."),
        (401, 1001, "User does not exist.", "Check that the owner of the OAuth app is a user of the account."),
        (
            401,
            1601,
            "No permission.",
            "Give the owner of the OAuth app a role with access to Contact Center reports.",
        ),
        (
            403,
            9001,
            "Role lacks privileges.",
            "Give the owner of the OAuth app a Contact Center role with the engagement privileges.",
        ),
        (403, 1022, "No licence.", "Assign a Contact Center licence to the owner of the OAuth app."),
        (403, 77, "No.", "Check the OAuth app, the role of its owner and its Contact Center licence."),
        (401, 77, "No.", "Check the OAuth app and the role of its owner."),
        (404, 1201, "Queue does not exist: q.", "Check queue_id."),
        (404, 1001, "User does not exist: u.", "Check user_id."),
        (
            404,
            404,
            "Not found.",
            "Check the connection's host: it has to end with the API's version, as in https://api.zoom.us/v2.",
        ),
        (405, 300, "Request method is not supported.", "Correct the query."),
    ],
)
def test_a_refusal_is_raised_at_once_with_zooms_words_and_a_cure(
    simulator: SimulatorServer, status: int, code: int, words: str, remedy: str
) -> None:
    simulator.simulator.faults = [answering(status, {"code": code, "message": words}, times=-1)]

    with pytest.raises(PermanentError) as error:
        ask(client_for(simulator))

    assert str(error.value) == f"Zoom refused the request (HTTP {status}, code {code}: {words}). {remedy}"
    assert sent(simulator) == (1, 1)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"queue_id": "none"}, "(HTTP 404, code 1201: Queue does not exist: none.). Check queue_id."),
        ({"user_id": "none"}, "(HTTP 404, code 1001: User does not exist: none.). Check user_id."),
    ],
)
def test_a_filter_for_what_does_not_exist_says_which(
    simulator: SimulatorServer, filters: dict[str, str], message: str
) -> None:
    with pytest.raises(PermanentError) as error:
        ask(client_for(simulator), **filters)

    assert str(error.value) == f"Zoom refused the request {message}"


def test_a_missing_scope_is_named_in_both_forms(start_simulator: StartSimulator) -> None:
    server = start_simulator(scopes=("user:read:admin",))

    with pytest.raises(PermanentError) as error:
        ask(client_for(server))

    assert str(error.value) == (
        "Zoom refused the request (HTTP 400, code 4711: Invalid access token, does not contain "
        f"scopes:[contact_center:read:list_engagements:admin].). {SCOPE_CURE}"
    )
    assert sent(server) == (1, 1)


def test_the_fields_that_zoom_complains_of_are_quoted(simulator: SimulatorServer) -> None:
    body = {"code": 300, "message": "Validation Failed.", "errors": [{"field": "from", "message": "Bad date."}, 7]}
    body["errors"] += [{"field": "to"}, {"message": "Too long."}]
    simulator.simulator.faults = [answering(400, body)]

    with pytest.raises(PermanentError) as error:
        ask(client_for(simulator))

    assert str(error.value) == (
        "Zoom refused the request (HTTP 400, code 300: Validation Failed. [from: Bad date.] [to: ] [: Too long.]). "
        "Correct the query."
    )


@pytest.mark.parametrize("name", ["message", "errorMessage", "reason"])
def test_zooms_words_are_quoted_under_each_name_that_it_gives_them(simulator: SimulatorServer, name: str) -> None:
    simulator.simulator.faults = [answering(400, {"code": 300, name: "Bad date."})]

    with pytest.raises(PermanentError) as error:
        ask(client_for(simulator))

    assert str(error.value) == "Zoom refused the request (HTTP 400, code 300: Bad date.). Correct the query."


def test_a_wrong_host_is_pointed_out_whatever_its_page_looks_like(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [answering(404, "<html>Not Found</html>")]

    with pytest.raises(PermanentError, match=r"\(HTTP 404\)\. Check the connection's host"):
        ask(client_for(simulator))


# Page tokens


@pytest.mark.parametrize("status", [400, 300])
def test_a_dead_page_token_has_a_type_of_its_own_and_is_never_tried_again(
    simulator: SimulatorServer, status: int
) -> None:
    client = client_for(simulator)
    token = ask(client).next_page_token
    simulator.simulator.faults = [answering(status, PAGE_TOKEN_DIED, times=-1)]

    with pytest.raises(PageTokenExpired) as error:
        ask(client, page_token=token)

    assert str(error.value) == (
        f"Zoom's page token ended (HTTP {status}, code 300: The next page token is invalid or expired.)."
    )
    assert client.requests_sent == 2


def test_a_request_without_a_page_token_cannot_have_a_dead_one(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [answering(400, PAGE_TOKEN_DIED)]

    with pytest.raises(PermanentError, match="Correct the query"):
        ask(client_for(simulator))


# What passes

OUTAGES: list[tuple[Callable[..., Fault], str]] = [
    (
        lambda times: answering(500, {"code": 500, "message": "Internal error."}, times),
        f"Zoom could not answer (HTTP 500, code 500: Internal error.). {OUTAGE_CURE}",
    ),
    (
        lambda times: answering(502, "<html><h1>Bad Gateway</h1></html>", times),
        f"Zoom could not answer (HTTP 502). {OUTAGE_CURE}",
    ),
    (lambda times: answering(503, b"", times), f"Zoom could not answer (HTTP 503). {OUTAGE_CURE}"),
    (lambda times: answering(400, "<html>", times), f"Zoom could not answer (HTTP 400). {OUTAGE_CURE}"),
    (
        lambda times: answering(200, "<html>Maintenance</html>", times),
        f"Zoom's response is not a page of engagements: JSON is malformed: invalid character (byte 0). {OUTAGE_CURE}",
    ),
    (
        lambda times: answering(200, '{"engagements": [{"engagement_id": "a"', times),
        f"Zoom's response is not a page of engagements: Input data was truncated. {OUTAGE_CURE}",
    ),
    (
        lambda times: answering(200, b'{"total_records": 1, "engagements": [{"engagement_id": "\xff"}]}', times),
        "Zoom's response is not a page of engagements: it is not JSON in UTF-8. " + OUTAGE_CURE,
    ),
    (
        lambda times: Fault("cut", times=times),
        "The connection to HOST broke (ProtocolError). Check the network if this goes on.",
    ),
    (
        lambda times: Fault("reset", times=times),
        "The connection to HOST broke (ConnectionError). Check the network if this goes on.",
    ),
    (
        lambda times: Fault("delay", times=times, details={"seconds": 5.0}),
        "The connection to HOST broke (ReadTimeout). Check the network if this goes on.",
    ),
]
OUTAGE_NAMES = ["500", "502 HTML", "503", "400 HTML", "200 HTML", "half JSON", "not UTF-8", "cut", "reset", "hanging"]


@pytest.fixture
def short_waits(mocker: MockerFixture) -> None:
    """Wait a little between the requests of an outage, rather than a random time up to 20 seconds."""
    mocker.patch("airflow_provider_zcc.zoom.client.wait_random_exponential", return_value=wait_fixed(0.05))


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("fault", [outage[0] for outage in OUTAGES], ids=OUTAGE_NAMES)
def test_an_outage_that_passes_is_waited_out(simulator: SimulatorServer, fault: Callable[[int], Fault]) -> None:
    client = client_for(simulator, timeout=0.5)
    expected = ask(client)
    simulator.simulator.faults = [fault(1)]

    assert ask(client).records == expected.records
    assert client.requests_sent == 3


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize(("fault", "message"), OUTAGES, ids=OUTAGE_NAMES)
def test_an_outage_that_outlasts_the_patience_is_a_passing_error(
    simulator: SimulatorServer, fault: Callable[[int], Fault], message: str
) -> None:
    client = client_for(simulator, retry_timeout=0.1, timeout=0.3)
    simulator.simulator.faults = [fault(-1)]

    with pytest.raises(TransientError) as error:
        ask(client)

    assert str(error.value) == message.replace("HOST", simulator.url.removeprefix("http://"))


def test_an_outage_is_tried_again_until_the_patience_ends(simulator: SimulatorServer) -> None:
    client = client_for(simulator, retry_timeout=0.1)
    simulator.simulator.faults = [answering(500, b"", times=-1)]

    with pytest.raises(TransientError):
        ask(client)

    assert client.requests_sent >= 2


def test_without_patience_a_request_is_sent_once(simulator: SimulatorServer) -> None:
    client = client_for(simulator, retry_timeout=0.0)
    simulator.simulator.faults = [answering(500, b"", times=-1)]

    with pytest.raises(TransientError):
        ask(client)

    assert sent(simulator) == (1, 1)


def test_trying_again_is_logged_with_its_cause(simulator: SimulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    simulator.simulator.faults = [answering(500)]

    ask(client_for(simulator))

    assert caplog.messages == [f"Zoom could not answer (HTTP 500). {OUTAGE_CURE} Trying again (attempt 2)."]


def test_a_stop_ends_the_wait_for_an_outage(simulator: SimulatorServer) -> None:
    client, stop = client_for(simulator, retry_timeout=60.0), threading.Event()
    simulator.simulator.faults = [answering(500, times=-1)]
    threading.Timer(0.1, stop.set).start()

    with pytest.raises(ReadCancelled):
        ask(client, stop=stop)

    assert sent(simulator)[0] == client.requests_sent


def test_after_a_stop_no_request_is_sent(simulator: SimulatorServer) -> None:
    client, stop = client_for(simulator), threading.Event()
    stop.set()

    with pytest.raises(ReadCancelled):
        ask(client, stop=stop)

    assert sent(simulator) == (0, 0)


# Rate limits


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2099-05-31T00:00:00Z", datetime(2099, 5, 31, tzinfo=UTC)),
        ("Sun, 31 May 2099 00:00:00 GMT", datetime(2099, 5, 31, tzinfo=UTC)),
    ],
)
def test_a_limit_that_ends_far_away_names_its_time(simulator: SimulatorServer, value: str, instant: datetime) -> None:
    body = {"code": 429, "message": "You have reached the maximum daily rate limit."}
    simulator.simulator.faults = [answering(429, body, times=-1, **{"Retry-After": value})]

    with pytest.raises(RateLimitedUntil) as error:
        ask(client_for(simulator))

    assert error.value.retry_at == instant
    assert str(error.value) == (
        "Zoom's rate limit was reached (HTTP 429: You have reached the maximum daily rate limit.). "
        "Zoom asks to come back at 2099-05-31 00:00:00+00:00."
    )
    assert sent(simulator) == (1, 1)


def test_a_limit_that_ends_after_many_seconds_names_its_time(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [answering(429, times=-1, **{"Retry-After": "3600"})]
    before = datetime.now(UTC)

    with pytest.raises(RateLimitedUntil) as error:
        ask(client_for(simulator))

    hour = timedelta(hours=1)
    assert before + hour <= error.value.retry_at <= datetime.now(UTC) + hour


@pytest.mark.parametrize("requests_per_second", [None, 100])
def test_a_daily_limit_names_the_next_midnight(
    start_simulator: StartSimulator, requests_per_second: int | None
) -> None:
    server = start_simulator(daily_limit=1, requests_per_second=requests_per_second)
    client = client_for(server)
    ask(client)

    with pytest.raises(RateLimitedUntil) as error:
        ask(client)

    assert error.value.retry_at > datetime.now(UTC)
    assert error.value.retry_at.time() == datetime.min.time()


@pytest.mark.parametrize("value", ["0", "-5", "2020-05-31T00:00:00Z", "Sun, 31 May 2020 00:00:00 GMT"])
def test_a_limit_that_has_ended_is_no_reason_to_wait(simulator: SimulatorServer, value: str) -> None:
    client = client_for(simulator)
    expected = ask(client)
    simulator.simulator.faults = [answering(429, {"code": 4001, "message": "Slow down."}, **{"Retry-After": value})]

    assert ask(client).records == expected.records
    assert sent(simulator) == (3, 1)


@pytest.mark.parametrize(("value", "pause"), [(None, 0.06), ("soon", 0.06), ("0", 0.06), ("0.4", 0.8)])
def test_a_limit_that_ends_soon_is_waited_out(simulator: SimulatorServer, value: str | None, pause: float) -> None:
    client = client_for(simulator)
    expected = ask(client)
    simulator.simulator.faults = [answering(429, times=2, **({} if value is None else {"Retry-After": value}))]
    begin = time.monotonic()

    assert ask(client).records == expected.records
    assert sent(simulator) == (4, 1)
    assert time.monotonic() - begin >= pause


def test_a_limit_that_has_ended_again_and_again_is_asked_less_and_less_often(simulator: SimulatorServer) -> None:
    client = client_for(simulator, retry_timeout=0.18)
    simulator.simulator.faults = [answering(429, {"code": 4001, "message": "Slow."}, times=-1, **{"Retry-After": "0"})]
    begin = time.monotonic()

    with pytest.raises(RateLimited):
        ask(client)

    # 0.45 seconds of patience, pauses of 0.02, 0.04, 0.08, 0.16 and 0.3 seconds.
    assert time.monotonic() - begin >= 0.45
    assert client.requests_sent <= 6


@pytest.mark.parametrize("write", [lambda at: format_datetime(at, usegmt=True), "{:%Y-%m-%dT%H:%M:%SZ}".format])
def test_no_request_is_sent_before_the_time_that_zoom_names(
    simulator: SimulatorServer, write: Callable[[datetime], str]
) -> None:
    client = client_for(simulator)
    expected = ask(client)
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    simulator.simulator.faults = [answering(429, **{"Retry-After": write(soon)})]

    assert ask(client).records == expected.records
    assert datetime.now(UTC) >= soon


@pytest.mark.parametrize("value", [None, "soon", "2020-05-31T00:00:00Z", "0"])
def test_a_limit_that_outlasts_the_patience_is_its_own_error(simulator: SimulatorServer, value: str | None) -> None:
    headers = {} if value is None else {"Retry-After": value}
    simulator.simulator.faults = [answering(429, {"code": 4001, "message": "Slow down."}, times=-1, **headers)]

    with pytest.raises(RateLimited) as error:
        ask(client_for(simulator, retry_timeout=0.0))

    assert str(error.value) == "Zoom's rate limit was reached (HTTP 429: Slow down.)."
    assert not isinstance(error.value, RateLimitedUntil)
    assert sent(simulator) == (1, 1)


def test_a_limit_lasts_two_and_a_half_times_the_patience(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [answering(429, times=2, **{"Retry-After": "0.4"})]

    ask(client_for(simulator, retry_timeout=0.3))

    assert sent(simulator) == (3, 1)


def test_a_refusal_slows_all_further_requests(simulator: SimulatorServer) -> None:
    client = client_for(simulator, requests_per_second=40)
    announced = {"X-RateLimit-Type": "QPS", "X-RateLimit-Limit": "40"}
    simulator.simulator.faults = [answering(429, **{"Retry-After": "0"}, **announced)]
    ask(client)
    begin = time.monotonic()

    for _ in range(4):
        ask(client)

    # Four turns at a little more than a third of 40 per second, and not at 40. The first may have come already, and a
    # thread that wakes up late does not delay the turns behind it.
    assert time.monotonic() - begin >= 0.15


def test_an_announced_limit_is_kept_from_then_on(simulator: SimulatorServer) -> None:
    client = client_for(simulator)
    headers = {"X-RateLimit-Type": "QPS", "X-RateLimit-Limit": "20"}
    simulator.simulator.faults = [answering(200, {"total_records": 0, "engagements": []}, **headers)]
    ask(client)
    begin = time.monotonic()

    for _ in range(6):
        ask(client)

    # Six turns at 20 per second, of which the first has come, and a thread that wakes up late gains up to 0.05 s.
    assert time.monotonic() - begin >= 0.19


def test_a_daily_limit_says_nothing_of_the_pace(simulator: SimulatorServer, mocker: MockerFixture) -> None:
    client = client_for(simulator)
    announced = mocker.spy(client._rate_limiter, "announced")
    headers = {"X-RateLimit-Type": "Daily-limit", "X-RateLimit-Limit": "5"}
    simulator.simulator.faults = [answering(200, {"total_records": 0, "engagements": []}, **headers)]
    pace = client.requests_per_second

    ask(client)

    assert client.requests_per_second == pace
    announced.assert_not_called()
    assert client._rate_limiter.pace >= pace / 4


def test_what_zoom_has_left_in_the_second_reaches_the_pace(
    start_simulator: StartSimulator, mocker: MockerFixture
) -> None:
    client = client_for(start_simulator(requests_per_second=50))
    accepted = mocker.spy(client._rate_limiter, "accepted")

    ask(client)
    ask(client)

    assert accepted.call_args_list == [mocker.call(49), mocker.call(48)]


@pytest.mark.parametrize(
    ("headers", "remaining"),
    [
        ({"Type": "QPS", "Limit": "20", "Remaining": "7"}, 7),
        ({"Type": "qps", "Limit": "20", "Remaining": "0"}, 0),
        ({"Type": "QPS", "Limit": "20"}, None),
        ({"Type": "QPS", "Limit": "20", "Remaining": "a few"}, None),
        ({"Type": "QPS", "Limit": "20", "Remaining": ""}, None),
        ({"Type": "QPS", "Limit": "20", "Remaining": "7.5"}, None),
        ({"Type": "QPS", "Remaining": "7"}, None),
        ({"Type": "QPS", "Limit": "many", "Remaining": "7"}, None),
        ({"Type": "Daily-limit", "Limit": "30000", "Remaining": "7"}, None),
        ({"Limit": "20", "Remaining": "7"}, None),
        ({}, None),
    ],
)
def test_what_is_left_is_taken_from_a_readable_limit_per_second_alone(
    simulator: SimulatorServer, mocker: MockerFixture, headers: dict[str, str], remaining: int | None
) -> None:
    client = client_for(simulator)
    accepted = mocker.spy(client._rate_limiter, "accepted")
    limits = {f"X-RateLimit-{name}": value for name, value in headers.items()}
    simulator.simulator.faults = [answering(200, {"total_records": 0, "engagements": []}, **limits)]

    ask(client)

    assert accepted.call_args_list == [mocker.call(remaining)]


def test_an_announced_limit_is_the_pace_from_the_next_request_on(start_simulator: StartSimulator) -> None:
    client = client_for(start_simulator(requests_per_second=50), requests_per_second=40)

    ask(client)

    assert client._rate_limiter.pace == 40


def test_of_the_requests_that_wait_for_their_turn_the_lowest_rank_is_sent_first(simulator: SimulatorServer) -> None:
    client = client_for(simulator, requests_per_second=200)
    parameters = QUERY.parameters(QUERY.windows()[0])

    def get(rank: int) -> None:
        client.get(PATH, [*parameters, ("consumer_number", f"+1205930090{rank}")], parse_page, rank=lambda: rank)

    ask(client)
    simulator.simulator.stats.queries.clear()
    client._rate_limiter.refused(1.0)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(get, [5, 3, 1, 4, 0, 2]))

    asked = [dict(query)["consumer_number"] for query in simulator.simulator.stats.queries]
    assert asked == [f"+1205930090{rank}" for rank in range(6)]


def test_the_timeout_of_the_settings_is_that_of_the_token_request_too(simulator: SimulatorServer) -> None:
    simulator.simulator.faults = [Fault("delay", on="token", details={"seconds": 1.5})]

    with pytest.raises(TransientError, match="ReadTimeout"):
        ask(client_for(simulator, retry_timeout=0.0, timeout=0.5))

    assert sent(simulator)[0] == 0


@pytest.mark.parametrize("limit", ["many", "nan", "-1", ""])
def test_an_unreadable_limit_is_ignored(simulator: SimulatorServer, limit: str) -> None:
    client = client_for(simulator)
    page = {"total_records": 0, "engagements": []}
    headers = {"X-RateLimit-Type": "QPS", "X-RateLimit-Limit": limit}
    simulator.simulator.faults = [answering(200, page, **headers)]

    assert ask(client).records == []
    assert len(ask(client).records) == 100


# The patience of production


class VirtualTime(threading.Event):
    """A stop that is never set. To wait for it takes no time, and puts a clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return False


@pytest.fixture
def virtual_time(mocker: MockerFixture) -> VirtualTime:
    """The time that a client with the patience of production takes; the simulator's goes on as ever."""
    time = VirtualTime()
    mocker.patch("tenacity.time", time)
    mocker.patch("airflow_provider_zcc.zoom.client.RateLimiter", partial(RateLimiter, clock=time.monotonic))
    return time


def patient_client(server: SimulatorServer) -> ZoomClient:
    return ZoomClient(settings_for(server, requests_per_second=10.0))


@pytest.mark.parametrize(("pause", "latest"), [(None, 150), (0.5, 121)], ids=["pauses of production", "short pauses"])
def test_an_outage_is_given_up_after_two_minutes_with_the_last_words(
    simulator: SimulatorServer, virtual_time: VirtualTime, mocker: MockerFixture, pause: float | None, latest: int
) -> None:
    if pause:
        mocker.patch("airflow_provider_zcc.zoom.client.wait_random_exponential", return_value=wait_fixed(pause))
    client = patient_client(simulator)
    simulator.simulator.faults = [answering(500, {"message": f"Words {number}."}) for number in range(1, 1_000)]

    with pytest.raises(TransientError) as error:
        ask(client, stop=virtual_time)

    assert client.requests_sent > 2
    assert str(error.value) == f"Zoom could not answer (HTTP 500: Words {client.requests_sent}.). {OUTAGE_CURE}"
    assert 120 <= virtual_time.now < latest


def test_an_outage_of_a_minute_and_a_half_is_waited_out(
    simulator: SimulatorServer, virtual_time: VirtualTime, mocker: MockerFixture
) -> None:
    client = patient_client(simulator)
    expected = ask(client, stop=virtual_time)
    outage = answering(500, times=-1)
    simulator.simulator.faults = [outage]
    wait = virtual_time.wait

    def wait_until_it_ends(seconds: float) -> bool:
        outage.times = -1 if virtual_time.now < 90 else 0
        return wait(seconds)

    mocker.patch.object(virtual_time, "wait", wait_until_it_ends)

    assert ask(client, stop=virtual_time).records == expected.records
    assert virtual_time.now >= 90


def test_a_named_time_of_less_than_five_minutes_is_waited_for(
    simulator: SimulatorServer, virtual_time: VirtualTime
) -> None:
    simulator.simulator.faults = [answering(429, **{"Retry-After": "299"})]

    assert ask(patient_client(simulator), stop=virtual_time).records
    assert sent(simulator) == (2, 1)
    assert 298 < virtual_time.now < 300


def test_a_named_time_of_more_than_five_minutes_is_raised_at_once(
    simulator: SimulatorServer, virtual_time: VirtualTime
) -> None:
    simulator.simulator.faults = [answering(429, **{"Retry-After": "301"})]

    with pytest.raises(RateLimitedUntil):
        ask(patient_client(simulator), stop=virtual_time)

    assert sent(simulator) == (1, 1)
    assert virtual_time.now == 0


def test_a_limit_that_names_no_time_is_given_up_after_five_minutes(
    simulator: SimulatorServer, virtual_time: VirtualTime
) -> None:
    client = patient_client(simulator)
    simulator.simulator.faults = [answering(429, {"message": f"Words {number}."}) for number in range(1, 3_000)]

    with pytest.raises(RateLimited) as error:
        ask(client, stop=virtual_time)

    assert str(error.value) == f"Zoom's rate limit was reached (HTTP 429: Words {client.requests_sent}.)."
    assert not isinstance(error.value, RateLimitedUntil)
    # At the pace that is left, the last turn may have been a few seconds away.
    assert 300 <= virtual_time.now < 310


# What must not get out


FIXED_TOKEN = Fault("answer", "token", times=-1, details={"status": 200, "body": {"access_token": "the-access-token"}})


class Secrets:
    """A client that asks for one person's engagements, and everything of that which must stay inside."""

    def __init__(self, server: SimulatorServer) -> None:
        settings = settings_for(server, timeout=0.5)
        self._client = ZoomClient(settings, retry_timeout=0.0)
        self._page_token = "a-page-token-of-zoom"
        self.values = ["the-access-token", settings.credentials.client_secret, NUMBER[1:], self._page_token]
        self.echo = f"the-access-token {NUMBER} {NUMBER[1:]} %2B{NUMBER[1:]} {self._page_token}"

    def error(self) -> ZoomError:
        with pytest.raises(ZoomError) as error:
            ask(self._client, page_token=self._page_token, consumer_number=NUMBER)
        return error.value


@pytest.mark.parametrize(
    ("status", "code"), [(400, 300), (400, 4711), (401, 124), (401, 1001), (403, 9001), (404, 77), (429, 1), (500, 5)]
)
def test_what_zoom_echoes_of_tokens_and_people_is_in_no_error_and_no_log(
    simulator: SimulatorServer, caplog: pytest.LogCaptureFixture, status: int, code: int
) -> None:
    caplog.set_level(logging.INFO)
    secrets = Secrets(simulator)
    body = {"code": code, "message": secrets.echo, "errors": [{"field": secrets.echo, "message": secrets.echo}]}
    simulator.simulator.faults = [FIXED_TOKEN, answering(status, body, times=-1)]

    error = secrets.error()

    told = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert [value for value in secrets.values if value in told] == []
    assert "*** *** *** %2B*** ***" in str(error)


@pytest.mark.parametrize("echo", ["+1 205  930 0900", "1 205  930 0900", "+1 205 930 0900", "+1 205\t930\n0900"])
def test_a_number_written_with_double_spaces_is_in_no_error(simulator: SimulatorServer, echo: str) -> None:
    simulator.simulator.faults = [answering(400, {"code": 300, "message": f"Bad number: {echo}!"})]

    with pytest.raises(PermanentError) as error:
        ask(client_for(simulator), consumer_number="+1 205  930 0900")

    assert str(error.value) == ("Zoom refused the request (HTTP 400, code 300: Bad number: ***!). Correct the query.")


@pytest.mark.parametrize(
    "make",
    [
        lambda: answering(302, location="https://example.com/"),
        lambda: answering(200, f'{{"engagements": [{{"engagement_id": "{NUMBER}" "a"}}]}}'),
        lambda: answering(200, f'{{"engagements": "{NUMBER}"}}'),
        lambda: answering(200, {"total_records": NUMBER + "x", "engagements": []}),
        lambda: Fault("reset"),
        lambda: Fault("cut"),
        lambda: Fault("delay", details={"seconds": 5.0}),
    ],
    ids=["redirect", "not JSON", "other JSON", "not a number", "reset", "cut", "hanging"],
)
def test_the_url_and_the_body_of_a_failed_request_are_in_no_error(
    simulator: SimulatorServer, make: Callable[[], Fault]
) -> None:
    secrets = Secrets(simulator)
    simulator.simulator.faults = [FIXED_TOKEN, make()]

    error = secrets.error()

    told = "".join(traceback.format_exception(error)) + repr(error)
    assert [value for value in secrets.values if value in told] == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(start_simulator: StartSimulator, status: int) -> None:
    server, other = start_simulator(), start_simulator()
    location = f"{other.url}/v2/contact_center/engagements"
    server.simulator.faults = [answering(status, times=-1, location=location)]

    with pytest.raises(PermanentError, match=rf"redirected the request \(HTTP {status}\)"):
        ask(client_for(server))

    assert sent(other) == (0, 0)
    assert sent(server) == (1, 1)


def test_the_token_is_never_sent_to_another_host(start_simulator: StartSimulator) -> None:
    server, other = start_simulator(), start_simulator()
    client = client_for(server)
    ask(client)

    with pytest.raises(PermanentError, match="sent to the connection's host alone"):
        client.session.get(f"{other.url}/v2/contact_center/engagements")

    assert sent(other) == (0, 0)
