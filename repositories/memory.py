"""MemoryManager: files in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from datastore import Datastore, SearchResult, Text, Transaction, each
from datastore.errors import EmbeddingError, NotFoundError
from datastore.snippets import Marks
from datastore.sql import CANDIDATE_POOL, Filter, whole_limit
from datastore.types import FloatVector
from repositories.base import DEFAULT_NAMESPACE, is_text, text, whole
from repositories.chunks import WITH_EMBEDDINGS, ChunkRepository
from repositories.embedder_choice import EmbedderChoice
from repositories.embedders import AnyEmbedder, Embedder
from repositories.embedding_cache import forget_texts
from repositories.files import (
    find_files,
    is_below,
    normalized,
    normalized_prefix,
    prefix_of,
    root_of,
    shown,
)
from repositories.graph_search import GraphSearch, fused
from repositories.indexing import FileReport, Indexing, IndexReport
from repositories.records import Chunk
from repositories.spaces import EmbeddingSpace, active_space
from repositories.tables import (
    chunk_embeddings,
    chunks,
    kg_entities,
    kg_mentions,
    kg_relationships,
    sources,
)

_NAMESPACE = sa.bindparam("namespace", type_=Text())
_COUNTED = (sources, chunks, kg_entities, kg_relationships, kg_mentions)
_EMBEDDED = (
    sa.select(sa.func.count(chunk_embeddings.c.chunk))
    .select_from(WITH_EMBEDDINGS)
    .where(chunks.c.namespace == _NAMESPACE)
)
_STATS = sa.select(
    *(
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.namespace == _NAMESPACE)
        .scalar_subquery()
        .label(table.name)
        for table in _COUNTED
    ),
    _EMBEDDED.scalar_subquery().label("embedded"),
)
_HASHES = sa.select(chunks.c.content_hash).where(
    chunks.c.namespace == _NAMESPACE,
    chunks.c.path.in_(sa.select(each(sa.bindparam("paths")).c.value)),
)


@dataclass(frozen=True)
class MemoryStats:
    """What a namespace holds: `embedded` chunks have a vector of the model in use.

    `space` is the one that the store's vectors are in, None while there are none.
    """

    files: int
    chunks: int
    embedded: int
    entities: int
    relationships: int
    mentions: int
    space: EmbeddingSpace | None


@dataclass(frozen=True)
class _Request:
    """What is searched for."""

    query: str
    limit: int
    graph_chunks: int
    embedding: Any
    filter: Filter
    marks: Marks | None


class MemoryManager:
    """Indexes text and Markdown files, and searches them; with an embedder, by meaning as well.

    `embedder` is an `Embedder`, or any callable from a list of texts to an array, whose model is
    then that of the settings. Of several, the one of the model that the store uses is asked: with
    those of the old and of the new model a program goes on while the model is changed. `cache`
    says whether vectors are kept by the content of their texts, to be used again.
    """

    def __init__(
        self,
        store: Datastore,
        embedder: AnyEmbedder | Sequence[AnyEmbedder] | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        cache: bool = True,
    ) -> None:
        self.store = store
        self.namespace = namespace
        self.embedders = EmbedderChoice(store, embedder, cache=cache)
        self.chunks = ChunkRepository(store, namespace, model=_model_of(self.embedders.first))

    def files(self, path: str | Path) -> list[Path]:
        """Return the files that `index` looks at; raise `NotFoundError` where nothing is there.

        A folder stands for the text and Markdown files below it, hidden ones left out.
        """
        return find_files(normalized(path))[0]

    def index(
        self, path: str | Path, *, progress: Callable[[FileReport], None] | None = None
    ) -> IndexReport:
        """Index a file, or the text and Markdown files of a folder, each in one transaction.

        A file whose content is unchanged is not touched; of a changed one, chunks with unchanged
        content keep their ids and embeddings. Files that have gone are removed, and so are the
        chunks of one that is no text any more; what cannot be read keeps its chunks, and so does
        everything below a folder that cannot be read. Raises `NotFoundError` for a path where
        nothing is, nor was when it was indexed, `InvalidValueError` for an empty one.

        Where the embedder fails, texts are stored without embeddings, the report says so, and the
        next call makes them. Vectors of another model than the store's raise
        `EmbeddingMismatchError`.

        Paths are stored as they were given, normalised. Relative ones are told apart by nothing
        else: of two folders that are indexed as "." into one namespace, files of the same path
        take each other's place. `progress` hears of every file as it is done.
        """
        indexing = Indexing(self.store, self.namespace, self.embedders)
        reports = []
        for report in indexing.run(normalized(path)):
            reports.append(report)
            if progress is not None:
                progress(report)
        return IndexReport(tuple(reports), indexing.notes)

    def search(
        self,
        query: str,
        limit: int = 10,
        *,
        use_graph: bool = False,
        query_embedding: Any = None,
        graph_max_chunks: int = 5,
        path: str | None = None,
        marks: Marks | None = None,
    ) -> SearchResult[Chunk]:
        """Find the chunks that answer `query`, by text, and by meaning where there is an embedder.

        `query_embedding` takes the place of what the embedder would say, and is of the model of the
        first one. An embedder that fails leaves the search by text, and the notes say so; one of
        another model than the store's raises `EmbeddingMismatchError`.

        With `use_graph` the entities that the query names and those that its best chunks mention
        are looked up, and up to `graph_max_chunks` chunks that mention them or their neighbours
        take part in the ranking. The `reasons` of a hit say which of "text", "vector" and "graph"
        found it. `path` is a prefix that the paths of files begin with ("./docs" is "docs", as in
        `index`); with `marks` hits have a `snippet`.
        """
        most = whole("graph_max_chunks", graph_max_chunks, 0)
        request = _Request(
            text("query", query),
            whole_limit("limit", limit),
            most if use_graph else 0,
            query_embedding,
            None if path is None else _below_prefix(path),
            marks,
        )
        if query_embedding is not None:
            return self._search(request, query_embedding, self.embedders.first, ())
        return self.embedders.using(partial(self._embed_and_search, request))

    def forget(self, path: str | Path) -> IndexReport:
        """Remove a file, or all below a folder, from the memory; the files themselves stay.

        Chunks that were stored under such a path go too, whoever stored them, with their
        embeddings, also the cached ones, and their mentions: all in one transaction. Raises
        `NotFoundError` where nothing is known of the path, `InvalidValueError` for an empty one.
        """
        start = normalized(path)
        reports = self.store.run(self._forget, start)
        if not reports:
            raise NotFoundError(f"nothing is known of '{shown(start)}'")
        return IndexReport(tuple(reports))

    def holds_path(self, prefix: str) -> bool:
        """Tell whether there are chunks of paths that begin so; `search` takes the same prefix."""
        mine = chunks.c.namespace == self.namespace
        statement = sa.select(chunks.c.rid).where(mine, _below_prefix(prefix)).limit(1)
        return self.store.query_one(statement) is not None

    def stats(self) -> MemoryStats:
        """Count what the namespace holds."""
        with self.store.transaction(read_only=True) as transaction:
            (row,) = transaction.query(_STATS, {"namespace": self.namespace})
            space = active_space(transaction)
        return MemoryStats(
            files=row["sources"],
            chunks=row["chunks"],
            embedded=row["embedded"],
            entities=row["kg_entities"],
            relationships=row["kg_relationships"],
            mentions=row["kg_mentions"],
            space=space,
        )

    def _embed_and_search(
        self, request: _Request, embedder: Embedder | None
    ) -> SearchResult[Chunk]:
        vector: FloatVector | None = None
        notes: tuple[str, ...] = ()
        if embedder is not None and request.query.strip():
            try:
                vector = self.embedders.embed_query(embedder, request.query)
            except EmbeddingError as error:
                notes = (f"{error}; only text was searched",)
        return self._search(request, vector, embedder, notes)

    def _search(
        self, request: _Request, vector: Any, embedder: Embedder | None, notes: tuple[str, ...]
    ) -> SearchResult[Chunk]:
        with self.store.transaction(read_only=True) as snapshot:
            repository = ChunkRepository(snapshot, self.namespace, model=_model_of(embedder))
            found = repository.search(
                request.query,
                embedding=vector,
                limit=max(request.limit, CANDIDATE_POOL) if request.graph_chunks else request.limit,
                filter=request.filter,
                marks=request.marks,
            )
            if request.graph_chunks:
                found = self._with_graph(snapshot, request, found)
        return replace(found, notes=found.notes + notes)

    def _with_graph(
        self, snapshot: Transaction, request: _Request, found: SearchResult[Chunk]
    ) -> SearchResult[Chunk]:
        graph = GraphSearch(snapshot, self.namespace)
        ranked = graph.chunks_for(request.query, found, request.graph_chunks, request.filter)
        if not ranked:
            notes = (*found.notes, "the graph led to no chunk")
            return replace(found, hits=found.hits[: request.limit], notes=notes)
        rows = graph.rows(ranked)
        return fused(found, ranked, rows, request.limit, request.query, request.marks)

    def _forget(self, transaction: Transaction, start: Path) -> list[FileReport]:
        paths = self._known(transaction, start)
        hashes = transaction.query(_HASHES, {"namespace": self.namespace, "paths": paths})
        forget_texts(transaction, {row["content_hash"] for row in hashes})
        repository = ChunkRepository(transaction, self.namespace)
        return [FileReport(path, "removed", repository.delete_path(path)) for path in paths]

    def _known(self, transaction: Transaction, start: Path) -> list[str]:
        """Return the paths at `start` or below it that are known from the current folder."""
        if not is_text(start.as_posix()):
            return []
        indexed = _below(sources, self.namespace, start).where(sources.c.root == root_of(start))
        is_indexed = sa.exists().where(
            sources.c.namespace == chunks.c.namespace, sources.c.path == chunks.c.path
        )
        stored = _below(chunks, self.namespace, start).where(~is_indexed)
        rows = transaction.query(sa.union(indexed, stored))
        paths = sorted(row["path"] for row in rows)
        return [path for path in paths if path == start.as_posix() or is_below(path, start)]


def _below_prefix(path: str) -> sa.ColumnElement[bool]:
    # As it was given as well: what others stored under a path need not be normalised.
    prefixes = {text("path", path), normalized_prefix(path)}
    begins = chunks.c.path.startswith
    return sa.or_(*(begins(prefix, autoescape=True) for prefix in sorted(prefixes)))


def _below(table: sa.Table, namespace: str, start: Path) -> sa.Select[Any]:
    path = table.c.path
    same = (path == start.as_posix()) | path.startswith(prefix_of(start), autoescape=True)
    return sa.select(path).where(table.c.namespace == namespace, same)


def _model_of(embedder: Embedder | None) -> str | None:
    return None if embedder is None else embedder.model
