"""What ``make build`` reports of distributions that went wrong."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.distribution import DOCS, dead_links, problems

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


NO_PROVIDER = "Airflow would not find the provider in the wheel."
LEFT_OVER = "airflow_provider_zcc/left_over.py"


@pytest.mark.parametrize(
    ("changes", "missing", "source", "expected"),
    [
        ({}, set(), "README.md", []),
        ({LEFT_OVER: ""}, set(), "README.md", [f"The wheel holds {LEFT_OVER}."]),
        ({}, {LEFT_OVER}, "README.md", [f"The wheel lacks {LEFT_OVER}."]),
        ({}, set(), "tests/test_all.py", ["The source distribution holds tests/test_all.py."]),
        ({INFO: "import airflow"}, set(), "README.md", [NO_PROVIDER]),
        ({f"{DIST_INFO}/entry_points.txt": ""}, set(), "README.md", [NO_PROVIDER]),
    ],
)
def test_what_is_wrong_with_a_distribution_is_found(
    tmp_path: Path, *, changes: dict[str, str], missing: set[str], source: str, expected: list[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "airflow_provider_zcc-0.1.0-py3-none-any.whl", "w") as archive:
        for name, content in (WHEEL | changes).items():
            archive.writestr(name, content)
    with tarfile.open(tmp_path / "airflow_provider_zcc-0.1.0.tar.gz", "w:gz") as archive:
        archive.add(__file__, f"airflow_provider_zcc-0.1.0/{source}")
    assert list(problems(tmp_path, PACKAGE | missing)) == expected


@pytest.mark.parametrize(
    ("link", "alive"),
    [
        (DOCS, True),
        (f"{DOCS}/en/stable/guide.html#install", True),
        (f"{DOCS}/en/stable/guide.html#remove", False),
        (f"{DOCS}/en/stable/picture.svg", False),
        (f"{DOCS}/guide.html", False),
        ("docs/guide.md", False),
        ("https://code.example", True),
    ],
)
def test_a_dead_link_of_the_long_description_is_found(tmp_path: Path, link: str, *, alive: bool) -> None:
    (tmp_path / "index.html").touch()
    (tmp_path / "guide.html").write_text('<h2 id="install">Install</h2>')
    assert len(list(dead_links(f'<a href="{link}"><img src="{link}">', tmp_path))) == (0 if alive else 2)
