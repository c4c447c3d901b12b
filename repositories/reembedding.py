"""Changing the embedding model: every text embedded again, beside what searches go on using.

The vectors of the new model are written beside the old ones, a batch per transaction, so that a run
that was killed is taken up where it ended: what is there already is not made again. Once nothing is
missing one transaction makes the new space the one that searches use. Writers of vectors are held
off in it (`repositories.spaces`), so that no chunk that was written meanwhile is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import sqlalchemy as sa

from datastore import Datastore, Text, Transaction, upsert
from datastore.errors import InvalidValueError
from datastore.types import INT64, FloatVector
from repositories.base import Session, key
from repositories.embedders import EMBED_BATCH, AnyEmbedder, Embedder, as_embedder, embed
from repositories.embedding import Refusals, embed_for
from repositories.embedding_cache import EmbeddingCache, drop_model
from repositories.spaces import (
    Claim,
    activate,
    check_beside,
    claim_of,
    compare,
    is_in_use,
    lock_spaces,
    recorded_spaces,
    remove_space,
)
from repositories.tables import chunk_embeddings, chunks, kg_entity_names, kg_name_embeddings

Row: TypeAlias = Mapping[Any, Any]

#: How often what others wrote meanwhile is embedded before they have to wait for it.
PATIENCE = 5
#: Rows per transaction that removes vectors.
DROP_BATCH = 2_000


@dataclass(frozen=True)
class ReembedProgress:
    """How many texts have a vector of the new model, of how many there are."""

    done: int
    total: int


@dataclass(frozen=True)
class ReembedReport:
    """What came of it. `previous` is the model that searches used before, if there was one.

    `embedded` counts the vectors that this run wrote, `dropped` those of other models it removed,
    `refused` the texts that the embedder would not take: they are found without it alone.
    """

    model: str
    dimensions: int | None
    previous: str | None
    embedded: int
    dropped: int
    refused: int = 0


class _Texts:
    """One kind of text: its rows, and where their vectors stand."""

    def __init__(
        self, text: sa.Column[str], proof: sa.Column[str], key: sa.Column[int], table: sa.Table
    ) -> None:
        rid = text.table.c.rid
        model = sa.bindparam("of_model", type_=Text())
        has_vector = sa.exists().where(key == rid, table.c.model == model)
        columns = (rid, text.label("text"), proof.label("proof"))
        self.missing = (
            sa.select(*columns)
            .where(
                rid > sa.bindparam("after"), rid <= sa.bindparam("upto"), text != "", ~has_vector
            )
            .order_by(rid)
            .limit(sa.bindparam("size"))
        )
        # Locked, lest a row goes before its vector has come.
        self.present = (
            sa.select(rid, proof.label("proof"))
            .where(rid.in_(sa.bindparam("rids", expanding=True)))
            .order_by(rid)
            .with_for_update(read=True, key_share=True)
        )
        self.put = upsert(table)
        self.key = key.name
        self.last = sa.select(sa.func.coalesce(sa.func.max(rid), -1).label("n"))
        self.count = sa.select(sa.func.count().label("n")).where(text != "")
        self.embedded = sa.select(sa.func.count().label("n")).where(table.c.model == model)
        of_model = sa.select(key).where(table.c.model == model)
        first = of_model.where(key > sa.bindparam("after")).order_by(key)
        self.page = first.limit(sa.bindparam("size"))
        self.drop = sa.delete(table).where(
            table.c.model == model, key > sa.bindparam("after"), key <= sa.bindparam("upto")
        )


_KINDS = (
    _Texts(chunks.c.content, chunks.c.content_hash, chunk_embeddings.c.chunk, chunk_embeddings),
    _Texts(
        kg_entity_names.c.name,
        kg_entity_names.c.name,
        kg_name_embeddings.c.name,
        kg_name_embeddings,
    ),
)


def reembed(
    store: Datastore,
    embedder: AnyEmbedder,
    *,
    drop_old: bool = False,
    progress: Callable[[ReembedProgress], None] | None = None,
) -> ReembedReport:
    """Embed every chunk and every name of an entity, of all namespaces, under a new model.

    Searches go on using the old model until the new one is complete; its vectors may be of another
    length, its metric is the old one's. Call it again after it was broken off: it goes on where it
    was. Under the model in use it embeds what has no vector yet. `drop_old` removes the vectors of
    all other models at the end; without it a later call may go back to one of them cheaply.

    Raises `InvalidValueError` for an embedder without a model, `EmbeddingMismatchError` where the
    model is known with other dimensions, `EmbeddingError` where it fails. A text that it refuses is
    left without a vector, as is one that is empty.
    """
    return _Reembedding(store, as_embedder(embedder), progress).run(drop_old)


class _Reembedding:
    def __init__(
        self,
        store: Datastore,
        embedder: Embedder,
        progress: Callable[[ReembedProgress], None] | None,
    ) -> None:
        if not embedder.model:
            raise InvalidValueError("reembed: expected an embedder that names its model")
        key("model", embedder.model)
        self.store = store
        self.embedder = embedder
        self.model = embedder.model
        self.claim = Claim(
            embedder.model,
            embedder.dimensions,
            metric=claim_of(store.settings).metric,
            claimant="the embedder gives",
        )
        self._embed = partial(EmbeddingCache(store).embed, self.embedder)
        self.refusals = Refusals()
        self.progress = progress
        self.made = 0

    def run(self, drop_old: bool) -> ReembedReport:
        spaces = {space.model: space for space in recorded_spaces(self.store)}
        compare(spaces.get(self.model), replace(self.claim, metric=None))
        previous = next((space.model for space in spaces.values() if space.active), None)
        self._fill()
        self.store.optimize()  # what the first searches of the new model need
        self._switch()
        dropped = self._drop_others() if drop_old else 0
        refused = len(self.refusals.texts)
        return ReembedReport(self.model, self._dimensions(), previous, self.made, dropped, refused)

    def _dimensions(self) -> int | None:
        """Return the length of this model's vectors, whichever searches use by now."""
        spaces = recorded_spaces(self.store)
        return next((each.dimensions for each in spaces if each.model == self.model), None)

    def _fill(self) -> None:
        """Embed what has no vector of the new model yet."""
        total = sum(self._number(kind.count) for kind in _KINDS)
        done = sum(self._number(kind.embedded, of_model=self.model) for kind in _KINDS)
        for kind in _KINDS:
            after, upto = -1, self._number(kind.last)  # what comes meanwhile is for the next time
            while rows := self._missing(self.store, kind, after, upto):
                vectors = self.refusals.embed(self._embed, [row["text"] for row in rows])
                count = self.store.run(self._write, kind, rows, vectors)
                after = rows[-1]["rid"]
                self.made += count
                done += count
                if self.progress is not None:
                    self.progress(ReembedProgress(done, max(done, total)))

    def _number(self, statement: sa.Select[Any], **parameters: Any) -> int:
        return int(self.store.query(statement, parameters)[0]["n"])

    def _missing(self, session: Session, kind: _Texts, after: int, upto: int) -> list[Row]:
        bound = {"of_model": self.model, "after": after, "upto": upto, "size": EMBED_BATCH}
        return list(session.query(kind.missing, bound))

    def _write(
        self,
        transaction: Transaction,
        kind: _Texts,
        rows: Sequence[Row],
        vectors: Mapping[str, FloatVector],
    ) -> int:
        """Write the vectors of those rows that are still what was embedded; return how many."""
        found = transaction.query(kind.present, {"rids": [row["rid"] for row in rows]})
        present = {row["rid"]: row["proof"] for row in found}
        kept = {
            row["rid"]: vectors[row["text"]]
            for row in rows
            if row["text"] in vectors and present.get(row["rid"]) == row["proof"]
        }
        if kept:
            check_beside(transaction, list(kept.values()), self.claim)
            shared = {"model": self.model}
            fresh = [{**shared, kind.key: rid, "embedding": kept[rid]} for rid in kept]
            transaction.execute(kind.put, fresh)
        return len(kept)

    def _record(self) -> None:
        """Record the model where no text has made it known yet."""
        if all(space.model != self.model for space in recorded_spaces(self.store)):
            vectors = embed(self.embedder, ["dimensions"])
            self.store.run(check_beside, vectors, self.claim)

    def _switch(self) -> None:
        self._record()
        for _ in range(PATIENCE):
            if self.store.run(self._complete, finish=False):
                return
            self._fill()
        self.store.run(self._complete, finish=True)

    def _complete(self, transaction: Transaction, *, finish: bool) -> bool:
        """Use the new model from now on; where something is missing, only after it was embedded.

        `finish` embeds it here, while those who write vectors wait: they were too many to keep up.
        """
        lock_spaces(transaction)
        for kind in _KINDS:
            after = -1
            (last,) = transaction.query(kind.last)
            while rows := self._missing(transaction, kind, after, last["n"]):
                after = rows[-1]["rid"]
                if all(row["text"] in self.refusals.texts for row in rows):
                    continue
                if not finish:
                    return False
                # Past the cache, which would be written to by a transaction of its own.
                at_once = partial(embed_for, transaction, self.embedder)
                vectors = self.refusals.embed(at_once, [row["text"] for row in rows])
                self._write(transaction, kind, rows, vectors)
        activate(transaction, self.model)
        return True

    def _drop_others(self) -> int:
        others = [s.model for s in recorded_spaces(self.store) if s.model != self.model]
        dropped = sum(self._drop(kind, model) for model in others for kind in _KINDS)
        dropped += sum(self.store.run(_remove, model) for model in others)
        if others:
            self.store.optimize()
        return dropped

    def _drop(self, kind: _Texts, model: str) -> int:
        """Delete the vectors of a model in many small transactions; return how many."""
        dropped, after = 0, -1
        while page := self.store.run(_drop_page, kind, model, after):
            dropped += len(page)
            after = page[-1]
        return dropped


def _drop_page(transaction: Transaction, kind: _Texts, model: str, after: int) -> list[int]:
    """Delete some vectors and return whose they were; none of a model that is in use again."""
    if is_in_use(transaction, model):
        return []
    bound = {"of_model": model, "after": after}
    page = [row[kind.key] for row in transaction.query(kind.page, {**bound, "size": DROP_BATCH})]
    if page:
        transaction.execute(kind.drop, {**bound, "upto": page[-1]})
    return page


def _remove(transaction: Transaction, model: str) -> int:
    """Forget a model and what is left of it, unless it has come into use again."""
    if any(space.active and space.model == model for space in lock_spaces(transaction)):
        return 0
    everything = {"of_model": model, "after": -1, "upto": INT64[-1]}
    left = sum(transaction.execute(kind.drop, everything).changes for kind in _KINDS)
    drop_model(transaction, model)
    remove_space(transaction, model)
    return left
