"""
Check what ``make build`` has built: ``python -m tests.distribution dist``.

The wheel holds the package alone, all of it, and nothing that git does not know; Airflow finds the provider in it.
``python -m build`` makes the wheel out of the source distribution, so that one is whole as well.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import PathDistribution
from pathlib import Path

PACKAGE = "airflow_provider_zcc"
ROOT = Path(__file__).parent.parent
_NOT_FOR_USERS = (".", "benchmarks", "build", "docs", "example_dags", "tests")


def problems(folder: Path, package: set[str]) -> Iterator[str]:
    """Say what is wrong with the distributions in a folder.

    :param folder: holds one wheel and one source distribution.
    :param package: the files of the package, as paths below the repository's root.
    """
    [wheel], [source] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    metadata = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    yield from (f"The wheel lacks {name}." for name in sorted(package - set(names)))
    yield from (f"The wheel holds {name}." for name in sorted(set(names) - metadata - package))
    if not any(name.endswith("/LICENSE") for name in metadata):
        yield "The wheel lacks the licence."
    if not _provider_info_can_be_read(wheel):
        yield "Airflow would not find the provider in the wheel."
    with tarfile.open(source) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    yield from (f"The source distribution holds {name}." for name in sorted(names) if name.startswith(_NOT_FOR_USERS))


def _provider_info_can_be_read(wheel: Path) -> bool:
    """Read it as Airflow does, with nothing but the wheel in reach: it needs no dependency, not even Airflow."""
    dist_info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/"
    entry_points = PathDistribution(zipfile.Path(wheel, dist_info)).entry_points  # type: ignore[arg-type]
    found = [entry_point for entry_point in entry_points if entry_point.group == "apache_airflow_provider"]
    if len(found) != 1:
        return False
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); from {found[0].module} import {found[0].attr} as read; "
        "assert read()['package-name'] == 'airflow-provider-zcc'"
    )
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0


def main() -> None:
    listed = subprocess.run(["git", "ls-files", PACKAGE], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    package = set(listed.splitlines())
    found = list(problems(Path(sys.argv[1]), package))
    if found:
        sys.exit("\n".join(found))
    print(f"The wheel holds the package alone: {len(package)} files.")


if __name__ == "__main__":
    main()
