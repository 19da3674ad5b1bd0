"""HTTP responses, as bytes: any status, headers and body, framed well or badly, or nothing of the kind."""

from __future__ import annotations

import gzip
import json
from datetime import datetime

from hypothesis import strategies as st

from tests.properties.bodies import BODIES, damaged

#: Values that no error message may quote: the client secret, a token, a consumer number and a page token.
SECRETS = ("a-secret-of-the-app", "a-token", "+12059300900", "a-page-token")

_STATUSES = st.sampled_from((400, 401, 403, 404, 429, 429, 429, 500, 503, 201, 204, 302, 308)) | st.integers(100, 999)
_TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
_HEADERS = st.one_of(
    st.tuples(
        st.sampled_from(("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")),
        st.one_of(st.floats().map(str), st.datetimes().map(datetime.isoformat), _TEXTS),
    ),
    st.sampled_from(
        (
            ("X-RateLimit-Type", "Daily-limit"),
            ("X-RateLimit-Type", "QPS"),
            ("Content-Type", "text/html; charset=utf-16"),
            ("Content-Encoding", "gzip, gzip"),
            ("Location", "http://127.0.0.1:1/x"),
            ("Location", "//"),
            ("Set-Cookie", "=; Domain=.; Expires=never"),
            ("X-Long", "x" * 70_000),
            ("X-Many", "\r\nX-Many: ".join("x" * 110)),
        )
    ),
    st.tuples(_TEXTS, _TEXTS),
)
_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(("Invalid access token.", "The next page token is invalid.", "invalid_client")),
        st.sampled_from(SECRETS).map("The value {} is wrong.".format),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("field", "message", "a")), inner),
    max_leaves=6,
)
_ERRORS = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from((124, "124", 300, 1001, 4711, 200, 0)) | _JSON,
        **dict.fromkeys(("message", "errorMessage", "reason", "error", "errors"), _JSON),
    },
).map(lambda error: json.dumps(error).encode())
_TOKENS = st.fixed_dictionaries(
    {"access_token": st.just(SECRETS[1]) | st.text(st.characters(max_codepoint=127)) | _JSON},
    optional={"expires_in": st.integers(-1, 10_000) | _JSON, "token_type": _JSON},
).map(lambda token: json.dumps(token).encode())


def well_formed(status: int, body: bytes, *headers: tuple[str, str]) -> bytes:
    """Return a response without a fault, unless one of its headers is.

    :param status: of HTTP.
    :param body: its length is in a header.
    :param headers: further ones.
    """
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}", *map(": ".join, headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@st.composite
def _responses(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Draw responses, three of four of them HTTP."""
    status, headers = draw(st.just(200) | _STATUSES), draw(st.lists(_HEADERS, max_size=3))
    body = draw(bodies if status == 200 else _ERRORS | damaged(_ERRORS) | BODIES)
    match draw(st.sampled_from(("", "", "gzip", "gzip that ends early", "too long", "too short"))):
        case "gzip":
            response = well_formed(status, gzip.compress(body, 1), *headers, ("Content-Encoding", "gzip"))
        case "gzip that ends early":
            response = well_formed(status, gzip.compress(body, 1)[:-9], *headers, ("Content-Encoding", "gzip"))
        case framing:
            response = well_formed(status, body, *headers)
            response = {"too long": response + b"surplus", "too short": response[:-7]}.get(framing, response)
    return draw(st.sampled_from((response, response, response, draw(damaged(st.just(response))))))


API_RESPONSES = _responses(BODIES)
TOKEN_RESPONSES = _responses(_TOKENS | damaged(_TOKENS) | _ERRORS)
A_TOKEN = well_formed(200, b'{"access_token": "a-token", "expires_in": 3600}')
#: After a token that is rejected comes another, so one response may lead to another.
REJECTED_TOKEN = well_formed(401, b'{"code": 124, "message": "Invalid access token."}')
A_PAGE = well_formed(200, b'{"engagements": [{"engagement_id": "a"}], "total_records": 1}')
