"""The results as bars, in SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.case import Case, Outcome, Result
from benchmarks.report import number

WIDTH, MARGIN = 860, 16
#: Where the bars begin, and how long the longest is; names stand before and values behind them.
LEFT, LONGEST = 330, 400
BAR, TITLE, GAP = 20, 26, 18

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2937 }
.title { font-weight: 600 }
.target { font-size: 11px; fill: #b45309 }
line { stroke: #d97706; stroke-width: 2; stroke-dasharray: 4 3 }
.ours { fill: #2563eb }
.peer { fill: #9ca3af }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb }
  .target { fill: #fbbf24 }
  .ours { fill: #60a5fa }
  .peer { fill: #6b7280 }
}"""


def plot(results: Sequence[Result]) -> str:
    """Draw a group of bars for each case that was run, ours in another colour and first.

    A dashed line through our bar shows where the target is. Each group has a scale of its own.
    """
    pieces, top = list[str](), MARGIN
    for result in results:
        if result.outcome is not None:
            pieces += _group(result.case, result.outcome, top)
            top += TITLE + BAR * len(result.outcome.bars) + GAP
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    body = "\n".join(pieces)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _group(case: Case, outcome: Outcome, top: int) -> Iterator[str]:
    yield _text(MARGIN, top + 14, f"{case.what} ({outcome.unit})", "title")
    mark = target_position(case, outcome)
    scale = LONGEST / (max([*(bar.value for bar in outcome.bars), mark or 0.0]) or 1.0)
    for place, bar in enumerate(outcome.bars):
        y, length = top + TITLE + place * BAR, bar.value * scale
        kind = "ours" if place == 0 else "peer"
        yield _text(LEFT - 8, y + 13, bar.name, "name", "end")
        yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 4}"/>'
        yield _text(LEFT + length + 6, y + 13, number(bar.value), "value")
    if mark is not None:
        x, y = LEFT + mark * scale, top + TITLE
        yield f'<line x1="{x:.1f}" y1="{y - 4}" x2="{x:.1f}" y2="{y + BAR}"/>'
        yield _text(WIDTH - MARGIN, top + 14, f"target {case.target}", "target", "end")


def target_position(case: Case, outcome: Outcome) -> float | None:
    """Return the target of our bar, in its unit; None where the target is not of the bars."""
    target = case.target
    if target is None:
        return None
    if target.unit.startswith("×"):
        return target.bound * outcome.bars[1].value
    return target.bound if target.unit == outcome.unit else None


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
