"""Eight threads with requests, as written by hand: each day is one thread's, page after page."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from benchmarks.clients.requests_loop import pages, session_for, to_lines, upload
from benchmarks.job import Job


def extract(job: Job) -> None:
    """Write one object, of the days in order."""
    session = session_for(job)
    day, end = (datetime.fromisoformat(moment) for moment in (job.start, job.end))
    days = []
    while day < end:
        days.append(day)
        day += timedelta(days=1)

    def read(day: datetime) -> bytes:
        last = day + timedelta(days=1) - timedelta(seconds=1)
        bounds = {"from": f"{day:%Y-%m-%dT%H:%M:%SZ}", "to": f"{last:%Y-%m-%dT%H:%M:%SZ}"}
        return b"".join(to_lines(engagements) for engagements in pages(session, job, **bounds))

    with ThreadPoolExecutor(8) as executor:
        content = b"".join(executor.map(read, days))
    upload(job, gzip.compress(content, compresslevel=6))
