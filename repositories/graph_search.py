"""Search over the graph: the chunks that mention what a query, or what it found, is about.

The entities that a query names and those that its best chunks mention are where it begins. Their
neighbours count half for each hop, what the query names twice as much as what a chunk brings along.
A chunk scores the sum over the entities that it mentions; the best ones are fused into the ranking
by reciprocal rank, as one more list beside those of words and vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from datastore import SearchHit, SearchResult, Text, Transaction, each
from datastore.folding import fold
from datastore.results import fused_score
from datastore.snippets import Marks, snippet
from datastore.sql import CANDIDATE_POOL, RRF_K, Filter, condition
from datastore.textquery import STOP_WORDS
from repositories.base import Repository
from repositories.chunks import as_chunk
from repositories.graph import GraphRepository
from repositories.records import Chunk
from repositories.tables import chunk_text, chunks, kg_entities, kg_entity_names, kg_mentions

#: Words of a query that are looked at, and words of a name that is found in the middle of it.
MOST_WORDS, LONGEST_NAME = 64, 6
#: How many entities a search begins with, of the query and of the best chunks; how many chunks are
#: best; how far it walks from each, and how many entities it meets there at most.
MOST_NAMED, MOST_BROUGHT, BEST_CHUNKS, MAX_HOPS, MAX_NODES = 5, 5, 5, 2, 30
#: What an entity counts at the start; half as much for each hop from there.
NAMED_WEIGHT, BROUGHT_WEIGHT = 1.0, 0.5

_NAMESPACE = sa.bindparam("namespace", type_=Text())


def _listed(parameter: str) -> sa.Select[Any]:
    return sa.select(each(sa.bindparam(parameter)).c.value)


_name = kg_entity_names.c
_NAMED = (
    sa.select(_name.entity_id, _name.normalized_name, kg_entities.c.mention_count)
    .join(
        kg_entities,
        sa.and_(
            kg_entities.c.namespace == _name.namespace, kg_entities.c.entity_id == _name.entity_id
        ),
    )
    .where(_name.namespace == _NAMESPACE, _name.normalized_name.in_(_listed("names")))
)
_mention = kg_mentions.c
_TIMES = sa.func.count().label("times")
_BROUGHT = (
    sa.select(_mention.entity_id, _TIMES)
    .where(_mention.namespace == _NAMESPACE, _mention.chunk_id.in_(_listed("ids")))
    .group_by(_mention.entity_id)
    .order_by(_TIMES.desc(), _mention.entity_id)
    .limit(sa.bindparam("most"))
)
_MENTIONING = (
    sa.select(_mention.chunk_id, _TIMES)
    .join(
        chunks,
        sa.and_(chunks.c.namespace == _mention.namespace, chunks.c.id == _mention.chunk_id),
    )
    .where(_mention.namespace == _NAMESPACE, _mention.entity_id.in_(_listed("entities")))
    .group_by(_mention.chunk_id)
    .order_by(_TIMES.desc(), _mention.chunk_id)
    .limit(sa.bindparam("most"))
)
_ROWS = sa.select(chunks).where(chunks.c.namespace == _NAMESPACE, chunks.c.id.in_(_listed("ids")))


class GraphSearch(Repository):
    """Votes of the graph, within the snapshot of the search that they are added to."""

    session: Transaction

    def chunks_for(
        self, query: str, found: Sequence[SearchHit[Chunk]], most: int, filter: Filter
    ) -> list[str]:
        """Return the ids of at most `most` chunks, best first, none twice."""
        best = [hit.id for hit in found[:BEST_CHUNKS]]
        named = self._reached(self._named(query), NAMED_WEIGHT)
        brought = self._reached(self._brought(best), BROUGHT_WEIGHT)
        # A chunk is no witness of its own: what it brings along speaks for others alone.
        others = condition(chunks, filter) & chunks.c.id.not_in(_listed("best"))
        scores: defaultdict[str, float] = defaultdict(float)
        self._add(scores, named, condition(chunks, filter), best)
        self._add(scores, {e: w for e, w in brought.items() if w > named.get(e, 0)}, others, best)
        return sorted(scores, key=lambda id: (-scores[id], id))[:most]

    def rows(self, ids: Sequence[str]) -> dict[str, Chunk]:
        """Return chunks by their ids, without embeddings."""
        rows = self.session.query(_ROWS, self._parameters(ids=ids))
        return {row["id"]: as_chunk(row) for row in rows}

    def _named(self, query: str) -> list[str]:
        """Return the entities whose names stand in a query: the longest names first."""
        names = list(_names(fold(query).split()[:MOST_WORDS]))
        found = self.session.query(_NAMED, self._parameters(names=names)) if names else []
        ranked = sorted(
            found,
            key=lambda row: (
                -len(row["normalized_name"].split()),
                -row["mention_count"],
                row["entity_id"],
            ),
        )
        return list(dict.fromkeys(row["entity_id"] for row in ranked))[:MOST_NAMED]

    def _brought(self, ids: Sequence[str]) -> list[str]:
        rows = self.session.query(_BROUGHT, self._parameters(ids=ids, most=MOST_BROUGHT))
        return [row["entity_id"] for row in rows]

    def _reached(self, entities: Iterable[str], weight: float) -> dict[str, float]:
        """Return the entities around some, each with the most that it counts."""
        graph = GraphRepository(self.session, self.namespace)
        weights: dict[str, float] = {}
        for start in entities:
            for entity, depth in graph.neighborhood(start, MAX_HOPS, max_nodes=MAX_NODES).entities:
                weights[entity.id] = max(weights.get(entity.id, 0.0), weight * 0.5**depth)
        return weights

    def _add(
        self,
        scores: defaultdict[str, float],
        weights: Mapping[str, float],
        filter: sa.ColumnElement[bool],
        best: Sequence[str],
    ) -> None:
        """Add what each chunk mentions to its score: one statement for each weight there is."""
        for weight in sorted(set(weights.values()), reverse=True):
            entities = [entity for entity in weights if weights[entity] == weight]
            bound = self._parameters(entities=entities, best=best, most=CANDIDATE_POOL)
            for row in self.session.query(_MENTIONING.where(filter), bound):
                scores[row["chunk_id"]] += weight * row["times"]


def _names(words: Sequence[str]) -> Iterable[str]:
    """Yield what may be a name in a query: all runs of words that are no stop word alone."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + LONGEST_NAME, len(words)) + 1):
            if end - start > 1 or words[start] not in STOP_WORDS["english"]:
                yield " ".join(words[start:end])
    if len(words) > LONGEST_NAME:
        yield " ".join(words)


