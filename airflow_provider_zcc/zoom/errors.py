"""What can go wrong between here and Zoom, as types that say what to do next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

#: A daily limit ends within a day. Whatever time Zoom names, it is asked again then.
_LONGEST_WAIT = timedelta(days=1)


class ZoomError(Exception):
    """Base of every error raised by :mod:`airflow_provider_zcc.zoom`."""


class PermanentError(ZoomError):
    """Trying again cannot help: credentials, scope, role, licence or the query must change."""


class InvalidQuery(PermanentError, ValueError):
    """The interval or a filter is wrong; found out before any request is made."""


class InvalidSettings(PermanentError, ValueError):
    """The connection's settings are missing or unusable; found out before any request is made."""


class TransientError(ZoomError):
    """An outage or an unreadable answer: the same request may succeed later."""


class IncompleteResponse(TransientError):
    """Zoom reported more engagements than it delivered, also when the window was read again."""


class AccessTokenRejected(ZoomError):
    """The access token ended before its time; a new one is needed.

    :param token: the token that was refused, so that only that one is replaced.
    """

    def __init__(self, message: str, token: str) -> None:
        super().__init__(message)
        self.token = token


class PageTokenExpired(ZoomError):
    """The page token died; its window has to be read again from the first page."""


class RateLimited(ZoomError):
    """Zoom refused the request for coming too soon.

    :param retry_at: when Zoom says that requests are welcome again, timezone-aware; None if it does not say.
    """

    def __init__(self, message: str, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class RateLimitedUntil(RateLimited):
    """Zoom refused the request and named a time too far away to sit and wait for.

    :param retry_at: when Zoom says that requests are welcome again, timezone-aware.
    """

    retry_at: datetime

    @property
    def wait(self) -> timedelta:
        """How long to wait from now on: until ``retry_at``, and no longer than a day."""
        return min(self.retry_at - datetime.now(UTC), _LONGEST_WAIT)


class ReadCancelled(ZoomError):
    """The reading was told to stop before it was done."""

    def __init__(self) -> None:
        super().__init__("Reading was stopped.")
