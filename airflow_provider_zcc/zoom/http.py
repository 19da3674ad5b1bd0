"""What both of Zoom's servers, the token's and the API's, have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import requests
from urllib3.exceptions import HTTPError, LocationValueError

from airflow_provider_zcc.zoom.connections import answered_within
from airflow_provider_zcc.zoom.errors import InvalidSettings, PermanentError, RateLimited, TransientError

_LONGEST_QUOTE = 300
#: Words of the errors of TLS that will come again. A handshake that was cut off passes.
_TLS_FOR_GOOD = ("CERTIFICATE_VERIFY_FAILED", "CertificateError", "WRONG_VERSION_NUMBER")
#: Bytes of a body read at once. In the small pieces that requests reads by default, threads wait for each other.
_CHUNK = 1 << 16
#: Seconds and bytes that an answer may take: a server may trickle, or never end. A page of 100 records takes about a
#: hundred thousand bytes.
_LONGEST_ANSWER, _LARGEST_BODY = 120.0, 1 << 28


@dataclass(frozen=True)
class Response:
    """What a server answered.

    :param status: HTTP status.
    :param headers: in any letter case.
    :param body: decompressed.
    :param authorization: the header with which the request was signed; kept out of the repr.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    authorization: str = field(default="", repr=False)


def user_agent() -> str:
    """Name this package and its version to Zoom's support."""
    try:
        return f"airflow-provider-zcc/{version('airflow-provider-zcc')}"
    except PackageNotFoundError:
        return "airflow-provider-zcc"


def no_proxies_in_the_clear(url: str) -> dict[str, Any] | None:
    """Keep the environment's proxies away from a URL without encryption, which leads to loopback.

    :param url: where a request goes.
    :return: the argument ``proxies`` of requests.
    """
    return {"http": None, "all": None} if url.startswith("http:") else None


def send(request: Callable[..., requests.Response], url: str, **kwargs: Any) -> Response:
    """Send one request and refuse whatever is not an answer of the server that was asked.

    :param request: a method of a session that can be cut off.
    :param url: where to.
    :param kwargs: passed on.
    :raises TransientError: if the connection or the body broke.
    :raises PermanentError: if certificates are wrong or the server redirects.
    """
    longest = max(_LONGEST_ANSWER, kwargs.get("timeout") or 0.0)
    # The errors of requests quote the URL, and with it a consumer's number: they are not chained.
    try:
        with answered_within(longest) as too_late:
            with request(url, allow_redirects=False, stream=True, **kwargs) as response:
                body = _body(response, url)
            if too_late.is_set():
                raise TransientError(f"The answer of {_host(url)} did not end: {longest:.0f} s until now.")
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError, UnicodeError):
        raise InvalidSettings(f"{_host(url)} is not a host that can be asked. Check the connection.") from None
    except requests.exceptions.TooManyRedirects as error:
        raise _redirected(url, getattr(error.response, "status_code", "3xx")) from None
    except (requests.exceptions.RequestException, HTTPError) as error:
        if any(word in str(error) for word in _TLS_FOR_GOOD):
            raise PermanentError(
                f"The TLS certificate of {_host(url)} could not be verified. "
                "Check the connection's host, and the proxy or certificate bundle of this worker."
            ) from None
        raise TransientError(
            f"The connection to {_host(url)} broke ({type(error).__name__}). Check the network if this goes on."
        ) from None
    except OSError as error:
        raise PermanentError(
            f"{_host(url)} could not be asked: {error}. Check the certificate bundle that REQUESTS_CA_BUNDLE or "
            "CURL_CA_BUNDLE names on this worker."
        ) from None
    signature = response.request.headers.get("Authorization", "")
    return Response(response.status_code, response.headers, body, str(signature))


def _body(response: requests.Response, url: str) -> bytes:
    pieces, size = [], 0
    while piece := response.raw.read1(_CHUNK, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST_BODY:
            raise TransientError(f"The answer of {_host(url)} did not end: {size} bytes until now.")
    return b"".join(pieces)


def _redirected(url: str, status: object) -> PermanentError:
    return PermanentError(
        f"{_host(url)} redirected the request (HTTP {status}), which is refused to keep the "
        "credentials where they belong. Check the connection's host and token_url."
    )


def error_body(reply: Response) -> dict[str, Any]:
    """Read the JSON object of an error; an HTML page or nonsense gives an empty one."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def quote(words: object, hidden: Iterable[str] = ()) -> str:
    """Make the server's words fit for a log: one short line without secrets.

    :param words: what the server said.
    :param hidden: values that must not be repeated, such as a token or a consumer's number.
    """
    text = " ".join(str(words).split())
    for value in hidden:
        if value := " ".join(value.split()):
            text = text.replace(value, "***")
    return text[:_LONGEST_QUOTE]


def rate_limited(reply: Response, words: str) -> RateLimited:
    """Turn an HTTP 429 into its error.

    :param reply: the answer.
    :param words: Zoom's own, fit for a log.
    """
    message = f"Zoom's rate limit was reached (HTTP 429{f': {words}' if words else ''})."
    return RateLimited(message, retry_after(reply.headers.get("Retry-After"), datetime.now(UTC)))


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
            moment = read(text)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _host(url: str) -> str:
    return url.split("/")[2]
