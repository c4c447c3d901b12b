"""What an agent may do with a memory: functions with JSON schemas derived from their signatures.

The input comes from a language model, and so from whatever text it has read: every argument is
bounded, none of it becomes SQL, and an error says what was wrong with it without repeating it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, validate_call

from datastore import Datastore, SearchHit
from datastore.errors import InvalidValueError
from repositories.base import DEFAULT_NAMESPACE, INT32, MOST_PATH
from repositories.chunks import ChunkRepository
from repositories.embedders import AnyEmbedder
from repositories.graph import GraphRepository
from repositories.memory import MemoryManager
from repositories.records import Chunk, Entity, Relationship

#: Characters of a query, of an identifier, and of each content that a search gives back.
MOST_QUERY, MOST_ID, MOST_CONTENT = 2_000, 500, 4_000
#: Characters of a text that `memory_get` gives back at a time; of an answer of another tool.
MOST_TEXT, MOST_ANSWER = 100_000, 150_000
#: Characters of an error about arguments.
MOST_COMPLAINT = 500
#: Hits of a search; hops and entities of a neighbourhood.
MOST_HITS, MOST_HOPS, MOST_ENTITIES = 50, 4, 200
#: Relationships of a neighbourhood: a few entities may have thousands among them.
MOST_RELATIONSHIPS = 500

Query: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=MOST_QUERY, description="Words, or a question.")
]
Identifier: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=MOST_ID, description="An id that a search gave.")
]
Offset: TypeAlias = Annotated[
    int, Field(ge=0, le=INT32[-1], description="How many characters to leave out.")
]
Limit: TypeAlias = Annotated[int, Field(ge=1, le=MOST_HITS, description="How many hits, at most.")]
Hops: TypeAlias = Annotated[int, Field(ge=1, le=MOST_HOPS, description="How far to walk.")]
Entities: TypeAlias = Annotated[
    int, Field(ge=1, le=MOST_ENTITIES, description="How many entities, at most.")
]
UseGraph: TypeAlias = Annotated[
    bool, Field(description="Also take what the knowledge graph links to the query.")
]
Document: TypeAlias = dict[str, Any]


class AgentTools:
    """The tools over one namespace of a store; with an embedder searches are by meaning as well."""

    def __init__(
        self,
        store: Datastore,
        embedder: AnyEmbedder | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self._memory = MemoryManager(store, embedder, namespace=namespace)
        self._chunks = ChunkRepository(store, namespace)
        self._graph = GraphRepository(store, namespace)

    def memory_search(
        self, query: Query, limit: Limit = 10, use_graph: UseGraph = False
    ) -> Document:
        """Search the memory for the pieces of text that answer a question, best first.

        A long content is cut, and `memory_get` gives all of it. `truncated` says that hits are left
        out, since the answer would be too long.
        """
        found = self._memory.search(query, limit, use_graph=use_graph)
        room = _Room()
        hits = room.take(_hit(hit) for hit in found)
        return {"hits": hits, "notes": list(found.notes), "truncated": room.is_full}

    def memory_get(self, id: Identifier, offset: Offset = 0) -> Document:
        """Return one piece of text from the memory by the id that a search gave.

        `truncated` says that it goes on: the next part begins at `offset` and the length of this
        content.
        """
        return _chunk(self._chunks.get(id), MOST_TEXT, offset)

    def knowledge_search(self, name: Query, limit: Limit = 10) -> Document:
        """Find the entities of the knowledge graph that a name may mean, best first."""
        found = self._graph.find_entities(name, limit=limit)
        room = _Room()
        entities = room.take(
            {**_entity(hit.row), "score": round(hit.score, 4), "reasons": list(hit.reasons)}
            for hit in found
        )
        return {"entities": entities, "notes": list(found.notes), "truncated": room.is_full}

    def knowledge_neighborhood(
        self,
        entity_id: Identifier,
        max_hops: Hops = 1,
        direction: Literal["out", "in", "both"] = "both",
        max_entities: Entities = 50,
    ) -> Document:
        """Return the entities around one, with their distance in hops, and how they are related.

        Of many relationships the strongest are given, and `truncated` says that some are left out.
        """
        found = self._graph.neighborhood(
            entity_id, max_hops, direction=direction, max_nodes=max_entities
        )
        strongest = sorted(found.relationships, key=lambda each: -each.strength)
        room = _Room()
        entities = room.take({**_entity(entity), "hops": hops} for entity, hops in found.entities)
        related = room.take(_relationship(each) for each in strongest[:MOST_RELATIONSHIPS])
        is_cut = found.truncated or room.is_full or len(strongest) > MOST_RELATIONSHIPS
        return {"entities": entities, "relationships": related, "truncated": is_cut}


@dataclass(frozen=True)
class Tool:
    """A function for a language model; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Document]

    def __call__(self, arguments: Mapping[str, Any]) -> Document:
        """Call it with arguments as a model gave them.

        Raises `InvalidValueError` for arguments that do not fit the schema, and what the memory
        raises, such as `NotFoundError`.
        """
        if not isinstance(arguments, Mapping) or not all(isinstance(n, str) for n in arguments):
            raise InvalidValueError(f"{self.name}: expected named arguments")
        try:
            return self._checked(**arguments)
        except ValidationError as error:
            told = "; ".join(dict.fromkeys(self._complaints(error)))[:MOST_COMPLAINT]
            raise InvalidValueError(f"{self.name}: {told}") from None

    def _complaints(self, error: ValidationError) -> Iterator[str]:
        """Yield what is wrong, but no name that the caller made up: that is part of the input."""
        known = self.parameters.get("properties", {})
        for each in error.errors(include_input=False, include_url=False, include_context=False):
            name = each["loc"][0] if each["loc"] else "arguments"
            yield f"{name if name in known else 'arguments'}: {each['msg']}"

    @property
    def _checked(self) -> Callable[..., Document]:
        return validate_call(config=ConfigDict(strict=True, hide_input_in_errors=True))(
            self.function
        )


