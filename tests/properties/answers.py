"""Answers of HTTP, as bytes: any status, headers and body, framed well or badly, or nothing of the kind."""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from tests.properties.bodies import BODIES, PAGES, SOUP, damaged

ERROR_STATUSES = st.sampled_from(
    (400, 401, 403, 404, 429, 429, 429, 500, 503, 201, 204, 300, 302, 304, 308)
) | st.integers(100, 999)
_LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
_HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30) | _LATIN
_DAY = datetime(2026, 11, 9, tzinfo=UTC)
_WHOLE = st.sampled_from(("0", "1", "7", "20", "-1", "nought", "1.5", "nan", "")) | st.integers(0, 10**9).map(str)
_TIMES = st.builds(lambda days: _DAY + timedelta(days=days), st.integers(-9_999, 9_999)).flatmap(
    lambda day: st.sampled_from((f"{day:%Y-%m-%dT%H:%M:%SZ}", f"{day:%a, %d %b %Y %H:%M:%S} GMT", day.isoformat()))
)
_VALUES = {
    "Retry-After": _WHOLE | _TIMES,
    "X-RateLimit-Type": st.sampled_from(("QPS", "qps", "Daily-limit")),
    "X-RateLimit-Limit": _WHOLE,
    "X-RateLimit-Remaining": _WHOLE,
    "X-RateLimit-Category": st.sampled_from(("Medium", "Heavy")),
    "Content-Type": st.sampled_from(
        ("application/json", "text/html; charset=utf-16", "application/json; charset=x", "multipart/mixed", ";")
    ),
    "Location": st.sampled_from(("/", "//", "https://zoom.us/", "http://127.0.0.1:1/x", "\u00ff", "")),
    "Set-Cookie": st.sampled_from(("a=b", "a=b; Max-Age=x; Expires=never", "=; Domain=.; Path", ";", "a=b; Version=x")),
    "Connection": st.sampled_from(("close", "keep-alive", "Upgrade")),
    "WWW-Authenticate": st.just("Negotiate"),
}
_AT_ODDS_WITH_THE_BODY = {
    "Content-Encoding": st.sampled_from(("gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "x", "gzip," * 9)),
    "Content-Length": _WHOLE,
    "Transfer-Encoding": st.sampled_from(("chunked", "gzip, chunked", "x")),
}


def _some_of(values: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(sorted(values)).flatmap(
        lambda name: st.tuples(st.sampled_from((name, name.lower(), name.upper())), values[name] | _HEADER_TEXT)
    )


_USUAL_HEADERS = st.lists(_some_of(_VALUES), max_size=4)
_ODD_HEADERS = st.lists(
    st.one_of(
        _some_of(_VALUES),
        _some_of(_AT_ODDS_WITH_THE_BODY),
        st.tuples(_LATIN, _LATIN),
        st.sampled_from((("X-Long", "x" * 70_000), ("X-Folded", "a\r\n b"))),
        st.integers(90, 110).map(lambda times: ("X-Many", "\r\nX-Many: ".join("x" * times))),
    ),
    max_size=4,
)

_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("field", "message", "a")), inner),
    max_leaves=6,
)
#: What a server must not be quoted with.
SECRETS = ("a-secret-of-the-app", "a-token", "+12059300900", "a-page-token")
_TELLING = st.sampled_from(SECRETS).map("The value {} is wrong.".format)
_FINITE_JSON = _ANY_JSON.filter(lambda value: value not in (float("inf"), float("-inf")))
_ERRORS = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from((124, "124", 300, 1001, 4711, 200, "invalid_client", 0)) | _FINITE_JSON,
        "message": st.sampled_from(("Invalid access token.", "The next page token is invalid.", ""))
        | _ANY_JSON
        | _TELLING,
        "errorMessage": _ANY_JSON,
        "reason": _ANY_JSON | _TELLING,
        "error": st.sampled_from(("invalid_client", "invalid_request")) | _ANY_JSON,
        "errors": _ANY_JSON | st.lists(st.dictionaries(st.sampled_from(("field", "message")), _ANY_JSON)),
    },
).map(lambda error: json.dumps(error).encode())
_TOKENS = st.fixed_dictionaries(
    {"access_token": st.just(SECRETS[1]) | st.text(st.characters(max_codepoint=127)) | _ANY_JSON},
    optional={"expires_in": st.integers(-1, 10_000) | _ANY_JSON, "token_type": _ANY_JSON},
).map(lambda token: json.dumps(token).encode())


@st.composite
def answers(draw: st.DrawFn, good: st.SearchStrategy[bytes], errors: st.SearchStrategy[bytes]) -> bytes:
    """Draw an answer that is HTTP at least at its beginning.

    :param good: bodies of status 200.
    :param errors: bodies of all others.
    """
    usual = draw(st.sampled_from((True, True, False)))
    status = draw(st.just(200) | ERROR_STATUSES)
    headers, body = draw(_USUAL_HEADERS if usual else _ODD_HEADERS), draw(good if status == 200 else errors)
    for encoded in draw(st.sampled_from(((), (), ("gzip",), ("deflate",), ("gzip", "gzip"), ("gzip", "cut")))):
        if encoded == "cut":
            body = body[: len(body) // 2]
        else:
            body = gzip.compress(body, 1) if encoded == "gzip" else zlib.compress(body)
            headers = [*headers, ("Content-Encoding", encoded)]
    well_framed = ("length", "length", "chunked", "none")
    framing = draw(st.sampled_from(well_framed if usual else (*well_framed, "too long", "too short", "broken")))
    if framing == "chunked":
        headers = [*headers, ("Transfer-Encoding", "chunked")]
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif framing == "broken":
        headers = [*headers, ("Transfer-Encoding", "chunked")]
        body = draw(st.sampled_from((b"", b"x\r\n", b"5\r\nabc", b"-1\r\n\r\n", b"%x\r\n" % (len(body) + 1)))) + body
    elif framing != "none":
        off_by = {"length": 0, "too long": 7, "too short": -7}[framing]
        headers = [*headers, ("Content-Length", str(max(0, len(body) + off_by)))]
    words = draw(st.sampled_from(("OK", "", "\u00e9", "Words  of the server")))
    lines = [f"HTTP/1.1 {status} {words}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def well_formed(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Return an answer without a fault.

    :param status: of HTTP.
    :param body: its length is said.
    :param headers: further ones.
    """
    given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status} Words", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


_BEGINNINGS = st.sampled_from(
    (b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\r\n", b"HTTP/1.1 200\r\nA")
)
_NO_HTTP = st.builds(lambda beginning, rest: beginning + rest, _BEGINNINGS, st.binary(max_size=200))


def _mostly(usual: st.SearchStrategy[bytes], rare: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from((usual,) * 7 + (rare,)).flatmap(lambda chosen: chosen)


_ERROR_BODIES = _mostly(_ERRORS, damaged(_ERRORS) | PAGES | SOUP | st.binary(max_size=200))

API_ANSWERS = _mostly(answers(_mostly(PAGES, BODIES) | BODIES, _ERROR_BODIES), _NO_HTTP)
TOKEN_ANSWERS = _mostly(answers(_TOKENS | damaged(_TOKENS) | _ERROR_BODIES, _ERROR_BODIES), _NO_HTTP)
A_TOKEN = well_formed(200, b'{"access_token": "a-token", "expires_in": 3600}')
#: Tokens are refused and come again, so one answer may lead to another.
A_REFUSAL = well_formed(401, b'{"code": 124, "message": "Invalid access token."}')
A_PAGE = well_formed(200, b'{"engagements": [{"engagement_id": "a"}], "total_records": 1}')
