"""
The tests that concern Airflow, on each Airflow, with the built wheel instead of the tree.

``python -m tests.matrix`` runs every cell, ``python -m tests.matrix --airflow 3.1 --python 3.13`` one. Each gets a
virtual environment of its own, made of ``constraints/``, and a copy of the tests in a folder without the package.
``lowest`` has the lowest versions that pyproject.toml declares, ``newest`` whatever is newest today.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

REPOSITORY = Path(__file__).parent.parent
FOLDER = REPOSITORY / ".matrix"
TESTS = ("tests/unit", "--ignore=tests/unit/zoom", "tests/integration")
HEAD = """\
# Supported versions

Airflow 2.11 or newer, and Python 3.11 or newer. The tests that concern Airflow run Dags on each of the versions below,
with the built wheel; on the newest Airflow, all tests run. Python 3.14 is not tested yet.

The table shows the last run of each, on {today:%-d %B %Y} at the latest. *cell* names the file in `constraints/` that
fixes the versions: *lowest* has the lowest that this package declares, and *newest* has none, so it is what was newest
that day. A test is skipped where what it tests is not in that version.

<!-- Written by `make matrix RESULTS=docs/versions.md`. -->

{table}"""
COPIED = ("tests", "example_dags", "docs", "README.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml")
#: Prints what the tests import, and which versions are there.
PROBE = """
import json, platform, airflow_provider_zcc
from importlib.metadata import version
names = {"Airflow": "apache-airflow", "amazon": "apache-airflow-providers-amazon"}
versions = {label: version(name) for label, name in names.items()}
print(json.dumps({"package": airflow_provider_zcc.__file__, "Python": platform.python_version(), **versions}))
"""


@dataclass(frozen=True)
class Cell:
    """An Airflow on a Python.

    :param airflow: which constraints, or ``lowest``, or ``newest``.
    :param python: as in ``3.12``.
    """

    airflow: str
    python: str

    @property
    def folder(self) -> Path:
        """Where its virtual environment and its copy of the tests lie."""
        return FOLDER / f"{self.airflow}-python-{self.python}"

    @property
    def row(self) -> Path:
        """Where its row of the table lies when it has run."""
        return self.folder / "row.json"

    @property
    def constraints(self) -> tuple[str, ...]:
        """The files that fix the versions."""
        if self.airflow == "newest":
            return ()
        name = "lowest" if self.airflow == "lowest" else f"airflow-{self.airflow}"
        return (f"constraints/{name}.txt", "constraints/tools.txt")


#: Each Airflow on one Python at least, each Python on the newest Airflow.
CELLS = (
    Cell("2.11", "3.11"),
    Cell("3.0", "3.12"),
    Cell("3.1", "3.13"),
    Cell("3.2", "3.12"),
    Cell("3.3", "3.11"),
    Cell("3.3", "3.12"),
    Cell("3.3", "3.13"),
    Cell("lowest", "3.11"),
    Cell("newest", "3.13"),
)


def find_interpreter(version: str) -> str:
    """Find a Python on the path or among pyenv's.

    :param version: as in ``3.12``.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for candidate in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))):
        # A shim of pyenv is on the path, whether or not it leads anywhere.
        if candidate and subprocess.run([candidate, "-V"], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    sys.exit(f"Python {version} is missing: neither python{version} on the path nor pyenv has it. Install it.")


def uv(*arguments: object) -> None:
    """Run uv."""
    command = [Path(sys.executable).parent / "uv", *arguments]
    subprocess.run([str(part) for part in command], cwd=REPOSITORY, check=True)


def build_wheel() -> Path:
    """Build the package as it is published."""
    shutil.rmtree(FOLDER / "dist", ignore_errors=True)
    uv("build", "--quiet", "--system-certs", "--wheel", "--out-dir", FOLDER / "dist", ".")
    [wheel] = (FOLDER / "dist").glob("*.whl")
    return wheel


def install(cell: Cell, wheel: Path) -> Path:
    """Make a virtual environment with the wheel and the tools of the tests.

    :return: its Python.
    """
    uv("venv", "--quiet", "--clear", "--python", find_interpreter(cell.python), cell.folder / "venv")
    python = cell.folder / "venv" / "bin" / "python"
    constraints = [f"--constraint={name}" for name in cell.constraints]
    uv("pip", "install", "--quiet", "--system-certs", "--python", python, *constraints, f"{wheel}[dev]")
    return python


def run(cell: Cell, wheel: Path, *, record: bool = False) -> dict[str, Any]:
    """Install and test one cell.

    :param record: whether what is seen of intervals is written to ``tests/intervals/seen``, and not compared with it.
    :return: its row of the table.
    """
    started = time.monotonic()
    shutil.rmtree(cell.folder, ignore_errors=True)
    tree = cell.folder / "tree"
    tree.mkdir(parents=True)
    try:
        python = install(cell, wheel)
    except subprocess.CalledProcessError as error:
        print(f"Airflow {cell.airflow}, Python {cell.python}: {error}", flush=True)
        return {"cell": cell.airflow, "Python": cell.python, "result": "not installed"}
    for name in COPIED:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(cell.folder / "airflow"),
        "PYTHONPATH": str(tree),
    }
    probe = subprocess.run([python, "-c", PROBE], cwd=tree, env=environment, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(probe.stdout.splitlines()[-1])
    package = Path(row.pop("package"))
    if not package.is_relative_to(cell.folder / "venv"):
        raise RuntimeError(f"The tests would import {package}, which is not the wheel's.")
    if record:
        environment["ZCC_RECORD_INTERVALS"] = str(REPOSITORY / "tests" / "intervals" / "seen")
    report = cell.folder / "report.xml"
    command = [python, "-m", "pytest", "-q", f"--junitxml={report}", *TESTS]
    tested = subprocess.run(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(f"Airflow {cell.airflow}, Python {cell.python}\n{tested.stdout}", flush=True)
    counts = ET.parse(report).find("testsuite") if report.exists() else None
    tests, failures, errors, skipped = (
        0 if counts is None else int(counts.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
    )
    return {
        "cell": cell.airflow,
        **row,
        "passed": tests - failures - errors - skipped,
        "skipped": skipped,
        "failed": failures + errors,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "result": "failed" if tested.returncode else "passed",
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Write rows as a table in Markdown."""
    names = list(max(rows, key=len))
    lines = [names, ["---"] * len(names), *([row.get(name, "") for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def last_rows() -> list[dict[str, Any]]:
    """Return what came of the last run of each cell, but for the minutes, which are those of one machine."""
    rows = [json.loads(cell.row.read_text()) for cell in CELLS if cell.row.exists()]
    return [{name: value for name, value in row.items() if name != "minutes"} for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument(
        "--airflow", nargs="+", choices=sorted({cell.airflow for cell in CELLS}), help="default: every cell"
    )
    parser.add_argument("--python", help="as in 3.12 or python3.12; default: the cell's own")
    parser.add_argument("--results", type=Path, help="a page to write the table to, as docs/versions.md")
    parser.add_argument("--record", action="store_true", help="write tests/intervals/seen, of which the table is made")
    parser.add_argument("--jobs", type=int, default=1, help="how many cells are run at a time")
    arguments = parser.parse_args()
    cells = [cell for cell in CELLS if arguments.airflow is None or cell.airflow in arguments.airflow]
    if arguments.python:
        cells = [Cell(airflow, arguments.python.removeprefix("python")) for airflow in {c.airflow: c for c in cells}]
    for cell in cells:
        find_interpreter(cell.python)
    wheel = build_wheel()
    with ThreadPoolExecutor(arguments.jobs) as executor:
        rows = list(executor.map(partial(run, wheel=wheel, record=arguments.record), cells))
    (FOLDER / "results.md").write_text(table(rows))
    for cell, row in zip(cells, rows, strict=True):
        cell.row.write_text(json.dumps(row))
    if arguments.results:
        arguments.results.write_text(HEAD.format(today=datetime.now(UTC), table=table(last_rows())))
    print(table(rows))
    return int(any(row["result"] != "passed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
