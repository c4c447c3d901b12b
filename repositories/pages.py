"""A neighbourhood as one page of HTML: a picture (SVG) and two tables, without a script.

The page loads nothing, and its content security policy forbids that it could. Whatever comes from
the graph is text, escaped, or a number.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from repositories.layout import positions
from repositories.pictures import shown

if TYPE_CHECKING:
    from repositories.records import Entity, Neighborhood

#: Colours that are told apart by most people with a colour vision deficiency (Okabe and Ito, "Color
#: Universal Design", 2008), one for each type of entity; further types share the last.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7f7f7f")
#: Letters of a name beside its node; the whole name is in its tooltip and in the table.
LABEL = 28
#: With more relationships than these, the type of one is shown when it is pointed at.
LABELLED = 40
MARGIN, WIDEST = 90.0, 9.0

_STYLE = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; }
body { padding: 0 1rem; overflow-wrap: anywhere; }
svg { width: 100%; height: 75vh; border: 1px solid #8884; border-radius: 6px; }
svg text { font-size: 12px; fill: currentColor; }
line, path.edge { stroke: #888; fill: none; opacity: .55; }
g.edge text { font-size: 9px; opacity: 0; text-anchor: middle; }
g.edge:hover text, svg.few g.edge text { opacity: 1; }
g.edge:hover line, g.edge:hover path.edge { stroke: currentColor; opacity: 1; }
table { border-collapse: collapse; margin: .5rem 0 2rem; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; vertical-align: top; }
th, td { border-bottom: 1px solid #8884; }
.legend span { margin-right: 1rem; white-space: nowrap; }
.legend i { display: inline-block; width: .75em; height: .75em; margin-right: .3em; }
.legend i { border-radius: 50%; }
"""


def page(found: Neighborhood) -> str:
    """Return the page."""
    start = found.entities[0][0]
    title = _text(start.name or start.id)
    body = "\n".join(_body(found, title))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _body(found: Neighborhood, title: str) -> Iterator[str]:
    colours = _colours(found)
    yield f"<h1>{title}</h1>"
    more = "; there are more, which were left out" if found.truncated else ""
    counts = f"{len(found.entities)} entities, {len(found.relationships)} relationships"
    yield f"<p>{counts}{more}.</p>"
    yield _legend(colours)
    yield from _picture(found, colours)
    yield "<h2>Entities</h2>"
    heads = ("Name", "Type", "Hops", "Mentions", "Description")
    yield _table(
        heads,
        ((e.name, e.type, d, e.mention_count, e.description or "") for e, d in found.entities),
    )
    yield "<h2>Relationships</h2>"
    names = {entity.id: entity.name or entity.id for entity, _ in found.entities}
    yield _table(
        ("From", "Type", "To", "Strength", "Description"),
        (
            (names[e.source], e.type, names[e.target], e.strength, e.description or "")
            for e in found.relationships
        ),
    )


def _colours(found: Neighborhood) -> dict[str, str]:
    types = dict.fromkeys(entity.type for entity, _ in found.entities)
    return {type_: COLOURS[min(n, len(COLOURS) - 1)] for n, type_ in enumerate(types)}


def _legend(colours: dict[str, str]) -> str:
    shades = (
        f'<span><i style="background:{colour}"></i>{_text(type_)}</span>'
        for type_, colour in colours.items()
    )
    return f'<p class="legend">{"".join(shades)}</p>'


def _picture(found: Neighborhood, colours: dict[str, str]) -> Iterator[str]:
    numbers = {entity.id: number for number, (entity, _) in enumerate(found.entities)}
    edges = [(numbers[edge.source], numbers[edge.target]) for edge in found.relationships]
    places = positions([depth for _, depth in found.entities], edges).tolist()
    few = ' class="few"' if len(edges) <= LABELLED else ""
    yield f'<svg{few} viewBox="{_view(places)}" role="img">'
    yield (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse">'
        '<path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>'
    )
    radii = [_radius(entity) for entity, _ in found.entities]
    for edge, (source, target) in zip(found.relationships, edges, strict=True):
        line = _line(places[source], places[target], radii[target])
        yield f'<g class="edge">{line}{_edge_label(edge.type, places[source], places[target])}</g>'
    for (entity, depth), place, radius in zip(found.entities, places, radii, strict=True):
        yield _node(entity, depth, place, radius, colours[entity.type])
    yield "</svg>"


def _view(places: Sequence[Sequence[float]]) -> str:
    (left, right), (top, bottom) = ((min(axis), max(axis)) for axis in zip(*places, strict=True))
    width, height = right - left + 2 * MARGIN, bottom - top + 2 * MARGIN
    return f"{left - MARGIN:.0f} {top - MARGIN:.0f} {width:.0f} {height:.0f}"


def _radius(entity: Entity) -> float:
    return min(WIDEST, 4 + len(str(entity.mention_count)) * 1.5)


def _line(source: Sequence[float], target: Sequence[float], radius: float) -> str:
    """Return an arrow that ends at the rim of the target; a small loop from a node to itself."""
    (x, y), (x2, y2) = source, target
    length = ((x2 - x) ** 2 + (y2 - y) ** 2) ** 0.5
    if length < radius:
        loop = f"M{x:.1f} {y - radius:.1f}c-25 -30 25 -30 4 0"
        return f'<path class="edge" d="{loop}" marker-end="url(#arrow)"/>'
    share = (length - radius) / length
    end = f'x2="{x + (x2 - x) * share:.1f}" y2="{y + (y2 - y) * share:.1f}"'
    return f'<line x1="{x:.1f}" y1="{y:.1f}" {end} marker-end="url(#arrow)"/>'


def _edge_label(type_: str, source: Sequence[float], target: Sequence[float]) -> str:
    x, y = ((one + other) / 2 for one, other in zip(source, target, strict=True))
    return f'<title>{_text(type_)}</title><text x="{x:.1f}" y="{y - 3:.1f}">{_cut(type_)}</text>'


def _node(entity: Entity, depth: int, place: Sequence[float], radius: float, colour: str) -> str:
    x, y = place
    ring = ' stroke="currentColor" stroke-width="2"' if depth == 0 else ""
    name = entity.name or entity.id
    return (
        f"<g><title>{_text(name)} ({_text(entity.type)})</title>"
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"{ring}/>'
        f'<text x="{x + radius + 3:.1f}" y="{y + 4:.1f}">{_cut(name)}</text></g>'
    )


def _cut(text: str) -> str:
    return _text(text if len(text) <= LABEL else text[: LABEL - 1] + "…")


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    lines = ("".join(f"<td>{_text(str(value))}</td>" for value in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"


def _text(text: str) -> str:
    return html.escape(shown(text))
