"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from benchmarks.case import Bar, Outcome, Result, Target

TITLES = {
    "ingest": "Loading",
    "reads": "Single rows and writers",
    "vectors": "Vector search",
    "text": "Text search",
    "hybrid": "Text and vector together",
    "quality": "Quality",
    "transfer": "Copies",
    "jsonl": "Files of JSON lines",
    "graph": "Knowledge graph",
}
UNKNOWN = "not known yet"
METHOD = """\
Each case stands beside its peer in one run: both take turns, after a round that does not count,
with the garbage collector off, on the same data and, where there is a server, on the same one. A
figure is the median over {rounds} rounds, and a ratio that of the ratios of each round, with the
least and the greatest in brackets; the time of a query is the median over all queries of a round.
Absolute times are those of one machine; the ratios are what to look at. Figures are rounded against
us.

Real vectors are embeddings of all-MiniLM-L6-v2: chunks and paragraphs of the Rust RFCs, and
Cranfield. Synthetic ones are called so, since they flatter some designs."""


def markdown(
    results: Mapping[str, Sequence[Result]],
    environment: Mapping[str, str],
    *,
    quick: bool,
    rounds: int,
    plots: str,
) -> str:
    """Return the page; `plots` is the folder of the plots as seen from it."""
    everything = [result for of_subject in results.values() for result in of_subject]
    parts = [
        "# Benchmarks",
        "Written by `make bench`, which measures the library beside its peers; not edited by hand.",
        *(["**A quick run**: few rows and rounds, for a first look."] if quick else []),
        _summary(everything),
        "## How it is measured",
        METHOD.format(rounds=rounds),
        table(["", ""], environment.items()),
    ]
    for subject, of_subject in results.items():
        title = TITLES.get(subject, subject.capitalize())
        parts.append(f"## {title}")
        if any(result.outcome for result in of_subject):
            parts.append(f"![{title}: bars of each case]({plots}/{subject}.svg)")
        parts.append(_cases(of_subject))
        parts.append("\n".join(_details(of_subject)))
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", "&#124;") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def _summary(results: Sequence[Result]) -> str:
    judged = [result for result in results if result.is_reached is not None]
    missed = [result for result in judged if not result.is_reached]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets are reached."
    if not missed:
        return text
    rows = [
        [of.case.what, str(of.case.target), ", ".join(_missed(of)), of.case.if_missed or UNKNOWN]
        for of in missed
    ]
    return f"{text} Not reached:\n\n{table(['case', 'target', 'figure', 'reason'], rows)}"


def _missed(result: Result) -> Iterator[str]:
    outcome, target = result.outcome, result.case.target
    assert outcome is not None
    assert target is not None
    yield shown(outcome.figure, target)
    for condition in outcome.conditions:
        if not condition.is_reached:
            yield f"{condition.name} {shown(condition.figure, condition.target)}"


def _cases(results: Sequence[Result]) -> str:
    head = ["case", "datastore", "peer", "the peer's", "figure", "target", "reached"]
    return table(head, [_row(result) for result in results])


def _row(result: Result) -> list[str]:
    case, outcome = result.case, result.outcome
    target = str(case.target) if case.target else "none"
    if outcome is None:
        return [case.what, "", case.peer, "", result.failed or result.skipped, target, ""]
    ours, peer, *_ = [*_values(outcome.bars[:2], outcome.unit), ""]
    answer = {True: "yes", False: "**no**", None: ""}[result.is_reached]
    if case.target and outcome.spread and len(set(map(case.target.is_reached, outcome.spread))) > 1:
        answer += ", rounds disagree"
    return [case.what, ours, case.peer, peer, _figure(outcome, case.target), target, answer]


def _figure(outcome: Outcome, target: Target | None) -> str:
    figure = shown(outcome.figure, target)
    if outcome.spread is None:
        return figure
    least, greatest = (number(value) for value in outcome.spread)
    return f"{figure} ({least} to {greatest})"


def _details(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if result.outcome is None:
            continue
        outcome = result.outcome
        conditions = [
            f"{c.name} {shown(c.figure, c.target)} (target {c.target})" for c in outcome.conditions
        ]
        beside = [
            f"{bar.name}: {value}"
            for bar, value in zip(
                outcome.bars[2:], _values(outcome.bars[2:], outcome.unit), strict=True
            )
        ]
        told = "; ".join([*conditions, *outcome.notes, *beside])
        if told:
            yield f"- {result.case.what}: {told}"


def _values(bars: Sequence[Bar], unit: str) -> list[str]:
    return [f"{number(bar.value)} {unit}" for bar in bars]


def number(value: float) -> str:
    """Render three significant digits, four below one, and whole numbers from 100 up."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{_rounded(value, None):f}"


def shown(figure: float, target: Target | None) -> str:
    """Render a figure so that rounding never carries it over its target: against us."""
    direction = {"≤": ROUND_CEILING, "≥": ROUND_FLOOR}[target.sign] if target else None
    return f"{_rounded(figure, direction):f}"


def _rounded(value: float, direction: str | None) -> Decimal:
    exact = Decimal(repr(value))
    digits = 4 if abs(exact) < 1 else 3
    places = 0 if not exact else min(4, max(0, digits - 1 - exact.adjusted()))
    return exact.quantize(Decimal(1).scaleb(-places), rounding=direction)
