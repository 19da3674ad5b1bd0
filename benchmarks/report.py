"""Turn the results of the benchmarks into a table for people and a chart: ``python -m benchmarks.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
PROVIDER = "airflow-provider-zcc"
#: Columns of the tables: heading, key and form.
COLUMNS = (
    ("seconds", "seconds", "{:.1f}"),
    ("CPU seconds", "cpu_seconds", "{:.2f}"),
    ("peak MB", "peak_megabytes", "{:.0f}"),
    ("requests", "requests", "{:,.0f}"),
    ("429s", "throttled", "{:.0f}"),
    ("missing", "missing", "{:,.0f}"),
    ("doubled", "doubled", "{:,.0f}"),
    ("changed", "changed", "{:,.0f}"),
    ("outside the interval", "outside", "{:,.0f}"),
    ("pages/s", "pages_per_second", "{:,.0f}"),
)


def table(figures: dict[str, dict[str, Any]]) -> list[str]:
    """Write a Markdown table of one scenario."""
    columns = [column for column in COLUMNS if any(column[1] in row for row in figures.values())]
    # Words, rather than numbers: what became of the data in each fault.
    columns += [(key, key, "{}") for key, value in next(iter(figures.values())).items() if isinstance(value, str)]
    return [
        "| | " + " | ".join(heading for heading, _, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {name} | " + " | ".join(form.format(row[key]) if key in row else "" for _, key, form in columns) + " |"
            for name, row in figures.items()
        ),
    ]


def chart(figures: dict[str, dict[str, Any]], conditions: str, path: Path) -> None:
    """Draw how long each client takes."""
    rows = sorted(figures.items(), key=lambda item: item[1]["seconds"], reverse=True)
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    colours = ["#0b5cff" if name == PROVIDER else "#9aa5b1" for name, _ in rows]
    bars = axes.barh([name for name, _ in rows], [row["seconds"] for _, row in rows], color=colours)
    axes.bar_label(bars, [f"{row['seconds']:.1f} s" for _, row in rows], padding=4)
    axes.set_title("Seconds to bring 50,000 engagements to S3, net of imports", loc="left", fontweight="bold")
    axes.set_xlabel(conditions, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Write ``results.md`` and ``comparison.png``."""
    results = json.loads((RESULTS / "results.json").read_text())
    lines = ["# Results of `make bench`", "", "Wall and CPU seconds are net of imports.", ""]
    for name, result in results.items():
        lines += [f"## {name}", "", result["conditions"], "", *table(result["figures"]), "", "<!-- end -->", ""]
    (RESULTS / "results.md").write_text("\n".join(lines))
    if "comparison" in results:
        chart(results["comparison"]["figures"], results["comparison"]["conditions"], RESULTS / "comparison.png")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
