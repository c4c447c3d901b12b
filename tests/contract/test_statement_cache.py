"""Constructs in SQLAlchemy's statement cache: one SQL text for all values, one per construct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from host_tables import Notes
from sqlalchemy import event

from datastore import Datastore, FullTextIndex, VectorIndex, each, hybrid, matching, nearest, upsert
from datastore.definitions import Metric
from datastore.sql import distance, excluded

NOTES = Notes()
TABLE = NOTES.table
OTHER_VECTORS = VectorIndex("other_vectors", TABLE.c.embedding, metric="l2")
OTHER_WORDS = FullTextIndex("other_words", TABLE.c.body)
SUBSTRINGS = FullTextIndex("note_substrings", TABLE.c.body, tokenizer="trigram")


def ranked(hits: Any) -> sa.Select[Any]:
    return sa.select(TABLE.c.id).join(hits, hits.c.rid == TABLE.c.rid).order_by(hits.c.rank)


CONSTRUCTS: dict[str, tuple[Callable[[Any], Any], tuple[Any, Any]]] = {
    "nearest": (
        lambda value: ranked(nearest(NOTES.vectors, value[0], value[1])),
        (([1, 0, 0, 0], 2), ([0, 0, 1, 0], 3)),
    ),
    "nearest with a filter": (
        lambda value: ranked(nearest(NOTES.vectors, [1, 0, 0, 0], filter=TABLE.c.kind == value)),
        ("even", "odd"),
    ),
    "matching": (
        lambda value: ranked(matching(NOTES.words, value[0], value[1])),
        (("apple", 1), ("bolt cloud", 5)),
    ),
    "matching with a filter": (
        lambda value: ranked(matching(NOTES.words, "apple bolt", filter=TABLE.c.kind == value)),
        ("even", "odd"),
    ),
    "matching substrings": (
        lambda value: ranked(matching(SUBSTRINGS, value[0], value[1])),
        (("ppl", 1), ("pp lou", 5)),
    ),
    "matching substrings with a filter": (
        lambda value: ranked(matching(SUBSTRINGS, "ppl lo", filter=TABLE.c.kind == value)),
        ("even", "odd"),
    ),
    "hybrid": (
        lambda value: ranked(hybrid(NOTES.words, NOTES.vectors, text=value[0], vector=value[1])),
        (("apple", [1, 0, 0, 0]), ("cloud", [0, 0, 1, 0])),
    ),
    "hybrid with weights": (
        lambda value: ranked(
            hybrid(NOTES.words, NOTES.vectors, text="cloud", vector=[1, 0, 0, 0], weights=value)
        ),
        ((1.0, 0.0), (0.0, 1.0)),
    ),
    "distance": (
        lambda value: sa.select(TABLE.c.id).order_by(distance(TABLE.c.embedding, sa.literal(value, TABLE.c.embedding.type)), TABLE.c.id),
        ([1, 0, 0, 0], [0, 0, 1, 0]),
    ),
    "each": (
        lambda value: sa.select(each(value).c.value).order_by(sa.text("1")),
        (["a", "b"], ["c"]),
    ),
}  # fmt: skip


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store over a table with two indexes of each kind, and four rows."""
    store = NOTES.over(empty_store)
    rows = [
        {"title": "apple", "body": "cloud", "embedding": [1, 0, 0, 0], "kind": "even"},
        {"title": "bolt", "body": "apple apple", "embedding": [3, 4, 0, 0], "kind": "odd"},
        {"title": "bolt", "body": "drum", "embedding": [0, 0, 9, 1], "kind": "even"},
        {"title": "cloud", "body": "apple", "embedding": [0, 0, 0.1, 0.1], "kind": "odd"},
    ]
    NOTES.fill(store, rows)
    return store


def fresh(store: Datastore, statement: Any) -> Any:
    """The answer of a statement that no cache knows."""
    with store.engine.connect().execution_options(compiled_cache=None) as connection:
        return connection.execute(statement).all()


