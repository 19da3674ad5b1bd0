"""What the matrix runs, and what the workflow and the constraints say of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.matrix import CELLS, REPOSITORY, Cell

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
FLOORS = sorted(PROJECT["dependencies"])


def pins(name: str) -> set[str]:
    return set((REPOSITORY / "constraints" / f"{name}.txt").read_text().splitlines())


def cells_of(job: str) -> list[Cell]:
    include = WORKFLOW["jobs"][job]["strategy"]["matrix"]["include"]
    return [Cell(cell["airflow"], cell["python"]) for cell in include]


def test_the_workflow_runs_every_cell() -> None:
    listed = cells_of("matrix")
    commands = [step.get("run", "") for step in WORKFLOW["jobs"]["newest"]["steps"]]
    newest = [
        Cell(*found) for command in commands for found in re.findall(r"AIRFLOW=(\S+) PYTHON=python(\S+)", command)
    ]
    assert [*listed, *newest] == list(CELLS)


def test_the_workflow_opens_the_page_of_every_airflow() -> None:
    pages = cells_of("page")
    assert set(pages) <= set(CELLS)
    assert [page.airflow for page in pages] == sorted({cell.airflow for cell in CELLS} - {"lowest", "newest"})


def test_each_python_that_is_promised_has_a_cell_and_so_has_each_airflow_with_constraints() -> None:
    pythons = {name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)}
    files = {Path(name).stem for cell in CELLS for name in cell.constraints}
    assert {cell.python for cell in CELLS} == pythons
    assert files - {"tools"} == {"lowest"} | {path.stem for path in (REPOSITORY / "constraints").glob("airflow-*.txt")}


@pytest.mark.parametrize("floor", FLOORS)
def test_the_lowest_versions_are_those_that_are_declared(floor: str) -> None:
    name, _, version = floor.partition(">=")
    [pinned] = [pin.partition("==")[2] for pin in pins("lowest") if pin.startswith(f"{name}==")]
    assert re.fullmatch(rf"{re.escape(version)}(\.0)*", pinned)
