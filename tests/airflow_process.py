"""Airflow as a process: a home of its own, connections from the environment, Dags run, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

EXAMPLE_DAGS = Path(__file__).parent.parent / "example_dags"


class AirflowProcess:
    """An Airflow with an empty database, in a temporary folder that goes with the context.

    :param dags_folder: where its Dags lie.
    :param environment: further environment variables, such as ``AIRFLOW_CONN_ZCC_DEFAULT``.
    """

    def __init__(self, dags_folder: Path, environment: Mapping[str, str]) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="airflow-")
        self._components: list[subprocess.Popen[bytes]] = []
        self.home = Path(self._home.name)
        self.log = ""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AIRFLOW__") and name != "AIRFLOW_CONFIG"
        }
        self._environment = {
            **inherited,
            "NO_PROXY": f"127.0.0.1,localhost,{os.environ.get('NO_PROXY', '')}".rstrip(","),
            "AIRFLOW_HOME": self._home.name,
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            **environment,
        }

    def __enter__(self) -> AirflowProcess:
        try:
            self.call("airflow", "db", "migrate")
        except BaseException:
            self._home.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._components:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._components:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._home.cleanup()

    def start(self, *arguments: str) -> Path:
        """Start a component such as ``scheduler``, which runs until the context ends.

        :return: the file that it logs to.
        """
        log = self.home / f"{arguments[0]}.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "airflow", *arguments]
            self._components.append(
                subprocess.Popen(command, env=self._environment, stdout=file, stderr=file, process_group=0)
            )
        return log

    def run_dags(self, *runs: str) -> dict[str, dict[str, Any]]:
        """Run Dags, each given as ``DAG_ID@LOGICAL_DATE``; what they log is in :attr:`log`.

        :return: for each run its ``state``, its ``tasks`` with ``state`` and ``tries``, and its ``xcoms``.
        """
        report = self.home / "report.json"
        self.call("tests.run_dag", "--report", str(report), *runs)
        result: dict[str, dict[str, Any]] = json.loads(report.read_text())
        return result

    def call(self, module: str, *arguments: str) -> str:
        """Run a Python module, and return what it printed.

        :raises RuntimeError: with the end of that, if it fails.
        """
        with subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        ) as process:
            try:
                self.log, _ = process.communicate()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            last = "\n".join(self.log.splitlines()[-40:])
            raise RuntimeError(f"{module} {' '.join(arguments)} ended with {process.returncode}:\n{last}")
        return self.log
