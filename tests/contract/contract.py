"""Holds what was said on the wire against the OpenAPI description beside this file."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import schemathesis
import yaml
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from requests import Request
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.zoom_simulator.app import ZoomSimulator

FILE = Path(__file__).with_name("engagements.openapi.yaml")
DESCRIPTION: dict[str, Any] = yaml.safe_load(FILE.read_text())
LISTING, TOKEN = "/contact_center/engagements", "/oauth/token"
#: What an answer is checked for.
ANSWER_CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

load_all_checks()
_SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)


@dataclass
class Exchange:
    """One request and its answer, as they were on the socket; names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer_headers: tuple[tuple[str, str], ...] = ()
    answer: bytes = b""

    @property
    def operation(self) -> tuple[str, str]:
        """Path, as it is described, and method."""
        return self.path.removeprefix("/v2"), self.method.lower()


class RecordedSimulator(ZoomSimulator):
    """A simulator that keeps all that is said to it, and all that it says."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.exchanges: list[Exchange] = []

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        exchange = Exchange(scope["method"], scope["path"], scope["query_string"].decode(), headers, b"")

        async def recorded_receive() -> Any:
            message = await receive()
            exchange.body += message.get("body", b"")
            return message

        async def recorded_send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                exchange.answer_headers = tuple((name.decode(), value.decode()) for name, value in message["headers"])
                self.exchanges.append(exchange)
            else:
                exchange.answer += message["body"]
            await send(message)

        await super().__call__(scope, recorded_receive, recorded_send)


def objections_to_request(exchange: Exchange) -> list[str]:
    """Say what the description does not allow in a request."""
    path, method = exchange.operation
    described = DESCRIPTION["paths"].get(path, {}).get(method)
    if described is None:
        return [f"{method} {path} is not described"]
    return [
        *_objections_to_signature(exchange.headers.get("authorization", ""), described["security"]),
        *_objections_to_query(parse_qsl(exchange.query, keep_blank_values=True), described.get("parameters", [])),
        *_objections_to_form(exchange, described.get("requestBody")),
    ]


def _objections_to_signature(authorization: str, security: list[dict[str, Any]]) -> Iterable[str]:
    [[name]] = security
    scheme, _, credentials = authorization.partition(" ")
    wanted = DESCRIPTION["components"]["securitySchemes"][name]["scheme"]
    if scheme.lower() != wanted or not credentials:
        yield f"signed with {scheme!r} rather than {wanted}"
    elif wanted == "basic" and ":" not in base64.b64decode(credentials).decode():
        yield "the credentials are not a name and a password"


def _objections_to_query(pairs: list[tuple[str, str]], described: list[dict[str, Any]]) -> Iterable[str]:
    values = defaultdict(list)
    for name, value in pairs:
        values[name].append(value)
    parameters = {parameter["name"]: parameter for parameter in described}
    for name, given in values.items():
        if name not in parameters:
            yield f"{name} is not described"
            continue
        schema = parameters[name]["schema"]
        if schema["type"] == "array":
            yield from _objections_to_value(name, given, schema)
        elif len(given) > 1:
            yield f"{name} comes {len(given)} times"
        else:
            value: object = int(given[0]) if schema["type"] == "integer" and given[0].isdigit() else given[0]
            yield from _objections_to_value(name, value, schema)


def _objections_to_form(exchange: Exchange, described: dict[str, Any] | None) -> Iterable[str]:
    if described is None:
        if exchange.body:
            yield "a body is not described"
        return
    content_type = exchange.headers.get("content-type", "").partition(";")[0]
    if content_type not in described["content"]:
        yield f"a body of type {content_type!r} is not described"
        return
    pairs = parse_qsl(exchange.body.decode(), keep_blank_values=True, strict_parsing=True)
    if len(dict(pairs)) < len(pairs):
        yield "a field comes twice"
    yield from _objections_to_value("body", dict(pairs), described["content"][content_type]["schema"])


def _objections_to_value(name: str, value: object, schema: dict[str, Any]) -> Iterable[str]:
    validator = OAS31Validator(schema, format_checker=oas31_format_checker)
    return (f"{name}: {error.message}" for error in validator.iter_errors(value))


def check_answer(exchange: Exchange) -> None:
    """Raise what Schemathesis finds in an answer that the description does not allow."""
    path, method = exchange.operation
    case = _SCHEMA[path][method].Case(query=dict(parse_qsl(exchange.query)), headers=exchange.headers)
    headers = defaultdict(list)
    for name, value in exchange.answer_headers:
        headers[name.lower()].append(value)
    case.validate_response(
        schemathesis.Response(
            status_code=exchange.status,
            headers=headers,
            content=exchange.answer,
            request=Request(exchange.method, f"http://127.0.0.1{exchange.path}?{exchange.query}").prepare(),
            elapsed=0.0,
            verify=True,
        ),
        checks=ANSWER_CHECKS,
    )


def listing(**parameters: str | list[str]) -> Exchange:
    """Return a well signed request for a page, without an answer."""
    query = urlencode(parameters, doseq=True)
    return Exchange("GET", f"/v2{LISTING}", query, {"authorization": "Bearer token"}, b"")


def token_request(body: bytes, **headers: str) -> Exchange:
    """Return a request for a token, signed well unless the headers say otherwise, and without an answer."""
    signature = base64.b64encode(b"client:secret").decode()
    form = {"authorization": f"Basic {signature}", "content-type": "application/x-www-form-urlencoded"}
    return Exchange("POST", TOKEN, "", form | {name.replace("_", "-"): value for name, value in headers.items()}, body)