class Compilations:
    """Counts the statements that were compiled rather than found in the cache."""

    def __init__(self, engine: sa.Engine) -> None:
        self.misses = 0
        event.listen(engine, "after_cursor_execute", self.count)

    def count(self, _c: Any, _cu: Any, _s: str, _p: Any, context: Any, _m: bool) -> None:
        if context.compiled is not None and context.cache_hit.name != "CACHE_HIT":
            self.misses += 1


@pytest.mark.parametrize("name", CONSTRUCTS)
class TestOneText:
    def test_other_values_give_their_own_answers(self, store: Datastore, name: str) -> None:
        build, (first, second) = CONSTRUCTS[name]
        answers = [[tuple(r.values()) for r in store.query(build(v))] for v in (first, second)]
        expected = [[tuple(r) for r in fresh(store, build(v))] for v in (first, second)]
        assert answers == expected
        assert answers[0] != answers[1]

    def test_the_second_call_finds_the_first_ones_text(self, store: Datastore, name: str) -> None:
        build, (first, second) = CONSTRUCTS[name]
        store.query(build(first))
        compilations = Compilations(store.engine)
        store.query(build(second))
        store.query(build(first))
        assert compilations.misses == 0


class TestAnotherText:
    def measured(self, hits: Any) -> sa.Select[Any]:
        return sa.select(hits.c.rid, *list(hits.c)[2:]).order_by(hits.c.rank)

    def test_metrics_do_not_share_one(self, store: Datastore) -> None:
        metrics: tuple[Metric, ...] = ("cosine", "l2", "inner_product")
        for statement in (
            lambda m: self.measured(nearest(NOTES.vectors, [3, 4, 1, 1], metric=m)),
            lambda m: sa.select(
                distance(TABLE.c.embedding, sa.literal([3, 4, 1, 1], TABLE.c.embedding.type), m)
            ),
        ):
            answers = [[tuple(r.values()) for r in store.query(statement(m))] for m in metrics]
            assert answers == [[tuple(r) for r in fresh(store, statement(m))] for m in metrics]
            assert len({str(answer) for answer in answers}) == 3

    def test_indexes_do_not_share_one(self, store: Datastore) -> None:
        for one, other in (
            (nearest(NOTES.vectors, [3, 4, 1, 1]), nearest(OTHER_VECTORS, [3, 4, 1, 1])),
            (matching(NOTES.words, "apple"), matching(OTHER_WORDS, "apple")),
            (matching(OTHER_WORDS, "apple"), matching(SUBSTRINGS, "apple")),
        ):
            statements = [self.measured(hits) for hits in (one, other)]
            answers = [[tuple(r.values()) for r in store.query(s)] for s in statements]
            assert answers[0] != answers[1]
            assert answers == [[tuple(r) for r in fresh(store, s)] for s in statements]

    def test_upserts_do_not_share_one(self, store: Datastore) -> None:
        key, body, title = [TABLE.c.id], TABLE.c.body, TABLE.c.title
        row = {"rid": 50, "id": "n1", "title": "new", "body": "new"}
        store.execute(upsert(TABLE, key=key), row)
        assert read(store) == ("apple", "cloud")
        store.execute(upsert(TABLE, key=key, update=[body]), row)
        assert read(store) == ("apple", "new")
        store.execute(upsert(TABLE, key=key, update=[title]), row)
        assert read(store) == ("new", "new")
        store.execute(upsert(TABLE, key=key, update={body: body + excluded(TABLE).body}), row)
        assert read(store) == ("new", "newnew")

    def test_values_of_an_upsert_are_its_own(self, store: Datastore) -> None:
        row = {"rid": 50, "id": "n1"}
        compilations = None
        for value in ("x", "y"):
            statement = upsert(TABLE, key=[TABLE.c.id], update={TABLE.c.body: value})
            store.execute(statement, row)
            assert read(store)[1] == value
            compilations = compilations or Compilations(store.engine)
        assert compilations is not None
        assert compilations.misses == 0


def read(store: Datastore) -> tuple[str, str]:
    (row,) = store.query(sa.select(TABLE.c.title, TABLE.c.body).where(TABLE.c.id == "n1"))
    return row["title"], row["body"]
