from __future__ import annotations

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_zcc.zoom.errors import IncompleteResponse, PageTokenExpired, TransientError
from airflow_provider_zcc.zoom.page import Page, parse_page
from airflow_provider_zcc.zoom.pagination import Pagination
from airflow_provider_zcc.zoom.window import Window

WINDOW = Window(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))


def page(names: str, token: str = "", total: object = None, **head: object) -> Page:
    """Return a page of one record for each letter; a capital one starts at the end of the window."""
    records = [{"engagement_id": n, "start_time": f"2026-11-0{6 if n.isupper() else 5}T00:00:00Z"} for n in names]
    body = {"engagements": records, "next_page_token": token, "total_records": total, **head}
    return parse_page(json.dumps(body).encode())


class Pages:
    """Returns pages in turn, whatever is requested; an exception is raised, and the last page stays."""

    def __init__(self, *pages: Page | Exception) -> None:
        self._pages = list(pages)
        self.requested: list[str | None] = []

    def __call__(self, token: str | None) -> Page:
        self.requested.append(token)
        found = self._pages[0] if len(self._pages) == 1 else self._pages.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def read(pages: Pages, *, fail_if_incomplete: bool = True) -> tuple[str, int]:
    """Return the names of the records, and how many duplicates there were."""
    pagination = Pagination(pages, WINDOW, fail_if_incomplete=fail_if_incomplete)
    batches = [batch for page in pagination.pages(pages(None)) for batch in page]
    names = "".join(str(record.identity) for batch in batches for record in batch.records)
    return names, pagination.returned.duplicates


EXPIRED = PageTokenExpired("Zoom's page token expired.")


@pytest.mark.parametrize(
    ("pages", "requested", "names", "duplicates"),
    [
        pytest.param([page("", total=0)], [None], "", 0, id="empty"),
        pytest.param([page("cab", "1"), page("fe", "2"), page("d")], [None, "1", "2"], "cabfed", 0, id="three pages"),
        pytest.param([page("ab", "1"), page("bc", "2"), page("cd")], [None, "1", "2"], "abcd", 2, id="moved records"),
        pytest.param([page("aab")], [None], "ab", 1, id="doubled record"),
        pytest.param([page("ab", "1"), page("ab", "2"), page("c")], [None, "1", "2"], "abc", 2, id="repeated page"),
        pytest.param([page("aZb", "1"), page("Yc")], [None, "1"], "abc", 0, id="records at the end"),
        pytest.param([page("aZ", total=2)], [None], "a", 0, id="total with the end"),
        pytest.param([page("abc", total=1)], [None], "abc", 0, id="total too low"),
        pytest.param(
            [page("ab", "1", total=9), page("cd", total=4), page("abcd", total=4)],
            [None, "1", None],
            "abcd",
            0,
            id="a total that decreases",
        ),
    ],
)
def test_pages_are_followed_to_the_last_and_duplicates_are_dropped(
    pages: list[Page], requested: list[str | None], names: str, duplicates: int
) -> None:
    source = Pages(*pages)

    assert read(source) == (names, duplicates)
    assert source.requested == requested


@pytest.mark.parametrize(
    ("pages", "names"),
    [
        pytest.param([page("ab", "", 4), page("ab", "1", 4), page("cd", "", 4)], "abcd", id="lost page"),
        pytest.param([page("a", "", 3), page("b", "", 3), page("c", "", 3)], "abc", id="bit by bit"),
        pytest.param([page("", "", 3), page("abc", "", 3)], "abc", id="lost first page"),
        pytest.param([page("", "1"), *[EXPIRED, page("", "1")] * 3, page("abc")], "abc", id="expired without records"),
        pytest.param([page("ab", "1"), EXPIRED, page("ab", "1"), page("bcd")], "abcd", id="expired"),
        pytest.param(
            [page("a", "1"), *[EXPIRED, page("a", "1")] * 2, page("b", "2"), *[EXPIRED, page("a", "1")] * 3, page("c")],
            "abc",
            id="expired again and again, further on",
        ),
        pytest.param(
            [page("ab", "1", 3), EXPIRED, page("ab", "1", 3), EXPIRED, page("ab", "", 3), page("abc", "", 3)],
            "abc",
            id="expired twice, then a lost page",
        ),
        pytest.param([page("ab", **{"from": "2026-11-05T06:00:00Z"}), page("abc")], "abc", id="late from"),
        pytest.param([page("ab", to="2026-11-05T18:00:00Z"), page("abc")], "abc", id="early to"),
    ],
)
def test_a_window_is_read_again_until_it_is_complete(pages: list[Page | Exception], names: str) -> None:
    source = Pages(*pages, AssertionError("One request too many."))

    assert read(source)[0] == names


