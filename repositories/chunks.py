"""ChunkRepository: pieces of files with their embeddings, searched by text, vector, or both."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa

from datastore import SearchHit, SearchResult, Transaction, each, upsert
from datastore.bulk import batches
from datastore.errors import InvalidValueError, NotFoundError
from datastore.results import checked_score
from datastore.snippets import Marks
from datastore.sql import Filter, condition
from datastore.types import check_text
from repositories.base import (
    BATCH,
    INT32,
    MOST_PATH,
    key,
    now,
    whole,
)
from repositories.chunking import chunk_id
from repositories.records import Chunk
from repositories.spaces import (
    ACTIVE_MODEL,
    EmbeddingRepository,
    check_vectors,
    checked_query,
)
from repositories.tables import chunk_embeddings, chunks, sources

Row: TypeAlias = Mapping[Any, Any]

#: Chunks beside their embeddings of the model in use, those without one included.
WITH_EMBEDDINGS = chunks.outerjoin(
    chunk_embeddings,
    sa.and_(chunk_embeddings.c.chunk == chunks.c.rid, chunk_embeddings.c.model == ACTIVE_MODEL),
)
_SELECT = sa.select(chunks, chunk_embeddings.c.embedding).select_from(WITH_EMBEDDINGS)
_MINE = chunks.c.namespace == sa.bindparam("namespace")
_BY_ID = _SELECT.where(_MINE, chunks.c.id == sa.bindparam("id"))
_BY_PATH = _SELECT.where(_MINE, chunks.c.path == sa.bindparam("path")).order_by(
    chunks.c.start_line, chunks.c.id
)
_PAGE = (
    _SELECT.where(_MINE, chunks.c.rid > sa.bindparam("after"))
    .order_by(chunks.c.rid)
    .limit(sa.bindparam("size"))
)
_ROW_KEYS = sa.select(chunks.c.id, chunks.c.rid).where(
    _MINE, chunks.c.id.in_(sa.select(each(sa.bindparam("ids")).c.value))
)
_PUT_EMBEDDING = upsert(chunk_embeddings, update=[chunk_embeddings.c.embedding])
_COLUMNS = (
    "namespace", "id", "path", "start_line", "end_line", "content", "content_hash", "metadata",
    "created_at",
)  # fmt: skip
_DELETE = sa.delete(chunks).where(_MINE, chunks.c.id == sa.bindparam("id"))
_DELETE_PATH = sa.delete(chunks).where(_MINE, chunks.c.path == sa.bindparam("path"))
_FORGET = sa.delete(sources).where(
    sources.c.namespace == sa.bindparam("namespace"), sources.c.path == sa.bindparam("path")
)
#: Makes the file of a chunk one that has changed since it was indexed.
_OUTDATE = (
    sa.update(sources)
    .where(
        sources.c.namespace == sa.bindparam("within"),
        sources.c.path.in_(
            sa.select(chunks.c.path).where(
                chunks.c.namespace == sa.bindparam("within"), chunks.c.id == sa.bindparam("id")
            )
        ),
    )
    .values(content_hash="")
)
_DELETE_ROWS = sa.delete(chunks).where(chunks.c.rid == sa.bindparam("row"))
_MOVE = (
    sa.update(chunks)
    .where(chunks.c.rid == sa.bindparam("row"))
    .values(
        start_line=sa.bindparam("start"),
        end_line=sa.bindparam("end"),
        metadata=sa.bindparam("document"),
    )
)


@dataclass(frozen=True)
class Replacement:
    """How many chunks of a path were kept as they are, added, and removed."""

    kept: int
    added: int
    removed: int


class ChunkRepository(EmbeddingRepository):
    """The chunks of one namespace.

    `model` is the one that the embeddings given to it are of: that of the settings unless named. It
    must be the one that the store uses, else `EmbeddingMismatchError` is raised by what writes or
    searches embeddings. Chunks come with the embeddings of the model in use.
    """

    def add(self, chunk: Chunk) -> None:
        """Add one chunk; raise `UniqueViolation` for an id that is there already."""
        self.add_many([chunk])

    def add_many(self, items: Iterable[Chunk]) -> int:
        """Add chunks, all or none, reading the iterable in batches; return how many.

        Raises `UniqueViolation`, `InvalidValueError`, or `DimensionError` for an embedding of
        another length than the store's.
        """
        with self.session.transaction() as transaction:
            return sum(self._insert(transaction, batch) for batch in batches(items, BATCH))

    def get(self, id: str) -> Chunk:
        """Return a chunk with its embedding; raise `NotFoundError` where there is none."""
        chunk = self.find(id)
        if chunk is None:
            raise NotFoundError(f"there is no such chunk in namespace {self.namespace!r}")
        return chunk

    def find(self, id: str) -> Chunk | None:
        """Return a chunk with its embedding, or None."""
        row = self.session.query_one(_BY_ID, self._parameters(id=id))
        return None if row is None else as_chunk(row)

    def by_path(self, path: str) -> list[Chunk]:
        """Return the chunks of a file in their order."""
        return [as_chunk(row) for row in self.session.query(_BY_PATH, self._parameters(path=path))]

    def replace_path(self, path: str, items: Iterable[Chunk]) -> Replacement:
        """Make `items` the chunks of a file, in one transaction.

        A chunk whose content is there already keeps its id, its embedding (unless a new one is
        given) and its mentions, and takes the new lines and metadata. A new one whose id such a
        chunk keeps gets an id that is derived from its path and content.
        """
        fresh = [_checked(replace(chunk, path=path)) for chunk in items]
        with self.session.transaction() as transaction:
            rows = transaction.query(_BY_PATH, self._parameters(path=path))
            kept, added, removed = _match(rows, fresh)
            if removed:
                transaction.execute(_DELETE_ROWS, [{"row": row["rid"]} for row in removed])
            self._keep(transaction, kept)
            for batch in batches(_with_free_ids(added, {row["id"] for row, _ in kept}), BATCH):
                self._insert(transaction, batch)
        return Replacement(len(kept), len(added), len(removed))

    def delete(self, id: str) -> bool:
        """Delete a chunk with its embeddings and mentions; tell whether it was there.

        Its file counts as changed, so that the next indexing brings the chunk back.
        """
        with self.session.transaction() as transaction:
            transaction.execute(_OUTDATE, {"within": self.namespace, "id": id})
            return transaction.execute(_DELETE, self._parameters(id=id)).changes > 0

    def delete_path(self, path: str) -> int:
        """Delete the chunks of a file, which then counts as never indexed; return how many."""
        with self.session.transaction() as transaction:
            transaction.execute(_FORGET, self._parameters(path=path))
            return transaction.execute(_DELETE_PATH, self._parameters(path=path)).changes

    def count(self) -> int:
        """Return the number of chunks."""
        return self._count(chunks)

    def all(self) -> Iterator[Chunk]:
        """Iterate over every chunk, in the order of their insertion, a page at a time."""
        after = -1
        while rows := self.session.query(_PAGE, self._parameters(after=after, size=BATCH)):
            yield from map(as_chunk, rows)
            after = rows[-1]["rid"]

    def search(
        self,
        text: str | None = None,
        *,
        embedding: Any = None,
        limit: int = 10,
        filter: Filter = None,
        min_score: float | None = None,
        marks: Marks | None = None,
        weights: tuple[float, float] | None = None,
        exact: bool = False,
        oversample: int | None = None,
        ef_search: int | None = None,
    ) -> SearchResult[Chunk]:
        """Rank chunks by text (BM25), by embedding, or by both together (reciprocal rank fusion).

        `filter` is a Core expression over `repositories.tables.chunks`, or a mapping of equalities.
        With `marks`, hits of a text have a `snippet`, its matched words between the two marks.
        `weights` are those of text and embedding; `exact`, `oversample` and `ef_search` are those
        of `Datastore.vector_search`. The chunks of hits come without their embeddings. Raises
        `InvalidValueError` where neither text nor embedding is given, `DimensionError` for an
        embedding of another length.
        """
        # The same object every time, so that the statement over it is built once.
        mine = _MINE if filter is None else sa.and_(_MINE, condition(chunks, filter))
        least = checked_score(min_score)
        common: dict[str, Any] = {
            "limit": limit,
            "filter": mine,
            "params": {"namespace": self.namespace},
        }
        if embedding is None:
            if text is None:
                raise InvalidValueError("search: expected a text, an embedding, or both")
            found = self.session.full_text_search(chunks, "content", text, marks=marks, **common)
            return _with_records(found, least)
        common |= {"exact": exact, "oversample": oversample, "ef_search": ef_search}
        # One snapshot, in which the model that was checked is the model that is searched.
        with self._snapshot() as session:
            query = checked_query(session, embedding, self._claim())
            common |= {"model": query.model, "metric": query.metric}
            if text is None:
                found = session.vector_search(chunks, "embedding", query.vector, **common)
            else:
                found = session.hybrid_search(
                    chunks, text=text, vector=query.vector, weights=weights, marks=marks, **common
                )
        return _with_records(found, least)

    def _insert(self, transaction: Transaction, batch: Sequence[Chunk]) -> int:
        moment = now()
        rows = [_row(chunk, self.namespace, moment) for chunk in batch]
        transaction.insert_many(chunks, rows, _COLUMNS)
        embedded = [chunk for chunk in batch if chunk.embedding is not None]
        if embedded:
            keys = self._keys(transaction, [chunk.id for chunk in embedded])
            fresh = [(keys[chunk.id], chunk.embedding) for chunk in embedded]
            transaction.insert_many(chunk_embeddings, self._embedding_rows(transaction, fresh))
        return len(batch)

    def _keys(self, transaction: Transaction, ids: Sequence[str]) -> dict[str, int]:
        rows = transaction.query(_ROW_KEYS, {"namespace": self.namespace, "ids": ids})
        return {row["id"]: row["rid"] for row in rows}

    def _keep(self, transaction: Transaction, kept: Sequence[tuple[Row, Chunk]]) -> None:
        moved = [_move(row, chunk) for row, chunk in kept if _differs(row, chunk)]
        if moved:
            transaction.execute(_MOVE, moved)
        fresh = [(row["rid"], c.embedding) for row, c in kept if c.embedding is not None]
        if fresh:
            transaction.execute(_PUT_EMBEDDING, self._embedding_rows(transaction, fresh))

    def _embedding_rows(
        self, transaction: Transaction, embeddings: Sequence[tuple[int, Any]]
    ) -> list[dict[str, Any]]:
        claim = self._claim()
        vectors = check_vectors(transaction, [vector for _, vector in embeddings], claim)
        return [
            {"chunk": rid, "model": claim.model, "embedding": vector}
            for (rid, _), vector in zip(embeddings, vectors, strict=True)
        ]


def content_hash(content: str) -> str:
    """Return the SHA-256 of a text, by which unchanged content is known again."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _checked(chunk: Chunk) -> Chunk:
    """Return a chunk that both engines can store; raise `InvalidValueError` where there is none."""
    check_text(chunk.content)
    key("chunk id", chunk.id)
    key("path", chunk.path, MOST_PATH)
    start, end = _lines(chunk)
    return replace(chunk, start_line=start, end_line=end, metadata=_document(chunk))


