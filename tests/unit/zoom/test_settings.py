from __future__ import annotations

import math

import pytest

from airflow_provider_zcc.zoom.errors import InvalidSettings, PermanentError
from airflow_provider_zcc.zoom.settings import Credentials, Settings

CREDENTIALS = Credentials("id", "a secret", "account")

SECURE = [
    "https://api.zoomgov.com/v2",
    "HTTPS://API.ZOOM.US/v2",
    "https://api.zoom.us:8443/v2",
    "http://localhost:8080/v2",
    "http://127.0.0.1:8080/v2",
    "http://127.8.9.10",
    "http://[::1]:8080/v2",
]
IN_THE_CLEAR = [
    "http://api.zoom.us/v2",
    "http://10.0.0.1/v2",
    "http://0.0.0.0/v2",
    "http://localhost.example/v2",
    "http://127.0.0.1.example/v2",
    "http://[2001:db8::1]/v2",
    "ftp://127.0.0.1/v2",
]
NOT_A_SERVER = [
    "",
    "api.zoom.us/v2",
    "https://",
    "https:///v2",
    "https://api.zoom.us:99999/v2",
    "https://api.zoom.us:port/v2",
    "https://[::1/v2",
    "https://somebody@api.zoom.us/v2",
    "https://somebody:word@api.zoom.us/v2",
    "https://:pw@host",
    "https://:pw@api.zoom.us/v2",
    "https://@api.zoom.us/v2",
    "https://api.zoom.us/v2?a=1",
    "https://api.zoom.us/v2#a",
]


def with_api_url(url: str) -> Settings:
    return Settings(CREDENTIALS, url)


def with_token_url(url: str) -> Credentials:
    return Credentials("id", "a secret", "account", url)


def test_zoom_itself_is_the_default() -> None:
    settings = Settings(CREDENTIALS)

    assert settings.api_url == "https://api.zoom.us/v2"
    assert settings.credentials.token_url == "https://zoom.us/oauth/token"
    assert (settings.requests_per_second, settings.timeout) == (10.0, 30.0)


@pytest.mark.parametrize("url", SECURE)
def test_https_and_loopback_are_accepted(url: str) -> None:
    assert with_api_url(url).api_url == url
    assert with_token_url(url).token_url == url


@pytest.mark.parametrize("url", IN_THE_CLEAR)
@pytest.mark.parametrize(("build", "field"), [(with_api_url, "host"), (with_token_url, "token_url")])
def test_a_secret_does_not_travel_in_the_clear(build: type, field: str, url: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        build(url)

    assert str(error.value) == (
        f"The connection's {field} is not an https URL, and the client secret must not travel in the clear. "
        "Use https; http is accepted for loopback addresses alone."
    )


@pytest.mark.parametrize("url", NOT_A_SERVER)
@pytest.mark.parametrize(
    ("build", "field", "example"),
    [
        (with_api_url, "host", "https://api.zoom.us/v2"),
        (with_token_url, "token_url", "https://zoom.us/oauth/token"),
    ],
)
def test_what_is_not_the_url_of_a_server_is_refused_with_an_example(
    build: type, field: str, example: str, url: str
) -> None:
    with pytest.raises(InvalidSettings) as error:
        build(url)

    assert str(error.value) == (
        f"The connection's {field} is not the URL of a server. Give one such as {example}, or leave it empty."
    )


@pytest.mark.parametrize("value", [0, -1, 0.09, 1e-9, 1_000_001, 1e300, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("name", "most"), [("requests_per_second", 1_000_000), ("timeout", 3_600)])
def test_pace_and_timeout_have_a_range(name: str, most: int, value: float) -> None:
    with pytest.raises(InvalidSettings) as error:
        Settings(CREDENTIALS, **{name: value})

    assert str(error.value) == f"{name} is {value}. Give a number from 0.1 to {most} in the connection's extra."


@pytest.mark.parametrize(("name", "most"), [("requests_per_second", 1_000_000), ("timeout", 3_600)])
def test_the_ends_of_a_range_are_in_it(name: str, most: int) -> None:
    assert [getattr(Settings(CREDENTIALS, **{name: value}), name) for value in (0.1, most)] == [0.1, most]


def test_wrong_settings_are_a_permanent_error_and_a_value_error() -> None:
    assert issubclass(InvalidSettings, PermanentError)
    assert issubclass(InvalidSettings, ValueError)


def test_the_client_secret_is_in_no_repr() -> None:
    assert "a secret" not in repr(CREDENTIALS) + repr(Settings(CREDENTIALS))


def test_the_same_app_has_equal_credentials_and_another_secret_has_not() -> None:
    assert Credentials("id", "a secret", "account") == CREDENTIALS
    assert Credentials("id", "another", "account") != CREDENTIALS
