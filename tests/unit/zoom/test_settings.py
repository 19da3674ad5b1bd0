from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from airflow_provider_zcc.zoom.errors import InvalidSettings
from airflow_provider_zcc.zoom.settings import Credentials, Settings

CREDENTIALS = Credentials("id", "a secret", "account")


def api_url(url: str) -> str:
    return Settings(CREDENTIALS, url).api_url


def oauth_url(url: str) -> str:
    return Credentials("id", "a secret", "account", url).oauth_url


Build = Callable[[str], str]
NO_URL = "is not the URL of a server"
HTTPS = r"is not an https URL, .* Use https; http is accepted for loopback addresses only\."


def test_zoom_itself_is_the_default() -> None:
    settings = Settings(CREDENTIALS)

    assert settings.api_url == "https://api.zoom.us/v2"
    assert settings.credentials.oauth_url == "https://zoom.us/oauth/token"
    assert (settings.requests_per_second, settings.timeout) == (10.0, 30.0)


@pytest.mark.parametrize("build", [api_url, oauth_url])
@pytest.mark.parametrize(
    ("scheme", "rest"),
    [
        ("https", "://api.zoom.us:8443/v2"),
        ("http", "://localhost:8080/v2"),
        ("http", "://[::1]:80/v2"),
        ("HtTp", "://127.0.0.1:80/V2"),
    ],
)
def test_https_and_loopback_are_accepted_with_the_scheme_in_lower_case(build: Build, scheme: str, rest: str) -> None:
    assert build(scheme + rest) == scheme.lower() + rest


@pytest.mark.parametrize(("build", "field"), [(api_url, "host"), (oauth_url, "oauth_url")])
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        *((url, HTTPS) for url in ("http://api.zoom.us/v2", "http://127.0.0.1.example/v2", "ftp://127.0.0.1/v2")),
        *((url, NO_URL) for url in ("", "https://api.zoom.us:99999/v2", "https://[::1/v2", "https://@api.zoom.us/v2")),
        *((url, NO_URL) for url in ("http://127.0.0.1\\@evil.example", "https://zoom.us/?a=1", "https://zoom.us/#a")),
    ],
)
def test_any_other_url_is_rejected(build: Build, field: str, url: str, problem: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{field} {problem}") as error:
        build(url)

    assert ("https://zoom.us/oauth/token" in str(error.value)) == (field == "oauth_url" and problem != HTTPS)


@pytest.mark.parametrize(("name", "most"), [("requests_per_second", 1_000_000), ("timeout", 3_600)])
def test_rate_and_timeout_have_a_range(name: str, most: int) -> None:
    assert [getattr(Settings(CREDENTIALS, **{name: value}), name) for value in (0.1, most)] == [0.1, most]
    for value in (0.09, most + 1, math.nan):
        with pytest.raises(InvalidSettings, match=rf"{name} is {value}.*from 0\.1 to {most}"):
            Settings(CREDENTIALS, **{name: value})


def test_the_client_secret_is_in_no_repr() -> None:
    assert "a secret" not in repr(CREDENTIALS) + repr(Settings(CREDENTIALS))
