"""Airflow as a process: a home of its own, connections from the environment, Dags run, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import psutil

EXAMPLE_DAGS = Path(__file__).parent.parent / "example_dags"
#: With which an Airflow begins whose Dags have outlets: Airflow 3.0 refuses to run them before it knows their assets.
KNOWING_ASSETS = ("db migrate", "dags reserialize")
#: Seconds that a wait may take.
WAIT_TIMEOUT = 480.0


class AirflowProcess:
    """An Airflow with an empty database, in a temporary folder that goes with the context.

    :param dags_folder: where its Dags are.
    :param environment: further environment variables, such as ``AIRFLOW_CONN_ZCC_DEFAULT``.
    :param commands: of Airflow, run when it is entered.
    :param runs: of Dags, after the commands, each given as ``DAG_ID@LOGICAL_DATE[@CONF]``.
    :param clock: URL of a Zoom simulator whose clock is at the logical date of each of the runs.
    :param on_line: called with each line that commands and runs print, as it comes.

    :ivar report: for each of the runs its ``state``, its ``tasks`` with ``state`` and ``tries``, and its ``xcoms``.
    :ivar log: what commands and runs print.
    """

    def __init__(
        self,
        dags_folder: Path,
        environment: Mapping[str, str],
        *,
        commands: Sequence[str] = ("db migrate",),
        runs: Sequence[str] = (),
        clock: str | None = None,
        on_line: Callable[[str], object] = str,
    ) -> None:
        self._commands, self._runs, self._clock, self._on_line = commands, runs, clock, on_line
        self._home = tempfile.TemporaryDirectory(prefix="airflow-")
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self.home = Path(self._home.name)
        self.report: dict[str, dict[str, Any]] = {}
        self.log = ""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AIRFLOW__") and name != "AIRFLOW_CONFIG"
        }
        self.environment = {
            **inherited,
            "NO_PROXY": f"127.0.0.1,localhost,{os.environ.get('NO_PROXY', '')}".rstrip(","),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            **environment,
        }

    def __enter__(self) -> Self:
        try:
            report = self.home / "report.json"
            more = ("--report", str(report), "--runs", *self._runs) if self._runs else ()
            if self._clock:
                more = (*more, "--clock", self._clock)
            self.log = self.call("tests.run_airflow", *self._commands, *more)
            if self._runs:
                self.report = json.loads(report.read_text())
        except BaseException:
            self._home.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._services):
            self.kill(name)
        self._home.cleanup()

    def start(self, name: str, *arguments: str, module: str = "airflow", **environment: str) -> subprocess.Popen[bytes]:
        """Run a service of Airflow, such as ``scheduler``, until the context ends.

        :param name: what to call it.
        :param arguments: of the command ``airflow``.
        :param module: what runs the command.
        :param environment: further environment variables, for it alone.
        """
        with self.log_of(name).open("wb") as log:
            self._services[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return self._services[name]

    def kill(self, name: str) -> None:
        """Kill a service with all its processes at once, as if its machine were switched off."""
        service = self._services.pop(name)
        if service.poll() is None:
            # Airflow gives each task a process group of its own.
            processes = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        service.wait()

    def require_services(self) -> None:
        """Make sure that all services run.

        :raises RuntimeError: with the end of what it printed, if one does not.
        """
        for name, service in self._services.items():
            if service.poll() is not None:
                raise RuntimeError(f"{name} ended with {service.returncode}:\n{_last(self.output_of(name))}")

    def wait_until(self, what: str, it_is_so: Callable[[], object]) -> None:
        """Wait.

        :param what: what for.
        :raises RuntimeError: with the end of what the services printed, if one ends meanwhile, or it takes too long.
        """
        deadline = time.monotonic() + WAIT_TIMEOUT
        while not it_is_so():
            self.require_services()
            if time.monotonic() > deadline:
                outputs = "\n".join(f"{name}:\n{_last(self.output_of(name))}" for name in self._services)
                raise RuntimeError(f"Waited {WAIT_TIMEOUT:.0f} s for {what}.\n{outputs}")
            time.sleep(0.2)

    def output_of(self, name: str) -> str:
        """Return what a service printed."""
        return self.log_of(name).read_text(errors="replace")

    def log_of(self, name: str) -> Path:
        """Return where a service prints to."""
        return self.home / f"{name}.log"

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Query Airflow's database."""
        with closing(sqlite3.connect(self.home / "airflow.db", timeout=60)) as database:
            return database.execute(query, values).fetchall()

    def call(self, module: str, *arguments: str, **environment: str) -> str:
        """Run a Python module, and return what it printed.

        :param environment: further environment variables, for it alone.
        :raises RuntimeError: with the end of that, if it fails.
        """
        with subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        ) as process:
            log = ""
            try:
                for line in process.stdout or ():
                    log += line
                    self._on_line(line)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            raise RuntimeError(f"{module} {' '.join(arguments)} ended with {process.returncode}:\n{_last(log)}")
        return log


def _last(text: str) -> str:
    return "\n".join(text.splitlines()[-40:])
