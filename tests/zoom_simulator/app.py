"""The ASGI application: Zoom's token endpoint, ``GET /v2/contact_center/engagements``, and endpoints for tests."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from zoneinfo import ZoneInfo

import pendulum

from tests.zoom_simulator.data import AGENTS, QUEUES, Engagements, TimeStyle, without_line_breaks
from tests.zoom_simulator.faults import Fault, find_fault
from tests.zoom_simulator.history import History

GRANULAR_SCOPE = "contact_center:read:list_engagements:admin"
CLASSIC_SCOPES = ("contact_center_report:read:admin", "contact_center_engagement:read:admin")
#: Seconds that an access token lives.
TOKEN_LIFE = 3_599
ENUMERATIONS = {
    "channel_types": "voice sms chat video kiosk in_app_chat in_app_video",
    "channel": "voice video messaging email",
    "channel_sources": (
        "in_app_video kiosk_video web_video web_chat in_app_chat sms facebook_messenger whatsapp email_address"
    ),
    "direction": "inbound outbound",
}
PARAMETERS = {*ENUMERATIONS, "queue_id", "user_id", "consumer_number", "timezone", "from", "to", "page_size"}
PAGE_TOKEN_DIED: dict[str, Any] = {"code": 300, "message": "The next page token is invalid or expired."}


@dataclass
class Config:
    """How the simulated account is set up.

    :param requests_per_second: throttle more within any second; None for no limit.
    :param announces_limits: send the ``X-RateLimit-*`` headers.
    :param latency: seconds that a response takes.
    :param page_token_life: seconds that a page token lives.
    :param scopes: what the app was granted.
    :param order: of the records: ``ascending`` or ``descending`` by start, or ``shuffled``.
    :param offset_times: when ``from`` came with an offset, write times with one, rather than with a literal Z.
    :param history: what happens to engagements after they started, and what time it is.
    """

    client_id: str = "simulated-client"
    client_secret: str = "simulated-secret"
    account_id: str = "simulated-account"
    requests_per_second: int | None = None
    announces_limits: bool = True
    latency: float = 0.0
    page_token_life: float = 900.0
    scopes: Sequence[str] = (GRANULAR_SCOPE,)
    order: str = "descending"
    offset_times: bool = False
    history: History = field(default_factory=History)


@dataclass(frozen=True)
class Response:
    """What goes out."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, body: object, headers: dict[str, str] | None = None) -> Response:
        return cls(status, json.dumps(body).encode(), headers or {})


