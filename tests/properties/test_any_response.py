"""Whatever a server responds: a request ends in what it was for, or in an error of this package."""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import RateLimited, ZoomError
from airflow_provider_zcc.zoom.oauth import TokenSource
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import PATH
from airflow_provider_zcc.zoom.settings import Credentials, Settings
from tests.properties.profile import examples
from tests.properties.raw_server import RawServer
from tests.properties.responses import A_PAGE, A_TOKEN, API_RESPONSES, REJECTED_TOKEN, SECRETS, TOKEN_RESPONSES

SECRET, TOKEN, NUMBER, PAGE_TOKEN = SECRETS
PARAMETERS = st.sampled_from(
    [[], [("consumer_number", NUMBER)], [("consumer_number", NUMBER), ("next_page_token", PAGE_TOKEN)]]
)


def error_of(server: RawServer, parameters: list[tuple[str, str]]) -> ZoomError | None:
    """Send a request, and return the error if it ends in one."""
    credentials = Credentials("an-app", SECRET, "an-account", f"{server.url}/oauth/token")
    settings = Settings(credentials, api_url=f"{server.url}/v2", requests_per_second=100_000.0, timeout=5.0)
    client = ZoomClient(settings, token_source=TokenSource(credentials), retry_timeout=0)
    try:
        with client.session:
            client.get(PATH, parameters, parse_page)
    except ZoomError as error:
        return error
    return None


def assert_is_fit_for_a_log(error: ZoomError | None, confidential: list[str]) -> None:
    """Check that an error is one sentence or a few, and quotes nothing confidential."""
    event(type(error).__name__)
    message = str(error or "No error.")
    assert len(message) < 1_000
    assert len(message.splitlines()) == 1
    assert message.endswith((".", "!", "?")) or isinstance(error, RateLimited)
    assert not any(secret in message for secret in confidential)
    if isinstance(error, RateLimited):
        assert error.retry_at is None or error.retry_at.utcoffset() is not None


@examples(300, 5_000)
@given(responses=st.lists(API_RESPONSES, min_size=1, max_size=2), rejections=st.integers(0, 1), parameters=PARAMETERS)
def test_any_response_of_the_api_ends_in_a_page_or_an_error_of_the_package(
    raw_server: RawServer, responses: list[bytes], rejections: int, parameters: list[tuple[str, str]]
) -> None:
    raw_server.set_responses(token=A_TOKEN, api=[REJECTED_TOKEN] * rejections + responses)

    assert_is_fit_for_a_log(error_of(raw_server, parameters), [TOKEN, *(value for _, value in parameters)])
    # Up to three tokens, and with each of them one request.
    assert raw_server.requests <= 6


@examples(200, 3_000)
@given(response=TOKEN_RESPONSES, parameters=PARAMETERS)
def test_any_response_of_the_token_endpoint_ends_in_a_page_or_an_error_of_the_package(
    raw_server: RawServer, response: bytes, parameters: list[tuple[str, str]]
) -> None:
    raw_server.set_responses(token=response, api=[A_PAGE])

    assert_is_fit_for_a_log(error_of(raw_server, parameters), [SECRET])
    assert raw_server.requests <= 2
