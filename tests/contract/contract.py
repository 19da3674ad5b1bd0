"""Checks what was sent on the wire against the OpenAPI description beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import yaml
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from tests.zoom_simulator.app import Request, Response

FILE = Path(__file__).with_name("engagements.openapi.yaml")
DESCRIPTION: dict[str, Any] = yaml.safe_load(FILE.read_text())
LISTING, TOKEN = "/contact_center/engagements", "/oauth/token"


def violations(request: Request, response: Response) -> list[str]:
    """Return what the description does not allow in a request and its response."""
    described = DESCRIPTION["paths"][request.path.removeprefix("/v2")][request.method.lower()]
    return [*_request_violations(request, described), *_response_violations(response, described["responses"])]


def _request_violations(request: Request, described: dict[str, Any]) -> list[str]:
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
        "authorization": request.headers.get("authorization", ""),
        "query": _values(request.query, parameters),
        "content-type": request.headers.get("content-type", ""),
        "body": _values(request.body.decode(), {}),
    }
    return _errors(schemas, sent)


def _response_violations(response: Response, responses: dict[str, Any]) -> list[str]:
    described = responses.get(str(response.status))
    if described is None:
        return [f"{response.status} is not described"]
    [(content_type, body)] = described["content"].items()
    headers = {name.lower(): header["schema"] for name, header in described.get("headers", {}).items()}
    schemas = {"content-type": {"pattern": f"^{content_type}(;|$)"}, "body": body["schema"], **headers}
    received: dict[str, object] = {name.lower(): value for name, value in response.headers.items()}
    for name, schema in headers.items():
        if schema["type"] == "integer" and name in received:
            received[name] = json.loads(str(received[name]))
    return _errors(schemas, {**received, "body": json.loads(response.body)})


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
