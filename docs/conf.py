"""The documentation's build: ``make docs``."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

project = "airflow-provider-zcc"
copyright = "the airflow-provider-zcc authors"  # noqa: A001  Sphinx's name for it
release = version = version_of(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Pygments knows neither DuckDB's SQL nor Snowflake's, and marks what it can.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
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
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

#: A link out of a text of the repository's root: to one of the texts that have a page here, or to something else.
_LINK = re.compile(r"\[(?P<words>[^\]]+)\]\((?P<target>[\w./-]+)\)")
_PAGES = {"SECURITY.md": "security.md", "CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md"}


def _relink(_: Sphinx, path: Path, __: str, content: list[str]) -> None:
    """Let the links of an included text lead to pages; what has none is named by its path."""

    def relinked(link: re.Match[str]) -> str:
        words, target = link["words"], link["target"]
        if target in _PAGES or target.startswith("docs/"):
            return f"[{words}]({_PAGES.get(target) or target.removeprefix('docs/')})"
        return words

    if path.parent == Path(".."):
        content[0] = _LINK.sub(relinked, content[0])


def setup(app: Sphinx) -> None:
    """Register what is done while building."""
    app.connect("include-read", _relink)
