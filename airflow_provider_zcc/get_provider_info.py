"""What Airflow reads first. Nothing is imported here, so that reading it costs nothing."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "Zoom Contact Center"


def get_provider_info() -> dict[str, Any]:
    """Describe the provider in the terms of Airflow's ``provider.yaml`` schema.

    The connection form is declared here and nowhere else: Airflow 3 reads it from here, and for older
    versions the hook derives its form from this declaration.
    """
    return {
        "package-name": "airflow-provider-zcc",
        "name": "Zoom Contact Center",
        "description": "Loads Zoom Contact Center engagements into S3, complete and without duplicates.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://developers.zoom.us/docs/api/contact-center/",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_zcc.hooks.zoom_contact_center"],
            }
        ],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_zcc.operators.engagements_check"],
            }
        ],
        "sensors": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_zcc.sensors.engagements"],
            }
        ],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_zcc.triggers.engagements"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": _INTEGRATION,
                "target-integration-name": "Amazon Simple Storage Service (S3)",
                "python-module": "airflow_provider_zcc.transfers.engagements_to_s3",
            }
        ],
        "extra-links": ["airflow_provider_zcc.links.s3_object.S3ObjectLink"],
        "connection-types": [
            {
                "hook-class-name": "airflow_provider_zcc.hooks.zoom_contact_center.ZoomContactCenterHook",
                "hook-name": "Zoom Contact Center",
                "connection-type": "zcc",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port"],
                    "relabeling": {"login": "Client ID", "password": "Client Secret", "host": "API base URL"},
                    "placeholders": {
                        "login": "aB3dE5gH7jK9mN1pQ2rS4t",
                        "password": "AbCdEfGhIjKlMnOpQrStUvWxYz012345",
                        "host": "https://api.zoom.us/v2",
                    },
                },
                "conn-fields": {
                    "account_id": {
                        "label": "Account ID",
                        "description": "Required: shown beside the Client ID of the Server-to-Server OAuth app.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "oauth_url": {
                        "label": "OAuth URL",
                        "description": "Default: https://zoom.us/oauth/token. ZoomGov: https://zoomgov.com/oauth/token.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "requests_per_second": {
                        "label": "Requests per second",
                        "description": "Zoom's limit for the account: 10 on Pro, 20 on Business and above.",
                        "schema": {"type": ["number", "null"], "default": 10},
                    },
                    "timeout": {
                        "label": "Timeout",
                        "description": "Seconds for one request.",
                        "schema": {"type": ["number", "null"], "default": 30},
                    },
                },
            }
        ],
    }
