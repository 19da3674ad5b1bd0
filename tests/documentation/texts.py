"""The texts of the repository that users read."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,}).*?^(?P=fence)$", re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def name_of(text: Path) -> str:
    return str(text.relative_to(ROOT))


def python_samples() -> list[tuple[str, str]]:
    """Return the samples of code with a name for each: the text, and which of its samples it is."""
    return [
        (f"{name_of(text)}[{number}]", sample)
        for text in TEXTS
        for number, sample in enumerate(_PYTHON.findall(text.read_text()))
    ]


def without_fences(text: str) -> str:
    """Leave code and directives out."""
    return _FENCE.sub("", text)
