"""
A tap of the Singer SDK.

Its records are written to S3 here, in one object, as they come: a target in a process of its own would take longer.
"""

from __future__ import annotations

import gzip
import io
from typing import Any, ClassVar

from singer_sdk import RESTStream, Stream, Tap
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.helpers._typing import TypeConformanceLevel
from singer_sdk.singerlib import RecordMessage
from singer_sdk.singerlib.encoding import SimpleSingerWriter
from singer_sdk.singerlib.json import serialize_json

from benchmarks.clients.access_token import access_token
from benchmarks.clients.requests_loop import upload
from benchmarks.job import Job


class Engagements(RESTStream[str]):
    """The endpoint."""

    name = "engagements"
    path = "/contact_center/engagements"
    primary_keys = ("engagement_id",)
    records_jsonpath = "$.engagements[*]"
    next_page_token_jsonpath = "$.next_page_token"
    schema: ClassVar = {"type": "object", "properties": {"engagement_id": {"type": "string"}}}
    # Fields that the schema does not name would be left out.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    @property
    def url_base(self) -> str:
        """Return where the API is."""
        return f"{self.config['zoom_url']}/v2"

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        """Return what adds the token."""
        return BearerTokenAuthenticator(token=self.config["token"])

    def get_url_params(self, context: Any, next_page_token: str | None) -> dict[str, str]:  # noqa: ARG002
        """Return the parameters of a page."""
        return self.config["query"] | ({"next_page_token": next_page_token} if next_page_token else {})


class Zoom(Tap):
    """The tap."""

    name = "tap-zoom"

    def discover_streams(self) -> list[Stream]:
        """Return its only stream."""
        return [Engagements(self)]


def extract(job: Job) -> None:
    """Write one object."""
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=6) as file:

        class Lines(SimpleSingerWriter):
            """Writes records, and no other messages."""

            def write_message(self, message: Any) -> None:
                """Write a record."""
                if isinstance(message, RecordMessage):
                    file.write(serialize_json(message.record).encode() + b"\n")

        config = {"zoom_url": job.zoom_url, "token": access_token(job), "query": job.query}
        Zoom(config=config, message_writer=Lines(), validate_config=False).sync_all()
    upload(job, buffer.getvalue())
