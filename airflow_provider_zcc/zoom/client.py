"""One request to Zoom: token, rate limit, send, retry or raise a typed error."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    wait_random_exponential,
)

from airflow_provider_zcc.zoom.errors import (
    AccessTokenRejected,
    PageTokenExpired,
    PermanentError,
    RateLimited,
    RateLimitedUntil,
    ReadCancelled,
    TransientError,
    ZoomError,
)
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
from airflow_provider_zcc.zoom.oauth import BearerAuth, TokenSource, shared_token_source
from airflow_provider_zcc.zoom.rate_limiter import Priority, RateLimiter
from airflow_provider_zcc.zoom.settings import Settings
from airflow_provider_zcc.zoom.shared import shared_in_process

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
#: The retry timeout of a rate limit, and the longest ``Retry-After`` that is waited for, as a multiple of that time.
_RATE_LIMIT_FACTOR = 2.5
#: Access tokens that Zoom may reject, one after the other.
_TOKEN_ATTEMPTS = 3
#: Seconds that the first wait in an outage takes at most; each further wait may be twice as long.
_FIRST_WAIT = 0.5
#: Seconds that any wait in an outage takes at most.
_LONGEST_WAIT = 20.0

#: What is retried, by the type of the error.
_IS_RETRIED = retry_if_exception_type((TransientError, RateLimited, AccessTokenRejected)) & retry_if_not_exception_type(
    RateLimitedUntil
)

_SCOPE_IS_MISSING = 4711

#: What to do about a permanent error, by HTTP status and Zoom's code. Sources: the error tables of Zoom's
#: "List engagements" reference and of its Contact Center API, as of 2026.
_REMEDIES: dict[tuple[int, int | None], str] = {
    (400, 300): "Correct the query.",
    (
        400,
        _SCOPE_IS_MISSING,
    ): f"Add the scope {SCOPES[0]} (classic: {SCOPES[1]}, before {SCOPES[2]}) to the app and activate it.",
    (401, 1001): "Check that the owner of the OAuth app is a user of the account.",
    (401, 1601): "Give the owner of the OAuth app a role with access to Contact Center reports.",
    (403, 9001): "Give the owner of the OAuth app a Contact Center role with the engagement privileges.",
    (403, 1022): "Assign a Contact Center license to the owner of the OAuth app.",
    (404, 1201): "Check queue_id.",
    (404, 1001): "Check user_id.",
}
_DEFAULT_REMEDIES = {
    401: "Check the OAuth app and the role of its owner.",
    403: "Check the OAuth app, the role of its owner and its Contact Center license.",
    404: "Check the connection's host: it has to end with the API's version, as in https://api.zoom.us/v2.",
}


class ZoomClient:
    """Sends authorised GET requests to one Zoom account, at its rate limit; threads may share it.

    :param settings: the account.
    :param connections: how many HTTP connections to keep open, one for each thread that sends requests.
    :param token_source: where tokens come from; by default the one that this process shares for the app.
    :param rate_limiter: when requests may start; by default, this client has its own.
    :param retry_timeout: seconds after which a persistent outage ends a request, from its first attempt on; a rate
        limit may last two and a half times as long. With 0, every request is sent once.
    :param on_token: called with every new token before it is used, so that it can be masked in logs.
    :param name: id of the connection, for messages.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        connections: int = 8,
        token_source: TokenSource | None = None,
        rate_limiter: RateLimiter | None = None,
        retry_timeout: float = RETRY_TIMEOUT,
        on_token: Callable[[str], None] | None = None,
        name: str = "",
    ) -> None:
        self._settings = settings
        self._retry_timeout = retry_timeout
        self._rate_limiter = rate_limiter or RateLimiter(settings.requests_per_second)
        self._auth = BearerAuth(
            token_source or shared_token_source(settings.credentials), settings.api_url, settings.timeout, on_token
        )
        self._name = name
        self._requests_sent = 0
        self._rate_limited = 0
        self._count_lock = threading.Lock()
        self.session = session(connections)
        self.session.auth = self._auth
        use_environment(self.session, settings.api_url)

    @property
    def requests_per_second(self) -> float:
        """The ceiling of the rate."""
        return self._settings.requests_per_second

    @property
    def requests_sent(self) -> int:
        """Requests sent to the API so far, those that failed included."""
        return self._requests_sent

    @property
    def rate_limited(self) -> int:
        """Requests that Zoom rejected with HTTP 429 so far."""
        return self._rate_limited

    def get(
        self,
        path: str,
        params: Parameters,
        read: Callable[[bytes], Result],
        cancelled: threading.Event | None = None,
        priority: Callable[[], Priority] = lambda: (0, 0.0),
    ) -> Result:
        """Return what a successful response holds.

        An outage is retried for about two minutes, a rate limit for about five.

        :param path: path below the API's base, with a leading slash.
        :param params: query parameters; a key may repeat.
        :param read: makes the result out of the body; its TransientError counts as an outage.
        :param cancelled: when set, waiting ends and no further request is sent.
        :param priority: of the waiting requests, the one with the lowest value at that time starts first.
        :raises PermanentError: if the same request will always be rejected.
        :raises PageTokenExpired: if the page token among the parameters has expired.
        :raises TransientError: if the outage outlasts the retry timeout.
        :raises RateLimitedUntil: if Zoom names a time that is further away than that.
        :raises RateLimited: if the rate limit outlasts the retry timeout.
        :raises InvalidEnvironment: if a proxy or certificate bundle of this worker cannot be used.
        :raises ReadCancelled: if ``cancelled`` is set.
        """
        cancelled = cancelled or threading.Event()
        retries = _Retries(self._retry_timeout)

        def sleep(seconds: float) -> None:
            if cancelled.wait(seconds):
                raise ReadCancelled

        retrying = Retrying(
            retry=_IS_RETRIED,
            stop=retries.are_over,
            wait=retries.seconds_to_wait,
            sleep=sleep,
            before_sleep=retries.log,
            reraise=True,
        )
        try:
            result: Result = retrying(
                self._attempt, path, params, read, cancelled=cancelled, priority=priority, retries=retries
            )
            return result
        except AccessTokenRejected as error:
            raise self._named(
                TransientError(
                    f"{error.args[0]} It also rejected {_TOKEN_ATTEMPTS - 1} new ones. Check that the OAuth app "
                    "is active, and whether other programs that fetch tokens for the same app invalidate each other's.",
                    status=error.status,
                    code=error.code,
                    tracking_id=error.tracking_id,
                )
            ) from None

    def _attempt(
        self,
        path: str,
        params: Parameters,
        read: Callable[[bytes], Result],
        *,
        cancelled: threading.Event,
        priority: Callable[[], Priority],
        retries: _Retries,
    ) -> Result:
        self._rate_limiter.wait_for_turn(cancelled, priority)
        retries.sent_at = time.monotonic()
        response = None
        try:
            self._auth.token()  # before the request is counted, which is not sent without one
            with self._count_lock:
                self._requests_sent += 1
            response = send(
                self.session, "GET", self._settings.api_url + path, params=params, timeout=self._settings.timeout
            )
            remaining = self._learn_limit(response)
            if response.status == 200:
                self._rate_limiter.on_success(remaining)
                return read(response.body)
            raise self._error(response, params)
        except ZoomError as error:
            if cancelled.is_set() and isinstance(error, TransientError):
                raise ReadCancelled from None
            if response and error.status is None:
                error.status, error.tracking_id = response.status, response.tracking_id
            by_api = response is not None
            retries.note_failure(error, by_api=by_api)
            raise self._named(self._limited(error, by_api) if isinstance(error, RateLimited) else error) from None

    def _named(self, error: ZoomError) -> ZoomError:
        error.connection = self._name
        return error

    def _learn_limit(self, response: Response) -> int | None:
        """Pass the limit that the response announces to the limiter, and return what is left of it."""
        limit, remaining = (_integer(response.headers.get(f"X-RateLimit-{name}")) for name in ("Limit", "Remaining"))
        if response.headers.get("X-RateLimit-Type", "").upper() != "QPS" or limit is None:
            return None
        self._rate_limiter.on_limit(limit)
        return None if remaining is None else min(max(remaining, 0), limit)

    def _limited(self, error: RateLimited, by_api: bool) -> RateLimited:
        """Return the error of an HTTP 429. The API's, but not that of the token endpoint, slows down all threads."""
        if by_api:
            with self._count_lock:
                self._rate_limited += 1
        seconds = _seconds_until(error.retry_at)
        if seconds > self._retry_timeout * _RATE_LIMIT_FACTOR:
            return RateLimitedUntil(
                f"{error.args[0]} Zoom accepts requests again at {error.retry_at}.",
                error.retry_at,
                status=error.status,
                code=error.code,
                tracking_id=error.tracking_id,
            )
        if by_api:
            self._rate_limiter.on_throttle(seconds)
        return error

    def _error(self, response: Response, params: Parameters) -> ZoomError:
        body = error_body(response)
        status, code = response.status, _integer(body.get("code"))
        token = response.authorization.removeprefix("Bearer ")
        personal = [value for key, value in params if key in ("consumer_number", "next_page_token")]
        unedited = _words(body)
        words = quote(unedited, hidden=(token, *personal, *(value.lstrip("+") for value in personal)))
        if status == 429:
            return rate_limited(response, code, words)
        kind, message = _classified(
            status, code, body, unedited, paged=any(key == "next_page_token" for key, _ in params)
        )
        if kind is AccessTokenRejected or code == _SCOPE_IS_MISSING:
            self._auth.forget(token)
        return kind(
            message.format(facts(response, code, words)), status=status, code=code, tracking_id=response.tracking_id
        )


