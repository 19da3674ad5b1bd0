"""Links between the repository's texts lead somewhere. Those inside of the site are checked when it is built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documentation.texts import TEXTS, name_of, without_fences

_LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#\s]*)(?:#(?P<heading>[^)\s]+))?\)")


@pytest.mark.parametrize("text", TEXTS, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_in_it(text: Path) -> None:
    assert "[](" not in text.read_text(), "Only the site would give this link words."
    for link in _LINK.finditer(without_fences(text.read_text())):
        target = text.parent / link["path"] if link["path"] else text
        assert target.exists(), link[0]
        if link["heading"]:
            assert link["heading"] in _headings(target), link[0]


def _headings(text: Path) -> set[str]:
    """Return the headings, those of included texts among them, as a link writes them."""
    content = text.read_text()
    for included in re.findall(r"^```{include} (\S+)$", content, re.MULTILINE):
        content += (text.parent / included).read_text()
    headings = re.findall(r"^#+ (.+)$", without_fences(content), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
