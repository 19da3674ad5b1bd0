"""The errors of :mod:`airflow_provider_zcc.zoom`, as types that say what a caller should do.

::

    ZoomError
    ├── PermanentError           do not retry: correct credentials, scope, role or query
    │   ├── InvalidQuery         correct the interval or filter that it names; nothing was sent
    │   └── InvalidSettings      correct the field of the connection; nothing was sent
    ├── TransientError           retry later: an outage; the client has retried already
    │   ├── ConnectionFailed     the same; check the network if it persists
    │   └── IncompleteResponse   the same, or accept the loss with on_incomplete="warn"
    ├── InvalidEnvironment       correct the variable that it names, or use another worker
    ├── RateLimited              retry later, and leave room for the account's other apps
    │   └── RateLimitedUntil     retry at retry_at, not before
    ├── AccessTokenRejected      fetch a new token; the client does
    ├── PageTokenExpired         read the window again from its first page; the reader does
    └── ReadCancelled            nothing: the caller itself stopped the read
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

#: Whatever time Zoom names.
_LONGEST_WAIT = timedelta(days=1)


class ZoomError(Exception):
    """Base of every error raised by :mod:`airflow_provider_zcc.zoom`.

    :param message: what happened, and what to do.
    :param status: HTTP status of the response; None if there was none.
    :param code: Zoom's error code in the response's body, if it has one.
    :param tracking_id: Zoom's ``x-zm-trackingid`` of the response, which its support finds the request by.
    :ivar connection: id of the Airflow connection, which begins the message; empty if it does not matter.
    """

    connection: str = ""

    def __init__(
        self, message: str, *, status: int | None = None, code: int | str | None = None, tracking_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.tracking_id = tracking_id

    def __str__(self) -> str:
        message = super().__str__()
        return f"Connection {self.connection!r}: {message}" if self.connection else message


class PermanentError(ZoomError):
    """Retrying cannot help: credentials, scope, role, license or the query must change."""


class InvalidQuery(PermanentError, ValueError):
    """The interval, a filter or another argument is wrong; found before any request is sent."""


class InvalidSettings(PermanentError, ValueError):
    """The connection's settings are missing or unusable; found before any request is sent."""


class TransientError(ZoomError):
    """An outage or an unreadable response: the same request may succeed later."""


class ConnectionFailed(TransientError):
    """No response arrived, or not all of it."""


class IncompleteResponse(TransientError):
    """Zoom reported more engagements than it delivered, also when the window was read again."""


class InvalidEnvironment(ZoomError):
    """A proxy or a certificate bundle that this worker's environment names cannot be used."""


class RateLimited(ZoomError):
    """Zoom rejected the request with HTTP 429.

    :param message: what happened.
    :param retry_at: when Zoom accepts requests again, timezone-aware; None if it does not say.
    :param response: ``status``, ``code`` and ``tracking_id``, as for every :class:`ZoomError`.
    """

    def __init__(self, message: str, retry_at: datetime | None = None, **response: object) -> None:
        super().__init__(message, **response)  # type: ignore[arg-type]
        self.retry_at = retry_at


class RateLimitedUntil(RateLimited):
    """Zoom rejected the request and named a time too far away to wait for in place."""

    retry_at: datetime

    @property
    def time_left(self) -> timedelta:
        """How long to wait from now on: until ``retry_at``, and no longer than a day."""
        return min(self.retry_at - datetime.now(UTC), _LONGEST_WAIT)


class AccessTokenRejected(ZoomError):
    """The access token expired early; a new one is needed."""


class PageTokenExpired(ZoomError):
    """The page token expired; its window has to be read again from the first page."""


class ReadCancelled(ZoomError):
    """The read was stopped before it was complete."""

    def __init__(self) -> None:
        super().__init__("Reading was stopped.")