def fused(
    found: SearchResult[Chunk],
    ranked: Sequence[str],
    rows: Mapping[str, Chunk],
    limit: int,
    query: str,
    marks: Marks | None,
) -> SearchResult[Chunk]:
    """Fuse chunks in the order of the graph into a ranking by reciprocal rank.

    Scores are what `hybrid` gives: the sum of reciprocal ranks, divided by the most it can be.
    """
    lists = max(len(found.indexes), 1)
    hits = {hit.id: hit for hit in found}
    votes = {hit.id: _votes(hit, rank, lists) for rank, hit in enumerate(found, start=1)}
    for rank, id in enumerate(ranked, start=1):
        if id not in hits:
            hits[id] = SearchHit(id, 0.0, rows[id], snippet=_snippet(rows[id], query, marks))
        hits[id] = replace(hits[id], reasons=(*hits[id].reasons, "graph"))
        votes[id] = votes.get(id, 0.0) + 1 / (RRF_K + rank)
    weights = [1.0] * (lists + 1)
    order = sorted(hits, key=lambda id: (-votes[id], id))[:limit]
    ranking = tuple(replace(hits[id], score=fused_score(votes[id], weights)) for id in order)
    return replace(found, hits=ranking)


def _votes(hit: SearchHit[Chunk], rank: int, lists: int) -> float:
    """Return the sum of reciprocal ranks that a hit has already: of two lists it is its score."""
    return hit.score * lists / (RRF_K + 1) if lists > 1 else 1 / (RRF_K + rank)


def _snippet(chunk: Chunk, query: str, marks: Marks | None) -> str | None:
    if marks is None:
        return None
    return snippet(chunk.content, query, language=chunk_text.language, marks=marks)
