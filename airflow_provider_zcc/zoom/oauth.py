"""Server-to-Server OAuth: a token is fetched once, shared, kept until shortly before it ends, replaced when refused."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from copy import copy
from functools import lru_cache
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from airflow_provider_zcc.zoom.connections import session
from airflow_provider_zcc.zoom.errors import PermanentError, TransientError, ZoomError
from airflow_provider_zcc.zoom.http import (
    Response,
    error_body,
    no_proxies_in_the_clear,
    quote,
    rate_limited,
    send,
    user_agent,
)
from airflow_provider_zcc.zoom.settings import Credentials

#: Seconds before its end at which a token is no longer handed out.
_LEAD = 60.0
#: Seconds that a token lives if Zoom does not say; Zoom documents one hour.
_USUAL_LIFE = 3599.0


class TokenSource:
    """Hands out the access token of one OAuth app.

    :param credentials: the app.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._lock = threading.Lock()
        self._token = ""
        self._ends = 0.0
        self._fetches_ended = 0
        self._failure: ZoomError | None = None

    def token(self, timeout: float, on_token: Callable[[str], None] | None) -> str:
        """Return a token with some life left in it.

        :param timeout: seconds for the request, if one is needed.
        :param on_token: told every new token before it is used, so that it can be masked in logs.
        :raises PermanentError: if Zoom refuses the credentials.
        :raises TransientError: if the token endpoint cannot be reached or answers nonsense.
        :raises RateLimited: if it answers HTTP 429.
        """
        fetches = self._fetches_ended
        with self._lock:
            if not self._token or time.monotonic() >= self._ends:
                if self._fetches_ended > fetches and self._failure:
                    # This thread waited for that fetch: not for another one after it.
                    raise copy(self._failure)
                self._fetch_and_note(timeout, on_token)
            return self._token

    def forget(self, refused: str) -> None:
        """Drop a token that Zoom refused, unless another thread has replaced it already.

        :param refused: the token.
        """
        with self._lock:
            if self._token == refused:
                self._token = ""

    def _fetch_and_note(self, timeout: float, on_token: Callable[[str], None] | None) -> None:
        self._failure = None
        try:
            self._fetch(timeout, on_token)
        except ZoomError as error:
            self._failure = copy(error)
            raise
        finally:
            self._fetches_ended += 1

    def _fetch(self, timeout: float, on_token: Callable[[str], None] | None) -> None:
        asked = time.monotonic()
        credentials = self._credentials
        with session() as once:
            reply = send(
                once.post,
                credentials.token_url,
                data={"grant_type": "account_credentials", "account_id": credentials.account_id},
                auth=(credentials.client_id.encode(), credentials.client_secret.encode()),
                headers={"User-Agent": user_agent(), "Accept": "application/json"},
                timeout=timeout,
                proxies=no_proxies_in_the_clear(credentials.token_url),
            )
        body = error_body(reply)
        if reply.status != 200:
            raise self._error(reply, body)
        token = body.get("access_token")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise TransientError("Zoom's token endpoint answered without a usable access token. Check token_url.")
        if on_token:
            on_token(token)
        life = body.get("expires_in")
        life = float(life) if isinstance(life, int | float) and life > 0 else _USUAL_LIFE
        self._token, self._ends = token, asked + max(life - _LEAD, life / 2)

    def _error(self, reply: Response, body: dict[str, object]) -> Exception:
        credentials = self._credentials
        reason = body.get("reason") or body.get("message") or body.get("error_description") or ""
        both = f"{credentials.client_id}:{credentials.client_secret}".encode()
        hidden = (credentials.client_secret, b64encode(both).decode())
        words = quote(reason, hidden)
        code = quote(body.get("error") or body.get("code") or "", hidden)
        status = reply.status
        if status == 429:
            return rate_limited(reply, words)
        said = f"HTTP {status}" + "".join(f", {part}" for part in (code, words) if part)
        if status != 404 and (status >= 500 or not body):
            return TransientError(f"Zoom's token endpoint gave no token ({said}). Check token_url if this goes on.")
        if status == 404:
            remedy = "Check the connection's token_url."
        elif code == "invalid_client":
            remedy = "Check the connection's login (Client ID) and password (Client Secret)."
        else:
            remedy = (
                "Check the connection's account_id, and that the Server-to-Server OAuth app "
                "is activated in the Zoom App Marketplace."
            )
        return PermanentError(f"Zoom refused to issue an access token ({said}). {remedy}")


@lru_cache(maxsize=64)
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
    :param on_token: told every new token.
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
            raise PermanentError("The access token is sent to the connection's host alone. Use a URL on that host.")
        request.headers["Authorization"] = f"Bearer {self._source.token(self._timeout, self._on_token)}"
        return request

    def forget(self, refused: str) -> None:
        """Drop a token that Zoom refused.

        :param refused: the token.
        """
        self._source.forget(refused)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
