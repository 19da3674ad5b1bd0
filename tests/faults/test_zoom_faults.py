"""Everything that can go wrong on Zoom's side, at the beginning, in the middle of an upload, and among threads."""

from __future__ import annotations

import gzip
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest

from tests.faults.conftest import (
    ALL_RECORDS,
    ConnectS3,
    Deferred,
    Ending,
    MayRetry,
    Permanent,
    RunInto,
    engagements_of_a_day,
    even_starts,
)
from tests.unit.conftest import Bucket, ConnectZoom, StartZoom, daily_limit_until, hours_from_now
from tests.zoom_simulator.app import PAGE_TOKEN_DIED
from tests.zoom_simulator.data import Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault

FOREVER = -1
REJECTED_TOKEN = {"code": 124, "message": "Invalid access token."}
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Place:
    """Where in the reading of a day a fault strikes.

    :param on: the requests that are counted, as in :attr:`Fault.on`.
    :param after: so many are spared.
    :param arguments: of the task.
    :param engagements: that the day holds, on pages of 100.
    """

    name: str
    on: str
    after: int
    arguments: dict[str, Any]
    engagements: int = 800

    def pages(self) -> dict[str, Any]:
        """Return where a fault strikes requests with a page token."""
        return {"on": "next", "after": self.after}


BEGINNING = Place("at the beginning", "api", 0, {})
#: One thread, so that what is spared has reached the upload.
MIDDLE = Place("during the upload", "next", 3, {"max_concurrency": 1})
#: A day of so many is split into four windows. As many requests are spared as ask for the day and for each window's
#: first page.
THREADS = Place("among threads", "api", 5, {"compression": "gzip"}, 1_600)
BOTH, EVERYWHERE = (BEGINNING, MIDDLE), (BEGINNING, MIDDLE, THREADS)

Strike = Callable[[Place], list[Fault]]
Meet = Callable[..., BaseException | None]


def strikes(kind: str, times: int = 1, **details: Any) -> Strike:
    return lambda place: [Fault(kind, place.on, place.after, times, details)]


def strikes_pages(kind: str, times: int = 1, **details: Any) -> Strike:
    """Let something strike only the pages behind a page token."""
    return lambda place: [Fault(kind, **place.pages(), times=times, details=details)]


def responds(status: int, body: object = b"", headers: dict[str, str] | None = None) -> Callable[..., Strike]:
    return partial(strikes, "answer", status=status, body=body, headers=headers or {})


def page_with(times: int = 1, **keys: Any) -> Strike:
    return strikes("page", times, **keys)


def page_before_the_last_with(times: int = 1, **keys: Any) -> Strike:
    """Replace keys of the seventh page of eight, the fifth behind a page token beside the one that is held."""
    return lambda place: [Fault("page", "next", after=place.after + 1, times=times, details=keys)]


def throttled(retry_after: Callable[[], str] | None = None, times: int = 1) -> Strike:
    """Respond with HTTP 429. The time that it names depends on the time of the test."""

    def strike(place: Place) -> list[Fault]:
        headers = {"Retry-After": retry_after()} if retry_after else {}
        return responds(429, {"code": 429, "message": "Too many requests."}, headers)(times)(place)

    return strike


def daily_limit(until: Callable[[], datetime], times: int = 1) -> Strike:
    return lambda place: [daily_limit_until(until(), on=place.on, after=place.after, times=times)]


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def token_endpoint(kind: str, times: int = 1, **details: Any) -> Strike:
    """Let something strike the token endpoint: at the first token, or at the one that replaces it."""

    def strike(place: Place) -> list[Fault]:
        if place is BEGINNING:
            return [Fault(kind, "token", 0, times, details)]
        return [*responds(401, REJECTED_TOKEN)()(place), Fault(kind, "token", 1, times, details)]

    return strike


def rows(strike: Strike, ending: Ending, name: str, *places: Place) -> list[Any]:
    return [pytest.param(strike, place, ending, id=f"{name}, {place.name}") for place in places or BOTH]


