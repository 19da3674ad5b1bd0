"""Run one client as a process of its own and print what it took: ``python -m benchmarks.measure CLIENT JOB``."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.job import Job


def peak_megabytes() -> float:
    """Return the peak of this process's memory; getrusage would count its parent's before the exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Run the client that the command line names."""
    _, client, job = sys.argv
    module = import_module(f"benchmarks.clients.{client}")
    wall, cpu = time.perf_counter(), time.process_time()
    module.extract(Job.loads(job))
    figures = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "cpu_seconds_with_imports": time.process_time(),
        "peak_megabytes": peak_megabytes(),
    }
    print(f"\n{json.dumps(figures)}")


if __name__ == "__main__":
    main()
