"""Whatever a server responds: a request ends in what it was for, or in an error of this package."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import RateLimited, ZoomError
from airflow_provider_zcc.zoom.oauth import TokenSource
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import PATH
from tests.conftest import ENGAGEMENTS, settings_for
from tests.properties.profile import examples
from tests.zoom_simulator.app import Config
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.server import SimulatorServer

TOKEN, NUMBER, PAGE_TOKEN = "a-token", "+12059300900", "a-page-token"
#: What no message may quote, by the server that knows it.
CONFIDENTIAL = {"api": (TOKEN, NUMBER, PAGE_TOKEN), "token": (Config().client_secret,)}
PARAMETERS = [("consumer_number", NUMBER), ("next_page_token", PAGE_TOKEN)]
STATUSES = st.sampled_from((200, 200, 200, 400, 401, 403, 404, 429, 429, 503, 201, 302, 308)) | st.integers(200, 599)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
HEADERS = st.one_of(
    st.tuples(
        st.sampled_from(("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")),
        st.one_of(st.floats().map(str), st.datetimes().map(datetime.isoformat), TEXTS),
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
        )
    ),
)
JSON = st.recursive(
    st.one_of(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        st.sampled_from(("Invalid access token.", "The next page token is invalid.", "invalid_client")),
        st.sampled_from([*CONFIDENTIAL["api"], *CONFIDENTIAL["token"]]).map("The value {} is wrong.".format),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("field", "message", "a")), inner),
    max_leaves=6,
)
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from((124, "124", 300, 1001, 4711, 200, 0)) | JSON,
        "access_token": st.just(TOKEN) | JSON,
        "expires_in": st.integers(-1, 10_000) | JSON,
        **dict.fromkeys(("message", "errorMessage", "reason", "error", "errors"), JSON),
    },
).map(lambda found: json.dumps(found).encode())
RESPONSES = st.fixed_dictionaries(
    {
        "status": STATUSES,
        "headers": st.lists(HEADERS, max_size=3).map(dict),
        "body": OBJECTS | OBJECTS.map(lambda body: body[:-7]) | st.binary(),
    }
)


@examples(400, 8_000)
@given(on=st.sampled_from(("api", "api", "token")), response=RESPONSES)
def test_any_response_ends_in_a_page_or_an_error_that_is_fit_for_a_log(
    server: SimulatorServer, on: str, response: dict[str, Any]
) -> None:
    server.simulator.__init__(ENGAGEMENTS)  # type: ignore[misc]
    a_token = {"status": 200, "body": {"access_token": TOKEN}}
    server.simulator.faults = [
        Fault("answer", on, times=-1, details=response),
        Fault("answer", "token", 0, -1, a_token),
    ]
    settings = settings_for(server, requests_per_second=100_000.0)
    client = ZoomClient(settings, token_source=TokenSource(settings.credentials), retry_timeout=0)

    try:
        with client.session:
            client.get(PATH, PARAMETERS, parse_page)
    except ZoomError as error:
        event(type(error).__name__)
        message = str(error)
        assert len(message) < 1_000
        assert len(message.splitlines()) == 1
        assert not any(words in message for words in CONFIDENTIAL[on])
        retry_at = error.retry_at if isinstance(error, RateLimited) else None
        assert retry_at is None or retry_at.utcoffset() is not None
    # Up to three tokens, and with each of them one request.
    assert server.simulator.stats.api_requests + server.simulator.stats.token_requests <= 6
