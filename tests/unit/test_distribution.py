"""What ``make build`` would say of distributions that went wrong."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.distribution import problems

INFO = "airflow_provider_zcc/get_provider_info.py"
DIST_INFO = "airflow_provider_zcc-0.1.0.dist-info"
ENTRY_POINT = "[apache_airflow_provider]\nprovider_info = airflow_provider_zcc.get_provider_info:get_provider_info\n"
WHEEL = {
    "airflow_provider_zcc/__init__.py": "",
    INFO: "def get_provider_info(): return {'package-name': 'airflow-provider-zcc'}",
    f"{DIST_INFO}/METADATA": "Name: airflow-provider-zcc",
    f"{DIST_INFO}/entry_points.txt": ENTRY_POINT,
    f"{DIST_INFO}/licenses/LICENSE": "",
}
PACKAGE = {name for name in WHEEL if not name.startswith(DIST_INFO)}


def build(folder: Path, wheel: dict[str, str], source: str = "README.md") -> None:
    with zipfile.ZipFile(folder / "airflow_provider_zcc-0.1.0-py3-none-any.whl", "w") as archive:
        for name, content in wheel.items():
            archive.writestr(name, content)
    with tarfile.open(folder / "airflow_provider_zcc-0.1.0.tar.gz", "w:gz") as archive:
        archive.add(__file__, f"airflow_provider_zcc-0.1.0/{source}")


def test_a_wheel_that_holds_the_package_alone_is_right(tmp_path: Path) -> None:
    build(tmp_path, WHEEL)
    assert list(problems(tmp_path, PACKAGE)) == []


@pytest.mark.parametrize(
    "name", ["tests/__init__.py", "example_dags/zcc_daily.py", "airflow_provider_zcc/left_over.py"]
)
def test_a_wheel_that_holds_more_is_noticed(tmp_path: Path, name: str) -> None:
    build(tmp_path, {**WHEEL, name: ""})
    assert list(problems(tmp_path, PACKAGE)) == [f"The wheel holds {name}."]


def test_a_wheel_that_lacks_a_module_is_noticed(tmp_path: Path) -> None:
    build(tmp_path, WHEEL)
    missing = "airflow_provider_zcc/interval.py"
    assert list(problems(tmp_path, {*PACKAGE, missing})) == [f"The wheel lacks {missing}."]


@pytest.mark.parametrize(
    "changes",
    [
        {INFO: "import airflow"},
        {INFO: "def get_provider_info(): return {'package-name': 'another'}"},
        {f"{DIST_INFO}/entry_points.txt": ""},
    ],
    ids=["imports airflow", "another package", "no entry point"],
)
def test_a_provider_that_airflow_would_not_find_is_noticed(tmp_path: Path, changes: dict[str, str]) -> None:
    build(tmp_path, {**WHEEL, **changes})
    assert list(problems(tmp_path, PACKAGE)) == ["Airflow would not find the provider in the wheel."]


def test_a_source_distribution_with_the_tests_is_noticed(tmp_path: Path) -> None:
    build(tmp_path, WHEEL, source="tests/test_all.py")
    assert list(problems(tmp_path, PACKAGE)) == ["The source distribution holds tests/test_all.py."]
