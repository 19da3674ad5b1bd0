"""Checks what was sent on the wire against the OpenAPI description beside this file."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import yaml
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from tests.zoom_simulator.app import ZoomSimulator

FILE = Path(__file__).with_name("engagements.openapi.yaml")
DESCRIPTION: dict[str, Any] = yaml.safe_load(FILE.read_text())
LISTING, TOKEN = "/contact_center/engagements", "/oauth/token"


@dataclass
class Exchange:
    """One request and its response, as they were on the socket; names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    response_headers: tuple[tuple[str, str], ...] = ()
    response: bytes = b""

    @property
    def operation(self) -> tuple[str, str]:
        """Path, as it is described, and method."""
        return self.path.removeprefix("/v2"), self.method.lower()


class RecordedSimulator(ZoomSimulator):
    """A simulator that records each request and its response."""

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
                exchange.response_headers = tuple((name.decode(), value.decode()) for name, value in message["headers"])
                self.exchanges.append(exchange)
            else:
                exchange.response += message["body"]
            await send(message)

        await super().__call__(scope, recorded_receive, recorded_send)


def violations(exchange: Exchange) -> list[str]:
    """Return what the description does not allow in a request and its response."""
    return [*_request_violations(exchange), *_response_violations(exchange)]


def _request_violations(exchange: Exchange) -> list[str]:
    path, method = exchange.operation
    described = DESCRIPTION["paths"].get(path, {}).get(method)
    if described is None:
        return [f"{method} {path} is not described"]
    [[security]] = described["security"]
    scheme = DESCRIPTION["components"]["securitySchemes"][security]["scheme"]
    parameters = {parameter["name"]: parameter["schema"] for parameter in described.get("parameters", [])}
    no_body = {"": {"schema": {"maxProperties": 0}}}
    [(content_type, body)] = described.get("requestBody", {}).get("content", no_body).items()
    schemas = {
        "authorization": {"pattern": f"^(?i:{scheme}) ."},
        "query": {"properties": parameters, "additionalProperties": False},
        "content-type": {"pattern": f"^{content_type}(;|$)" if content_type else "^$"},
        "body": body["schema"],
    }
    sent = {
        "authorization": exchange.headers.get("authorization", ""),
        "query": _values(exchange.query, parameters),
        "content-type": exchange.headers.get("content-type", ""),
        "body": _values(exchange.body.decode(), {}),
    }
    return _errors(schemas, sent)


def _response_violations(exchange: Exchange) -> list[str]:
    path, method = exchange.operation
    described = DESCRIPTION["paths"][path][method]["responses"].get(str(exchange.status))
    if described is None:
        return [f"{exchange.status} is not described"]
    [(content_type, body)] = described["content"].items()
    headers = {name.lower(): header["schema"] for name, header in described.get("headers", {}).items()}
    schemas = {"content-type": {"pattern": f"^{content_type}(;|$)"}, "body": body["schema"], **headers}
    received: dict[str, object] = {name.lower(): value for name, value in exchange.response_headers}
    for name, schema in headers.items():
        if schema["type"] == "integer" and name in received:
            received[name] = json.loads(str(received[name]))
    return _errors(schemas, {**received, "body": json.loads(exchange.response)})


def _errors(schemas: dict[str, Any], found: dict[str, object]) -> list[str]:
    schema = {"properties": schemas, "components": DESCRIPTION["components"]}
    errors = OAS31Validator(schema, format_checker=oas31_format_checker).iter_errors(found)
    return [error.message for error in errors]


def _values(text: str, schemas: dict[str, Any]) -> dict[str, object]:
    """Parse a query or a form; what occurs several times is a list, whether or not it may."""
    values: dict[str, object] = {}
    for name, found in parse_qs(text, keep_blank_values=True).items():
        kind = schemas.get(name, {}).get("type")
        values[name] = found if kind == "array" or len(found) > 1 else found[0]
        if kind == "integer" and found[0].isdigit():
            values[name] = int(found[0])
    return values