def transient(make: Callable[..., Strike], ending: Ending, name: str) -> list[Any]:
    """Return the rows of a fault that passes, and of the same one that stays."""
    return [
        *rows(make(times=3), ALL_RECORDS, f"{name} for a while", BEGINNING),
        *rows(make(), ALL_RECORDS, f"{name} once", MIDDLE),
        *rows(make(times=FOREVER), ending, f"{name} forever"),
    ]


def variant(make: Callable[..., Strike], ending: Ending, name: str) -> list[Any]:
    """Return two rows for what differs from another fault only in its shape."""
    return [
        *rows(make(times=FOREVER), ending, f"{name} forever", BEGINNING),
        *rows(make(), ALL_RECORDS, f"{name} once", MIDDLE),
    ]


token_response = partial(partial, token_endpoint, "answer")
token_page = partial(partial, token_endpoint, "page")
CONNECTION = MayRetry("127.0.0.1:")
HTTP_500, THROTTLED, NO_TOKEN, REJECTED = map(
    MayRetry, ("HTTP 500", "rate limit", "usable access token", "access token")
)
TOKENS = [
    *rows(responds(401, REJECTED_TOKEN)(), ALL_RECORDS, "401 with code 124 once"),
    *rows(responds(401, REJECTED_TOKEN)(FOREVER), REJECTED, "401 with code 124 forever"),
    *variant(responds(401, {"message": "The access token expired."}), REJECTED, "401 without a code"),
    *transient(token_response(status=500, body={"message": "Internal error."}), HTTP_500, "token endpoint: 500"),
    *variant(token_response(status=502, body=HTML), MayRetry("HTTP 502"), "token endpoint: HTML"),
    *variant(token_response(status=429, body={"message": "Too many."}), THROTTLED, "token endpoint: 429"),
    *variant(partial(token_endpoint, "reset"), CONNECTION, "token endpoint: reset"),
    *variant(partial(token_endpoint, "cut"), CONNECTION, "token endpoint: truncated"),
    *rows(token_endpoint("delay", seconds=0.2), ALL_RECORDS, "token endpoint: slow"),
    *variant(token_response(status=200, body="soon"), NO_TOKEN, "token response: no JSON"),
    *variant(token_page(access_token="<absent>"), NO_TOKEN, "token response: no token"),
    *rows(token_page(expires_in="soon")(), ALL_RECORDS, "token response: life is no number", MIDDLE),
    *rows(
        token_response(status=400, body={"error": "invalid_client", "reason": "Invalid secret"})(FOREVER),
        Permanent("Invalid secret.*Check the connection's login"),
        "credentials are rejected",
    ),
    *rows(
        token_response(status=400, body={"error": "invalid_request", "reason": "Bad Request"})(FOREVER),
        Permanent("Check the connection's account_id"),
        "account is rejected",
        BEGINNING,
    ),
]