def tools(
    store: Datastore, embedder: AnyEmbedder | None = None, *, namespace: str = DEFAULT_NAMESPACE
) -> list[Tool]:
    """Return the tools, for a program that talks to a language model by itself."""
    made = AgentTools(store, embedder, namespace=namespace)
    functions = (
        made.memory_search,
        made.memory_get,
        made.knowledge_search,
        made.knowledge_neighborhood,
    )
    return [_tool(function) for function in functions]


def _tool(function: Callable[..., Document]) -> Tool:
    description = " ".join((function.__doc__ or "").split())
    adapter: TypeAdapter[Any] = TypeAdapter(function)  # type: ignore[arg-type]
    return Tool(function.__name__, description, adapter.json_schema(), function)


class _Room:
    """The characters that an answer has, as JSON; what comes once they are used up is left out."""

    def __init__(self) -> None:
        self._left = MOST_ANSWER

    @property
    def is_full(self) -> bool:
        """Whether something was left out."""
        return self._left < 0

    def take(self, documents: Iterable[Document]) -> list[Document]:
        """Return the first ones, as many as there is room for."""
        return list(itertools.takewhile(self._has_room, documents))

    def _has_room(self, document: Document) -> bool:
        self._left -= len(json.dumps(document, ensure_ascii=False))
        return not self.is_full


def _hit(hit: SearchHit[Chunk]) -> Document:
    return {
        **_chunk(hit.row, MOST_CONTENT),
        "score": round(hit.score, 4),
        "reasons": list(hit.reasons),
    }


def _chunk(chunk: Chunk, most: int, offset: int = 0) -> Document:
    return {
        "id": chunk.id,
        "path": chunk.path[:MOST_PATH],
        "start_line": chunk.start_line,
        "end_line": chunk.end_line,
        "content": chunk.content[offset : offset + most],
        "truncated": len(chunk.content) > offset + most,
    }


def _entity(entity: Entity) -> Document:
    return {
        "id": entity.id,
        "name": entity.name[:MOST_CONTENT],
        "type": entity.type[:MOST_ID],
        "description": entity.description and entity.description[:MOST_CONTENT],
    }


def _relationship(relationship: Relationship) -> Document:
    return {
        "source": relationship.source,
        "type": relationship.type[:MOST_ID],
        "target": relationship.target,
        "description": relationship.description and relationship.description[:MOST_CONTENT],
        "strength": relationship.strength,
    }
