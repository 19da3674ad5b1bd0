from __future__ import annotations

import json
import traceback
from itertools import count

import pytest

from airflow_provider_zcc.zoom.errors import TransientError
from airflow_provider_zcc.zoom.page import parse_page

RECORDS = [
    b'{"engagement_id":"a","serial":90071992547409931234567890}',
    b'{"engagement_id":"a","x":[1E2,-0.50,1.0e-2,0.10,-0,1.00000000000000000001]}',
    b'{ "engagement_id" : "a" ,\t"nested":{"unknown_2031":[{}, [], null, true]} }',
    '{"engagement_id":"a","note":"line\u2028separator, paragraph\u2029, next\u0085line"}'.encode(),
    rb'{"engagement_id":"a","note":"escaped \n \r\n \u2028 \/ \u00e9 \ud83d\udc4b"}',
    '{"engagement_id":"a","note":"Grüße 👋🏽 李雷"}'.encode(),
]
#: Lone surrogates, as JavaScript leaves them when it splits a text within an emoji.
LONE = [
    *(rb"\ud800 x", rb"x \uD83D", rb"\udc4b\ud83d", rb"\ud83dudc4b", rb"\ud83d\u0041", rb"\ud83d\ud83d\udc4b"),
    *(rb"a pair \uD83D\uDC4B\udc4b", rb"two \\\\\ud83d and \\ud83d", rb"\ud83d\\udc4b", rb"a quote \"\ud800\""),
]


def page_of(*records: bytes, **head: object) -> bytes:
    fields = json.dumps({"total_records": len(records), **head})[1:-1]
    return b'{"engagements": [' + b", ".join(records) + b"], " + fields.encode() + b"}"


@pytest.mark.parametrize("record", [*RECORDS, *(b'{"engagement_id":"a","note":"' + text + b'"}' for text in LONE)])
def test_a_record_stays_byte_for_byte(record: bytes) -> None:
    before, after = b'{"engagement_id":"before"}', rb'{"engagement_id":"after","note":"\ufffd \ud83d\udc4b"}'

    page = parse_page(page_of(before, record, after, next_page_token="t"))

    assert [kept.line for kept in page.records] == [before, record, after]
    assert [kept.identity for kept in page.records] == ["before", "a", "after"]
    assert page.next_page_token == "t"


def test_records_that_differ_only_in_lone_surrogates_stay_different() -> None:
    records = [rb'{"note":"\ufffd"}', rb'{"note":"\ud800"}', rb'{"note":"\udfff"}']

    assert [kept.line for kept in parse_page(page_of(*records)).records] == records


def test_line_breaks_between_tokens_are_taken_out_and_nothing_else_is() -> None:
    record = b'{\r\n  "engagement_id": "a",\n\t"note": "kept: X \\n \\r",\r  "list": [\n1,\n2 ]\n}'

    (kept,) = parse_page(page_of(record)).records

    assert kept.line == b'{  "engagement_id": "a",\t"note": "kept: X \\n \\r",  "list": [1,2 ]}'
    assert json.loads(kept.line) == json.loads(record)
    assert parse_page(b'{"engagements": [{\r}]}').records[0].line == b"{}"


@pytest.mark.parametrize(
    ("record", "identity", "start_time"),
    [
        (b'{"start_time":"2026-11-05T00:00:00Z","engagement_id":"a"}', "a", "2026-11-05T00:00:00Z"),
        (rb'{"engagement_id":"\u00e4\n"}', "ä\n", None),
        (b'{"engagement_id":""}', b'{"engagement_id":""}', None),
        (b'{"engagement_id":null,"start_time":7}', b'{"engagement_id":null,"start_time":7}', 7),
        (b'{"engagement_id":7}', 7, None),
        (b'{"engagement_id":90071992547409931234567890}', 90071992547409931234567890, None),
        (b'{"engagement_id":7.5}', b'{"engagement_id":7.5}', None),
        (b'{"engagement_id":true}', b'{"engagement_id":true}', None),
        (b'{"a":\n1}', b'{"a":1}', None),
    ],
)
def test_a_record_is_known_by_its_id_or_its_line(
    record: bytes, identity: str | int | bytes, start_time: object
) -> None:
    (kept,) = parse_page(page_of(record)).records

    assert (kept.identity, kept.start_time) == (identity, start_time)


UNKNOWN_TOTALS = (None, -1, "-1", "many", 1.5, True, [3], "9" * 5_000)


@pytest.mark.parametrize(
    ("value", "total"), [(3, 3), ("3", 3), (0, 0), ("0", 0), (10**12, 10**12), *((v, None) for v in UNKNOWN_TOTALS)]
)
def test_the_total_is_a_number_in_either_spelling_or_unknown(value: object, total: int | None) -> None:
    assert parse_page(page_of(b"{}", total_records=value)).total_records == total


@pytest.mark.parametrize(
    ("head", "token"),
    [(b'"next_page_token": "a token"', "a token"), (b'"next_page_token": ""', None), (b'"page_size": 100', None)],
)
def test_the_last_page_has_an_empty_a_null_or_no_page_token(head: bytes, token: str | None) -> None:
    assert parse_page(b'{"engagements": [], ' + head + b"}").next_page_token == token


@pytest.mark.parametrize("body", [b'{"total_records": 0}', b'{"total_records": "0", "engagements": null}'])
def test_no_list_is_an_empty_page_where_zoom_counts_none(body: bytes) -> None:
    assert parse_page(body).records == []


NO_LIST, NO_COUNT = "it has no list of engagements", "it has no engagements, and total_records is not a count"
NO_JSON = "it is not JSON in UTF-8"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"null", ""),
        (b'{"total_records": 1}', NO_LIST),
        (b'{"next_page_token": "t", "total_records": "many"}', NO_LIST),
        (b'{"engagements": [], "total_records": "many"}', NO_COUNT),
        (b'{"engagements": ["Private words"]}', ""),
        (b'{"engagements": [{"note": Private words}]}', ""),
        (b'{"engagements": [{"note": "Private words \xed\xa0\x80"}]}', NO_JSON),
        (b'{"engagements": [], "next_page_token": ["Private words"]}', ""),
        ('{"engagements": []}'.encode("utf-16"), NO_JSON),
        (rb'{"engagements": [{"note": "Private words \ud800\udczz"}]}', ""),
        (b'{"engagements": [{"note": "Private words", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}", NO_JSON),
    ],
    ids=count(),
)
def test_what_is_not_a_page_is_a_transient_error_that_quotes_nothing(body: bytes, reason: str) -> None:
    with pytest.raises(TransientError) as error:
        parse_page(body)

    assert str(error.value).startswith(f"Zoom's response is not a page of engagements: {reason}")
    assert "Private words" not in "".join(traceback.format_exception(error.value))
