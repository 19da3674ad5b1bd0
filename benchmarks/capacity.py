"""Print how many pages a second the simulator serves to two threads that read bytes and do nothing with them."""

from __future__ import annotations

import http.client
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urlsplit

from benchmarks.clients.access_token import access_token
from benchmarks.job import Job
from benchmarks.stage import END, START

SECONDS = 5.0


def read_pages(job: Job) -> int:
    """Request first pages until the time is over, and count them."""
    connection = http.client.HTTPConnection(urlsplit(job.zoom_url).netloc)
    path = f"/v2/contact_center/engagements?{urlencode(job.query)}"
    headers = {"Authorization": f"Bearer {access_token(job)}"}
    pages, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        connection.request("GET", path, headers=headers)
        connection.getresponse().read()
        pages += 1
    return pages


if __name__ == "__main__":
    bounds = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (START, END)]
    with ThreadPoolExecutor(2) as executor:
        jobs = [Job(sys.argv[1], "", "", "", *bounds)] * 2
        print(sum(executor.map(read_pages, jobs)) / SECONDS)