@shared_in_process
def shared_rate_limiter(api_url: str, account_id: str, requests_per_second: float) -> RateLimiter:
    """Return the one rate limiter that threads of this process can share for an account.

    :param api_url: base of the API.
    :param account_id: the Zoom account.
    :param requests_per_second: ceiling of the rate.
    """
    del api_url, account_id
    return RateLimiter(requests_per_second)


@dataclass
class _Retries:
    """Decides, by the type of the error, when one request is sent again, and until when.

    Its methods, except for :meth:`note_failure`, are what tenacity calls after each attempt that failed.

    :param timeout: seconds for an outage, from the first attempt that failed in it. A rate limit may last longer, and
        a token may be rejected so many times.
    :param sent_at: when the latest attempt was sent: the time that it waited for its turn does not count.
    """

    timeout: float
    sent_at: float = 0.0
    _outage_began: float | None = None
    _limit_began: float | None = None
    _deadline: float = 0.0
    _backs_off: bool = False
    _rejected_tokens: int = 0

    def note_failure(self, error: ZoomError, *, by_api: bool) -> None:
        """Note when an outage or a rate limit began. An outage is over when there is any other response.

        :param error: why the latest attempt failed.
        :param by_api: whether the API responded. While it limits the rate, the limiter makes all threads wait.
        """
        self._backs_off = isinstance(error, TransientError) or not by_api
        if isinstance(error, TransientError):
            self._outage_began = self.sent_at if self._outage_began is None else self._outage_began
            self._deadline = self._outage_began + self.timeout
            return
        self._outage_began = None
        if isinstance(error, RateLimited):
            self._limit_began = self.sent_at if self._limit_began is None else self._limit_began
            self._deadline = self._limit_began + self.timeout * _RATE_LIMIT_FACTOR
        elif isinstance(error, AccessTokenRejected):
            self._rejected_tokens += 1

    def are_over(self, state: RetryCallState) -> bool:
        """Return whether to give up, and write that into the error."""
        error = _error_of(state)
        if isinstance(error, AccessTokenRejected):
            return self._rejected_tokens >= _TOKEN_ATTEMPTS
        over = time.monotonic() >= self._deadline
        if over and state.attempt_number > 1:
            error.args = (f"{error.args[0]} Gave up after {state.attempt_number} attempts.",)
        return over

    def seconds_to_wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next attempt starts, or waits for its turn."""
        if not self._backs_off:
            return 0.0
        error = _error_of(state)
        seconds = wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT)(state)
        if isinstance(error, RateLimited):
            seconds = max(seconds, _seconds_until(error.retry_at))
        return min(seconds, self._deadline - time.monotonic())

    def log(self, state: RetryCallState) -> None:
        """Log an attempt that failed. That other apps use the account's limit as well is no reason to worry."""
        error = _error_of(state)
        if isinstance(error, AccessTokenRejected):
            log.info("%s Fetching a new one.", error)
            return
        gives_up = datetime.now(UTC) + timedelta(seconds=self._deadline - time.monotonic())
        log.log(
            logging.INFO if isinstance(error, RateLimited) else logging.WARNING,
            "%s Attempt %d; giving up at %s UTC.",
            error,
            state.attempt_number,
            f"{gives_up:%H:%M:%S}",
        )


def _error_of(state: RetryCallState) -> ZoomError:
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, ZoomError)  # noqa: S101  _IS_RETRIED lets no other pass
    return error


def _classified(
    status: int, code: int | None, body: dict[str, object], words: str, *, paged: bool
) -> tuple[type[ZoomError], str]:
    """Return the type of an error, and its message with a place for the facts.

    :param paged: whether the request had a page token.
    """
    if status >= 500 or (not body and status not in _DEFAULT_REMEDIES):
        return TransientError, "Zoom is unavailable ({}). Check Zoom's status page if this persists."
    if (status in (400, 401) and code == 124) or (status == 401 and code is None):
        return AccessTokenRejected, "Zoom rejected the access token ({})."
    if paged and "next page token" in words.lower():
        return PageTokenExpired, "Zoom's page token expired ({})."
    remedy = _REMEDIES.get((status, code)) or _DEFAULT_REMEDIES.get(status) or "Correct the query."
    return PermanentError, f"Zoom rejected the request ({{}}). {remedy}"


def _seconds_until(instant: datetime | None) -> float:
    return max((instant - datetime.now(UTC)).total_seconds(), 0.0) if instant else 0.0


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
