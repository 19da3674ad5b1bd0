"""Whatever a server sends in a header or an error: it is read, or it is ignored."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.http import Response, error_body, quote, retry_after
from tests.properties.profile import examples

NOW = datetime(2026, 11, 9, 12, tzinfo=UTC)
DIGITS = st.integers(0, 10**9).map(str)
ISO = st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat)
HTTP_DATES = st.datetimes().map(lambda moment: f"{moment:%a, %d %b %Y %H:%M:%S} GMT")
PIECES = DIGITS | st.sampled_from(
    ("Mon,", "Mon", ",", "09", "Nov", "2026", "-", "12:00:07", "GMT", "+9999", "+", "T", "Z", "\x00", "\u0661")
)
DATE_LIKE = st.builds(str.join, st.sampled_from((" ", "", "-")), st.lists(PIECES, max_size=9))
NUMBERS = st.one_of(
    (st.integers() | st.floats()).map(str),
    st.builds("{}e{}".format, st.integers(-99, 99), st.integers(-400, 400)),
    st.sampled_from(("nan", "inf", "-inf", "infinity", "1_000", "0x10", "\uff17", " 7 ", "7s", "9" * 5_000)),
)
HEADERS = st.text() | st.text(st.characters(max_codepoint=255)) | ISO | HTTP_DATES | DATE_LIKE | NUMBERS


@examples(800, 30_000)
@given(value=st.none() | HEADERS)
def test_any_retry_after_is_an_aware_instant_or_none(value: str | None) -> None:
    moment = retry_after(value, NOW)

    assert moment is None or moment.utcoffset() is not None


@examples(300, 8_000)
@given(
    body=st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.text().map(lambda text: text.encode("utf-16")),
        st.sampled_from((1, 900, 100_000)).map(lambda depth: b"[" * depth + b"]" * depth),
    )
)
def test_any_body_of_an_error_is_an_object_or_an_empty_one(body: bytes) -> None:
    assert isinstance(error_body(Response(400, {}, body)), dict)


@examples(150, 4_000)
@given(words=st.recursive(st.none() | st.floats() | st.text(), st.lists), hidden=st.lists(st.text(), max_size=3))
def test_any_quoted_words_are_one_short_line_without_what_is_hidden(words: object, hidden: list[str]) -> None:
    quoted = quote(words, hidden)

    assert len(quoted) <= 300
    assert len(quoted.splitlines()) <= 1
    # A hidden value may be a part of what stands for another one.
    secrets = [secret for value in hidden if (secret := " ".join(value.split())) and "*" not in secret]
    assert not any(secret in quoted for secret in secrets)
