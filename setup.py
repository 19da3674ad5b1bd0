"""What pyproject.toml cannot derive: the addresses of the source, and a long description with absolute links only."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import Distribution, setup

_ROOT = Path(__file__).parent
_PYPROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_PROJECT = _PYPROJECT["project"]
_SOURCE = _PYPROJECT["tool"]["airflow-provider-zcc"]["source"]
_SITE = f"{_PROJECT['urls']['Documentation']}/en/stable"
#: The pages that include a file of the root. The source distribution has no docs/ in which to look them up.
_PAGES = {
    "CHANGELOG.md": "changes",
    "CONTRIBUTING.md": "contributing",
    "RELEASING.md": "releasing",
    "SECURITY.md": "security",
}
_PICTURE = re.compile(r'(!\[[^\]]*\]\(|src=")(?!https://)([^)"\s]+)')
_LINK = re.compile(r"(?<!!)\[((?:!\[[^\]]*\]\([^)]*\)|[^\[\]])+)\]\((?!https://|#)([^)#\s]+)(#[^)\s]+)?\)")


def _link(found: re.Match[str]) -> str:
    """Link to the page, otherwise to the file; a file's address is only known if the source's is."""
    words, path, anchor = found[1], found[2], found[3] or ""
    if page := _PAGES.get(path) or (path[5:-3] if re.fullmatch(r"docs/.+\.md", path) else None):
        return f"[{words}]({_SITE}/{page}.html{anchor})"
    return f"[{words}]({_SOURCE}/blob/v{_PROJECT['version']}/{path}{anchor})" if _SOURCE else words


class _Distribution(Distribution):
    """Adds the source's addresses to ``[project.urls]``, which setuptools accepts as all static or all dynamic only."""

    def parse_config_files(self, *args: object, **kwargs: object) -> None:
        super().parse_config_files(*args, **kwargs)
        if _SOURCE:
            source = {"Source": _SOURCE, "Issues": f"{_SOURCE}/issues"}
            self.metadata.project_urls = {**self.metadata.project_urls, **source}


# With metadata in the root as well, Python would find the package twice wherever the root is on its path, and Airflow's
# tasks skip all plugins after one that they find twice.
_METADATA = _ROOT / "build"
_METADATA.mkdir(exist_ok=True)
_readme = (_ROOT / "README.md").read_text(encoding="utf-8")
setup(
    distclass=_Distribution,
    options={"egg_info": {"egg_base": str(_METADATA)}},
    # docs/conf.py puts the README's pictures there.
    long_description=_LINK.sub(
        _link, _PICTURE.sub(lambda found: f"{found[1]}{_SITE}/_static/{Path(found[2]).name}", _readme)
    ),
    long_description_content_type="text/markdown",
)