class Rejected(Exception):
    """The request ends in an error response."""

    def __init__(self, status: int, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = Response.json(status, {"code": code, "message": message}, headers)


@dataclass(frozen=True)
class Request:
    """What came in."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Stats:
    """What the simulator has seen of its clients."""

    api_requests: int = 0
    token_requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    queries: deque[list[tuple[str, str]]] = field(default_factory=lambda: deque(maxlen=10_000))
    running: int = 0
    most_at_once: int = 0
    user_agents: set[str] = field(default_factory=set)
    exchanges: deque[tuple[Request, Response]] = field(default_factory=lambda: deque(maxlen=100))


class ZoomSimulator:
    """The application.

    :param engagements: what the account has.
    :param config: how the account is set up.
    """

    def __init__(self, engagements: Engagements, config: Config | None = None) -> None:
        self.engagements = engagements
        self.config = config or Config()
        self.history = self.config.history
        self.stats = Stats()
        self.faults: list[Fault] = []
        self._tokens: dict[str, float] = {}
        self._page_tokens: dict[str, tuple[int, list[tuple[str, str]], float]] = {}
        self._accepted: deque[float] = deque()
        self._numbers = lru_cache(maxsize=256)(self._find)

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = Request(
            scope["method"],
            scope["path"],
            scope["query_string"].decode(),
            {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]},
            body,
        )
        stats = self.stats
        stats.running += 1
        stats.most_at_once = max(stats.most_at_once, stats.running)
        try:
            await self._reply(request, send)
        finally:
            stats.running -= 1

    async def _reply(self, request: Request, send: Any) -> None:
        places = _places(request)
        fault = find_fault(self.faults, places)
        if fault and fault.kind == "reset":
            self._count(places, 0)
            send.__self__.transport.abort()
            return
        response = _with_fault(self._respond(request, places, fault), fault)
        self._count(places, response.status)
        if fault and fault.kind == "hold":
            while not await asyncio.to_thread(fault.details["until"]):
                await asyncio.sleep(0.005)
        pause = fault.details["seconds"] if fault and fault.kind == "delay" else 0.0
        pause += self.config.latency if "api" in places else 0.0
        if pause:
            # A server that is stopped meanwhile need not report it.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(pause)
        general = {"content-type": "application/json;charset=UTF-8", "content-length": str(len(response.body))}
        response = replace(response, headers=general | response.headers)
        self.stats.exchanges.append((request, response))
        self.stats.user_agents.add(request.headers.get("user-agent", ""))
        headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        half = 0
        if fault and fault.kind in ("cut", "torn", "stall"):
            half = len(response.body) // 2
            await send({"type": "http.response.body", "body": response.body[:half], "more_body": True})
            if await _breaks_off(fault, send.__self__.transport):
                return
        await send({"type": "http.response.body", "body": response.body[half:]})

    def _count(self, places: set[str], status: int) -> None:
        self.stats.api_requests += "api" in places
        self.stats.token_requests += "token" in places
        self.stats.statuses[status] += 1

    def _respond(self, request: Request, places: set[str], fault: Fault | None) -> Response:
        try:
            if "token" in places:
                return self._issue_token(request)
            if "api" in places:
                return self._list_engagements(request, fault)
            if request.path.startswith("/_simulator/"):
                return self._inspect(request)
        except Rejected as rejected:
            return rejected.response
        return Response.json(404, {"code": 404, "message": "Not found."})

    # OAuth

    def _issue_token(self, request: Request) -> Response:
        config = self.config
        basic = base64.b64encode(f"{config.client_id}:{config.client_secret}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {basic}":
            return Response.json(400, {"reason": "Invalid client_id or client_secret", "error": "invalid_client"})
        form = parse_qs(request.body.decode())
        if request.method != "POST" or form.get("grant_type") != ["account_credentials"]:
            return Response.json(400, {"reason": "unsupported grant type", "error": "unsupported_grant_type"})
        if form.get("account_id") != [config.account_id]:
            return Response.json(400, {"reason": "Bad Request", "error": "invalid_request"})
        token = f"simulated.{secrets.token_urlsafe(48)}"
        self._tokens[token] = time.monotonic() + TOKEN_LIFE
        return Response.json(
            200,
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": TOKEN_LIFE,
                "scope": " ".join(config.scopes),
                "api_url": "https://api.zoom.us",
            },
        )

    def end_tokens(self) -> None:
        """Invalidate every access token."""
        self._tokens.clear()

    def _authorise(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) < time.monotonic():
            raise Rejected(401, 124, "Invalid access token.")
        if not {GRANULAR_SCOPE, *CLASSIC_SCOPES} & set(self.config.scopes):
            raise Rejected(400, 4711, f"Invalid access token, does not contain scopes:[{GRANULAR_SCOPE}].")

    # Rate limits

    def _limit(self) -> dict[str, str]:
        config, now = self.config, time.monotonic()
        while self._accepted and self._accepted[0] <= now - 1.0:
            self._accepted.popleft()
        if config.requests_per_second is None:
            return {}
        left = config.requests_per_second - len(self._accepted) - 1
        headers = {
            "X-RateLimit-Category": "Medium",
            "X-RateLimit-Type": "QPS",
            "X-RateLimit-Limit": str(config.requests_per_second),
            "X-RateLimit-Remaining": str(max(left, 0)),
        }
        if not config.announces_limits:
            headers.clear()
        if left < 0:
            message = "You have reached the maximum per-second rate limit for this API. Try again later."
            raise Rejected(429, 4001, message, headers)
        self._accepted.append(now)
        return headers

    # List engagements

    def _list_engagements(self, request: Request, fault: Fault | None) -> Response:
        pairs = parse_qsl(request.query, keep_blank_values=True)
        self.stats.queries.append(pairs)
        if request.method != "GET":
            raise Rejected(405, 300, "Request method is not supported.")
        self._authorise(request)
        headers = self._limit()
        query = Listing(pairs)
        if fault and fault.kind == "arrival":
            self.engagements.starts.extend(fault.details["starts"])
            self._numbers.cache_clear()
        offset = 0
        others = [pair for pair in pairs if pair[0] != "next_page_token"]
        if query.page_token is not None:
            offset = self._open_page_token(query.page_token, others)
            if fault and fault.kind == "again":
                offset -= query.page_size
        numbers = self._numbers(query.first, query.last, query.wanted, self.config.order, self.history.moment)
        page = numbers[offset : offset + query.page_size]
        following = 0 if fault and fault.kind == "loop" else offset + query.page_size
        style = TimeStyle(query.clock, query.with_offset and self.config.offset_times)
        records = [self._render(number, style) for number in page]
        if fault and fault.kind == "doubled":
            records = [record for record in records for _ in range(2)]
        head = json.dumps(
            {
                "next_page_token": self._page_token(following, others) if following < len(numbers) else "",
                "page_size": query.page_size,
                "total_records": len(numbers),
                "timezone": query.timezone,
                "from": query.echoed_from,
                "to": query.echoed_to,
            }
        )
        body = f'{head[:-1]}, "engagements": [{",".join(records)}]}}'
        return Response(200, body.encode(), headers)

    def _find(
        self,
        first: int,
        last: int,
        wanted: tuple[tuple[str, str], ...],
        order: str,
        moment: object,  # noqa: ARG002  what is found is kept for one moment
    ) -> Sequence[int]:
        found = self.engagements.between(first, last, wanted)
        numbers = self.history.listed(self.engagements, found)
        if order == "shuffled":
            return sorted(numbers, key=lambda number: hashlib.blake2b(str(number).encode(), digest_size=8).digest())
        return numbers[::-1] if order == "descending" else numbers

    def _render(self, number: int, style: TimeStyle) -> str:
        edits = self.history.edits(self.engagements, number)
        return self.engagements.render(number, style, *([edits] if edits else []))

    def _page_token(self, offset: int, others: list[tuple[str, str]]) -> str:
        token = secrets.token_urlsafe()
        self._page_tokens[token] = offset, others, time.monotonic()
        return token

    def _open_page_token(self, token: str, others: list[tuple[str, str]]) -> int:
        offset, expected, issued = self._page_tokens.get(token, (0, None, 0.0))
        if others != expected or time.monotonic() - issued >= self.config.page_token_life:
            raise Rejected(400, PAGE_TOKEN_DIED["code"], PAGE_TOKEN_DIED["message"])
        return offset

    # Inspection, by another process

    def _inspect(self, request: Request) -> Response:
        given = dict(parse_qsl(request.query))
        if request.path.endswith("/truth"):
            start, end = (datetime.fromisoformat(given[name]) for name in ("start", "end"))
            return Response(200, "".join(f"{line}\n" for line in self.truth(start, end)).encode())
        if request.path.endswith("/faults"):
            self.faults = [Fault(**fault) for fault in json.loads(request.body)]
            return Response.json(200, {"faults": len(self.faults)})
        if request.path.endswith("/clock"):
            self.history.now = datetime.fromisoformat(given["now"])
            return Response.json(200, given)
        counted = {"api_requests": self.stats.api_requests, "token_requests": self.stats.token_requests}
        return Response.json(200, counted | {"statuses": self.stats.statuses})

    def truth(self, start: datetime, end: datetime, *, timezone: str = "UTC", **filters: str) -> list[str]:
        """Return a line for every engagement listed now that began in ``[start, end)``, whatever faults are set."""
        wanted = tuple((name, value) for name, values in filters.items() for value in values.split(","))
        started = self.engagements.started(start, end, wanted)
        style = TimeStyle(ZoneInfo(timezone))
        listed = self.history.listed(self.engagements, started)
        return [without_line_breaks(self._render(number, style)) for number in listed]


class Listing:
    """The parameters of a request, checked as Zoom checks them."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        values = dict(pairs)
        self.page_token = values.get("next_page_token") or None
        self.page_size = self._page_size(values.get("page_size", "10"))
        self.timezone = values.get("timezone", "UTC")
        try:
            self.clock = ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise Rejected(400, 300, f"Timezone does not exist: {self.timezone}.") from None
        if not {"from", "to"} <= values.keys():
            raise Rejected(400, 300, "Invalid field: from and to are required.")
        self.echoed_from, self.echoed_to = values["from"], values["to"]
        self.with_offset = not self.echoed_from.endswith("Z")
        first, last = self._moment(self.echoed_from), self._moment(self.echoed_to)
        if last > pendulum.instance(first).add(months=1):
            raise Rejected(400, 300, "The requested report exceeds the 1-month limit.")
        self.first, self.last = int(first.timestamp()), int(last.timestamp())
        self.wanted = self._filters(pairs)

    @staticmethod
    def _page_size(text: str) -> int:
        if not text.isdigit() or not 1 <= int(text) <= 100:
            raise Rejected(400, 300, "Invalid field: page_size.")
        return int(text)

    def _moment(self, text: str) -> datetime:
        """Read one of the two forms. The Z is a literal: the time is the clock's in the timezone."""
        with suppress(ValueError):
            if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
                return datetime.fromisoformat(text[:-1]).replace(tzinfo=self.clock)
            if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", text):
                return datetime.fromisoformat(text)
        raise Rejected(400, 300, "The time and date must be in ISO 8601 format.")

    @staticmethod
    def _filters(pairs: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        wanted = []
        names = {name for name, _ in pairs}
        for name, value in pairs:
            if name not in PARAMETERS | {"next_page_token"} or (
                name in ENUMERATIONS and value not in ENUMERATIONS[name].split()
            ):
                raise Rejected(400, 300, f"Invalid field: {name}.")
            if name == "queue_id" and value not in QUEUES:
                raise Rejected(404, 1201, f"Queue does not exist: {value}.")
            if name == "user_id" and value not in AGENTS:
                raise Rejected(404, 1001, f"User does not exist: {value}.")
            if name == "channel_types" and "channel" in names:
                continue
            if name in ENUMERATIONS or name in ("queue_id", "user_id", "consumer_number"):
                wanted.append((name, value))
        return tuple(wanted)


def _places(request: Request) -> set[str]:
    if request.path == "/oauth/token":
        return {"token"}
    if request.path == "/v2/contact_center/engagements":
        return {"api", "next" if "next_page_token=" in request.query else "first"}
    return set()


def _with_fault(response: Response, fault: Fault | None) -> Response:
    if fault and fault.kind == "answer":
        body = fault.details.get("body", b"")
        body = (
            body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        )
        return Response(fault.details["status"], body, fault.details.get("headers", {}))
    if fault and fault.kind == "page" and response.status == 200:
        # Unless they are what is replaced, the records keep their bytes.
        head, found, records = response.body.partition(b', "engagements": ')
        if "engagements" in fault.details or not found:
            head, found, records = response.body[:-1], b"", b"}"
        page = json.loads(head + b"}") | fault.details
        kept = json.dumps({key: value for key, value in page.items() if value != "<absent>"}).encode()
        return Response(200, kept[:-1] + found + records)
    return response


async def _breaks_off(fault: Fault, transport: Any) -> bool:
    """Do what the fault says in the middle of a body, and return whether the rest is not sent."""
    if fault.kind == "stall":
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(fault.details["seconds"])
        return False
    if fault.kind == "torn":
        # Without lingering, the socket says that it was reset, rather than that it ended.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    return True
