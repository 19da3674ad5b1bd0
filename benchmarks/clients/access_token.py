"""A token, as every client but the provider fetches it."""

from __future__ import annotations

import requests

from benchmarks.job import Job


def access_token(job: Job) -> str:
    """Fetch a token."""
    response = requests.post(
        f"{job.zoom_url}/oauth/token",
        auth=(job.client_id, job.client_secret),
        data={"grant_type": "account_credentials", "account_id": job.account_id},
        timeout=30,
    )
    response.raise_for_status()
    return str(response.json()["access_token"])
