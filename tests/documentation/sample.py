"""
The sample object of the documentation: invented engagements, made by the simulator.

``python -m tests.documentation.sample`` writes it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.documentation.texts import ROOT
from tests.zoom_simulator.data import Engagements

SAMPLE = ROOT / "docs" / "sample" / "engagements.jsonl"
DAY = datetime(2026, 11, 2, tzinfo=UTC)
#: Its eight engagements came through all channels and queues, and each takes one line.
_SEED = 4636


def sample() -> str:
    """Return the lines of the object."""
    first = int(DAY.timestamp()) + 9 * 3_600
    engagements = Engagements((first + number * 1_000 for number in range(8)), _SEED)
    lines = "".join(f"{line}\n" for line in engagements.truth(DAY, DAY + timedelta(days=1)))
    # Numbers that nobody has: 555-0100 to 555-0199 are kept for fiction.
    return lines.replace("+120593009", "+120555501")


if __name__ == "__main__":
    SAMPLE.write_text(sample(), encoding="utf-8")
