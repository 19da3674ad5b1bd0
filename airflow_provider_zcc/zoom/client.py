"""One request to Zoom: token, pace, send, try again or raise a typed error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from airflow_provider_zcc.zoom.connections import session
from airflow_provider_zcc.zoom.errors import (
    AccessTokenRejected,
    PageTokenExpired,
    PermanentError,
    RateLimited,
    RateLimitedUntil,
    ReadCancelled,
    TransientError,
)
from airflow_provider_zcc.zoom.http import (
    Response,
    error_body,
    no_proxies_in_the_clear,
    quote,
    rate_limited,
    send,
    user_agent,
)
from airflow_provider_zcc.zoom.oauth import BearerAuth, TokenSource, shared_token_source
from airflow_provider_zcc.zoom.rate_limiter import RateLimiter
from airflow_provider_zcc.zoom.settings import Settings

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Parameters = Sequence[tuple[str, str]]

#: Zoom's names for the scope of the endpoint: granular, classic, and classic as of 2023.
SCOPES = (
    "contact_center:read:list_engagements:admin",
    "contact_center_report:read:admin",
    "contact_center_engagement:read:admin",
)
#: Seconds after which a persistent outage ends a request.
RETRY_TIMEOUT = 120.0
#: The same for a rate limit, and the longest ``Retry-After`` that is waited for: five minutes, as a multiple.
_RATE_LIMIT_FACTOR = 2.5
_TOKEN_ATTEMPTS = 3

#: What to do about a permanent error, by HTTP status and Zoom's code. Sources: the error tables of Zoom's
#: "List engagements" reference and of its Contact Center API, as of 2026.
_REMEDIES = {
    (400, 300): "Correct the query.",
    (400, 4711): f"Add the scope {SCOPES[0]} (classic: {SCOPES[1]}, before {SCOPES[2]}) to the app and activate it.",
    (401, 1001): "Check that the owner of the OAuth app is a user of the account.",
    (401, 1601): "Give the owner of the OAuth app a role with access to Contact Center reports.",
    (403, 9001): "Give the owner of the OAuth app a Contact Center role with the engagement privileges.",
    (403, 1022): "Assign a Contact Center licence to the owner of the OAuth app.",
    (404, 1201): "Check queue_id.",
    (404, 1001): "Check user_id.",
}
_DEFAULT_REMEDIES = {
    401: "Check the OAuth app and the role of its owner.",
    403: "Check the OAuth app, the role of its owner and its Contact Center licence.",
    404: "Check the connection's host: it has to end with the API's version, as in https://api.zoom.us/v2.",
}


class ZoomClient:
    """Sends authorised, paced and patient GET requests to one Zoom account; threads may share it.

    :param settings: the account.
    :param connections: how many HTTP connections to keep open, one for each thread that will ask.
    :param token_source: where tokens come from; by default the one that this process shares for the app.
    :param retry_timeout: seconds after which a persistent outage ends a request; a rate limit may last two and a
        half times as long. With 0, every request is sent once.
    :param on_token: told every new token before it is used, so that it can be masked in logs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        connections: int = 8,
        token_source: TokenSource | None = None,
        retry_timeout: float = RETRY_TIMEOUT,
        on_token: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._retry_timeout = retry_timeout
        self._rate_limit_timeout = retry_timeout * _RATE_LIMIT_FACTOR
        self._rate_limiter = RateLimiter(settings.requests_per_second)
        self._auth = BearerAuth(
            token_source or shared_token_source(settings.credentials), settings.api_url, settings.timeout, on_token
        )
        self._requests_sent = self._rate_limited = 0
        self._count_lock = threading.Lock()
        self.session = session(connections)
        self.session.auth = self._auth
        self.session.headers.update({"User-Agent": user_agent(), "Accept": "application/json"})
        # Proxies and certificates from the environment are looked up once, rather than for each request.
        environment = self.session.merge_environment_settings(
            settings.api_url, no_proxies_in_the_clear(settings.api_url) or {}, None, None, None
        )
        self.session.proxies, self.session.verify = environment["proxies"], environment["verify"]
        self.session.trust_env = False

    @property
    def requests_per_second(self) -> float:
        """The ceiling of the pace."""
        return self._settings.requests_per_second

    @property
    def requests_sent(self) -> int:
        """Requests sent to the API so far, those that failed included."""
        return self._requests_sent

    @property
    def rate_limited(self) -> int:
        """Requests that the API rejected with HTTP 429 so far."""
        return self._rate_limited

    def get(
        self,
        path: str,
        params: Parameters,
        read: Callable[[bytes], Result],
        stop: threading.Event | None = None,
        priority: Callable[[], float] = lambda: 0.0,
    ) -> Result:
        """Return what a successful answer says.

        An outage is waited out for about two minutes, a rate limit for about five.

        :param path: path below the API's base, with a leading slash.
        :param params: query parameters; a key may repeat.
        :param read: makes the answer out of the body; its TransientError stands for an outage.
        :param stop: when set, waiting ends and no further request is sent.
        :param priority: of the waiting requests, the one with the lowest value at that time starts first.
        :raises PermanentError: if the same request will always be refused.
        :raises PageTokenExpired: if the page token among the parameters is dead.
        :raises TransientError: if the outage outlasts the patience.
        :raises RateLimitedUntil: if Zoom names a time that is further away than that.
        :raises RateLimited: if the rate limit outlasts the patience.
        :raises ReadCancelled: if ``stop`` is set.
        """
        stop = stop or threading.Event()

        def sleep(seconds: float) -> None:
            if stop.wait(seconds):
                raise ReadCancelled

        for_a_token = Retrying(
            retry=retry_if_exception_type(AccessTokenRejected), stop=stop_after_attempt(_TOKEN_ATTEMPTS), reraise=True
        )
        for_an_outage = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=_after(self._retry_timeout),
            wait=wait_random_exponential(multiplier=0.5, max=20),
            sleep=sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        for_the_limit = Retrying(
            retry=retry_if_exception(_may_be_waited_for),
            stop=_after(self._rate_limit_timeout),
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            result: Result = for_the_limit(for_an_outage, for_a_token, self._send, path, params, read, stop, priority)
            return result
        except AccessTokenRejected as error:
            raise TransientError(
                f"{error} So were {_TOKEN_ATTEMPTS - 1} new ones. Check that the OAuth app is active, and whether "
                "other programs that fetch tokens for the same app end each other's."
            ) from None

    def _send(
        self,
        path: str,
        params: Parameters,
        read: Callable[[bytes], Result],
        stop: threading.Event,
        priority: Callable[[], float],
    ) -> Result:
        self._rate_limiter.wait(stop, priority)
        with self._count_lock:
            self._requests_sent += 1
        try:
            reply = send(self.session.get, self._settings.api_url + path, params=params, timeout=self._settings.timeout)
            remaining = self._learn_limit(reply)
            if reply.status == 200:
                self._rate_limiter.on_success(remaining)
                return read(reply.body)
            raise self._error(reply, params)
        except TransientError:
            if stop.is_set():
                raise ReadCancelled from None
            raise
        except RateLimited as error:
            self._hold_back(error)
            raise
        except AccessTokenRejected as error:
            self._auth.forget(error.token)
            raise

    def _learn_limit(self, reply: Response) -> int | None:
        """Tell the limiter the limit that the answer announces, and return what the answer says is left of it."""
        limit, remaining = (_integer(reply.headers.get(f"X-RateLimit-{name}")) for name in ("Limit", "Remaining"))
        if reply.headers.get("X-RateLimit-Type", "").upper() != "QPS" or limit is None:
            return None
        self._rate_limiter.on_limit(limit)
        return None if remaining is None else min(max(remaining, 0), limit)

    def _hold_back(self, error: RateLimited) -> None:
        with self._count_lock:
            self._rate_limited += 1
        seconds = None
        if error.retry_at:
            seconds = max((error.retry_at - datetime.now(UTC)).total_seconds(), 0.0)
            if seconds > self._rate_limit_timeout:
                raise RateLimitedUntil(f"{error} Zoom asks to come back at {error.retry_at}.", error.retry_at)
        self._rate_limiter.on_throttle(seconds)

    def _error(self, reply: Response, params: Parameters) -> Exception:
        body = error_body(reply)
        status, code = reply.status, _integer(body.get("code"))
        token = reply.authorization.removeprefix("Bearer ")
        personal = [value for key, value in params if key in ("consumer_number", "next_page_token")]
        unedited = _words(body)
        words = quote(unedited, hidden=(token, *personal, *(value.lstrip("+") for value in personal)))
        if status == 429:
            return rate_limited(reply, words)
        said = f"HTTP {status}" + (f", code {code}" if code is not None else "") + (f": {words}" if words else "")
        if status >= 500 or (not body and status not in _DEFAULT_REMEDIES):
            return TransientError(f"Zoom could not answer ({said}). Look at Zoom's status page if this goes on.")
        if (status in (400, 401) and code == 124) or (status == 401 and code is None):
            return AccessTokenRejected(f"Zoom refused the access token ({said}).", token)
        if "next page token" in unedited.lower() and any(key == "next_page_token" for key, _ in params):
            return PageTokenExpired(f"Zoom's page token ended ({said}).")
        if code == 4711:
            self._auth.forget(token)
        remedy = _REMEDIES.get((status, code or 0)) or _DEFAULT_REMEDIES.get(status) or "Correct the query."
        return PermanentError(f"Zoom refused the request ({said}). {remedy}")


def _words(body: dict[str, object]) -> str:
    words = str(body.get("message") or body.get("errorMessage") or body.get("reason") or "")
    errors = body.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict):
            words += f" [{error.get('field', '')}: {error.get('message', '')}]"
    return words


def _integer(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return None


def _after(seconds: float) -> Callable[[RetryCallState], bool]:
    """Stop so many seconds after the first failure. The time that a request waited for its turn does not count."""
    first = 0.0

    def stop(state: RetryCallState) -> bool:
        nonlocal first
        now = state.outcome_timestamp or 0.0
        first = now if state.attempt_number == 1 else first
        return now - first >= seconds

    return stop


def _may_be_waited_for(error: BaseException) -> bool:
    return isinstance(error, RateLimited) and not isinstance(error, RateLimitedUntil)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s Trying again (attempt %d).", error, state.attempt_number + 1)