@pytest.mark.parametrize(
    "echo",
    [
        {"from": "2026-11-05T00:00:00Z", "to": "2026-11-06T00:00:00Z"},
        {"from": "2026-11-04T16:00:00-08:00", "to": "2026-11-05T16:00:00-08:00"},
        {"from": None, "to": 7},
    ],
)
def test_an_echoed_range_that_covers_the_window_or_is_unreadable_is_accepted(echo: dict[str, object]) -> None:
    assert read(Pages(page("ab", **echo), page("c"))) == ("ab", 0)


def test_an_echoed_local_time_that_occurs_twice_is_given_the_meaning_that_fits() -> None:
    start = datetime(2026, 11, 1, 8, tzinfo=UTC)
    repeated = Window(start, start.replace(hour=9), ZoneInfo("America/Los_Angeles"))
    pages = Pages(page("", **{"from": "2026-11-01T01:00:00Z", "to": "2026-11-01T01:00:00Z"}))

    list(Pagination(pages, repeated, fail_if_incomplete=True).pages(pages(None)))

    assert pages.requested == [None]


@pytest.mark.parametrize(
    ("pages", "problem"),
    [
        pytest.param([page("ab", total=3)], "reports 3 .* returned 2", id="total too high"),
        pytest.param([page("ab", "1"), EXPIRED, page("ab", total=9)], "reports 9", id="after an expired page token"),
        pytest.param([page("ab", **{"from": "2026-11-05T06:00:00Z"})], "only a part of", id="late from"),
        pytest.param([page("ab", to="2026-11-05T18:00:00Z")], "only a part of", id="early to"),
    ],
)
def test_a_window_that_stays_incomplete_fails_or_is_warned_of(
    pages: list[Page | Exception], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(IncompleteResponse, match=f"{problem}.* on_incomplete='warn'"):
        read(Pages(*pages))
    caplog.clear()

    assert read(Pages(*pages), fail_if_incomplete=False)[0] == "ab"
    assert caplog.messages[-2].endswith(" Reading the window again from its first page.")
    assert caplog.messages[-1].endswith(" Reading again returned no more. Continuing without the rest.")


@pytest.mark.parametrize("fail_if_incomplete", [True, False])
def test_page_tokens_that_always_expire_are_an_error_after_some_attempts(fail_if_incomplete: bool) -> None:
    pages = Pages(*([page("ab", "1"), EXPIRED] * 10), page("never"))

    with pytest.raises(TransientError, match=r"expired early\. It .* Try again later, or read a shorter interval\.$"):
        read(pages, fail_if_incomplete=fail_if_incomplete)

    assert 2 < pages.requested.count(None) < 10


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([page("ab", "1"), page("cd", "1")], id="the same token"),
        pytest.param([page("a", "1"), page("b", "2"), page("c", "1")], id="an older token"),
        pytest.param([page("ab", str(n)) for n in range(20)], id="new tokens, the same page"),
        pytest.param([page("a", "x"), *(page("", str(n)) for n in range(20))], id="new tokens, empty pages"),
    ],
)
def test_pagination_that_loops_is_an_error(pages: list[Page]) -> None:
    source = Pages(*pages)

    with pytest.raises(TransientError, match=r"looping: .* Try again later; if it persists, read a shorter interval\."):
        read(source)

    assert len(source.requested) < 20


def test_pages_without_a_new_record_are_accepted_between_others() -> None:
    repeats = [page("a", f"1{n}") for n in range(8)] + [page("b", "2")] + [page("b", f"2{n}") for n in range(8)]

    assert read(Pages(page("", "0"), page("a", "1"), *repeats, page("c"))) == ("abc", 16)


def test_each_page_is_returned_before_the_next_is_requested() -> None:
    source = Pages(page("ab", "1"), page("c"))

    next(Pagination(source, WINDOW, fail_if_incomplete=True).pages(source(None)))

    assert source.requested == [None]
