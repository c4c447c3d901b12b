"""MemoryManager: files in, answers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import sqlalchemy as sa

from datastore import Datastore, SearchResult, Transaction, upsert
from datastore.bulk import batches
from datastore.errors import InvalidValueError, NotFoundError
from datastore.snippets import Marks
from datastore.types import FloatVector
from repositories.base import DEFAULT_NAMESPACE, is_text, now
from repositories.chunking import chunk_text
from repositories.chunks import WITH_EMBEDDINGS, ChunkRepository, content_hash
from repositories.files import (
    find_files,
    has_gone,
    is_below,
    normalized,
    prefix_of,
    read_text,
    root_of,
    shown,
)
from repositories.records import Chunk
from repositories.tables import chunk_embeddings, chunks, sources

#: What became of a file: "removed" is one that has gone, "skipped" one that cannot be read as text.
Outcome: TypeAlias = Literal["added", "changed", "unchanged", "removed", "skipped"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

#: Texts per call of the embedder.
EMBED_BATCH = 64

_MINE = sources.c.namespace == sa.bindparam("namespace")
_SOURCE = sa.select(sources.c.content_hash, sources.c.root).where(
    _MINE, sources.c.path == sa.bindparam("path")
)
_PRESENT = (
    sa.select(
        sa.func.count(chunks.c.rid).label("chunks"),
        sa.func.count(chunk_embeddings.c.chunk).label("embedded"),
    )
    .select_from(WITH_EMBEDDINGS)
    .where(chunks.c.namespace == sa.bindparam("namespace"), chunks.c.path == sa.bindparam("path"))
)
_RECORD = upsert(sources, update=[sources.c.root, sources.c.content_hash, sources.c.indexed_at])


class Embedder(Protocol):
    """Anything that turns texts into vectors: an array of shape (texts, dimensions)."""

    def __call__(self, texts: list[str], /) -> Any:
        """Embed the texts, in their order."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file; `reason` says why it was skipped."""

    path: str
    outcome: Outcome
    chunks: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class IndexReport:
    """What became of every file."""

    files: tuple[FileReport, ...]

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many files had each outcome, none left out."""
        counted = Counter(report.outcome for report in self.files)
        return {outcome: counted[outcome] for outcome in OUTCOMES}

    @property
    def chunks(self) -> int:
        """Chunks of all these files together."""
        return sum(report.chunks for report in self.files)


class MemoryManager:
    """Indexes text and Markdown files, and searches them; with an embedder, by meaning as well."""

    def __init__(
        self,
        store: Datastore,
        embedder: Embedder | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self.store = store
        self.embedder = embedder
        self.namespace = namespace
        self.chunks = ChunkRepository(store, namespace)

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
        nothing is, nor was when it was indexed.

        Paths are stored as they were given, normalised. Relative ones are told apart by nothing
        else: of two folders that are indexed as "." into one namespace, files of the same path
        take each other's place. `progress` hears of every file as it is done.
        """
        reports = []
        for report in self._index(normalized(path)):
            reports.append(report)
            if progress is not None:
                progress(report)
        return IndexReport(tuple(reports))

    def search(
        self,
        query: str,
        limit: int = 10,
        *,
        path: str | None = None,
        marks: Marks | None = None,
    ) -> SearchResult[Chunk]:
        """Find the chunks that answer `query`, by text, and by meaning where there is an embedder.

        `path` is a prefix that their files begin with; with `marks` hits have a `snippet`.
        """
        below = None if path is None else chunks.c.path.startswith(path, autoescape=True)
        embedding = None if self.embedder is None else _embed(self.embedder, [query])[0]
        return self.chunks.search(
            query, embedding=embedding, limit=limit, filter=below, marks=marks
        )

    def _index(self, start: Path) -> Iterator[FileReport]:
        try:
            files, failures = find_files(start)
        except NotFoundError:
            files, failures = [], []
            if not self._missing(start, []):
                raise
        for file in files:
            yield self._index_file(file)
        unread = [Path(failure.filename) for failure in failures]
        for folder, failure in zip(unread, failures, strict=True):
            yield FileReport(shown(folder), "skipped", reason=failure.strerror)
        for path in self._missing(start, unread):
            self.store.run(self._forget, path)
            yield FileReport(path, "removed")

    def _index_file(self, file: Path) -> FileReport:
        try:
            text = read_text(file)
        except OSError as error:
            return FileReport(shown(file), "skipped", reason=error.strerror)
        except ValueError as error:
            return self._skip_no_text(file, str(error))
        return self._index_text(self._source(file.as_posix()), root_of(file), text)

    def _skip_no_text(self, file: Path, reason: str) -> FileReport:
        """Remove what was indexed while the file was text, lest a search finds what it was."""
        source = self._source(file.as_posix())
        if is_text(source["path"]) and self.store.query_one(_SOURCE, source) is not None:
            self.store.run(self._forget, source["path"])
            reason += "; its chunks were removed"
        return FileReport(shown(file), "skipped", reason=reason)

    def _index_text(self, source: Mapping[str, str], root: str, text: str) -> FileReport:
        path, digest = source["path"], content_hash(text)
        known = self.store.query_one(_SOURCE, source)
        record = {**source, "root": root, "content_hash": digest}
        if known is not None and known["content_hash"] == digest:
            count, embedded = self._present(path)
            if self.embedder is None or embedded == count:
                if known["root"] != root:
                    self.store.execute(_RECORD, {**record, "indexed_at": now()})
                return FileReport(path, "unchanged", count)
        fresh = self._with_embeddings(chunk_text(path, text), path)
        self.store.run(self._replace, record, fresh)
        return FileReport(path, "added" if known is None else "changed", len(fresh))

    def _replace(
        self, transaction: Transaction, record: Mapping[str, str], fresh: Sequence[Chunk]
    ) -> None:
        # First the record: its row makes those wait who index the same file at the same time.
        transaction.execute(_RECORD, {**record, "indexed_at": now()})
        ChunkRepository(transaction, self.namespace).replace_path(record["path"], fresh)

    def _missing(self, start: Path, unread: Sequence[Path]) -> list[str]:
        """Return the paths at `start` or below it that have gone, but for those below `unread`."""
        if not is_text(start.as_posix()):  # and so no stored path is below it
            return []
        statement = sa.select(sources.c.path).where(
            sources.c.namespace == self.namespace,
            sources.c.root == root_of(start),
            (sources.c.path == start.as_posix())
            | sources.c.path.startswith(prefix_of(start), autoescape=True),
        )
        paths = [row["path"] for row in self.store.query(statement.order_by(sources.c.path))]
        return [
            path
            for path in paths
            if has_gone(path)
            and (path == start.as_posix() or is_below(path, start))
            and not any(is_below(path, folder) for folder in unread)
        ]

    def _forget(self, transaction: Transaction, path: str) -> None:
        ChunkRepository(transaction, self.namespace).delete_path(path)

    def _source(self, path: str) -> Mapping[str, str]:
        return {"namespace": self.namespace, "path": path}

    def _present(self, path: str) -> tuple[int, int]:
        """Return how many chunks a file has, and how many of them have an embedding."""
        model = self.store.settings.embedding.model
        (row,) = self.store.query(_PRESENT, {**self._source(path), "model": model})
        return row["chunks"], row["embedded"]

    def _with_embeddings(self, fresh: Sequence[Chunk], path: str) -> Sequence[Chunk]:
        if self.embedder is None:
            return fresh
        present = self.chunks.by_path(path)
        known = {chunk.content for chunk in present if chunk.embedding is not None}
        wanted = [chunk for chunk in fresh if chunk.content not in known]
        vectors = iter(_embed(self.embedder, [chunk.content for chunk in wanted]))
        return [
            chunk if chunk.content in known else replace(chunk, embedding=next(vectors))
            for chunk in fresh
        ]


def _embed(embedder: Embedder, texts: Sequence[str]) -> list[FloatVector]:
    vectors: list[FloatVector] = []
    for batch in batches(texts, EMBED_BATCH):
        array = np.asarray(embedder(batch))
        if array.ndim != 2 or len(array) != len(batch):
            raise InvalidValueError(
                f"embedder: expected an array of shape ({len(batch)}, dimensions), "
                f"got {array.shape}"
            )
        vectors.extend(array)
    return vectors
