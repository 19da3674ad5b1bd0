"""The documentation's build: ``make docs``."""

from __future__ import annotations

import os
import re
import tomllib
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

project = "airflow-provider-zcc"
copyright = "the airflow-provider-zcc authors"  # noqa: A001  Sphinx's name for it
release = version = version_of(project)

_ROOT = Path(__file__).parent.parent
#: The address of the repository, empty while it is not known.
_SOURCE = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"][project]["source"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence", "deflist", "tasklist"]
myst_heading_anchors = 3
# Pygments knows neither DuckDB's SQL nor Snowflake's, and marks what it can.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
nitpicky = True
# Nothing is fetched while building, so what others document cannot be linked to.
nitpick_ignore_regex = [
    ("py:.*", r"(airflow|botocore|collections|datetime|msgspec|pendulum|requests|threading|typing)(\..*)?"),
    ("py:.*", r"(BaseHook|BaseOperator|BaseSensorOperator|BaseTrigger|Connection|Context|TriggerEvent)"),
    (
        "py:.*",
        r"(EngagementReader|Strings|timedelta|airflow_provider_zcc\.(zoom|arguments\.TemplatedArguments|killable\.KillableTask))",
    ),
]

html_theme = "furo"
html_title = f"airflow-provider-zcc {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = html_favicon = "_static/logo.svg"
html_copy_source = False
pygments_dark_style = "github-dark"
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
if _SOURCE:
    html_theme_options |= {"source_repository": _SOURCE, "source_branch": "main", "source_directory": "docs/"}
    html_theme_options["footer_icons"] = [{"name": "Source code", "url": _SOURCE, "html": "Source code", "class": ""}]

html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
# The README on a package index shows its pictures from here.
_PICTURES = re.findall(r'(?:!\[[^\]]*\]\(|src=")(?!https://)([^)"\s]+)', (_ROOT / "README.md").read_text())
html_static_path += [f"../{path}" for path in _PICTURES if not path.startswith("docs/_static/")]

#: A link out of a text of the repository's root: to one of the texts that have a page here, or to something else.
_LINK = re.compile(r"\[(?P<words>[^\]]+)\]\((?P<target>[\w./-]+)\)")
#: The pages that include a text of the root, by its name.
_PAGES = {
    included[1]: page.name
    for page in Path(__file__).parent.glob("*.md")
    if (included := re.match(r"```{include} \.\./(\S+)", page.read_text()))
}


def _relink(_: Sphinx, path: Path, __: str, content: list[str]) -> None:
    """Make the links of an included text lead to pages, otherwise to the source, or name what they lead to."""

    def relinked(link: re.Match[str]) -> str:
        words, target = link["words"], link["target"]
        if target in _PAGES or target.startswith("docs/"):
            return f"[{words}]({_PAGES.get(target) or target.removeprefix('docs/')})"
        return f"[{words}]({_SOURCE}/blob/main/{target})" if _SOURCE else words

    if path.parent == Path(".."):
        content[0] = _LINK.sub(relinked, content[0])


def _arguments(
    _: Sphinx, what: str, __: str, documented: Any, ___: Any, shown: str | None, ____: Any
) -> tuple[str | None, str]:
    """Show the arguments of operators and sensors, which Airflow's metaclass hides."""
    if what == "class" and shown == "(*args, **kwargs)":
        shown = stringify_signature(signature(documented.__init__, bound_method=True), show_annotation=False)
    return shown, ""


def setup(app: Sphinx) -> None:
    """Register what is done while building."""
    app.connect("include-read", _relink)
    app.connect("autodoc-process-signature", _arguments)
