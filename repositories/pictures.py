"""Neighbourhoods in the languages of Mermaid and Graphviz, for people who look rather than read.

Names, types and ids are anybody's text. They stand in quoted labels alone, so escaped that they end
none; what is drawn is called `n0`, `n1` and so on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repositories.records import Neighborhood

#: What Mermaid reads as itself within quotation marks; all else is written by its number. It takes
#: Markdown for lists and emphasis, and addresses for links.
_PLAIN = re.compile(r"[^\w ,;'()]|_")
_ACTING = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """Return a text in one line: without controls, or what turns the direction of writing."""
    return _ACTING.sub(" ", text)


def mermaid(found: Neighborhood) -> str:
    """Return a flowchart (Mermaid, "Flowcharts", section "Entity codes to escape characters")."""
    numbers = _numbers(found)
    lines = ["flowchart LR"]
    for entity, depth in found.entities:
        shape = ("([", "])") if depth == 0 else ("[", "]")
        label = _mermaid_text(entity.name or entity.id)
        lines.append(f"    {numbers[entity.id]}{shape[0]}{label}{shape[1]}")
    for edge in found.relationships:
        source, target = numbers[edge.source], numbers[edge.target]
        lines.append(f"    {source} -->|{_mermaid_text(edge.type)}| {target}")
    return "\n".join(lines) + "\n"


def _mermaid_text(text: str) -> str:
    # A label without a letter is a syntax error.
    plain = shown(text).strip() or " "
    return '"' + _PLAIN.sub(lambda match: f"#{ord(match[0])};", plain) + '"'


def dot(found: Neighborhood) -> str:
    """Return a graph in DOT (Graphviz, "DOT Language", quoted strings; "escString")."""
    numbers = _numbers(found)
    lines = ["digraph neighborhood {", "    rankdir=LR;", "    node [shape=box, style=rounded];"]
    for entity, depth in found.entities:
        look = f"label={_dot_text(entity.name or entity.id)}, tooltip={_dot_text(entity.type)}"
        lines.append(f"    {numbers[entity.id]} [{look}{', penwidth=2' if depth == 0 else ''}];")
    for edge in found.relationships:
        ends = f"{numbers[edge.source]} -> {numbers[edge.target]}"
        lines.append(f"    {ends} [label={_dot_text(edge.type)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_text(text: str) -> str:
    # Graphviz reads HTML's entities within labels, and after a backslash names such as \N.
    escaped = shown(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return f'"{escaped}"'


def _numbers(found: Neighborhood) -> dict[str, str]:
    return {entity.id: f"n{number}" for number, (entity, _) in enumerate(found.entities)}
