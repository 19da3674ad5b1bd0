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
    DAY,
    Deferred,
    Ending,
    ForGood,
    MayRetry,
    RunInto,
    connect_s3,
    engagements_of_a_day,
    even_starts,
    leave_no_time_between_tries,
)
from tests.faults.gate import Gate
from tests.s3_server import S3Server
from tests.unit.conftest import Bucket, ConnectZoom, StartZoom, daily_limit_until, hours_from_now
from tests.zoom_simulator.app import PAGE_TOKEN_DIED
from tests.zoom_simulator.data import Engagements, TimeStyle
from tests.zoom_simulator.faults import Fault

FOR_EVER = -1
DEAD_TOKEN = {"code": 124, "message": "Invalid access token."}
DEAD_TOKEN_IN_OTHER_WORDS = {"status": False, "errorCode": 401, "errorMessage": "Invalid access token."}
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Place:
    """Where in the reading of a day a fault befalls it.

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
        """Return where a fault befalls requests with a page token."""
        return {"on": "next", "after": self.after}


BEGINNING = Place("at the beginning", "api", 0, {})
#: One thread, so that what is spared has reached the upload.
MIDDLE = Place("during the upload", "next", 3, {"compression": "gzip", "max_concurrency": 1})
#: A day of so many is cut into four windows. As many requests are spared as ask for the day and for each window's
#: first page.
THREADS = Place("among threads", "api", 5, {"compression": "gzip"}, 1_600)
BOTH = (BEGINNING, MIDDLE)

Befall = Callable[[Place], list[Fault]]
Meet = Callable[..., BaseException | None]


def befalls(kind: str, times: int = 1, **details: Any) -> Befall:
    return lambda place: [Fault(kind, place.on, place.after, times, details)]


def befalls_pages(kind: str, times: int = 1, **details: Any) -> Befall:
    """Let something befall the pages behind a page token alone."""
    return lambda place: [Fault(kind, **place.pages(), times=times, details=details)]


def answers_with(status: int, body: object = b"", headers: dict[str, str] | None = None) -> Callable[..., Befall]:
    return partial(befalls, "answer", status=status, body=body, headers=headers or {})


def page_with(times: int = 1, **keys: Any) -> Befall:
    return befalls("page", times, **keys)


def parts_with(**keys: Any) -> Befall:
    """Replace keys of the first page of each window that the day is cut into."""
    return lambda _: [Fault("page", "first", after=1, times=FOR_EVER, details=keys)]


def page_before_the_last_with(times: int = 1, **keys: Any) -> Befall:
    """Replace keys of the seventh page of eight, the fifth behind a page token beside the one that is held."""
    return lambda place: [Fault("page", "next", after=place.after + 1, times=times, details=keys)]


def limits(retry_after: Callable[[], str] | None, times: int = 1) -> Befall:
    """Answer with HTTP 429. The time that it names depends on the time of the test."""

    def befall(place: Place) -> list[Fault]:
        headers = {"Retry-After": retry_after()} if retry_after else {}
        return answers_with(429, {"code": 429, "message": "Too many requests."}, headers)(times)(place)

    return befall


def daily_limit(moment: Callable[[], datetime], times: int = 1) -> Befall:
    return lambda place: [daily_limit_until(moment(), on=place.on, after=place.after, times=times)]


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def token_endpoint(kind: str, times: int = 1, **details: Any) -> Befall:
    """Let something befall the token endpoint: when the first token is asked for, or when the first one has died."""

    def befall(place: Place) -> list[Fault]:
        if place is BEGINNING:
            return [Fault(kind, "token", 0, times, details)]
        return [*answers_with(401, DEAD_TOKEN)()(place), Fault(kind, "token", 1, times, details)]

    return befall


def rows(befall: Befall, ending: Ending, name: str, *places: Place) -> list[Any]:
    return [pytest.param(befall, place, ending, id=f"{name}, {place.name}") for place in places or BOTH]


def both_ways(make: Callable[..., Befall], ending: Ending, name: str) -> list[Any]:
    """Return the rows of a fault that passes, and of the same one that stays."""
    return [
        *rows(make(times=3), ALL_RECORDS, f"{name} for a while", BEGINNING),
        *rows(make(), ALL_RECORDS, f"{name} once", MIDDLE),
        *rows(make(times=FOR_EVER), ending, f"{name} for ever"),
    ]


def in_short(make: Callable[..., Befall], ending: Ending, name: str) -> list[Any]:
    """Return two rows for what differs from another fault in its shape alone."""
    return [
        *rows(make(times=FOR_EVER), ending, f"{name} for ever", BEGINNING),
        *rows(make(), ALL_RECORDS, f"{name} once", MIDDLE),
    ]


DEAD_TOKENS = {
    "401 with code 124": answers_with(401, DEAD_TOKEN),
    "400 with code 124": answers_with(400, DEAD_TOKEN),
    "401 without a code": answers_with(401, {"message": "The access token expired."}),
    "401 with errorCode": answers_with(401, DEAD_TOKEN_IN_OTHER_WORDS),
}
NO_NEW_TOKEN_HELPS = MayRetry("rejected the access token .* also rejected 2 new ones")
ACCESS_TOKENS = [
    row
    for name, make in DEAD_TOKENS.items()
    for row in (
        *rows(make(), ALL_RECORDS, f"access token dies, {name}"),
        *rows(make(times=FOR_EVER), NO_NEW_TOKEN_HELPS, f"access tokens die for ever, {name}"),
    )
]

BROKE = MayRetry("Could not connect to 127.0.0.1:")
NO_TOKEN = MayRetry("OAuth endpoint returned no usable access token")
TOKEN_ENDPOINT = [
    *both_ways(
        partial(token_endpoint, "answer", status=500, body={"message": "Internal error."}),
        MayRetry("OAuth endpoint is unavailable .HTTP 500"),
        "token endpoint answers 500",
    ),
    *in_short(
        partial(token_endpoint, "answer", status=502, body=HTML),
        MayRetry("OAuth endpoint is unavailable .HTTP 502"),
        "token endpoint answers an HTML page",
    ),
    *in_short(
        partial(token_endpoint, "answer", status=429, body={"message": "Too many requests."}),
        MayRetry("rate limit was reached"),
        "token endpoint answers 429",
    ),
    *in_short(partial(token_endpoint, "reset"), BROKE, "token endpoint resets the connection"),
    *in_short(partial(token_endpoint, "cut"), BROKE, "token answer is cut short"),
    *rows(token_endpoint("delay", seconds=0.2), ALL_RECORDS, "token endpoint is slow"),
    *in_short(partial(token_endpoint, "answer", status=200, body="soon"), NO_TOKEN, "token answer is no JSON"),
    *in_short(partial(token_endpoint, "page", access_token="<absent>"), NO_TOKEN, "token answer has no token"),
    *in_short(partial(token_endpoint, "page", access_token=""), NO_TOKEN, "token is empty"),
    *in_short(partial(token_endpoint, "page", access_token="two\nlines"), NO_TOKEN, "token has two lines"),
    *rows(token_endpoint("page", expires_in="soon"), ALL_RECORDS, "life of the token is no number", MIDDLE),
    *rows(
        token_endpoint("answer", FOR_EVER, status=400, body={"error": "invalid_client", "reason": "Invalid secret"}),
        ForGood("Invalid secret.*Check the connection's login"),
        "credentials are refused",
    ),
    *rows(
        token_endpoint("answer", FOR_EVER, status=400, body={"error": "invalid_request", "reason": "Bad Request"}),
        ForGood("Check the connection's account_id"),
        "account is refused",
        BEGINNING,
    ),
]

NO_USABLE_TIME = {
    "nothing": "",
    "junk": "in a moment",
    "no number": "nan",
    "an infinite number": "inf",
    "more seconds than there are": "1e300",
    "a negative number": "-5",
    "a date that is none": "Tue, 99 Nov 2026 00:00:00 GMT",
    "the past as an HTTP date": "Mon, 03 Nov 2025 00:00:00 GMT",
    "the past as an ISO instant": "2025-11-03T00:00:00Z",
    "the past without a timezone": "2025-11-03T00:00:00",
}
NAMES_THE_TIME = r"accepts requests again at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*\+00:00"
RATE_LIMITS = [
    *rows(limits(lambda: "1"), ALL_RECORDS, "429 names seconds", MIDDLE),
    *rows(limits(lambda: format_datetime(in_seconds(1), usegmt=True)), ALL_RECORDS, "429 names an HTTP date"),
    *rows(limits(lambda: f"{in_seconds(1):%Y-%m-%dT%H:%M:%SZ}"), ALL_RECORDS, "429 names an ISO instant"),
    *(
        row
        for number, (name, value) in enumerate(NO_USABLE_TIME.items())
        for row in rows(limits(lambda value=value: value, times=2), ALL_RECORDS, f"429 names {name}", BOTH[number % 2])
    ),
    *rows(limits(None, times=3), ALL_RECORDS, "429 names no time", BEGINNING, MIDDLE, THREADS),
    *rows(limits(None, FOR_EVER), MayRetry("rate limit was reached"), "429 names no time, for ever"),
    *rows(limits(lambda: "86400", FOR_EVER), MayRetry(NAMES_THE_TIME), "429 names a day in seconds", THREADS),
    *rows(daily_limit(lambda: in_seconds(1)), ALL_RECORDS, "daily limit ends soon"),
    *rows(daily_limit(lambda: hours_from_now(6), FOR_EVER), MayRetry(NAMES_THE_TIME), "daily limit ends in hours"),
]

OUTAGES = [
    *both_ways(answers_with(500, {"code": 500, "message": "Oops."}), MayRetry("is unavailable .HTTP 500"), "500"),
    *in_short(answers_with(502, HTML), MayRetry("is unavailable .HTTP 502"), "502 with HTML"),
    *in_short(answers_with(503), MayRetry("is unavailable .HTTP 503"), "503"),
    *rows(answers_with(503)(times=20), ALL_RECORDS, "503 for a while", MIDDLE, THREADS),
    *both_ways(partial(befalls, "reset"), BROKE, "connection is reset before the answer"),
    *both_ways(partial(befalls, "torn"), BROKE, "connection is reset within the body"),
    *both_ways(partial(befalls, "cut"), BROKE, "body is cut short"),
]

HALF_A_PAGE = b'{"next_page_token": "", "total_records": 800, "engagements": [{"engagement_id": "e'
NO_PAGES: dict[str, object] = {
    "no JSON": "<html>Have a nice day.</html>",
    "nothing": b"",
    "half a page": HALF_A_PAGE,
    "no UTF-8": b'{"total_records": 1, "engagements": [{"engagement_id": "\xff"}]}',
    "a list": [],
    "an empty object": {},
    "an object for engagements": {"total_records": 1, "engagements": {}},
    "numbers for engagements": {"total_records": 1, "engagements": [1, 2]},
    "a number for a page token": {"total_records": 1, "engagements": [], "next_page_token": 7},
    "null for engagements": {"total_records": 800, "engagements": None, "next_page_token": ""},
    "no engagements": {"total_records": 800, "next_page_token": ""},
    "no number for the total": {"total_records": "many", "engagements": []},
}
#: What would be an empty day, if nobody checked it.
GZIP = gzip.compress(b'{"next_page_token": "", "total_records": 0, "engagements": []}')
BROKEN_GZIP = {
    "gzip that is garbage": b"garbage",
    "gzip that ends early": gzip.compress(HALF_A_PAGE)[:-20],
    "gzip with a wrong checksum": GZIP[:-8] + bytes(4) + GZIP[-4:],
}
NO_PAGE = MayRetry("not a page of engagements")
NONSENSE = [
    *(row for name, body in NO_PAGES.items() for row in in_short(answers_with(200, body), NO_PAGE, name)),
    *(
        row
        for name, body in BROKEN_GZIP.items()
        for row in in_short(
            answers_with(200, body, {"Content-Encoding": "gzip"}),
            MayRetry("Could not connect|not a page of engagements"),
            name,
        )
    ),
]

CIRCLE = MayRetry("Pagination of .* is looping")
INCOMPLETE = MayRetry("reports 800 engagements .* Reading again returned no more")
ALL_BUT_THE_LAST = MayRetry("reports 800 engagements .* returned 700.* Reading again returned no more")
page_token_dies = partial(befalls_pages, "answer", status=400, body=PAGE_TOKEN_DIED)
PAGES = [
    *rows(page_token_dies(), ALL_RECORDS, "page token dies", BEGINNING, MIDDLE, THREADS),
    *rows(
        page_token_dies(FOR_EVER), MayRetry("page token .* expired early.* Try again later"), "page tokens die for ever"
    ),
    *rows(befalls("doubled", FOR_EVER), ALL_RECORDS, "every record comes twice", BEGINNING, MIDDLE, THREADS),
    *rows(befalls_pages("again"), ALL_RECORDS, "page repeats", BEGINNING, MIDDLE, THREADS),
    *rows(befalls_pages("again", FOR_EVER), CIRCLE, "pages repeat for ever"),
    *rows(befalls("loop"), ALL_RECORDS, "pages begin again"),
    *rows(befalls("loop", FOR_EVER), CIRCLE, "pages begin again for ever"),
    *rows(page_with(next_page_token=""), ALL_RECORDS, "last pages are lost", BEGINNING, MIDDLE, THREADS),
    *rows(page_with(FOR_EVER, next_page_token=""), INCOMPLETE, "last pages are lost for ever", MIDDLE),
    *rows(page_before_the_last_with(next_page_token=""), ALL_RECORDS, "last page is lost", MIDDLE),
    *rows(
        page_before_the_last_with(FOR_EVER, next_page_token=""), ALL_BUT_THE_LAST, "last page is lost for ever", MIDDLE
    ),
    *rows(page_with(engagements=[]), ALL_RECORDS, "page is empty"),
    *rows(page_with(FOR_EVER, engagements=[]), INCOMPLETE, "pages are empty for ever", MIDDLE),
    *rows(page_with(engagements=None, total_records=0), ALL_RECORDS, "page holds null and total 0"),
    *rows(page_with(engagements="<absent>", total_records=0), ALL_RECORDS, "page holds no engagements and total 0"),
    *rows(page_with(FOR_EVER, total_records="800"), ALL_RECORDS, "total is a string"),
    *rows(page_with(FOR_EVER, total_records=None), ALL_RECORDS, "total is null", BEGINNING, MIDDLE, THREADS),
    *rows(parts_with(total_records=None), ALL_RECORDS, "total of the parts is null", THREADS),
    *rows(parts_with(total_records="<absent>"), ALL_RECORDS, "total of the parts is absent", THREADS),
    *rows(page_with(FOR_EVER, total_records="<absent>"), ALL_RECORDS, "total is absent"),
    *rows(page_with(FOR_EVER, total_records=3), ALL_RECORDS, "total is too low"),
    *rows(page_with(FOR_EVER, total_records=-1), ALL_RECORDS, "total is negative", BEGINNING),
    *rows(page_with(total_records=9_999), ALL_RECORDS, "total is too high once"),
    *rows(page_with(FOR_EVER, total_records=9_999), MayRetry("reports 9999 engagements"), "total is too high for ever"),
]


@pytest.fixture
def meet(
    start_zoom: StartZoom,
    connect_zoom: ConnectZoom,
    run_into: RunInto,
    *,
    bucket: Bucket,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Meet:
    """Let faults befall a task at a place, and check how it ends."""

    def meet(
        befall: Befall,
        place: Place,
        ending: Ending,
        *,
        engagements: Engagements | None = None,
        connection: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        gate: Gate | None = None,
        **arguments: Any,
    ) -> BaseException | None:
        uploads: list[object] = []
        deadline = time.monotonic() + 10

        def an_upload_is_under_way() -> bool:
            uploads.extend(bucket.unfinished_uploads())
            return bool(uploads) or time.monotonic() > deadline

        engagements = engagements or engagements_of_a_day(place.engagements)
        leave_no_time_between_tries(monkeypatch, ending)
        # A multipart upload begins as soon as a page or so has come.
        connect_s3(monkeypatch, s3_server.connection, multipart_threshold=10_000)
        server = start_zoom(engagements, **config or {})
        if gate:
            gate.behind = int(server.url.rpartition(":")[2])
            connection = {"host": f"{gate.url}/v2"}
        connect_zoom(server, **connection or {})
        faults = befall(place)
        if place is MIDDLE:
            faults.insert(0, Fault("hold", **place.pages(), details={"until": an_upload_is_under_way}))
        server.simulator.faults = faults
        error = run_into(engagements, ending, **place.arguments | arguments)
        assert [fault for fault in faults if fault.after or fault.times > 0 or fault.times == FOR_EVER] == []
        assert bool(uploads) == (place is MIDDLE)
        if place is THREADS:
            asked_for = {(query["from"], query["to"]) for query in map(dict, server.simulator.stats.queries)}
            assert len(asked_for) > 2, "Where the day is not cut, one thread reads it."
        return error

    return meet


@pytest.mark.parametrize(
    ("befall", "place", "ending"), [*ACCESS_TOKENS, *TOKEN_ENDPOINT, *RATE_LIMITS, *OUTAGES, *NONSENSE, *PAGES]
)
def test_a_fault_ends_in_all_records_or_in_one_error(meet: Meet, befall: Befall, place: Place, ending: Ending):
    meet(befall, place, ending)


@pytest.mark.parametrize(
    ("befall", "place", "ending"),
    [
        *both_ways(partial(befalls, "delay", seconds=1.0), BROKE, "no answer"),
        *both_ways(partial(befalls, "stall", seconds=1.0), BROKE, "silence within the body"),
        *in_short(partial(token_endpoint, "delay", seconds=1.0), BROKE, "no token"),
    ],
)
def test_a_server_that_hangs_is_left_after_the_connections_timeout(
    meet: Meet, befall: Befall, place: Place, ending: Ending
):
    meet(befall, place, ending, connection={"extra": {"timeout": 0.3}})


@pytest.mark.parametrize("place", [BEGINNING, MIDDLE, THREADS], ids=lambda place: place.name)
@pytest.mark.parametrize("make", [daily_limit, lambda moment, times: limits(lambda: f"{moment():%FT%TZ}", times)])
def test_a_limit_that_ends_in_hours_is_waited_for_without_a_worker_slot(
    meet: Meet, make: Callable[..., Befall], place: Place
):
    moment = hours_from_now(6)
    deferral = meet(make(lambda: moment, FOR_EVER), place, Deferred(), deferrable=True)
    assert abs(deferral.trigger.moment - moment) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("instant", "ending", "deferrable"),
    [
        ("9999-12-31T23:59:59Z", Deferred(), True),
        ("9999-12-31T23:59:59Z", MayRetry("accepts requests again at 9999-12-31"), False),
        ("9999-12-31T23:59:59-12:00", MayRetry("accepts requests again at 9999-12-31"), False),
        ("9999-12-31T23:59:59-12:00", Deferred(), True),
        ("0001-01-01T00:00:00+14:00", MayRetry("rate limit was reached"), True),
    ],
)
def test_a_limit_at_an_end_of_the_calendar_ends_in_one_error(
    meet: Meet, instant: str, ending: Ending, deferrable: bool
):
    meet(limits(lambda: instant, FOR_EVER), BEGINNING, ending, deferrable=deferrable)


@pytest.mark.parametrize("refusing", ["host", "oauth_url"])
def test_a_server_that_is_not_there_may_be_there_later(meet: Meet, refusing: str):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        connection = {"host": f"{url}/v2"} if refusing == "host" else {"extra": {"oauth_url": f"{url}/oauth/token"}}
        meet(lambda _: [], BEGINNING, BROKE, connection=connection)


def test_a_server_that_refuses_connections_for_a_while_during_the_upload_is_waited_for(
    meet: Meet, caplog: pytest.LogCaptureFixture
):
    with Gate() as gate:

        def shut() -> bool:
            gate.shut_for(0.3)
            return True

        meet(lambda place: [Fault("hold", **place.pages(), details={"until": shut})], MIDDLE, ALL_RECORDS, gate=gate)
    # The first attempt was cut off, and the second refused.
    assert re.search("connection refused. Attempt [2-9]; giving up at", caplog.text)


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize(
    ("make", "place"),
    [(befalls, BEGINNING), (befalls, MIDDLE), (token_endpoint, BEGINNING)],
    ids=["api at the beginning", "api during the upload", "token endpoint"],
)
def test_a_redirect_fails_for_good_and_the_other_host_hears_nothing(
    meet: Meet, make: Callable[..., Befall], place: Place, status: int
):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        headers = {"Location": f"http://localhost:{other.getsockname()[1]}/v2/contact_center/engagements"}
        redirect = make("answer", FOR_EVER, status=status, headers=headers)
        error = meet(redirect, place, ForGood(f"redirected the request .HTTP {status}"))
        assert "Bearer" not in str(error)
        with pytest.raises(BlockingIOError):
            other.accept()


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
        pytest.param(ID, '"engagement_id": ""', id="engagement_id empty"),
        pytest.param(ID, '"engagement_id": 7', id="engagement_id a number that is always the same"),
        pytest.param(START_TIME, '"start_gone": true', id="no start_time"),
        pytest.param(START_TIME, '"start_time": null', id="start_time null"),
        pytest.param(START_TIME, '"start_time": 1762819200', id="start_time a number"),
        pytest.param(START_TIME, '"start_time": "this morning"', id="start_time unreadable"),
        pytest.param(START_TIME, '"start_time": "2020-01-01T00:00:00Z"', id="start_time in another year"),
    ],
)
def test_records_that_lack_an_id_or_a_time_arrive_each_once(meet: Meet, pattern: str, replacement: str, place: Place):
    engagements = Rewritten(pattern, replacement, place.engagements)
    meet(befalls("doubled"), place, ALL_RECORDS, engagements=engagements)


def test_engagements_that_share_an_id_are_missed(meet: Meet):
    twins = Rewritten('("engagement_id": ?)"[^"]*"', r'\1"twin"')
    meet(lambda _: [], BEGINNING, MayRetry("Reading again returned no more"), engagements=twins)


@pytest.mark.parametrize(
    ("place", "times", "order"),
    [
        (BEGINNING, 1, "descending"),
        (MIDDLE, 1, "descending"),
        (MIDDLE, 4, "descending"),
        (MIDDLE, 1, "ascending"),
        (MIDDLE, 4, "shuffled"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_engagements_that_arrive_meanwhile_shift_the_pages_and_none_is_lost(
    meet: Meet, place: Place, times: int, order: str
):
    """Seven each time, the latest of all: where those come first, every page behind begins seven places later."""
    last = int(DAY[1].timestamp()) - 1
    meet(
        befalls("arrival", times, starts=[last] * 7),
        place,
        ALL_RECORDS,
        engagements=Engagements(even_starts()),
        config={"order": order},
        max_concurrency=1,
    )


@pytest.mark.parametrize("place", [BEGINNING, MIDDLE], ids=lambda place: place.name)
def test_a_total_that_is_too_high_for_ever_may_be_accepted(meet: Meet, place: Place, caplog: pytest.LogCaptureFixture):
    meet(page_with(FOR_EVER, total_records=9_999), place, ALL_RECORDS, on_incomplete="warn")
    assert "Zoom reports 9999 engagements" in caplog.text


def test_an_empty_answer_for_an_empty_interval_is_no_fault(meet: Meet):
    for keys in ({"engagements": None}, {"engagements": "<absent>"}):
        meet(page_with(FOR_EVER, **keys), BEGINNING, ALL_RECORDS, engagements=Engagements([]))


EMPTY = {"next_page_token": "", "page_size": 100, "total_records": 0, "engagements": None}


@pytest.mark.parametrize(
    "befall",
    [
        pytest.param(answers_with(200, EMPTY)(), id="null and total 0"),
        pytest.param(answers_with(200, EMPTY | {"engagements": []})(), id="empty list and total 0"),
        pytest.param(page_with(next_page_token="", total_records=3), id="last pages lost, low total"),
        pytest.param(page_with(next_page_token="", total_records=0, engagements=[]), id="emptied page"),
        pytest.param(page_with(next_page_token="", total_records=None), id="last pages lost, no total"),
    ],
)
def test_an_answer_that_takes_back_the_total_does_not_end_the_reading(meet: Meet, befall: Befall):
    meet(befall, MIDDLE, ALL_RECORDS)
