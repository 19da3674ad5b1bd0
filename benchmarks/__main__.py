"""
Run the benchmarks side by side: ``make bench``, or ``python -m benchmarks --only limited --runs 1``.

Every client is a process of its own, against a simulated Zoom account and an S3 server, which are processes too. Its
figures are net of imports, and what it wrote is compared with the truth. Results go to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics as stats
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.job import Job
from benchmarks.stage import BUCKET, END, ROOT, S3, START, Account, differences, s3, set_faults, statistics, truth

RESULTS = Path(__file__).parent / "results"
TOOLS_PYTHON = ROOT / ".venv-benchmarks" / "bin" / "python"
Figures = dict[str, Any]

PROVIDER = "airflow-provider-zcc"
#: Clients of the comparison: their name, module and options.
CLIENTS: dict[str, tuple[str, dict[str, int]]] = {
    PROVIDER: ("provider", {}),
    "HttpOperator": ("http_operator", {}),
    "dlt rest_api": ("dlt_rest_api", {}),
    "dlt rest_api, 8 workers": ("dlt_rest_api", {"workers": 8}),
    "Airbyte CDK": ("airbyte_cdk_source", {}),
    "Singer SDK": ("singer_tap", {}),
    "requests loop": ("requests_loop", {}),
    "8 threads over days": ("threads_over_days", {}),
}
#: Clients that require other versions of packages than Airflow does.
FOREIGN = ("dlt_rest_api", "airbyte_cdk_source", "singer_tap")
#: Not an extraction, so it is not compared with others.
CHECK = "EngagementsCheckOperator"
TWO_YEARS = 731
OTHERS: dict[str, tuple[str, dict[str, int]]] = {
    CHECK: ("check", {"days": TWO_YEARS}),
}


class ClientFailed(RuntimeError):
    """A client ended with an error."""


class Bench:
    """Runs extractions and keeps what they took.

    :param store: the S3 server.
    :param runs: how often to repeat each; figures are medians.
    """

    def __init__(self, store: S3, runs: int) -> None:
        self.store = store
        self.runs = runs

    def median(self, account: Account, client: str = PROVIDER, **job: Any) -> Figures:
        """Run a client several times and return the median of each figure."""
        runs = [self.once(account, [client], **job) for _ in range(self.runs)]
        figures = {key: stats.median(run[key] for run in runs) for key in runs[0]}
        print(f"  {client}: " + ", ".join(f"{key} {value:,.6g}" for key, value in figures.items()), flush=True)
        return figures

    def once(
        self,
        account: Account,
        clients: list[str],
        *,
        check: bool = True,
        split: bool = False,
        fault: dict[str, Any] | None = None,
        **job: Any,
    ) -> Figures:
        """Run clients at the same time on a fresh account.

        :param check: compare what they wrote with the truth.
        :param split: give each its own part of the days, rather than all.
        :param fault: that the account has, see ``tests/zoom_simulator/faults.py``.
        :raises ClientFailed: a client ended with an error.
        """
        days = (END - START) // (len(clients) if split else 1)
        with account.open() as zoom_url, ExitStack() as stack:
            set_faults(zoom_url, [fault] if fault else [])
            started = time.perf_counter()
            processes = []
            for number, client in enumerate(clients):
                module, options = (CLIENTS | OTHERS)[client]
                start = START + number * days * split
                task = Job(
                    zoom_url, self.store.url, BUCKET, f"run{number}", f"{start:%Y-%m-%dT%H:%M:%SZ}",
                    f"{start + days:%Y-%m-%dT%H:%M:%SZ}", options=options, **job,
                )  # fmt: skip
                processes.append(stack.enter_context(_process(module, task)))
            outputs = [process.communicate() for process in processes]
            wall = time.perf_counter() - started
            for process, (_, errors) in zip(processes, outputs, strict=True):
                if process.returncode:
                    raise ClientFailed(f"{clients} failed:\n{errors[-3000:]}")
            each = [json.loads(output.strip().splitlines()[-1]) for output, _ in outputs]
            seen = statistics(zoom_url)
            figures = {
                "seconds": max(figures["seconds"] for figures in each),
                "cpu_seconds": sum(figures["cpu_seconds"] for figures in each),
                "peak_megabytes": max(figures["peak_megabytes"] for figures in each),
                "seconds_with_imports": wall,
                "requests": seen["api_requests"],
                "throttled": seen["statuses"].get("429", 0),
            }
            lines = (line for number in range(len(clients)) for line in self.store.take_lines(f"run{number}/"))
            if check:
                parse = clients[0] != PROVIDER
                figures |= differences(lines, truth(zoom_url), parse=parse)
            else:
                figures["lines"] = sum(1 for _ in lines)
            return figures


def _process(module: str, job: Job) -> subprocess.Popen[str]:
    python = str(TOOLS_PYTHON) if module in FOREIGN else sys.executable
    return subprocess.Popen(
        [python, "-m", "benchmarks.measure", module, job.dumps()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


# What is measured: each returns its figures, and prints what it does.


def comparison(bench: Bench) -> Figures:
    """50,000 engagements in 28 days, 80 ms a response, no rate limit."""
    return {client: bench.median(Account(50_000), client) for client in CLIENTS}


def limited(bench: Bench) -> Figures:
    """30,000 engagements in 28 days, 150 ms a response, 20 requests/s allowed."""
    account = Account(30_000, latency=150, requests_per_second=20)
    clients = (PROVIDER, "8 threads over days")
    return {client: bench.median(account, client, requests_per_second=20) for client in clients}


def unannounced(bench: Bench) -> Figures:
    """20,000 engagements, 150 ms a response, configured for 40 requests/s, 10 allowed and not announced."""
    account = Account(20_000, latency=150, requests_per_second=10, announced=False)
    return {PROVIDER: bench.median(account, requests_per_second=40)}


def shared(bench: Bench) -> Figures:
    """60,000 engagements, 150 ms, four processes with a week each, configured for 20 requests/s, 20 allowed in all."""
    account = Account(60_000, latency=150, requests_per_second=20)
    runs = [bench.once(account, [PROVIDER] * 4, split=True, requests_per_second=20) for _ in range(bench.runs)]
    return {"four processes": {key: stats.median(run[key] for run in runs) for key in runs[0]}}


def memory(bench: Bench) -> Figures:
    """20,000 and 2,000,000 engagements in 28 days, responses without delay."""
    return {
        f"{engagements:,} engagements": bench.once(Account(engagements, latency=0), [PROVIDER], check=False)
        for engagements in (20_000, 2_000_000)
    }


def small(bench: Bench) -> Figures:
    """0 and 40 engagements in 28 days."""
    return {f"{count} engagements": bench.median(Account(count, latency=80, shape="even")) for count in (0, 40)}


def shapes(bench: Bench) -> Figures:
    """30,000 engagements in 28 days, 80 ms a response: even, in office hours, in one hour, in one second."""
    free = {
        shape: bench.median(Account(30_000, shape=shape)) for shape in ("even", "busy-days", "one-hour", "one-second")
    }
    limit = {
        f"{shape}, 10 requests/s": bench.median(
            Account(30_000, shape=shape, requests_per_second=10), requests_per_second=10
        )
        for shape in ("even", "one-second")
    }
    return free | limit


#: What each client of the comparison may meet, in the words of ``tests/zoom_simulator/faults.py``.
FAULTS: dict[str, dict[str, Any]] = {
    "one HTTP 429": {
        "kind": "answer", "on": "next", "after": 20,
        "details": {"status": 429, "body": {"code": 429, "message": "Try again later."}},
    },
    "one HTTP 503": {"kind": "answer", "on": "next", "after": 20, "details": {"status": 503, "body": "Unavailable"}},
    "a connection that breaks": {"kind": "torn", "on": "next", "after": 20},
    "a page token that expires": {
        "kind": "answer", "on": "next", "after": 20,
        "details": {"status": 400, "body": {"code": 300, "message": "The next page token is invalid or expired."}},
    },
    "a page token missing too early": {
        "kind": "page", "on": "next", "after": 20, "details": {"next_page_token": ""},
    },
    "a page sent twice": {"kind": "again", "on": "next", "after": 20},
}  # fmt: skip
#: The tools of the README.
IN_FAULTS = (PROVIDER, "HttpOperator", "dlt rest_api", "Airbyte CDK", "Singer SDK")


def faults(bench: Bench) -> Figures:
    """5,000 engagements, responses without delay, and one fault after about 20 pages."""
    account = Account(5_000, latency=0)

    def outcome(client: str, fault: dict[str, Any]) -> str:
        try:
            seen = bench.once(account, [client], fault=fault)
        except ClientFailed as error:
            print(f"  {client}: {str(error).strip().splitlines()[-1][:200]}", flush=True)
            assert not list(bench.store.take_lines("run0/")), "It failed, and has written something."
            return "fails"
        wrong = [f"{seen[what]:,} {what}" for what in ("missing", "doubled") if seen[what]]
        return ", ".join(wrong) or "complete"

    results: Figures = {}
    for client in IN_FAULTS:
        results[client] = {name: outcome(client, fault) for name, fault in FAULTS.items()}
        print(f"  {client}: {results[client]}", flush=True)
    return results


def check(bench: Bench) -> Figures:
    """731 days with an object each, 80 ms a response, 20 requests/s allowed."""
    bench.store.put_days(TWO_YEARS)
    return {CHECK: bench.median(Account(50_000, requests_per_second=20), CHECK, check=False, requests_per_second=20)}


def capacity(bench: Bench) -> Figures:  # noqa: ARG001
    """How many pages the simulator serves in a second to two processes of two threads that only read bytes."""
    with Account(50_000, latency=0).open() as zoom_url:
        command = [sys.executable, "-m", "benchmarks.capacity", zoom_url]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
        pages = sum(float(process.communicate()[0]) for process in processes)
    print(f"  {pages:,.0f} pages/s", flush=True)
    return {"simulator": {"pages_per_second": pages}}


SCENARIOS: dict[str, Callable[[Bench], Figures]] = {
    scenario.__name__: scenario
    for scenario in (capacity, comparison, limited, unannounced, shared, memory, small, shapes, check, faults)
}
#: Those that do not repeat what they run.
ONCE = ("capacity", "memory", "faults")


def main() -> None:
    """Run the chosen scenarios, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="default: all")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts; default 3")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    with s3() as store:
        bench = Bench(store, arguments.runs)
        for name in arguments.only:
            print(f"{name}: {SCENARIOS[name].__doc__}", flush=True)
            results[name] = {
                "conditions": f"{SCENARIOS[name].__doc__} "
                f"{'One run' if name in ONCE else f'Median of {arguments.runs}'}; {os.cpu_count()} cores, "
                f"Python {platform.python_version()}.",
                "figures": SCENARIOS[name](bench),
            }
            path.write_text(json.dumps(results, indent=1) + "\n")
    subprocess.run([TOOLS_PYTHON, "-m", "benchmarks.report"], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


if __name__ == "__main__":
    main()
