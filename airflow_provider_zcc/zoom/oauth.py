"""Server-to-Server OAuth: a token is fetched once, shared, and replaced shortly before it expires or once rejected."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from copy import copy
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from airflow_provider_zcc.zoom.errors import PermanentError, TransientError, ZoomError
from airflow_provider_zcc.zoom.http import (
    Response,
    error_body,
    facts,
    quote,
    rate_limited,
    send,
    session,
    use_environment,
)
from airflow_provider_zcc.zoom.settings import Credentials
from airflow_provider_zcc.zoom.shared import shared_in_process

#: Seconds before it expires at which a token is no longer used.
_LEAD = 60.0
#: Seconds that a token is valid for if Zoom does not say; Zoom documents one hour.
_USUAL_LIFE = 3599.0


class TokenSource:
    """Provides the access token of one OAuth app.

    :param credentials: the app.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._lock = threading.Lock()
        self._token = ""
        self._expires = 0.0
        self._fetches_ended = 0
        self._failure: ZoomError | None = None

    def token(self, timeout: float, on_token: Callable[[str], None] | None) -> str:
        """Return a token that is valid for a while yet.

        :param timeout: seconds for the request, if one is needed.
        :param on_token: called with every new token before it is used, so that it can be masked in logs.
        :raises PermanentError: if Zoom rejects the credentials.
        :raises TransientError: if the OAuth endpoint cannot be reached or returns nonsense.
        :raises RateLimited: if it returns HTTP 429.
        """
        fetches = self._fetches_ended
        with self._lock:
            if not self._token or time.monotonic() >= self._expires:
                if self._fetches_ended > fetches and self._failure:
                    # This thread waited for that fetch: not for another one after it.
                    raise copy(self._failure)
                self._fetch_and_record(timeout, on_token)
            return self._token

    def forget(self, rejected: str) -> None:
        """Drop a token that Zoom rejected, unless another thread has replaced it already.

        :param rejected: the token.
        """
        with self._lock:
            if self._token == rejected:
                self._token = ""

    def _fetch_and_record(self, timeout: float, on_token: Callable[[str], None] | None) -> None:
        self._failure = None
        try:
            self._fetch(timeout, on_token)
        except ZoomError as error:
            self._failure = copy(error)
            raise
        finally:
            self._fetches_ended += 1

    def _fetch(self, timeout: float, on_token: Callable[[str], None] | None) -> None:
        began = time.monotonic()
        credentials = self._credentials
        with session() as once:
            use_environment(once, credentials.oauth_url)
            response = send(
                once,
                "POST",
                credentials.oauth_url,
                data={"grant_type": "account_credentials", "account_id": credentials.account_id},
                auth=(credentials.client_id.encode(), credentials.client_secret.encode()),
                timeout=timeout,
            )
        body = error_body(response)
        if response.status != 200:
            raise self._error(response, body)
        token = body.get("access_token")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise TransientError(
                f"Zoom's OAuth endpoint returned no usable access token ({facts(response)}). Check oauth_url.",
                status=response.status,
                tracking_id=response.tracking_id,
            )
        if on_token:
            on_token(token)
        life = body.get("expires_in")
        life = float(life) if isinstance(life, int | float) and life > 0 else _USUAL_LIFE
        self._token, self._expires = token, began + max(life - _LEAD, life / 2)

    def _error(self, response: Response, body: dict[str, object]) -> ZoomError:
        credentials = self._credentials
        reason = body.get("reason") or body.get("message") or body.get("error_description") or ""
        both = f"{credentials.client_id}:{credentials.client_secret}".encode()
        hidden = (credentials.client_secret, b64encode(both).decode())
        words = quote(reason, hidden)
        code = quote(body.get("error") or body.get("code") or "", hidden)
        status = response.status
        if status == 429:
            return rate_limited(response, code or None, words)
        if status != 404 and (status >= 500 or not body):
            kind: type[ZoomError] = TransientError
            message = "Zoom's OAuth endpoint is unavailable ({}). Check oauth_url if this persists."
        else:
            kind, message = PermanentError, f"Zoom issued no access token ({{}}). {_remedy(status, code)}"
        return kind(
            message.format(facts(response, code, words)),
            status=status,
            code=code or None,
            tracking_id=response.tracking_id,
        )


def _remedy(status: int, code: str) -> str:
    if status == 404:
        return "Check the connection's oauth_url."
    if code == "invalid_client":
        return "Check the connection's login (Client ID) and password (Client Secret)."
    return (
        "Check the connection's account_id, and that the Server-to-Server OAuth app is activated in the Zoom App "
        "Marketplace."
    )


@shared_in_process
def shared_token_source(credentials: Credentials) -> TokenSource:
    """Return the one source that all threads of this process share for an app.

    :param credentials: the app.
    """
    return TokenSource(credentials)


class BearerAuth(AuthBase):
    """Signs requests to the configured API host, and to no other.

    :param source: where the token comes from.
    :param api_url: base of the API.
    :param timeout: seconds for a token request.
    :param on_token: called with every new token.
    """

    def __init__(
        self, source: TokenSource, api_url: str, timeout: float, on_token: Callable[[str], None] | None
    ) -> None:
        self._source = source
        self._origin = _origin(api_url)
        self._timeout = timeout
        self._on_token = on_token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the ``Authorization`` header.

        :param request: the request to sign.
        :raises PermanentError: if it goes to another server than the configured one.
        """
        if _origin(request.url or "") != self._origin:
            raise PermanentError("The access token is only sent to the connection's host. Use a URL on that host.")
        request.headers["Authorization"] = f"Bearer {self.token()}"
        return request

    def token(self) -> str:
        """Return the token to sign with, which is fetched if none is valid."""
        return self._source.token(self._timeout, self._on_token)

    def forget(self, rejected: str) -> None:
        """Drop a token that Zoom rejected.

        :param rejected: the token.
        """
        self._source.forget(rejected)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
