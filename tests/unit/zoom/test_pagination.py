from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from mmap import mmap
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_zcc.zoom.errors import IncompleteResponse, PageTokenExpired, PermanentError, TransientError
from airflow_provider_zcc.zoom.page import Page, parse_page
from airflow_provider_zcc.zoom.pagination import Pagination, RecordBatch
from airflow_provider_zcc.zoom.window import Window

WINDOW = Window(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))
SPAN = "2026-11-05T00:00:00Z to 2026-11-06T00:00:00Z"

Ask = Callable[[str | None], Page]


def page(names: str, token: str = "", total: object = None, **head: object) -> Page:
    """Return a page of one record for each letter; a capital one begins at the end of the window."""
    records = [
        {"engagement_id": name, "start_time": f"2026-11-0{6 if name.isupper() else 5}T00:00:00Z"} for name in names
    ]
    return parse_page(
        json.dumps({"engagements": records, "next_page_token": token, "total_records": total, **head}).encode()
    )


class Pages:
    """Answers in turn, whatever is asked for; an exception is raised, and the last answer stays."""

    def __init__(self, *answers: Page | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str | None] = []

    def __call__(self, token: str | None) -> Page:
        self.asked.append(token)
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def read(pages: Pages, *, fail_if_incomplete: bool = True) -> tuple[str, int]:
    """Return the names of the records kept, and how many duplicates there were."""
    pagination = Pagination(pages, WINDOW, fail_if_incomplete=fail_if_incomplete)
    batches = pagination.batches(pages(None))
    names = "".join(names_of(kept) for batch in batches for kept in batch)
    return names, pagination.duplicates


def names_of(kept: RecordBatch) -> str:
    return "".join(json.loads(line)["engagement_id"] for line in bytes(kept.lines).splitlines())


DIED = PageTokenExpired("Zoom's page token ended.")


@pytest.mark.parametrize(
    ("answers", "asked", "names", "duplicates"),
    [
        pytest.param([page("", total=0)], [None], "", 0, id="empty"),
        pytest.param([page("abc", total=3)], [None], "abc", 0, id="one page"),
        pytest.param([page("cab", "1"), page("fe", "2"), page("d")], [None, "1", "2"], "cabfed", 0, id="three pages"),
        pytest.param([page("ab", "1"), page("", "2"), page("c")], [None, "1", "2"], "abc", 0, id="empty page"),
        pytest.param([page("ab", "1"), page("bc", "2"), page("cd")], [None, "1", "2"], "abcd", 2, id="moved records"),
        pytest.param([page("aab")], [None], "ab", 1, id="doubled record"),
        pytest.param([page("ab", "1"), page("ab", "2"), page("c")], [None, "1", "2"], "abc", 2, id="repeated page"),
        pytest.param([page("aZb", "1"), page("Yc")], [None, "1"], "abc", 0, id="records at the end"),
        pytest.param([page("ab", total=2)], [None], "ab", 0, id="right total"),
        pytest.param([page("aZ", total=2)], [None], "a", 0, id="total with the end"),
        pytest.param([page("abc", total=1)], [None], "abc", 0, id="total too low"),
        pytest.param([page("abc", total="3")], [None], "abc", 0, id="total as text"),
        pytest.param([page("abc", total=None)], [None], "abc", 0, id="total unknown"),
        pytest.param(
            [page("ab", "1", total=9), page("cd", total=4), page("abcd", total=4)],
            [None, "1", None],
            "abcd",
            0,
            id="a total that is taken back",
        ),
    ],
)
def test_pages_are_followed_to_the_last_and_each_record_is_kept_once(
    answers: list[Page], asked: list[str | None], names: str, duplicates: int
) -> None:
    pages = Pages(*answers)

    assert read(pages) == (names, duplicates)
    assert pages.asked == asked


@pytest.mark.parametrize(
    ("answers", "asked", "names"),
    [
        pytest.param(
            [page("ab", "", 4), page("ab", "1", 4), page("cd", "", 4)], [None, None, "1"], "abcd", id="lost page"
        ),
        pytest.param([page("ab", "", 3), page("bc", "", 3)], [None, None], "abc", id="other records"),
        pytest.param(
            [page("a", "", 3), page("b", "", 3), page("c", "", 3)], [None, None, None], "abc", id="bit by bit"
        ),
        pytest.param([page("ab", "1"), DIED, page("ab", "2"), page("cd")], [None, "1", None, "2"], "abcd", id="died"),
        pytest.param(
            [page("ab", "1"), DIED, page("ab", "2"), page("c", "3"), DIED, page("ab", "4"), page("cd", "")],
            [None, "1", None, "2", "3", None, "4"],
            "abcd",
            id="died twice, further on",
        ),
        pytest.param([page("ab", "1"), DIED, page("ba", "")], [None, "1", None], "ab", id="died for nothing"),
        pytest.param(
            [page("ab", "1", 3), DIED, page("ab", "", 3), page("abc", "", 3)],
            [None, "1", None, None],
            "abc",
            id="died, then lost a page",
        ),
        pytest.param(
            [page("ab", "1", 3), DIED, page("ab", "1", 3), DIED, page("ab", "", 3), page("abc", "", 3)],
            [None, "1", None, "1", None, None],
            "abc",
            id="died twice, then lost a page",
        ),
        pytest.param(
            [page("ab", **{"from": "2026-11-05T06:00:00Z"}), page("abc", **{"from": "2026-11-05T00:00:00Z"})],
            [None, None],
            "abc",
            id="late from",
        ),
        pytest.param(
            [page("ab", to="2026-11-05T18:00:00Z"), page("abc", to="2026-11-06T00:00:00Z")],
            [None, None],
            "abc",
            id="early to",
        ),
    ],
)
def test_a_window_is_read_again_until_it_is_complete(
    answers: list[Page | Exception], asked: list[str | None], names: str
) -> None:
    pages = Pages(*answers)

    assert read(pages)[0] == names
    assert pages.asked == asked