UNUSABLE_TIMES = {
    "junk": "in a moment",
    "more seconds than there are": "1e300",
    "the past as an HTTP date": "Mon, 03 Nov 2025 00:00:00 GMT",
}
NAMES_THE_TIME = MayRetry(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*\+00:00")
RATE_LIMITS = [
    *rows(throttled(lambda: "1"), ALL_RECORDS, "429 names seconds", MIDDLE),
    *rows(
        throttled(lambda: format_datetime(in_seconds(1), usegmt=True)), ALL_RECORDS, "429 names an HTTP date", MIDDLE
    ),
    *rows(throttled(lambda: f"{in_seconds(1):%Y-%m-%dT%H:%M:%SZ}"), ALL_RECORDS, "429 names an ISO instant", BEGINNING),
    *(
        row
        for number, (name, value) in enumerate(UNUSABLE_TIMES.items())
        for row in rows(
            throttled(lambda value=value: value, times=2), ALL_RECORDS, f"429 names {name}", BOTH[number % 2]
        )
    ),
    *rows(throttled(times=3), ALL_RECORDS, "429 names no time", *EVERYWHERE),
    *rows(throttled(times=FOREVER), THROTTLED, "429 names no time, forever"),
    *rows(throttled(lambda: "86400", FOREVER), NAMES_THE_TIME, "429 names a day in seconds", THREADS),
    *rows(daily_limit(lambda: in_seconds(1)), ALL_RECORDS, "daily limit ends soon", MIDDLE),
    *rows(daily_limit(lambda: hours_from_now(6), FOREVER), NAMES_THE_TIME, "daily limit ends in hours"),
]
OUTAGES = [
    *transient(responds(500, {"code": 500, "message": "Oops."}), HTTP_500, "500"),
    *variant(responds(502, HTML), MayRetry("HTTP 502"), "502 with HTML"),
    *variant(responds(503), MayRetry("HTTP 503"), "503"),
    *rows(responds(503)(times=20), ALL_RECORDS, "503 for a while", MIDDLE, THREADS),
    *transient(partial(strikes, "reset"), CONNECTION, "reset before the response"),
    *transient(partial(strikes, "torn"), CONNECTION, "reset within the body"),
    *transient(partial(strikes, "cut"), CONNECTION, "body is truncated"),
]

HALF_A_PAGE = b'{"next_page_token": "", "total_records": 800, "engagements": [{"engagement_id": "e'
NO_PAGES: dict[str, object] = {
    "no JSON": "<html>Have a nice day.</html>",
    "half a page": HALF_A_PAGE,
    "an object for engagements": {"total_records": 1, "engagements": {}},
    "null for engagements": {"total_records": 800, "engagements": None, "next_page_token": ""},
}
#: What would be an empty day, if nobody checked it.
GZIP = gzip.compress(b'{"next_page_token": "", "total_records": 0, "engagements": []}')
BROKEN_GZIP = {
    "gzip that is garbage": b"garbage",
    "gzip that ends early": gzip.compress(HALF_A_PAGE)[:-20],
    "gzip with a wrong checksum": GZIP[:-8] + bytes(4) + GZIP[-4:],
}
NONSENSE = [
    *(row for name, body in NO_PAGES.items() for row in variant(responds(200, body), MayRetry(), name)),
    *(
        row
        for name, body in BROKEN_GZIP.items()
        for row in variant(responds(200, body, {"Content-Encoding": "gzip"}), MayRetry(), name)
    ),
]

LOOPING, INCOMPLETE, TOO_FEW = MayRetry(), MayRetry("800 engagements"), MayRetry("9999 engagements")
page_token_expires = partial(strikes_pages, "answer", status=400, body=PAGE_TOKEN_DIED)
lost_pages, emptied_page = {"next_page_token": ""}, {"engagements": []}
PAGES = [
    *rows(page_token_expires(), ALL_RECORDS, "page token expires", *EVERYWHERE),
    *rows(page_token_expires(FOREVER), MayRetry("page token"), "page tokens expire forever"),
    *rows(strikes("doubled", FOREVER), ALL_RECORDS, "every record comes twice", *EVERYWHERE),
    *rows(strikes_pages("again"), ALL_RECORDS, "page repeats", *EVERYWHERE),
    *rows(strikes_pages("again", FOREVER), LOOPING, "pages repeat forever"),
    *rows(strikes("loop"), ALL_RECORDS, "pages begin again"),
    *rows(strikes("loop", FOREVER), LOOPING, "pages begin again forever"),
    *rows(page_with(**lost_pages), ALL_RECORDS, "last pages are lost", *EVERYWHERE),
    *rows(page_with(FOREVER, **lost_pages), INCOMPLETE, "last pages are lost forever", MIDDLE),
    *rows(page_before_the_last_with(**lost_pages), ALL_RECORDS, "last page is lost", MIDDLE),
    *rows(page_before_the_last_with(FOREVER, **lost_pages), MayRetry("800.*700"), "last page is lost forever", MIDDLE),
    *rows(page_with(**emptied_page), ALL_RECORDS, "page is empty"),
    *rows(page_with(FOREVER, **emptied_page), INCOMPLETE, "pages are empty forever", MIDDLE),
    *rows(page_with(engagements=None, total_records=0), ALL_RECORDS, "page holds null and total 0"),
    *rows(page_with(engagements="<absent>", total_records=0), ALL_RECORDS, "page holds no engagements and total 0"),
    *rows(page_with(FOREVER, total_records="800"), ALL_RECORDS, "total is a string"),
    *rows(
        lambda _: [Fault("page", "first", after=1, times=FOREVER, details={"total_records": "<absent>"})],
        ALL_RECORDS,
        "total of the windows is absent",
        THREADS,
    ),
    *rows(page_with(FOREVER, total_records="<absent>"), ALL_RECORDS, "total is absent"),
    *rows(page_with(FOREVER, total_records=3), ALL_RECORDS, "total is too low"),
    *rows(page_with(total_records=9_999), ALL_RECORDS, "total is too high once"),
    *rows(page_with(FOREVER, total_records=9_999), TOO_FEW, "total is too high forever"),
    # What takes back the total does not end the reading.
    *rows(responds(200, {**lost_pages, "total_records": 0, "engagements": None})(), ALL_RECORDS, "null", MIDDLE),
    *rows(responds(200, {**lost_pages, "total_records": 0, **emptied_page})(), ALL_RECORDS, "an empty day", MIDDLE),
    *rows(page_with(**lost_pages, total_records=3), ALL_RECORDS, "last pages lost, low total", MIDDLE),
    *rows(page_with(**lost_pages, **emptied_page, total_records=0), ALL_RECORDS, "page emptied", MIDDLE),
    *rows(page_with(**lost_pages, total_records=None), ALL_RECORDS, "last pages lost, no total", MIDDLE),
]


@pytest.fixture
def meet(
    start_zoom: StartZoom, connect_zoom: ConnectZoom, connect_s3: ConnectS3, run_into: RunInto, bucket: Bucket
) -> Meet:
    """Let faults strike a task at a place, and check how it ends."""

    def meet(
        strike: Strike,
        place: Place,
        ending: Ending,
        *,
        engagements: Engagements | None = None,
        connection: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> BaseException | None:
        uploads: list[object] = []
        deadline = time.monotonic() + 10

        def upload_has_begun() -> bool:
            uploads.extend(bucket.unfinished_uploads())
            return bool(uploads) or time.monotonic() > deadline

        engagements = engagements or engagements_of_a_day(place.engagements)
        server = start_zoom(engagements, **config or {})
        connect_zoom(server, **connection or {})
        connect_s3()
        faults = strike(place)
        if place is MIDDLE:
            faults.insert(0, Fault("hold", **place.pages(), details={"until": upload_has_begun}))
        server.simulator.faults = faults
        error = run_into(engagements, ending, **place.arguments | arguments)
        assert [fault for fault in faults if fault.after or fault.times > 0 or fault.times == FOREVER] == []
        assert bool(uploads) == (place is MIDDLE)
        if place is THREADS:
            windows = {(query["from"], query["to"]) for query in map(dict, server.simulator.stats.queries)}
            assert len(windows) > 2, "Where the day is not split, one thread reads it."
        return error

    return meet


@pytest.mark.parametrize(("strike", "place", "ending"), [*TOKENS, *RATE_LIMITS, *OUTAGES, *NONSENSE, *PAGES])
def test_a_fault_ends_in_all_records_or_in_one_error(meet: Meet, strike: Strike, place: Place, ending: Ending):
    meet(strike, place, ending)


@pytest.mark.parametrize(
    ("strike", "place", "ending"),
    [
        *transient(partial(strikes, "delay", seconds=1.0), CONNECTION, "no response"),
        *variant(partial(strikes, "stall", seconds=1.0), CONNECTION, "silence within the body"),
        *variant(partial(token_endpoint, "delay", seconds=1.0), CONNECTION, "no token"),
    ],
)
def test_a_server_that_hangs_is_left_after_the_connections_timeout(
    meet: Meet, strike: Strike, place: Place, ending: Ending
):
    meet(strike, place, ending, connection={"extra": {"timeout": 0.3}})


@pytest.mark.parametrize("place", [BEGINNING, MIDDLE, THREADS], ids=lambda place: place.name)
@pytest.mark.parametrize("make", [daily_limit, lambda moment, times: throttled(lambda: f"{moment():%FT%TZ}", times)])
def test_a_limit_that_ends_in_hours_is_waited_for_without_a_worker_slot(
    meet: Meet, make: Callable[..., Strike], place: Place
):
    moment = hours_from_now(6)
    deferral = meet(make(lambda: moment, FOREVER), place, Deferred(), deferrable=True)
    assert abs(deferral.trigger.moment - moment) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("instant", "ending", "deferrable"),
    [
        ("9999-12-31T23:59:59Z", Deferred(), True),
        ("9999-12-31T23:59:59Z", MayRetry("9999-12-31"), False),
        ("9999-12-31T23:59:59-12:00", MayRetry("9999-12-31"), False),
        ("9999-12-31T23:59:59-12:00", Deferred(), True),
        ("0001-01-01T00:00:00+14:00", THROTTLED, True),
    ],
)
def test_a_limit_at_an_end_of_the_calendar_ends_in_one_error(
    meet: Meet, instant: str, ending: Ending, deferrable: bool
):
    meet(throttled(lambda: instant, FOREVER), BEGINNING, ending, deferrable=deferrable)


@pytest.mark.parametrize("refused", ["host", "oauth_url"])
def test_a_server_that_refuses_connections_may_be_there_later(meet: Meet, refused: str):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        connection = {"host": f"{url}/v2"} if refused == "host" else {"extra": {"oauth_url": f"{url}/oauth/token"}}
        meet(lambda _: [], BEGINNING, CONNECTION, connection=connection)


class Rewritten(Engagements):
    """A day's engagements, every third of which lacks something that Zoom documents.

    :param pattern: what is replaced in its JSON.
    :param replacement: by what.
    :param count: how many engagements there are.
    """

    def __init__(self, pattern: str, replacement: str, count: int = 800) -> None:
        super().__init__(even_starts(count))
        self._pattern = pattern
        self._replacement = replacement

    def render(self, number: int, style: TimeStyle) -> str:
        text = super().render(number, style)
        return re.sub(self._pattern, self._replacement, text) if number % 3 == 0 else text


ID, START_TIME = '"engagement_id": ?"[^"]*"', '"start_time": ?"[^"]*"'


@pytest.mark.parametrize("place", [BEGINNING, THREADS], ids=lambda place: place.name)
@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        pytest.param(ID, '"id_gone": true', id="no engagement_id"),
        pytest.param(ID, '"engagement_id": null', id="engagement_id null"),
        pytest.param(START_TIME, '"start_gone": true', id="no start_time"),
        pytest.param(START_TIME, '"start_time": null', id="start_time null"),
        pytest.param(START_TIME, '"start_time": "this morning"', id="start_time unreadable"),
        pytest.param(START_TIME, '"start_time": "2020-01-01T00:00:00Z"', id="start_time in another year"),
    ],
)
def test_records_that_lack_an_id_or_a_time_arrive_exactly_once(
    meet: Meet, pattern: str, replacement: str, place: Place
):
    engagements = Rewritten(pattern, replacement, place.engagements)
    meet(strikes("doubled"), place, ALL_RECORDS, engagements=engagements)


def test_engagements_that_share_an_id_are_missed(meet: Meet):
    twins = Rewritten('("engagement_id": ?)"[^"]*"', r'\1"twin"')
    meet(lambda _: [], BEGINNING, INCOMPLETE, engagements=twins)


@pytest.mark.parametrize("place", [BEGINNING, MIDDLE], ids=lambda place: place.name)
def test_a_total_that_is_too_high_forever_may_be_accepted(meet: Meet, place: Place, caplog: pytest.LogCaptureFixture):
    meet(page_with(FOREVER, total_records=9_999), place, ALL_RECORDS, on_incomplete="warn")
    assert any("9999" in record.message and record.levelname == "WARNING" for record in caplog.records)
