"""Where the CPU time of an extraction goes: ``make profile``."""

from __future__ import annotations

import pstats
import threading
import time
from cProfile import Profile

from benchmarks.clients import provider
from benchmarks.job import Job
from benchmarks.stage import BUCKET, END, START, Account, s3


def main() -> None:
    """Profile one thread that reads, and the one that compresses and uploads."""
    profiles: list[Profile] = []
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        profile = Profile(time.thread_time)
        profiles.append(profile)
        profile.runcall(run, thread)

    threading.Thread.run = profiled
    with s3() as store, Account(20_000, latency=0).open() as zoom_url:
        start, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (START, END))
        job = Job(zoom_url, store.url, BUCKET, "profile", start, end, options={"max_concurrency": 1})
        provider.extract(job)
    pstats.Stats(*profiles).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
