"""
Airbyte's CDK with a declarative source, as its Connector Builder writes one.

Airbyte's own S3 destination needs Docker, so the records are written to S3 here, in one object.
"""

from __future__ import annotations

import logging
from typing import Any

from airbyte_cdk.models import ConfiguredAirbyteCatalogSerializer, Type
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource

from benchmarks.clients.access_token import access_token
from benchmarks.clients.requests_loop import write_object
from benchmarks.job import Job

CATALOG = ConfiguredAirbyteCatalogSerializer.load(
    {
        "streams": [
            {
                "stream": {"name": "engagements", "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
                "sync_mode": "full_refresh",
                "destination_sync_mode": "append",
            }
        ]
    }
)


def manifest(job: Job) -> dict[str, Any]:
    """Describe the source."""
    return {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["engagements"]},
        "streams": [
            {
                "type": "DeclarativeStream",
                "name": "engagements",
                "primary_key": "engagement_id",
                "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": {}}},
                "retriever": {
                    "type": "SimpleRetriever",
                    "requester": {
                        "type": "HttpRequester",
                        "url_base": f"{job.zoom_url}/v2/",
                        "path": "contact_center/engagements",
                        "authenticator": {"type": "BearerAuthenticator", "api_token": access_token(job)},
                        "request_parameters": job.query,
                    },
                    "record_selector": {
                        "type": "RecordSelector",
                        "extractor": {"type": "DpathExtractor", "field_path": ["engagements"]},
                    },
                    "paginator": {
                        "type": "DefaultPaginator",
                        "page_token_option": {
                            "type": "RequestOption",
                            "inject_into": "request_parameter",
                            "field_name": "next_page_token",
                        },
                        "pagination_strategy": {
                            "type": "CursorPagination",
                            "cursor_value": "{{ response['next_page_token'] }}",
                            "stop_condition": "{{ not response['next_page_token'] }}",
                        },
                    },
                },
            }
        ],
    }


def extract(job: Job) -> None:
    """Write one object."""
    source = ConcurrentDeclarativeSource(source_config=manifest(job), config={}, catalog=CATALOG, state=[])
    messages = source.read(logging.getLogger("airbyte"), {}, CATALOG, [])
    write_object(job, ([message.record.data] for message in messages if message.type == Type.RECORD))
