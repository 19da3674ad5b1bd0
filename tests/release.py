"""Whether a commit may be released: ``make release-check TAG=v0.1.0``, with which the release workflow begins."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from tests.distribution import ROOT, SOURCE, VERSION


def obstacles(tag: str, version: str, source: str, changelog: str) -> Iterator[str]:
    """Explain what stands in the way."""
    if not source:
        yield "The source's address is empty: set `source` in pyproject.toml, as in https://github.com/OWNER/REPOSITORY."
    if tag != f"v{version}":
        yield f"The tag {tag or '(none)'} is not the version in pyproject.toml: it has to be v{version}."
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n+- ", changelog, re.MULTILINE):
        yield f"CHANGELOG.md has no entry for {version}: a heading `## {version} (YYYY-MM-DD)` with a list of changes."


if __name__ == "__main__":
    changes = (ROOT / "CHANGELOG.md").read_text()
    sys.exit("\n".join(obstacles("".join(sys.argv[1:]), VERSION, SOURCE, changes)) or None)
