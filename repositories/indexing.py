"""Indexing: the files of a folder as chunks of one namespace, incrementally."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import sqlalchemy as sa

from datastore import Datastore, Transaction, upsert
from datastore.errors import EmbeddingError, NotFoundError
from datastore.types import FloatVector
from repositories.base import is_text, now
from repositories.chunking import chunk_text
from repositories.chunks import WITH_EMBEDDINGS, ChunkRepository, content_hash
from repositories.embedder_choice import EmbedderChoice
from repositories.embedders import Embedder
from repositories.embedding import Refusals
from repositories.files import (
    find_files,
    has_gone,
    is_below,
    prefix_of,
    read_text,
    root_of,
    shown,
)
from repositories.records import Chunk
from repositories.spaces import checked_space, claim_of
from repositories.tables import chunk_embeddings, chunks, sources

#: What became of a file: "removed" is one that has gone, "skipped" one that cannot be read as text.
Outcome: TypeAlias = Literal["added", "changed", "unchanged", "removed", "skipped"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

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


@dataclass(frozen=True)
class FileReport:
    """What became of one file; `reason` says why it was skipped, or has no embeddings."""

    path: str
    outcome: Outcome
    chunks: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class IndexReport:
    """What became of every file; `notes` say what a reader should know of them together."""

    files: tuple[FileReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many files had each outcome, none left out."""
        counted = Counter(report.outcome for report in self.files)
        return {outcome: counted[outcome] for outcome in OUTCOMES}

    @property
    def chunks(self) -> int:
        """Chunks of all these files together."""
        return sum(report.chunks for report in self.files)


class Indexing:
    """One run over a file or a folder.

    An embedder that fails, or refuses several texts in a row, is not asked again in this run: texts
    are stored without embeddings, which the next run makes.
    """

    def __init__(self, store: Datastore, namespace: str, embedders: EmbedderChoice) -> None:
        self.store = store
        self.namespace = namespace
        self.embedders = embedders
        self.failure: EmbeddingError | None = None
        self.refusals = Refusals()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the run as a whole."""
        trouble = self.failure or self.refusals.last
        if trouble is None:
            return ()
        return (f"{trouble}; what it left is found by text alone until it is indexed again",)

    def run(self, start: Path) -> Iterator[FileReport]:
        """Index a normalised path, a transaction for each file; see `MemoryManager.index`."""
        self.embedders.using(self._check)  # also where no file has changed
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

    def _check(self, embedder: Embedder | None) -> None:
        if embedder is not None:
            checked_space(self.store, claim_of(self.store.settings, embedder.model))

    def _index_file(self, file: Path) -> FileReport:
        try:
            text = read_text(file)
        except OSError as error:
            return FileReport(shown(file), "skipped", reason=error.strerror)
        except ValueError as error:
            return self._skip_no_text(file, str(error))
        source = self._source(file.as_posix())
        return self.embedders.using(partial(self._index_text, source, root_of(file), text))

    def _skip_no_text(self, file: Path, reason: str) -> FileReport:
        """Remove what was indexed while the file was text, lest a search finds what it was."""
        source = self._source(file.as_posix())
        if is_text(source["path"]) and self.store.query_one(_SOURCE, source) is not None:
            self.store.run(self._forget, source["path"])
            reason += "; its chunks were removed"
        return FileReport(shown(file), "skipped", reason=reason)

    def _index_text(
        self, source: Mapping[str, str], root: str, text: str, embedder: Embedder | None
    ) -> FileReport:
        path, digest = source["path"], content_hash(text)
        known = self.store.query_one(_SOURCE, source)
        record = {**source, "root": root, "content_hash": digest}
        is_same = known is not None and known["content_hash"] == digest
        if known is not None and is_same:
            count, embedded = self._present(source)
            if embedder is None or embedded == count:
                if known["root"] != root:
                    self.store.execute(_RECORD, {**record, "indexed_at": now()})
                return FileReport(path, "unchanged", count)
        fresh, reason = self._with_embeddings(chunk_text(path, text), path, embedder)
        self.store.run(self._replace, record, fresh, embedder)
        if is_same:  # whether or not it has got embeddings now
            return FileReport(path, "unchanged", len(fresh), reason)
        return FileReport(path, "added" if known is None else "changed", len(fresh), reason)

    def _replace(
        self,
        transaction: Transaction,
        record: Mapping[str, str],
        fresh: Sequence[Chunk],
        embedder: Embedder | None,
    ) -> None:
        # First the record: its row makes those wait who index the same file at the same time.
        transaction.execute(_RECORD, {**record, "indexed_at": now()})
        model = None if embedder is None else embedder.model
        repository = ChunkRepository(transaction, self.namespace, model=model)
        repository.replace_path(record["path"], fresh)

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

    def _present(self, source: Mapping[str, str]) -> tuple[int, int]:
        """Return how many chunks a file has, and how many of them have an embedding."""
        (row,) = self.store.query(_PRESENT, source)
        return row["chunks"], row["embedded"]

    def _with_embeddings(
        self, fresh: Sequence[Chunk], path: str, embedder: Embedder | None
    ) -> tuple[Sequence[Chunk], str | None]:
        """Embed what has no embedding yet; where that fails for some, say why."""
        if embedder is None:
            return fresh, None
        present = ChunkRepository(self.store, self.namespace).by_path(path)
        known = {chunk.content for chunk in present if chunk.embedding is not None}
        wanted = [chunk.content for chunk in fresh if chunk.content not in known]
        vectors = self._embed(embedder, wanted)
        embedded = [replace(chunk, embedding=vectors.get(chunk.content)) for chunk in fresh]
        is_whole = all(text in vectors for text in wanted)
        return embedded, None if is_whole else f"not embedded: {self.failure or self.refusals.last}"

    def _embed(self, embedder: Embedder, texts: Sequence[str]) -> dict[str, FloatVector]:
        if self.failure:
            return {}
        try:
            return self.refusals.embed(partial(self.embedders.embed, embedder), texts)
        except EmbeddingError as error:
            self.failure = error
            return {}
