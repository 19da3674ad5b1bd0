"""How to reach one Zoom account, checked before the first request."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_zcc.zoom.errors import InvalidSettings

DEFAULT_API_URL = "https://api.zoom.us/v2"
DEFAULT_OAUTH_URL = "https://zoom.us/oauth/token"
DEFAULT_REQUESTS_PER_SECOND = 10.0
DEFAULT_TIMEOUT = 30.0
#: Outside of these, a task would wait for minutes between two requests, or for hours for a response.
_RANGES = {"requests_per_second": (0.1, 1_000_000), "timeout": (0.1, 3_600)}


@dataclass(frozen=True)
class Credentials:
    """A Server-to-Server OAuth app of a Zoom account.

    :param client_id: the app's Client ID.
    :param client_secret: the app's Client Secret; kept out of the repr.
    :param account_id: the Account ID that the app belongs to.
    :param oauth_url: where tokens are issued: https, or http on loopback.
    :raises InvalidSettings: if the URL would carry the secret in the clear.
    """

    client_id: str
    client_secret: str = field(repr=False)
    account_id: str
    oauth_url: str = DEFAULT_OAUTH_URL

    def __post_init__(self) -> None:
        object.__setattr__(self, "oauth_url", secure_url(self.oauth_url, "oauth_url"))


@dataclass(frozen=True)
class Settings:
    """Everything that a client needs to know about an account.

    :param credentials: the OAuth app.
    :param api_url: base of the API, without a trailing slash: https, or http on loopback.
    :param requests_per_second: ceiling of the rate. Zoom's limit for this endpoint (label MEDIUM) is
        10 requests/s an account on Pro and 20 on Business and above, as its rate limit page says. From 0.1.
    :param timeout: seconds that one request may wait for a connection, and for the next bytes: 0.1 to 3600.
    :raises InvalidSettings: if a URL would carry the secret in the clear, or a number is out of its range.
    """

    credentials: Credentials
    api_url: str = DEFAULT_API_URL
    requests_per_second: float = DEFAULT_REQUESTS_PER_SECOND
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_url", secure_url(self.api_url, "host"))
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise InvalidSettings(
                    f"{name} is {value}. Set a number from {least} to {most} in the connection's extra."
                )


def secure_url(url: str, field_name: str) -> str:
    """Return a URL with its scheme in lower case, or reject it if it would carry the client secret in the clear.

    :param url: the URL to check.
    :param field_name: the connection field that it came from, for the message.
    :raises InvalidSettings: if it is not https and its host is not a loopback address.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018  reading it is what checks it
    except ValueError:
        parts, host = urlsplit(""), ""
    # The library that connects takes a backslash for a slash, and so another host than the one checked here.
    if not host or "\\" in url or "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSettings(
            f"The connection's {field_name} is not the URL of a server. "
            f"Set one such as {DEFAULT_API_URL if field_name == 'host' else DEFAULT_OAUTH_URL}, or leave it empty."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise InvalidSettings(
            f"The connection's {field_name} is not an https URL, and the client secret must not travel in the clear. "
            "Use https; http is accepted for loopback addresses only."
        )
    return f"{parts.scheme}:{url.partition(':')[2]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
