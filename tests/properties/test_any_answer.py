"""Whatever a server answers: a request ends in what it asked for, or in an error of this package."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import event, given
from hypothesis import strategies as st

from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import RateLimited, ZoomError
from airflow_provider_zcc.zoom.oauth import TokenSource
from airflow_provider_zcc.zoom.page import Page, parse_page
from airflow_provider_zcc.zoom.query import PATH
from airflow_provider_zcc.zoom.settings import Credentials, Settings
from tests.properties.answers import A_PAGE, A_REFUSAL, A_TOKEN, API_ANSWERS, SECRETS, TOKEN_ANSWERS
from tests.properties.profile import examples
from tests.properties.raw_server import RawServer

SECRET, TOKEN, NUMBER, PAGE_TOKEN = SECRETS
QUESTIONS = st.sampled_from(
    [[], [("consumer_number", NUMBER)], [("consumer_number", NUMBER), ("next_page_token", PAGE_TOKEN)]]
)


def ask(server: RawServer, question: list[tuple[str, str]]) -> Page | ZoomError:
    credentials = Credentials("an-app", SECRET, "an-account", f"{server.url}/oauth/token")
    settings = Settings(credentials, api_url=f"{server.url}/v2", requests_per_second=100_000.0, timeout=5.0)
    client = ZoomClient(settings, token_source=TokenSource(credentials), retry_timeout=0)
    with client.session:
        try:
            return client.get(PATH, question, parse_page)
        except ZoomError as error:
            return error


def assert_is_a_page_or_an_error_fit_for_a_log(result: Page | ZoomError, told: list[str]) -> None:
    """Look at a result, which must not quote what the server was told in confidence."""
    event(type(result).__name__)
    if isinstance(result, Page):
        return
    message = str(result)
    assert len(message) < 1_000
    assert len(message.splitlines()) == 1
    assert message.endswith((".", "!", "?")) or isinstance(result, RateLimited)
    assert not any(secret in message for secret in told)
    if isinstance(result, RateLimited) and result.retry_at is not None:
        assert isinstance((result.retry_at - datetime.now(UTC)).total_seconds(), float)


@examples(300, 5_000)
@given(answers=st.lists(API_ANSWERS, min_size=1, max_size=2), refusals=st.integers(0, 1), question=QUESTIONS)
def test_any_answer_of_the_api_ends_in_a_page_or_an_error_of_the_package(
    raw_server: RawServer, answers: list[bytes], refusals: int, question: list[tuple[str, str]]
) -> None:
    raw_server.answer(token=A_TOKEN, api=[A_REFUSAL] * refusals + answers)

    result = ask(raw_server, question)

    assert_is_a_page_or_an_error_fit_for_a_log(result, [TOKEN, *(value for _, value in question)])
    # Up to three tokens, and with each of them one request.
    assert len(raw_server.requests) <= 6


@examples(200, 3_000)
@given(answer=TOKEN_ANSWERS, question=QUESTIONS)
def test_any_answer_of_the_token_endpoint_ends_in_a_page_or_an_error_of_the_package(
    raw_server: RawServer, answer: bytes, question: list[tuple[str, str]]
) -> None:
    raw_server.answer(token=answer, api=[A_PAGE])

    result = ask(raw_server, question)

    assert_is_a_page_or_an_error_fit_for_a_log(result, [SECRET])
    assert len(raw_server.requests) <= 2