def _lines(chunk: Chunk) -> tuple[int, int]:
    start = whole("start_line", chunk.start_line, 1, INT32[-1])
    return start, whole("end_line", chunk.end_line, start, INT32[-1])


def _document(chunk: Chunk) -> dict[str, Any]:
    if not isinstance(chunk.metadata, Mapping):
        raise InvalidValueError(
            f"metadata: expected a mapping, got {type(chunk.metadata).__name__}"
        )
    return dict(chunk.metadata)


def _row(chunk: Chunk, namespace: str, moment: datetime) -> tuple[Any, ...]:
    """Return the values of `_COLUMNS`; raise `InvalidValueError` for one that is none."""
    return (
        namespace,
        key("chunk id", chunk.id),
        key("path", chunk.path, MOST_PATH),
        *_lines(chunk),
        chunk.content,
        content_hash(check_text(chunk.content)),
        _document(chunk),
        chunk.created_at or moment,
    )


def as_chunk(row: Row) -> Chunk:
    """Return the record of a row, with its embedding if that was read too."""
    return Chunk(
        id=row["id"],
        path=row["path"],
        start_line=row["start_line"],
        end_line=row["end_line"],
        content=row["content"],
        embedding=row.get("embedding"),
        metadata=row["metadata"],
        created_at=row["created_at"],
    )


