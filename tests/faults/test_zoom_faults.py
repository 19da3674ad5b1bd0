"""Everything that can go wrong on Zoom's side, at the beginning, in the middle of an upload, and among threads."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.faults.conftest import (
    ALL_RECORDS,
    ConnectS3,
    Deferred,
    Ending,
    MayRetry,
    RunInto,
    engagements_of_a_day,
)
from tests.unit.conftest import Bucket, ConnectZoom, StartZoom
from tests.zoom_simulator.app import PAGE_TOKEN_DIED
from tests.zoom_simulator.faults import Fault

FOREVER = -1
EXPIRED_TOKEN = {"code": 124, "message": "Invalid access token."}


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


BEGINNING = Place("at the beginning", "api", 0, {})
#: One thread, so that what is spared has reached the upload.
MIDDLE = Place("during the upload", "next", 3, {"max_concurrency": 1})
#: A day of so many is split into four windows. As many requests are spared as read the day's and each window's first
#: page.
THREADS = Place("among threads", "api", 5, {"compression": "gzip"}, 1_600)
BOTH, EVERYWHERE = (BEGINNING, MIDDLE), (BEGINNING, MIDDLE, THREADS)

Strike = Callable[[Place], list[Fault]]
Meet = Callable[..., None]


def strikes(kind: str, times: int = 1, on: str = "", **details: Any) -> Strike:
    """Strike at a place.

    :param on: the requests that are counted, where they are not those of the place.
    """
    return lambda place: [Fault(kind, on or place.on, place.after, times, details)]


def responds(status: int, body: object = b"", **headers: str) -> Callable[..., Strike]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return partial(strikes, "answer", status=status, body=body, headers=named)


def page_with(times: int = 1, **keys: Any) -> Strike:
    return strikes("page", times, **keys)


def rows(strike: Strike, ending: Ending, name: str, *places: Place) -> list[Any]:
    return [pytest.param(strike, place, ending, id=f"{name}, {place.name}") for place in places or BOTH]


def transient(make: Callable[..., Strike], ending: Ending, name: str) -> list[Any]:
    """Return the rows of a fault that stays, and of one that passes."""
    return [
        *rows(make(times=FOREVER), ending, f"{name} forever", BEGINNING),
        *rows(make(times=3), ALL_RECORDS, f"{name} for a while", MIDDLE),
    ]


CONNECTION, HTTP_500, THROTTLED = MayRetry("127.0.0.1:"), MayRetry("HTTP 500"), MayRetry("rate limit")
TOKENS = [
    *rows(responds(401, EXPIRED_TOKEN)(), ALL_RECORDS, "access token expires once", *EVERYWHERE),
    *rows(responds(401, EXPIRED_TOKEN)(FOREVER), MayRetry("access token"), "access tokens expire forever"),
]
LIMITS = [
    *rows(responds(429)(3), ALL_RECORDS, "429 names no time", *EVERYWHERE),
    *rows(responds(429)(FOREVER), THROTTLED, "429 names no time, forever"),
    *rows(
        responds(429, Retry_After="86400")(FOREVER), MayRetry(r"\d\d:\d\d:\d\d.*\+00:00"), "429 names a day", THREADS
    ),
]
#: What would be an empty day, if nobody checked it.
GZIP = gzip.compress(b'{"next_page_token": "", "total_records": 0, "engagements": []}')
DAMAGED_GZIP = GZIP[:-8] + bytes(4) + GZIP[-4:]
OUTAGES = [
    *transient(responds(500, {"code": 500, "message": "Oops."}), HTTP_500, "500"),
    *transient(partial(strikes, "reset"), CONNECTION, "reset before the response"),
    *transient(partial(strikes, "torn"), CONNECTION, "reset within the body"),
    *transient(partial(strikes, "cut"), CONNECTION, "body is truncated"),
    *transient(responds(200, "<html>Have a nice day.</html>"), MayRetry(), "no JSON"),
    *transient(responds(200, DAMAGED_GZIP, Content_Encoding="gzip"), MayRetry(), "gzip with a wrong checksum"),
]

LOOPING, INCOMPLETE, TOO_FEW = MayRetry(), MayRetry("800 engagements"), MayRetry("9999 engagements")
page_token_expires = partial(strikes, "answer", on="next", status=400, body=PAGE_TOKEN_DIED)
page_repeats = partial(strikes, "again", on="next")
lost_pages, emptied_page = {"next_page_token": ""}, {"engagements": []}
PAGES = [
    *rows(page_token_expires(), ALL_RECORDS, "page token expires", *EVERYWHERE),
    *rows(page_token_expires(FOREVER), MayRetry("page token"), "page tokens expire forever"),
    *rows(strikes("doubled", FOREVER), ALL_RECORDS, "every record comes twice", *EVERYWHERE),
    *rows(page_repeats(), ALL_RECORDS, "page repeats", *EVERYWHERE),
    *rows(page_repeats(FOREVER), LOOPING, "pages repeat forever"),
    *rows(strikes("loop"), ALL_RECORDS, "pages begin again"),
    *rows(strikes("loop", FOREVER), LOOPING, "pages begin again forever"),
    *rows(page_with(**lost_pages), ALL_RECORDS, "last pages are lost", *EVERYWHERE),
    *rows(page_with(FOREVER, **lost_pages), INCOMPLETE, "last pages are lost forever", MIDDLE),
    *rows(page_with(**emptied_page), ALL_RECORDS, "page is empty"),
    *rows(page_with(FOREVER, **emptied_page), INCOMPLETE, "pages are empty forever", MIDDLE),
    *rows(page_with(FOREVER, total_records="<absent>"), ALL_RECORDS, "total is absent"),
    *rows(page_with(total_records=9_999), ALL_RECORDS, "total is too high once"),
    *rows(page_with(FOREVER, total_records=9_999), TOO_FEW, "total is too high forever"),
    # A page that takes back the total does not end the reading.
    *rows(page_with(engagements=None, total_records=0), ALL_RECORDS, "page holds null and total 0"),
    *rows(page_with(**lost_pages, total_records=3), ALL_RECORDS, "last pages lost, low total", MIDDLE),
    *rows(page_with(**lost_pages, **emptied_page, total_records=0), ALL_RECORDS, "an empty day", MIDDLE),
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
        connection: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        uploads: list[object] = []
        deadline = time.monotonic() + 10

        def upload_has_begun() -> bool:
            uploads.extend(bucket.unfinished_uploads())
            return bool(uploads) or time.monotonic() > deadline

        engagements = engagements_of_a_day(place.engagements)
        server = start_zoom(engagements)
        connect_zoom(server, **connection or {})
        connect_s3()
        faults = strike(place)
        if place is MIDDLE:
            faults.insert(0, Fault("hold", "next", place.after, details={"until": upload_has_begun}))
        server.simulator.faults = faults
        run_into(engagements, ending, **place.arguments | arguments)
        assert [fault for fault in faults if fault.after or fault.times > 0 or fault.times == FOREVER] == []
        assert bool(uploads) == (place is MIDDLE)
        if place is THREADS:
            windows = {(query["from"], query["to"]) for query in map(dict, server.simulator.stats.queries)}
            assert len(windows) > 2, "Where the day is not split, one thread reads it."

    return meet


@pytest.mark.parametrize(("strike", "place", "ending"), [*TOKENS, *LIMITS, *OUTAGES, *PAGES])
def test_a_fault_ends_in_all_records_or_in_one_error(meet: Meet, strike: Strike, place: Place, ending: Ending):
    meet(strike, place, ending)


@pytest.mark.parametrize(
    ("strike", "place", "ending"),
    [
        *transient(partial(strikes, "delay", seconds=1.0), CONNECTION, "no response"),
        *transient(partial(strikes, "stall", seconds=1.0), CONNECTION, "silence within the body"),
    ],
)
def test_a_server_that_hangs_is_given_up_after_the_connections_timeout(
    meet: Meet, strike: Strike, place: Place, ending: Ending
):
    meet(strike, place, ending, connection={"extra": {"timeout": 0.3}})


@pytest.mark.parametrize(("deferrable", "ending"), [(True, Deferred()), (False, MayRetry("9999-12-31"))])
def test_a_limit_at_the_end_of_the_calendar_ends_in_one_error(meet: Meet, deferrable: bool, ending: Ending):
    limit = responds(429, Retry_After="9999-12-31T23:59:59-12:00")(FOREVER)
    meet(limit, BEGINNING, ending, deferrable=deferrable)


@pytest.mark.parametrize("field", ["host", "oauth_url"])
def test_a_server_that_does_not_listen_may_do_so_later(meet: Meet, field: str):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        connection = {"host": f"{url}/v2"} if field == "host" else {"extra": {"oauth_url": f"{url}/oauth/token"}}
        meet(lambda _: [], BEGINNING, CONNECTION, connection=connection)


@pytest.mark.parametrize("place", BOTH, ids=lambda place: place.name)
def test_a_total_that_is_too_high_forever_may_be_accepted(meet: Meet, place: Place):
    meet(page_with(FOREVER, total_records=9_999), place, ALL_RECORDS, on_incomplete="warn")
