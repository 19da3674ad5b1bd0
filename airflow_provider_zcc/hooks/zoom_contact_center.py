"""A connection of type ``zcc`` -> Zoom Contact Center."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pendulum
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseHook, mask_secret

from airflow_provider_zcc.get_provider_info import get_provider_info
from airflow_provider_zcc.zoom.client import ZoomClient
from airflow_provider_zcc.zoom.errors import InvalidSettings, PermanentError, TransientError, ZoomError
from airflow_provider_zcc.zoom.oauth import TokenSource
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import PATH, Filters, Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from airflow_provider_zcc.zoom.settings import (
    DEFAULT_API_URL,
    DEFAULT_REQUESTS_PER_SECOND,
    DEFAULT_TIMEOUT,
    DEFAULT_TOKEN_URL,
    Credentials,
    Settings,
)

if TYPE_CHECKING:
    import requests
    from airflow.providers.common.compat.sdk import Connection

#: Seconds of an outage after which a brief request gives up.
_BRIEF_RETRY_TIMEOUT = 2.0


class ZoomContactCenterHook(BaseHook):
    """
    Asks Zoom Contact Center for engagements, through a connection of type ``zcc``.

    All methods that ask raise :class:`~airflow_provider_zcc.zoom.errors.PermanentError` when trying again
    cannot help, and another :class:`~airflow_provider_zcc.zoom.errors.ZoomError` when it may. The filters have
    the same names everywhere: see :class:`~airflow_provider_zcc.zoom.query.Filters`.

    :param zcc_conn_id: the connection.
    :param max_concurrency: how many parts of an interval are read at the same time.
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
    def engagements_url(self) -> str:
        """URL that engagements are read from, without anything that belongs to one account."""
        return f"{self._settings.api_url}{PATH}"

    def test_connection(self) -> tuple[bool, str]:
        """Ask Zoom for the number of engagements in the last 24 hours, with a new token.

        :return: whether Zoom answered, and a sentence for the person who pressed Test.
        """
        now = pendulum.now("UTC")
        try:
            settings = _read(self.get_connection(self.zcc_conn_id))
            fresh = TokenSource(settings.credentials)
            client = ZoomClient(settings, token_source=fresh, on_token=mask_secret, retry_timeout=0)
            count = _count(client, Query(now - timedelta(days=1), now))
        except (ZoomError, AirflowException) as error:
            return False, str(error)
        return True, f"Zoom answered: {count:,} engagements began in the last 24 hours."

    def count_engagements(self, start: datetime, end: datetime, **filters: Any) -> int:
        """Count the engagements that began in ``[start, end)``, with one request for each 28 days.

        :param start: first instant, timezone-aware.
        :param end: the instant after the last, timezone-aware.
        :param filters: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
        """
        return _count(self._client, self._query(start, end, filters))

    def count_engagements_briefly(self, start: datetime, end: datetime, **filters: Any) -> int:
        """Count as :meth:`count_engagements` does, but wait for seconds alone, and share one pace in this process.

        For many who ask again and again anyway, such as triggers. An outage ends a request after two seconds, and
        a rate limit after five; a time that Zoom names beyond that is raised at once.

        :param start: first instant, timezone-aware.
        :param end: the instant after the last, timezone-aware.
        :param filters: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
        """
        return _count(shared_brief_client(self._settings), self._query(start, end, filters))

    def iter_engagements(self, start: datetime, end: datetime, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield the engagements that began in ``[start, end)``, each once, while they arrive.

        :param start: first instant, timezone-aware.
        :param end: the instant after the last, timezone-aware.
        :param filters: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
        """
        reader = self.reader(start, end, **filters)
        return (json.loads(line) for chunk in reader.chunks() for line in chunk.splitlines())

    def reader(
        self, start: datetime, end: datetime, *, fail_if_incomplete: bool = True, gzip: bool = False, **filters: Any
    ) -> EngagementReader:
        """Prepare to read the engagements that began in ``[start, end)`` as Zoom's own bytes.

        :param start: first instant, timezone-aware.
        :param end: the instant after the last, timezone-aware.
        :param fail_if_incomplete: raise, rather than warn, if Zoom reports more than it delivers.
        :param gzip: compress the output.
        :param filters: see :class:`~airflow_provider_zcc.zoom.query.Filters`.
        """
        query = self._query(start, end, filters)
        if not isinstance(self.max_concurrency, int) or self.max_concurrency < 1:
            raise InvalidSettings(f"max_concurrency is {self.max_concurrency!r}. Give a whole number of 1 or more.")
        return EngagementReader(
            self._client,
            query,
            max_concurrency=self.max_concurrency,
            fail_if_incomplete=fail_if_incomplete,
            gzip=gzip,
        )

    @cached_property
    def _client(self) -> ZoomClient:
        return ZoomClient(self._settings, connections=self.max_concurrency, on_token=mask_secret)

    @cached_property
    def _settings(self) -> Settings:
        return settings_from(self.get_connection(self.zcc_conn_id))

    def _query(self, start: datetime, end: datetime, filters: dict[str, Any]) -> Query:
        query = Query(start, end, Filters.validated(**filters))
        if number := query.filters.consumer_number:
            # urllib3 logs the path of a request at DEBUG, the number in it.
            mask_secret(number)
            mask_secret(quote_plus(number))
        return query


@lru_cache(maxsize=64)
def shared_brief_client(settings: Settings) -> ZoomClient:
    """Return the one client with little patience that all threads of this process share for an account.

    :param settings: the account.
    """
    return ZoomClient(settings, on_token=mask_secret, retry_timeout=_BRIEF_RETRY_TIMEOUT)


def _count(client: ZoomClient, query: Query) -> int:
    return sum(client.get(PATH, parameters, _total) for parameters in query.counting_parameters())


def _total(body: bytes) -> int:
    total = parse_page(body).total_records
    if total is None:
        raise TransientError("Zoom's answer holds no total_records. Look at Zoom's status page if this goes on.")
    return total


def settings_from(connection: Connection) -> Settings:
    """Read a connection of type ``zcc``.

    :param connection: the connection.
    :raises InvalidSettings: naming the connection, every missing field and where it goes.
    """
    try:
        return _read(connection)
    except InvalidSettings as error:
        raise InvalidSettings(f"Connection {connection.conn_id!r}: {error}") from None


def _read(connection: Connection) -> Settings:
    extra = connection.extra_dejson
    if not isinstance(extra, dict):
        raise InvalidSettings("The connection's extra is not a JSON object. Give one.")
    client_id, account_id, token_url = (
        str(value or "").strip() for value in (connection.login, extra.get("account_id"), extra.get("token_url"))
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
            token_url=token_url or DEFAULT_TOKEN_URL,
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
    except PermanentError as error:
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
        raise InvalidSettings(f"{name} is {value!r}. Give a number in the connection's extra.") from None
