"""
Check what ``make build`` has built: ``python -m tests.distribution dist build/docs``.

The wheel holds the package alone, all of it, and nothing that git does not know; Airflow finds the provider in it.
``python -m build`` makes the wheel out of the source distribution, so that one is whole as well. The long description
is rendered as a package index renders it, and its links and images are followed in the built site.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import PathDistribution
from pathlib import Path

PACKAGE = "airflow_provider_zcc"
ROOT = Path(__file__).parent.parent
_PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION, DOCS = _PYPROJECT["project"]["version"], _PYPROJECT["project"]["urls"]["Documentation"]
SOURCE = _PYPROJECT["tool"]["airflow-provider-zcc"]["source"]
_NOT_FOR_USERS = (".", "benchmarks", "build", "docs", "example_dags", "tests")


def problems(folder: Path, package: set[str]) -> Iterator[str]:
    """Report what is wrong with the distributions in a folder.

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
        yield "The wheel lacks the license."
    if not _provider_info_can_be_read(wheel):
        yield "Airflow would not find the provider in the wheel."
    with tarfile.open(source) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    yield from (f"The source distribution holds {name}." for name in sorted(names) if name.startswith(_NOT_FOR_USERS))


def _metadata(wheel: Path) -> PathDistribution:
    dist_info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/"
    return PathDistribution(zipfile.Path(wheel, dist_info))  # type: ignore[arg-type]


def _provider_info_can_be_read(wheel: Path) -> bool:
    """Read it as Airflow does, with nothing but the wheel in reach: it needs no dependency, not even Airflow."""
    entry_points = _metadata(wheel).entry_points
    found = [entry_point for entry_point in entry_points if entry_point.group == "apache_airflow_provider"]
    if len(found) != 1:
        return False
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); from {found[0].module} import {found[0].attr} as read; "
        "assert read()['package-name'] == 'airflow-provider-zcc'"
    )
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0


def dead_links(document: str, site: Path) -> Iterator[str]:
    """Follow the links and images of HTML, those to the documentation in its built site."""
    files = f"{SOURCE}/blob/v{VERSION}/"
    # The renderer links each heading to itself.
    for link in re.findall(r'<(?:a|img) [^>]*?(?:href|src)="((?!#)[^"]*)"', document):
        address, _, anchor = link.partition("#")
        # Read the Docs serves pages below a version only, and redirects its root to one.
        if page := re.fullmatch(rf"{DOCS}(?:/en/(?:latest|stable)/(.*))?/?", address):
            file = site / (page[1] or "index.html")
            alive = file.is_file() and (not anchor or f'id="{anchor}"' in file.read_text())
        elif address.startswith(files):
            alive = (ROOT / address.removeprefix(files)).exists()
        else:
            alive = address.startswith("https://") and not address.startswith(DOCS)
        if not alive:
            yield f"The long description leads to {link}, which is not absolute, or does not exist."


def main() -> None:
    from readme_renderer import markdown  # noqa: PLC0415  The tests, which need the rest of this module, do without it.

    folder, site = Path(sys.argv[1]), Path(sys.argv[2])
    listed = subprocess.run(["git", "ls-files", PACKAGE], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    package = set(listed.splitlines())
    [metadata] = (_metadata(wheel).metadata for wheel in folder.glob("*.whl"))
    page = '<meta charset="utf-8">' + markdown.render(metadata["Description"])
    (site.parent / "long-description.html").write_text(page)
    page += "".join(f'<a href="{url.partition(", ")[2]}">' for url in metadata.get_all("Project-URL"))
    if found := [*problems(folder, package), *dead_links(page, site)]:
        sys.exit("\n".join(found))
    print(f"The wheel holds the package alone: {len(package)} files. No link of the long description is dead.")


if __name__ == "__main__":
    main()