@pytest.mark.parametrize(
    "echo",
    [
        {"from": "2026-11-05T00:00:00Z", "to": "2026-11-06T00:00:00Z"},
        {"from": "2026-11-04T16:00:00-08:00", "to": "2026-11-05T16:00:00-08:00"},
        {"from": "2026-11-05", "to": "2026-11-06"},
        {"from": "2026-11-04T00:00:00Z", "to": "2026-11-07T00:00:00Z"},
        {"from": "", "to": "tomorrow"},
        {"from": None, "to": 7},
    ],
)
def test_an_echoed_range_that_holds_the_window_or_is_unreadable_is_no_reason_to_read_again(
    echo: dict[str, object],
) -> None:
    pages = Pages(page("ab", **echo))

    assert read(pages) == ("ab", 0)
    assert pages.asked == [None]


def test_an_echo_that_the_clock_reads_twice_is_given_the_meaning_that_fits() -> None:
    repeated = Window(
        datetime(2026, 11, 1, 8, tzinfo=UTC), datetime(2026, 11, 1, 9, tzinfo=UTC), ZoneInfo("America/Los_Angeles")
    )
    pages = Pages(page("", **{"from": "2026-11-01T01:00:00Z", "to": "2026-11-01T01:00:00Z"}))

    list(Pagination(pages, repeated, fail_if_incomplete=True).batches(pages(None)))

    assert pages.asked == [None]


INCOMPLETE = [
    pytest.param(
        [page("ab", total=3)],
        [None, None],
        f"Zoom reports 3 engagements from {SPAN} and delivered 2.",
        id="total too high",
    ),
    pytest.param(
        [page("ab", total="3")],
        [None, None],
        f"Zoom reports 3 engagements from {SPAN} and delivered 2.",
        id="total as text too high",
    ),
    pytest.param(
        [page("a", total=3), page("b", total=3), page("a", total=3)],
        [None, None, None],
        f"Zoom reports 3 engagements from {SPAN} and delivered 2.",
        id="a record each time",
    ),
    pytest.param(
        [page("ab", "1"), DIED, page("ab", total=9)],
        [None, "1", None, None],
        f"Zoom reports 9 engagements from {SPAN} and delivered 2.",
        id="total too high after a page token died",
    ),
    pytest.param(
        [page("ab", "1"), DIED, page("ab", "1"), DIED, page("ab", total=9)],
        [None, "1", None, "1", None, None],
        f"Zoom reports 9 engagements from {SPAN} and delivered 2.",
        id="total too high after page tokens died",
    ),
    pytest.param(
        [page("ab", **{"from": "2026-11-05T06:00:00Z"})],
        [None, None],
        f"Zoom answered for a part of {SPAN} only.",
        id="late from",
    ),
    pytest.param(
        [page("ab", to="2026-11-05T18:00:00Z")],
        [None, None],
        f"Zoom answered for a part of {SPAN} only.",
        id="early to",
    ),
]


@pytest.mark.parametrize(("answers", "asked", "problem"), INCOMPLETE)
def test_a_window_that_stays_incomplete_fails(answers: list[Page], asked: list[str | None], problem: str) -> None:
    pages = Pages(*answers)

    with pytest.raises(IncompleteResponse) as error:
        read(pages)

    assert str(error.value) == (
        f"{problem} Reading again brought no more. Try again later, or accept it with on_incomplete='warn'."
    )
    assert pages.asked == asked


