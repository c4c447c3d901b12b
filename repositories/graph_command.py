"""`datastore graph`: what lies around an entity, as a table or as a picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from datastore.cli import Invocation, console, location, plain, require_schema, styled
from datastore.errors import NotFoundError
from repositories.base import DEFAULT_NAMESPACE
from repositories.graph import Direction, GraphRepository
from repositories.pictures import shown
from repositories.records import Entity, Neighborhood

#: Names that are told where none is the one that was given, and types.
ALTERNATIVES = 5
TYPES = 20
#: Relationships that a table shows.
RELATIONSHIPS = 200


class Format(StrEnum):
    """How a neighbourhood is shown."""

    TABLE = "table"
    MERMAID = "mermaid"
    DOT = "dot"
    HTML = "html"


def graph(
    invocation: Invocation,
    entity: Annotated[
        list[str], typer.Argument(metavar="ENTITY", help="The id or a name of it, quoted or not.")
    ],
    hops: Annotated[int, typer.Option(min=0, help="How far to go.")] = 2,
    format: Annotated[
        Format, typer.Option(help="A table, or a picture: html is a page by itself.")
    ] = Format.TABLE,
    direction: Annotated[
        Direction, typer.Option(help="Along the arrows, against them, or both ways.")
    ] = "both",
    type: Annotated[
        list[str] | None, typer.Option(help="Only relationships of this type; may be repeated.")
    ] = None,
    max_nodes: Annotated[int, typer.Option(min=1, help="How many entities at most.")] = 100,
    namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Whose graph it is.")
    ] = DEFAULT_NAMESPACE,
) -> None:
    """Show what lies around an entity of the knowledge graph.

    Pictures go to standard output, and nothing else does, so that they can be sent to a file.
    """
    drawn = format is not Format.TABLE
    with (replace(invocation, verbose=False) if drawn else invocation).open(create=False) as store:
        require_schema(store)
        repository = GraphRepository(store, namespace)
        start = _meant(invocation, repository, " ".join(entity))
        found = repository.neighborhood(
            start.id, hops, direction=direction, types=type, max_nodes=max_nodes
        )
        _tell_types(invocation, repository, type or ())
        document = {"database": location(store), **_as_document(found)}
    if drawn and not invocation.json:
        sys.stdout.write(_drawn(found, format))
    else:
        invocation.answer(document, *_lines(found))


def _meant(invocation: Invocation, repository: GraphRepository, given: str) -> Entity:
    """Return the entity of that id, or else the most mentioned of that name."""
    found = repository.find_entity(given)
    if found is not None:
        return found
    hits = repository.find_entities(given, limit=ALTERNATIVES)
    named = [hit.row for hit in hits if {"exact", "normalized"} & set(hit.reasons)]
    if not named:
        _tell(invocation, "names like it", [hit.row for hit in hits])
        raise NotFoundError(f"there is no entity {given!r} in namespace {repository.namespace!r}")
    _tell(invocation, "others of that name", named[1:])
    return named[0]


def _tell(invocation: Invocation, what: str, entities: Sequence[Entity]) -> None:
    """Tell people what else there is, beside the answer."""
    if entities and not invocation.json and invocation.verbose is not False:
        names = ", ".join(shown(f"{each.name} ({each.id})") for each in entities)
        console(stderr=True).print(styled((f"{what}: ", "yellow"), (names, "")), soft_wrap=True)


def _tell_types(invocation: Invocation, repository: GraphRepository, given: Sequence[str]) -> None:
    """Tell people which types there are, where none is one that was given."""
    present = repository.relationship_types() if given else []
    unknown = [type for type in given if type not in present]
    if unknown and not invocation.json and invocation.verbose is not False:
        there_are = ", ".join(f"'{shown(type)}'" for type in present[:TYPES])
        more = ", ..." if present[TYPES:] else ""
        named = " or ".join(f"'{shown(type)}'" for type in unknown)
        told = f"no relationship is of type {named}; the types are: {there_are or 'none'}{more}"
        console(stderr=True).print(plain(told), soft_wrap=True)


def _drawn(found: Neighborhood, format: Format) -> str:
    pictures = {
        Format.MERMAID: found.to_mermaid,
        Format.DOT: found.to_dot,
        Format.HTML: found.to_html,
    }
    return pictures[format]()


def _as_document(found: Neighborhood) -> dict[str, Any]:
    return {
        "entities": [{**asdict(entity), "depth": depth} for entity, depth in found.entities],
        "relationships": [asdict(edge) for edge in found.relationships],
        "truncated": found.truncated,
    }


def _lines(found: Neighborhood) -> Iterator[RenderableType]:
    for entity, depth in found.entities:
        yield styled(
            (f"{depth:>2}  ", "dim"),
            (shown(entity.name), "bold cyan"),
            (f"  {shown(f'{entity.type}, {entity.id}')}, ", "dim"),
            (f"told {_times(entity.mention_count)}", "dim"),
        )
    names = {entity.id: shown(entity.name) for entity, _ in found.entities}
    for edge in found.relationships[:RELATIONSHIPS]:
        yield styled(
            ("    ", ""),
            (names[edge.source], "cyan"),
            (f"  {shown(edge.type)} -> ", ""),
            (names[edge.target], "cyan"),
            (f"  strength {edge.strength}", "dim"),
        )
    entities, relationships = len(found.entities), len(found.relationships)
    yield styled((f"entities: {entities}, relationships: {relationships}", "dim"))
    if relationships > RELATIONSHIPS:
        note = f"{RELATIONSHIPS} of the {relationships:,} relationships are shown; --json gives all"
        yield styled(("note: ", "yellow"), (note, ""))
    if found.truncated:
        note = "there are more entities; --max-nodes shows them"
        yield styled(("note: ", "yellow"), (note, ""))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
