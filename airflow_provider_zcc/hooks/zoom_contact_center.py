"""A connection of type ``zcc`` -> Zoom Contact Center."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    mask_secret,
)

from airflow_provider_zcc.get_provider_info import get_provider_info
from airflow_provider_zcc.zoom.client import ZoomClient, shared_rate_limiter
from airflow_provider_zcc.zoom.errors import (
    InvalidQuery,
    InvalidSettings,
    PermanentError,
    TransientError,
    ZoomError,
)
from airflow_provider_zcc.zoom.oauth import TokenSource
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import PATH, Filters, Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from airflow_provider_zcc.zoom.settings import (
    DEFAULT_API_URL,
    DEFAULT_OAUTH_URL,
    DEFAULT_REQUESTS_PER_SECOND,
    DEFAULT_TIMEOUT,
    Credentials,
    Settings,
)
from airflow_provider_zcc.zoom.shared import shared_in_process

if TYPE_CHECKING:
    import requests
    from airflow.providers.common.compat.sdk import Connection

log = logging.getLogger(__name__)

#: Seconds that one request may wait for a response, at most, where a retry timeout is given.
_CHECK_TIMEOUT = 5.0
_MOST_CONCURRENCY = 1_000


class ZoomContactCenterHook(BaseHook):
    """
    Reads engagements of Zoom Contact Center, through a connection of type ``zcc``.

    All methods that send requests raise :class:`~airflow_provider_zcc.zoom.errors.PermanentError` when a retry
    cannot help, and another :class:`~airflow_provider_zcc.zoom.errors.ZoomError` when it may. The filters have
    the same names everywhere: see :class:`~airflow_provider_zcc.zoom.query.Filters`.

    Example::

        hook = ZoomContactCenterHook("zcc_default")
        for engagement in hook.iter_engagements(start, end, channel="voice"):
            print(engagement["engagement_id"])

    :param zcc_conn_id: id of the connection.
    :param max_concurrency: how many parts of an interval are read at the same time: 1 to 1000.
    """

    conn_name_attr = "zcc_conn_id"
    default_conn_name = "zcc_default"
    conn_type = "zcc"
    hook_name = "Zoom Contact Center"

    def __init__(self, zcc_conn_id: str = default_conn_name, *, max_concurrency: int = 8) -> None:
        super().__init__()
        self.zcc_conn_id = zcc_conn_id
        self.max_concurrency = max_concurrency

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's standard fields, for Airflow up to 3.1."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the connection form's own fields, for Airflow up to 3.1."""
        # Airflow 3 runs without these two.
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget  # noqa: PLC0415
        from wtforms import StringField  # noqa: PLC0415
        from wtforms.validators import Optional  # noqa: PLC0415

        # Airflow 3.0 and 3.1 know text fields, and none for numbers with a fraction.
        def form_field(declared: dict[str, Any]) -> Any:
            default = declared["schema"].get("default")
            return StringField(
                declared["label"],
                description=declared["description"],
                default=None if default is None else str(default),
                widget=BS3TextFieldWidget(),
                validators=[Optional()],
            )

        return {name: form_field(declared) for name, declared in _connection_type()["conn-fields"].items()}

    def get_conn(self) -> requests.Session:
        """Return a session that signs its requests, and only sends them to the connection's host."""
        return self._client.session

    @property
    def requests_sent(self) -> int:
        """Requests that this hook has sent to the API."""
        return self._client.requests_sent

    @property
    def rate_limited(self) -> int:
        """Requests of this hook that Zoom rejected with HTTP 429."""
        return self._client.rate_limited

    @property
    def requests_per_second(self) -> float:
        """The ceiling of the rate at which requests are sent."""
        return self._client.requests_per_second

    @property
    def engagements_url(self) -> str:
        """URL that engagements are read from, without anything that belongs to one account."""
        return f"{self._settings.api_url}{PATH}"

    def test_connection(self) -> tuple[bool, str]:
        """Count the engagements of the last 24 hours, with a new token.

        The message does not name the connection: Airflow's page tests it under another id.

        :return: whether Zoom returned a count, and a sentence for the person who pressed Test.
        """
        now = pendulum.now("UTC")
        try:
            settings = settings_from(self._connection)
            fresh = TokenSource(settings.credentials)
            client = ZoomClient(settings, token_source=fresh, on_token=mask_secret, retry_timeout=0)
            count = _count(client, Query(now - timedelta(days=1), now))
        except (ZoomError, AirflowException) as error:
            return False, str(error)
        return True, f"Zoom counts {count:,} engagements that started in the last 24 hours."

    def count_engagements(
        self, start: datetime, end: datetime, *, retry_timeout: float | None = None, **filters: Any
    ) -> int:
        """Count the engagements that started in ``[start, end)``, with one request for each 28 days.

        :param start: first instant, timezone-aware.
        :param end: the instant after the last, timezone-aware.
        :param retry_timeout: seconds after which an outage is raised, counted from the first attempt on; 2.5 times as
            long for a rate limit. Such a request waits for a response for at most 5 s, and shares its rate limiter
            with all others of this process and account: for checks that are repeated anyway, as those of a trigger.
            By default, an outage is retried for two minutes.
        :param filters: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
        """
        query = self._query(start, end, filters)
        return _count(self._client if retry_timeout is None else self._client_for_checks(retry_timeout), query)

    def iter_engagements(self, start: datetime, end: datetime, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield the engagements that started in ``[start, end)``, without duplicates, as they arrive.

        Of an interval that is not over, those are read that Zoom lists so far.

        :param start: first instant, timezone-aware.
        :param end: the instant after the last, timezone-aware.
        :param filters: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
        """
        reader = self.reader(start, end, **filters)
        if end > pendulum.now("UTC"):
            log.warning("The interval ends at %s, in the future. Only what Zoom lists so far is read.", end)
        return (json.loads(line) for chunk in reader.chunks() for line in chunk.splitlines())

    def reader(
        self, start: datetime, end: datetime, *, fail_if_incomplete: bool = True, gzip: bool = False, **filters: Any
    ) -> EngagementReader:
        """Prepare to read the engagements that started in ``[start, end)`` as Zoom's own bytes.

        :param start: first instant, timezone-aware.
        :param end: the instant after the last, timezone-aware.
        :param fail_if_incomplete: raise, rather than warn, if Zoom reports more than it delivers.
        :param gzip: compress the output.
        :param filters: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
        """
        query = self._query(start, end, filters)
        return EngagementReader(
            self._client,
            query,
            max_concurrency=self.max_concurrency,
            fail_if_incomplete=fail_if_incomplete,
            gzip=gzip,
        )

    @cached_property
    def _client(self) -> ZoomClient:
        concurrency = self.max_concurrency
        if type(concurrency) is not int or not 1 <= concurrency <= _MOST_CONCURRENCY:
            raise InvalidSettings(
                f"max_concurrency is {concurrency!r}. Set a whole number from 1 to {_MOST_CONCURRENCY}."
            )
        return ZoomClient(self._settings, connections=concurrency, on_token=mask_secret, name=self.zcc_conn_id)

    def _client_for_checks(self, retry_timeout: float) -> ZoomClient:
        if not isinstance(retry_timeout, int | float) or isinstance(retry_timeout, bool) or not retry_timeout >= 0:
            raise InvalidQuery(f"retry_timeout is {retry_timeout!r}. Set a number of seconds, 0 or more.")
        return _shared_client(self._settings, self.zcc_conn_id, retry_timeout)

    @cached_property
    def _settings(self) -> Settings:
        connection = self._connection
        try:
            return settings_from(connection)
        except InvalidSettings as error:
            error.connection = self.zcc_conn_id
            raise

    @property
    def _connection(self) -> Connection:
        if not isinstance(self.zcc_conn_id, str) or not self.zcc_conn_id:
            raise InvalidSettings(f"zcc_conn_id is {self.zcc_conn_id!r}. Set the id of a connection, as a string.")
        return self.get_connection(self.zcc_conn_id)

    def _query(self, start: datetime, end: datetime, filters: dict[str, Any]) -> Query:
        query = Query(start, end, Filters.validated(**filters))
        if number := query.filters.consumer_number:
            # urllib3 logs the path of a request at DEBUG, the number in it.
            mask_secret(number)
            mask_secret(quote_plus(number))
        return query


@shared_in_process
def _shared_client(settings: Settings, conn_id: str, retry_timeout: float) -> ZoomClient:
    """Return the client for short checks, whose connections are kept open from one check to the next."""
    return ZoomClient(
        replace(settings, timeout=min(settings.timeout, _CHECK_TIMEOUT)),
        rate_limiter=shared_rate_limiter(
            settings.api_url, settings.credentials.account_id, settings.requests_per_second
        ),
        retry_timeout=retry_timeout,
        on_token=mask_secret,
        name=conn_id,
    )


def _count(client: ZoomClient, query: Query) -> int:
    return sum(client.get(PATH, parameters, _record_total) for parameters in query.counting_parameters())


def _record_total(body: bytes) -> int:
    total = parse_page(body).total_records
    if total is None:
        raise TransientError("Zoom's response has no total_records. Check Zoom's status page if this persists.")
    return total


def settings_from(connection: Connection) -> Settings:
    """Read a connection of type ``zcc``.

    :param connection: the connection.
    :raises InvalidSettings: naming every missing field and where it goes.
    """
    extra = connection.extra_dejson
    if not isinstance(extra, dict):
        raise InvalidSettings("The connection's extra is not a JSON object. Set one.")
    # The field was called token_url once. Airflow masks every extra whose name contains "token".
    oauth_url = extra.get("oauth_url") or extra.get("token_url")
    client_id, account_id, oauth_url = (
        str(value or "").strip() for value in (connection.login, extra.get("account_id"), oauth_url)
    )
    required = {
        "login (Client ID)": client_id,
        "password (Client Secret)": connection.password,
        "account_id (in extra)": account_id,
    }
    missing = [field for field, value in required.items() if not value]
    if missing:
        raise InvalidSettings(
            f"The connection lacks {', '.join(missing)}. Fill in what the page of the Server-to-Server OAuth app shows."
        )
    return Settings(
        Credentials(
            client_id=client_id,
            client_secret=str(connection.password),
            account_id=account_id,
            oauth_url=oauth_url or DEFAULT_OAUTH_URL,
        ),
        api_url=_api_url(connection),
        requests_per_second=_number(extra, "requests_per_second", DEFAULT_REQUESTS_PER_SECOND),
        timeout=_number(extra, "timeout", DEFAULT_TIMEOUT),
    )


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn Zoom's errors into Airflow's: permanent ones fail the task at once, the others let it retry."""
    try:
        yield
    except (PermanentError, AirflowNotFoundException) as error:
        raise AirflowFailException(str(error)) from error
    except ZoomError as error:
        raise AirflowException(str(error)) from error


def _connection_type() -> dict[str, Any]:
    [connection_type] = get_provider_info()["connection-types"]
    return dict(connection_type)


def _api_url(connection: Connection) -> str:
    """Put together what a connection given as a URI takes apart."""
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return DEFAULT_API_URL
    url = host if "://" in host else f"https://{host}"
    scheme, rest = url.split("://", 1)
    name, slash, path = rest.partition("/")
    if connection.port and not re.search(r":\w*$", name):
        url = f"{scheme}://{name}:{connection.port}{slash}{path}"
    return f"{url}/{connection.schema.strip('/')}" if connection.schema else url


def _number(extra: dict[str, Any], name: str, default: float) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidSettings(f"{name} is {value!r}. Set a number in the connection's extra.") from None