@pytest.mark.parametrize(("answers", "asked", "problem"), INCOMPLETE)
def test_a_window_that_stays_incomplete_can_be_accepted_with_a_warning(
    answers: list[Page], asked: list[str | None], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    pages = Pages(*answers)

    assert read(pages, fail_if_incomplete=False)[0] == "ab"
    assert pages.asked == asked
    assert caplog.messages[-2:] == [
        f"{problem} Reading the window again from its first page.",
        f"{problem} Reading again brought no more; going on without the rest.",
    ]


@pytest.mark.parametrize("fail_if_incomplete", [True, False])
def test_page_tokens_that_always_die_are_given_up_after_three_readings_without_news(
    fail_if_incomplete: bool,
) -> None:
    pages = Pages(*([page("ab", "1"), DIED] * 4), page("never"))

    with pytest.raises(TransientError) as error:
        read(pages, fail_if_incomplete=fail_if_incomplete)

    assert not isinstance(error.value, IncompleteResponse)
    assert str(error.value) == (
        f"Zoom's page token for {SPAN} ended early. So did 3 more. Try again later, or read a shorter interval."
    )
    assert pages.asked == [None, "1"] * 4


CIRCLE = (
    f"Zoom's pages from {SPAN} lead in a circle: they bring nothing new and do not end. "
    "Try again later; if it goes on, read a shorter interval."
)


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param([page("ab", "1"), page("cd", "1")], [None, "1"], id="the same token"),
        pytest.param([page("a", "1"), page("b", "2"), page("c", "1")], [None, "1", "2"], id="an older token"),
        pytest.param(
            [page("ab", str(n)) for n in range(20)], [None, *map(str, range(10))], id="new tokens, the same page"
        ),
        pytest.param(
            [page("a", "x"), *(page("", str(n)) for n in range(20))],
            [None, "x", *map(str, range(9))],
            id="new tokens, empty pages",
        ),
    ],
)
def test_pages_that_lead_in_a_circle_are_an_error(answers: list[Page], asked: list[str | None]) -> None:
    pages = Pages(*answers)

    with pytest.raises(TransientError) as error:
        read(pages)

    assert str(error.value) == CIRCLE
    assert pages.asked == asked


def test_nine_futile_pages_in_a_row_are_borne_again_and_again() -> None:
    repeats = [page("a", f"1{n}") for n in range(9)] + [page("b", "2")] + [page("b", f"2{n}") for n in range(9)]
    pages = Pages(page("a", "1"), *repeats, page("c"))

    assert read(pages) == ("abc", 18)


def test_nine_empty_pages_before_the_first_record_are_borne() -> None:
    pages = Pages(*(page("", str(n)) for n in range(9)), page("a"))

    assert read(pages) == ("a", 0)


def test_a_first_page_repeats_its_token_in_another_reading_without_being_a_circle() -> None:
    pages = Pages(page("ab", "1"), DIED, page("ab", "1"), page("c"))

    assert read(pages)[0] == "abc"


def test_records_known_from_a_reading_before_are_not_duplicates() -> None:
    pages = Pages(page("ab", "1"), DIED, page("ab", "1"), page("bc"))

    assert read(pages) == ("abc", 1)


def test_other_errors_pass_through() -> None:
    refusal = PermanentError("No.")

    with pytest.raises(PermanentError) as error:
        read(Pages(page("a", "1"), refusal))

    assert error.value is refusal


def test_each_page_is_handed_out_before_the_next_is_asked_for() -> None:
    pages = Pages(page("ab", "1"), page("c"))
    batches = Pagination(pages, WINDOW, fail_if_incomplete=True).batches(pages(None))

    first = next(batches)

    assert [names_of(kept) for kept in first] == ["ab"]
    assert pages.asked == [None]


def test_a_record_that_another_window_may_deliver_is_marked() -> None:
    records = [
        {"engagement_id": "sure", "start_time": "2026-11-05T00:00:00Z"},
        {"engagement_id": "sure as well", "start_time": "2026-11-05T00:00:01Z"},
        {"engagement_id": "early", "start_time": "2026-11-04T23:59:59Z"},
        {"engagement_id": "unknown"},
        {"engagement_id": "sure again", "start_time": "2026-11-05T00:00:02Z"},
    ]
    pages = Pages(parse_page(json.dumps({"engagements": records}).encode()))
    batch = next(Pagination(pages, WINDOW, fail_if_incomplete=True).batches(pages(None)))

    assert [kept.unsure and kept.unsure.identity for kept in batch] == [None, "early", "unknown", None]
    assert [kept.count for kept in batch] == [2, 1, 1, 1]


def test_of_the_records_that_came_those_left_to_the_next_window_are_not_kept() -> None:
    pages = Pages(page("aZ"))
    pagination = Pagination(pages, WINDOW, fail_if_incomplete=True)
    kept, left = page("aZ").records
    (other,) = page("b").records

    list(pagination.batches(pages(None)))

    assert [pagination.has_kept(record) for record in (kept, left, other)] == [True, False, False]


@pytest.mark.parametrize(("records", "apart"), [(100, False), (300, True)])
def test_the_lines_of_a_large_page_wait_in_memory_of_their_own(records: int, apart: bool) -> None:
    lines = [
        b'{"engagement_id": "%d", "start_time": "2026-11-05T00:00:00Z", "n": "%s"}' % (n, b"x" * 20)
        for n in range(records)
    ]
    body = b'{"engagements": [%s]}' % b", ".join(lines)

    [[kept]] = Pagination(Pages(page("")), WINDOW, fail_if_incomplete=True).batches(parse_page(body))

    assert isinstance(kept.lines, mmap) == apart
    assert bytes(kept.lines) == b"".join(line + b"\n" for line in lines)
