"""The page on troubleshooting explains every message of the package, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.documentation.texts import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
PACKAGE = ROOT / "airflow_provider_zcc"
#: Messages of Zoom or Airflow, rather than of this package.
_OF_OTHERS = re.compile(r"HTTP \d+(, code \d+)?|code \d+|invalid_client|UndefinedError.*|AirflowInactive\w+")
#: Sentences that are no messages: what to do, at the end of one, and the message of a successful connection test.
_NO_MESSAGES = re.compile(
    "Schedule the Dag with|Set the length of a|Set both start and end|Use a positive timedelta|these names: |Check |"
    "Correct the query|Add the scope|Give the owner|Assign a|Zoom counts … engagements"
)
_SENTENCE = re.compile(r" .*(\.|: …)$|\. [A-Z…]", re.DOTALL)


def _messages() -> Iterator[str]:
    for module in sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "get_provider_info.py"}):
        yield from _sentences(ast.parse(module.read_text()))


def _sentences(tree: ast.AST) -> Iterator[str]:
    """Yield every string that is a sentence: no docstring, no line of information in the log."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("info", "debug"):
            continue
        text = _text(node)
        if text is None:
            yield from _sentences(node)
        elif _SENTENCE.search(text) and not _NO_MESSAGES.match(text):
            yield text


def _text(node: ast.AST) -> str | None:
    """Return the text of a string, with … in place of what differs."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[.\d]*[sdf]", "…", node.value)
    return None


def _explained() -> list[str]:
    """Return what is written as code in the first column of the tables."""
    first_column = re.findall(r"^\| (.*?) \|", PAGE.partition("## No message")[0], re.MULTILINE)
    spans = [span for cell in first_column for span in re.findall(r"`([^`]+)`", cell)]
    return [span for span in spans if not _OF_OTHERS.fullmatch(span)]


def _matches(explained: str, message: str) -> bool:
    parts = (re.escape(part) for part in explained.split("…"))
    return re.search(".*?".join(parts), message) is not None


MESSAGES = sorted(set(_messages()))


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_is_explained(message: str) -> None:
    assert any(_matches(explained, message) for explained in _explained())


@pytest.mark.parametrize("explained", _explained())
def test_everything_explained_is_a_message(explained: str) -> None:
    assert any(_matches(explained, message) for message in MESSAGES)
