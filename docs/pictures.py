"""
``make pictures``: the README's pictures, ``docs/images/flow.svg`` and, from the output of ``make demo``, ``demo.svg``.

An SVG cannot use the page's fonts or colours, so both bring their own, for light and dark.
"""

from __future__ import annotations

import io
import sys
from html import escape
from pathlib import Path
from string import Template

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

IMAGES = Path(__file__).parent / "images"
FLOW = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 260" role="img" aria-labelledby="title">
<title id="title">$title</title>
<style>
text { font: 15px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2733 }
.heading { font-weight: 600; font-size: 16px } .small { font-size: 13px; fill: #5b6675 }
.code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 13px }
.system { fill: #f5f7fa; stroke: #cbd3dd } .task { fill: #fff; stroke: #0b5cff; stroke-width: 1.5 }
.line { fill: none; stroke: #5b6675; stroke-width: 1.8; marker-end: url(#tip) } #tip path { fill: #5b6675 }
@media (prefers-color-scheme: dark) {
text { fill: #e6ebf2 } .small { fill: #a3afbf }
.system { fill: #1c232d; stroke: #3b4654 } .task { fill: #10161f; stroke: #5b93ff }
.line { stroke: #a3afbf } #tip path { fill: #a3afbf }
}
</style>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z"/></marker>
$shapes
</svg>
""")


def box(left: int, top: int, width: int, height: int, style: str, *lines: tuple[str, str]) -> str:
    """Draw a box with lines of text, each with its style."""
    texts = "".join(
        f'<text class="{name}" x="{left + width / 2}" y="{top + 27 + 22 * number}" text-anchor="middle">'
        f"{escape(text)}</text>"
        for number, (name, text) in enumerate(lines)
    )
    return f'<rect class="{style}" x="{left}" y="{top}" width="{width}" height="{height}" rx="8"/>{texts}'


def arrow(path: str, text: str = "", at: tuple[int, int] = (0, 0)) -> str:
    """Draw an arrow along a path, with a text."""
    label = f'<text class="small" x="{at[0]}" y="{at[1]}" text-anchor="middle">{escape(text)}</text>' if text else ""
    return f'<path class="line" d="{path}"/>{label}'


def flow() -> str:
    """Draw what goes where."""
    shapes = [
        box(10, 20, 210, 220, "system", ("heading", "Zoom Contact Center"), ("small", "List engagements")),
        box(340, 20, 270, 220, "system", ("heading", "Airflow"), ("small", "one run for each day")),
        box(730, 20, 220, 220, "system", ("heading", "S3"), ("small", "one folder for each day")),
        box(355, 84, 240, 60, "task", ("code", "EngagementsCheckOperator"), ("small", "compares S3 with Zoom")),
        box(355, 168, 240, 60, "task", ("code", "EngagementsToS3Operator"), ("small", "reads the days that differ")),
        box(750, 84, 180, 60, "task", ("code", "manifest"), ("small", "count, checksum, time")),
        box(750, 168, 180, 60, "task", ("code", "engagements.jsonl.gz"), ("small", "byte for byte")),
        arrow("M220 114H351", "daily counts", (280, 104)),
        arrow("M220 198H351", "every page", (280, 188)),
        arrow("M750 114H599", "manifests", (670, 104)),
        arrow("M595 198H746", "JSON Lines", (668, 188)),
        arrow("M475 144V164"),
        arrow("M840 168V148"),
    ]
    title = "A check compares S3 with Zoom. The days that are missing or differ are read from Zoom into S3."
    return FLOW.substitute(title=title, shapes="\n".join(shapes))


THEME = TerminalTheme(
    (16, 22, 31), (214, 222, 233), [(16, 22, 31), (229, 120, 120), (122, 204, 150), (240, 200, 110), (91, 147, 255),
    (200, 150, 230), (110, 200, 210), (163, 175, 191)],
)  # fmt: skip
#: Rich's own loads a font from another host.
TERMINAL = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="What make demo prints">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def demo(output: str) -> str:
    """Draw the end of what ``make demo`` prints, with the counts of engagements as a heat map."""
    console = Console(record=True, width=122, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    second_night = output[output.rindex("It is ") :]
    messages, heading, table = second_night.partition("engagements per channel")
    for line in messages[: messages.index("\none record")].splitlines():
        console.print(Text(line), no_wrap=True, overflow="ellipsis")
    for line in f"\n{heading}{table}".splitlines():
        console.print(heated(line))
    return console.export_svg(title="make demo", theme=THEME, code_format=TERMINAL)


def heated(line: str) -> Text:
    """Colour the counts of a line of the table: 19 characters for its name, four for each hour."""
    text = Text(line)
    for start in range(19, 19 + 24 * 4, 4):
        if (count := line[start : start + 4].strip()).isdecimal() and line[0] != " ":
            heat = min(int(count) / 120, 1) ** 0.6
            text.stylize(f"on rgb({16 + heat * 12:.0f},{22 + heat * 70:.0f},{31 + heat * 170:.0f})", start, start + 4)
    text.highlight_regex("^complete.*", "bold green")
    return text


def main() -> None:
    """Write both pictures; the output of ``make demo`` comes from standard input."""
    (IMAGES / "flow.svg").write_text(flow())
    (IMAGES / "demo.svg").write_text(demo(sys.stdin.read()))


if __name__ == "__main__":
    main()
