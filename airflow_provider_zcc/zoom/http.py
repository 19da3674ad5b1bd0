"""What requests to both of Zoom's servers, the OAuth endpoint and the API, have in common."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import prepend_scheme_if_needed, select_proxy
from urllib3.util.ssl_match_hostname import CertificateError

from airflow_provider_zcc.zoom.errors import (
    ConnectionFailed,
    InvalidEnvironment,
    InvalidSettings,
    PermanentError,
    RateLimited,
)

PACKAGE = "airflow-provider-zcc"
_LONGEST_QUOTE = 300
#: Bytes of a body read at once. In the small pieces that requests reads by default, threads wait for each other.
_CHUNK = 1 << 16
#: Seconds that a body may take, if the timeout is not longer, and its largest size in bytes: a server may trickle, or
#: never end. A page of 100 records takes about a hundred thousand bytes.
_BODY_DEADLINE, _LARGEST_BODY = 120.0, 1 << 28
#: Seconds ahead within which an ``X-RateLimit-Reset`` is plausible: it belongs to a limit per second.
_LATEST_RESET = 60.0
#: What a failure of the connection is called, by the type of the first error that is known. The first that fits counts.
_FAILURES: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "host name not known"),
    (ConnectionRefusedError, "connection refused"),
    (TimeoutError, "timed out"),
    (requests.exceptions.Timeout, "timed out"),
    (ssl.SSLError, "TLS handshake failed"),
    (ConnectionResetError, "connection reset"),
    # To urllib3, this is a timeout too. A SOCKS proxy may be the cause.
    (urllib3.exceptions.NewConnectionError, "no connection"),
    (urllib3.exceptions.TimeoutError, "timed out"),
    (urllib3.exceptions.IncompleteRead, "response cut short"),
    (urllib3.exceptions.DecodeError, "response cannot be decompressed"),
)


@dataclass(frozen=True)
class Response:
    """What a server returned.

    :param status: HTTP status.
    :param headers: in any letter case.
    :param body: decompressed.
    :param authorization: the header with which the request was signed; kept out of the repr.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    authorization: str = field(default="", repr=False)

    @property
    def tracking_id(self) -> str | None:
        """Zoom's id of the request, fit for a log; None if it sent none."""
        return _tracking_id(self.headers)


class _Session(requests.Session):
    def resolve_redirects(self, resp: requests.Response, *_: Any, **__: Any) -> Iterator[Any]:
        """Reject before the body is read, which may not end."""
        if resp.is_redirect:
            resp.close()
            raise requests.TooManyRedirects(response=resp)
        return iter(())


def session(connections: int = 1) -> requests.Session:
    """Make a session that follows no redirect and keeps no cookie.

    :param connections: how many to keep open, one for each thread that sends requests.
    """
    made = _Session()
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    made.headers.update({"User-Agent": user_agent(), "Accept": "application/json"})
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(pool_maxsize=connections))
    return made


def user_agent() -> str:
    """Return the package's name and version, for Zoom's support."""
    return f"{PACKAGE}/{package_version()}"


def package_version() -> str:
    """Return the version of this package; ``unknown`` if it is not installed but only on the path."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"


def use_environment(made: requests.Session, url: str) -> None:
    """Look up the environment's proxies and certificates once, rather than for each request.

    A URL without encryption leads to loopback: no proxy is used for it.

    :param made: the session.
    :param url: where its requests go.
    """
    no_proxies: dict[str, Any] = {"http": None, "all": None} if url.startswith("http:") else {}
    environment = made.merge_environment_settings(url, no_proxies, None, None, None)
    made.proxies, made.verify = environment["proxies"], environment["verify"]
    made.trust_env = False


def send(made: requests.Session, method: str, url: str, *, timeout: float, **kwargs: Any) -> Response:
    """Send one request, and return the response of that server or raise.

    :param made: a session whose proxies are those of the environment.
    :param method: of HTTP.
    :param url: where to.
    :param timeout: seconds to wait for a connection, and for the next bytes.
    :param kwargs: passed on to requests.
    :raises ConnectionFailed: if no response arrived, or not all of it.
    :raises InvalidEnvironment: if a proxy or the certificate bundle of this worker cannot be used.
    :raises PermanentError: if the certificate is wrong or the server redirects.
    """
    proxy = select_proxy(url, made.proxies)
    if proxy:
        _check_proxy(proxy)
    # The errors of requests quote the URL, and with it a consumer's number: they are not chained.
    try:
        with made.request(method, url, allow_redirects=False, stream=True, timeout=timeout, **kwargs) as response:
            body = _body(response, url, max(_BODY_DEADLINE, timeout))
    except requests.exceptions.TooManyRedirects as error:
        raise _redirected(url, error.response) from None  # type: ignore[arg-type]  # the session passes it
    except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError, UnicodeError):
        raise InvalidSettings(f"{_host(url)} is not a valid host name. Correct the connection.") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _failure(error, url, proxy) from None
    except OSError as error:
        raise InvalidEnvironment(
            f"The TLS settings of this worker cannot be used: {error}. "
            "Check the certificate bundle that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names."
        ) from None
    signature = response.request.headers.get("Authorization", "")
    return Response(response.status_code, response.headers, body, str(signature))


def _body(response: requests.Response, url: str, seconds: float) -> bytes:
    pieces, size, deadline = [], 0, time.monotonic() + seconds
    while piece := response.raw.read1(_CHUNK, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST_BODY or time.monotonic() > deadline:
            raise ConnectionFailed(f"The response of {_host(url)} did not end: {size} bytes so far.")
    return b"".join(pieces)


def _failure(error: Exception, url: str, proxy: str | None) -> PermanentError | ConnectionFailed:
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError | CertificateError) for cause in causes):
        return PermanentError(
            f"The TLS certificate of {_host(url)} could not be verified. "
            "Check the connection's host, and the proxy or certificate bundle of this worker."
        )
    words = next(
        (words for kind, words in _FAILURES if any(isinstance(cause, kind) for cause in causes)), "connection closed"
    )
    through = ""
    if proxy and any(
        isinstance(cause, requests.exceptions.ProxyError | urllib3.exceptions.ProxyError)
        or type(cause).__module__ == "socks"
        for cause in causes
    ):
        through = f" through the proxy {_host(proxy)} of {_variables_of(proxy)}"
    return ConnectionFailed(f"Could not connect to {_host(url)}{through}: {words}.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it: libraries keep that in different places."""
    found: list[Any] = [error]
    for cause in found:
        inner = (*cause.args, cause.__cause__, cause.__context__)
        found += [each for each in inner if isinstance(each, BaseException) and each not in found]
    return iter(found)