def _match(
    rows: Sequence[Row], fresh: Sequence[Chunk]
) -> tuple[list[tuple[Row, Chunk]], list[Chunk], list[Row]]:
    """Pair rows with new chunks of the same content, each row once, the same id first."""
    waiting: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        waiting[row["content_hash"]].append(row)
    kept, added = [], []
    for chunk in fresh:
        candidates = waiting[content_hash(chunk.content)]
        same = next((row for row in candidates if row["id"] == chunk.id), None)
        if not candidates:
            added.append(chunk)
            continue
        row = candidates[0] if same is None else same
        candidates.remove(row)
        kept.append((row, chunk))
    return kept, added, [row for candidates in waiting.values() for row in candidates]


def _with_free_ids(added: Sequence[Chunk], kept: set[str]) -> Iterator[Chunk]:
    """Give those another id whose own one is kept by a chunk of the same path."""
    taken = kept | {chunk.id for chunk in added}
    for chunk in added:
        if chunk.id in kept:
            ids = (chunk_id(chunk.path, chunk.content, number) for number in itertools.count())
            chunk = replace(chunk, id=next(id for id in ids if id not in taken))
            taken.add(chunk.id)
        yield chunk


def _differs(row: Row, chunk: Chunk) -> bool:
    old = (row["start_line"], row["end_line"], row["metadata"])
    return old != (chunk.start_line, chunk.end_line, chunk.metadata)


def _move(row: Row, chunk: Chunk) -> dict[str, Any]:
    return {
        "row": row["rid"],
        "start": chunk.start_line,
        "end": chunk.end_line,
        "document": chunk.metadata,
    }


def _with_records(
    found: SearchResult[Mapping[str, Any]], min_score: float | None
) -> SearchResult[Chunk]:
    hits = tuple(
        SearchHit(
            hit.id,
            hit.score,
            as_chunk(hit.row),
            hit.distance,
            hit.relevance,
            hit.snippet,
            hit.reasons,
        )
        for hit in found
        if min_score is None or hit.score >= min_score
    )
    return SearchResult(hits, found.method, found.indexes, found.notes)