def _check_proxy(proxy: str) -> None:
    """Reject a proxy of the environment that requests could not use, before it says so in words of its own.

    :raises InvalidEnvironment: naming the variable and the proxy's host.
    """
    problem, example = "", "it is not a URL such as http://proxy.example:3128"
    try:
        # As requests reads it, which fails on a name and a port without a scheme.
        parts = urllib3.util.parse_url(str(prepend_scheme_if_needed(proxy, "http")))  # type: ignore[no-untyped-call]
        if not parts.host:
            problem = example
        elif parts.scheme not in ("http", "https", "socks4", "socks4a", "socks5", "socks5h"):
            problem = f"{parts.scheme} is not a scheme of proxies"
        elif parts.scheme.startswith("socks") and find_spec("socks") is None:
            problem = "a SOCKS proxy needs the package PySocks"
    except (urllib3.exceptions.LocationParseError, TypeError):
        problem = example
    if problem:
        raise InvalidEnvironment(
            f"The proxy {_host(proxy)} of {_variables_of(proxy)} cannot be used: {problem}. Correct it on this worker."
        )


def _variables_of(proxy: str) -> str:
    names = sorted(name for name, value in os.environ.items() if value == proxy and name.lower().endswith("_proxy"))
    return " and ".join(names) or "the system's settings"


def _redirected(url: str, response: requests.Response) -> PermanentError:
    status = response.status_code
    return PermanentError(
        f"{_host(url)} redirected the request (HTTP {status}), which is not followed, to keep the credentials where "
        "they belong. Check the connection's host and oauth_url.",
        status=status,
        tracking_id=_tracking_id(response.headers),
    )


def _tracking_id(headers: Mapping[str, str]) -> str | None:
    return quote(headers.get("x-zm-trackingid", "")) or None


def error_body(response: Response) -> dict[str, Any]:
    """Read the JSON object of an error; an HTML page or nonsense gives an empty one."""
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def quote(words: object, hidden: Iterable[str] = ()) -> str:
    """Make the server's words fit for a log: one short line without secrets.

    :param words: what the server sent.
    :param hidden: values that must not be repeated, such as a token or a consumer's number.
    """
    text = " ".join(str(words).split())
    for value in hidden:
        if value := " ".join(value.split()):
            text = text.replace(value, "***")
    return text[:_LONGEST_QUOTE]


def facts(response: Response, code: object = None, words: str = "") -> str:
    """Put together what a message says of a response: status, code, words and tracking id.

    :param response: the response.
    :param code: Zoom's code, fit for a log; None or empty if there is none.
    :param words: Zoom's own, fit for a log.
    """
    text = f"HTTP {response.status}"
    if code not in (None, ""):
        text += f", code {code}"
    if words:
        text += f": {words}"
    return f"{text}; tracking id {response.tracking_id}" if response.tracking_id else text


def rate_limited(response: Response, code: int | str | None, words: str) -> RateLimited:
    """Turn an HTTP 429 into its error.

    :param response: the response.
    :param code: Zoom's code, fit for a log.
    :param words: Zoom's own, fit for a log.
    """
    now = datetime.now(UTC)
    return RateLimited(
        f"Zoom's rate limit was reached ({facts(response, words=words)}).",
        retry_after(response.headers.get("Retry-After"), now)
        or rate_limit_reset(response.headers.get("X-RateLimit-Reset"), now),
        status=response.status,
        code=code,
        tracking_id=response.tracking_id,
    )


def retry_after(value: str | None, now: datetime) -> datetime | None:
    """Read a ``Retry-After`` header: seconds, an HTTP date, or an ISO 8601 instant as Zoom documents it.

    :param value: the header, or None.
    :param now: the present, timezone-aware.
    :return: the instant that it names, timezone-aware; None if it is absent or unreadable.
    """
    text = (value or "").strip()
    try:
        return now + timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        pass
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            instant = read(text)
        except ValueError:
            continue
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return None


def rate_limit_reset(value: str | None, now: datetime) -> datetime | None:
    """Read an ``X-RateLimit-Reset`` header: Unix seconds, as Zoom sends them when its limit per second is reached.

    :param value: the header, or None.
    :param now: the present, timezone-aware.
    :return: the instant that it names, timezone-aware; None if that is past, far away or unreadable.
    """
    try:
        seconds = float(value or "") - now.timestamp()
    except ValueError:
        return None
    return now + timedelta(seconds=seconds) if 0 < seconds <= _LATEST_RESET else None


def _host(url: str) -> str:
    """Return host and port, without user and password."""
    return url.rpartition("://")[2].partition("/")[0].rpartition("@")[2]
