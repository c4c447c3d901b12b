"""`upsert()`, `each()` and `one_of()`."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from datastore import Datastore, RowKey, Text, Vector, VectorIndex, each, one_of, upsert
from datastore.errors import InvalidValueError, NotNullViolation
from datastore.sql import excluded

metadata = sa.MetaData()
words = sa.Table(
    "words",
    metadata,
    sa.Column("rid", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("word", Text(), nullable=False, unique=True),
    sa.Column("seen", sa.Integer, nullable=False, server_default="1"),
    sa.Column("note", Text()),
    sa.Column("embedding", Vector(2)),
)
VectorIndex("word_vectors", words.c.embedding)
settings = sa.Table(
    "order",
    metadata,
    sa.Column("group", Text(), primary_key=True),
    sa.Column("Select", Text(), primary_key=True),
    sa.Column("value", Text()),
)


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store over the tables above."""
    with empty_store.engine.begin() as connection:
        metadata.create_all(connection)
    return Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)


def rows(store: Datastore) -> list[tuple[Any, ...]]:
    statement = sa.select(words.c.word, words.c.seen, words.c.note).order_by(words.c.word)
    return [tuple(row.values()) for row in store.query(statement)]


class TestUpsert:
    def test_a_new_row_is_inserted(self, store: Datastore) -> None:
        result = store.execute(upsert(words, key=[words.c.word]), {"word": "a"})
        assert (result.changes, rows(store)) == (1, [("a", 1, None)])

    def test_nothing_to_update_leaves_the_row_as_it_is(self, store: Datastore) -> None:
        store.execute(sa.insert(words), {"word": "a", "note": "old"})
        result = store.execute(upsert(words, key=[words.c.word]), {"word": "a", "note": "new"})
        assert (result.changes, rows(store)) == (0, [("a", 1, "old")])

    def test_listed_columns_take_the_new_value(self, store: Datastore) -> None:
        store.execute(sa.insert(words), {"word": "a", "note": "old", "seen": 5})
        statement = upsert(words, key=[words.c.word], update=[words.c.note])
        store.execute(statement, {"word": "a", "note": "new", "seen": 9})
        assert rows(store) == [("a", 5, "new")]

    def test_expressions_see_the_old_and_the_new_row(self, store: Datastore) -> None:
        new = excluded(words)
        statement = upsert(
            words,
            key=[words.c.word],
            update={
                words.c.seen: words.c.seen + new.seen,
                words.c.note: sa.func.coalesce(new.note, words.c.note, "none"),
            },
        )
        for note in ("x", None):
            store.execute(statement, {"word": "a", "seen": 3, "note": note})
        assert rows(store) == [("a", 6, "x")]

    def test_many_rows_count_mentions(self, store: Datastore) -> None:
        statement = upsert(words, key=[words.c.word], update={words.c.seen: words.c.seen + 1})
        store.execute(statement, [{"word": word} for word in "abracadabra"])
        assert [(word, seen) for word, seen, _ in rows(store)] == [
            ("a", 5), ("b", 2), ("c", 1), ("d", 1), ("r", 2),
        ]  # fmt: skip

    def test_values_take_the_type_of_their_column(self, store: Datastore) -> None:
        statement = upsert(words, key=[words.c.word], update={words.c.embedding: [3, 4]})
        for _ in range(2):
            store.execute(statement, {"word": "a", "embedding": [1, 2]})
        (row,) = store.query(sa.select(words.c.embedding))
        assert row["embedding"].tolist() == [3, 4]
        with pytest.raises(InvalidValueError):
            store.execute(upsert(words, key=[words.c.word], update={words.c.note: "a\x00"}), {"word": "a"})  # fmt: skip

    def test_the_row_keeps_its_key(self, store: Datastore) -> None:
        statement = upsert(words, key=[words.c.word], update=[words.c.note])
        store.execute(statement, {"word": "a"})
        (before,) = store.query(sa.select(words.c.rid))
        store.execute(statement, {"word": "a", "note": "n"})
        assert store.query(sa.select(words.c.rid)) == [before]

    def test_the_primary_key_is_the_key_unless_given(self, store: Datastore) -> None:
        statement = upsert(settings, update=[settings.c.value])
        for value in ("1", "2"):
            store.execute(statement, {"group": "g", "Select": "s", "value": value})
        assert store.query(sa.select(settings)) == [{"group": "g", "Select": "s", "value": "2"}]

    def test_other_constraints_still_hold(self, store: Datastore) -> None:
        with pytest.raises(NotNullViolation):
            store.execute(upsert(words, key=[words.c.word]), {"word": "a", "seen": None})

    def test_it_returns_columns(self, store: Datastore) -> None:
        statement = upsert(words, key=[words.c.word], update=[words.c.note]).returning(
            words.c.word, words.c.note
        )
        for note in ("x", "y"):
            assert store.query(statement, {"word": "a", "note": note}) == [
                {"word": "a", "note": note}
            ]

    def test_rows_may_come_from_a_query(self, store: Datastore) -> None:
        store.execute(sa.insert(words), [{"word": "a", "note": "1"}, {"word": "b", "note": "2"}])
        source = sa.select(words.c.word, words.c.note + "!").where(sa.true())
        statement = upsert(words, key=[words.c.word], update=[words.c.note])
        store.execute(statement.from_select(["word", "note"], source))
        assert rows(store) == [("a", 1, "1!"), ("b", 1, "2!")]


class TestEach:
    @pytest.mark.parametrize(
        "values",
        [[], ["a"], ["b", "a", "b"], ["", "NULL", "{}", '"', "'", "\\", "%", "😀", ",", ":x"]],
    )
    def test_every_value_is_a_row(self, store: Datastore, values: list[str]) -> None:
        found = [row["value"] for row in store.query(sa.select(each(values).c.value))]
        assert sorted(found) == sorted(values)

    def test_it_joins_like_a_table(self, store: Datastore) -> None:
        store.execute(sa.insert(words), [{"word": word} for word in "abc"])
        wanted = each(["c", "a", "x"])
        statement = (
            sa.select(words.c.word).join(wanted, wanted.c.value == words.c.word).order_by("word")
        )
        assert [row["word"] for row in store.query(statement)] == ["a", "c"]

    def test_it_stands_in_a_subquery(self, store: Datastore) -> None:
        store.execute(sa.insert(words), [{"word": word} for word in "abc"])
        inside = words.c.word.in_(sa.select(each(["b", "x"]).c.value))
        assert [row["word"] for row in store.query(sa.select(words.c.word).where(inside))] == ["b"]

    def test_its_length_has_no_limit_of_parameters(self, store: Datastore) -> None:
        count = sa.select(sa.func.count().label("n")).select_from(
            each([str(n) for n in range(70_000)])
        )
        assert store.query(count) == [{"n": 70_000}]

    def test_values_may_be_a_parameter(self, store: Datastore) -> None:
        statement = sa.select(each(sa.bindparam("values")).c.value)
        assert store.query(statement, {"values": ["x"]}) == [{"value": "x"}]

    @pytest.mark.parametrize("values", ["abc", [1], ["a\x00"], {"a"}])
    def test_what_is_no_list_of_texts_is_refused(self, store: Datastore, values: Any) -> None:
        with pytest.raises(InvalidValueError):
            store.query(sa.select(each(values).c.value))


class TestOneOf:
    def words_where(self, store: Datastore, condition: Any) -> list[str]:
        rows = store.query(sa.select(words.c.word).where(condition).order_by(words.c.word))
        return [row["word"] for row in rows]

    @pytest.mark.parametrize(
        ("values", "found"), [([], []), (["c", "a", "x", "a"], ["a", "c"]), (["", "B"], [])]
    )
    def test_it_finds_what_in_finds(
        self, store: Datastore, values: list[str], found: list[str]
    ) -> None:
        store.execute(sa.insert(words), [{"word": word} for word in "abc"])
        query = sa.select(each(values).c.value)
        assert self.words_where(store, one_of(words.c.word, query)) == found
        assert self.words_where(store, words.c.word.in_(query)) == found
        others = [word for word in "abc" if word not in found]
        assert self.words_where(store, ~one_of(words.c.word, query)) == others

    def test_a_query_of_several_parts_beside_other_conditions(self, store: Datastore) -> None:
        store.execute(sa.insert(words), [{"word": word} for word in "abc"])
        query = sa.union_all(sa.select(each(["a"]).c.value), sa.select(each(["b"]).c.value))
        either = one_of(words.c.word, query)
        assert self.words_where(store, either & (words.c.word != "b")) == ["a"]
        assert self.words_where(store, either | (words.c.word == "c")) == ["a", "b", "c"]

    def test_null_is_one_of_nothing(self, store: Datastore) -> None:
        store.execute(sa.insert(words), [{"word": "a", "note": None}, {"word": "b", "note": "n"}])
        notes = sa.select(words.alias("others").c.note)
        assert self.words_where(store, one_of(words.c.note, notes)) == ["b"]
        assert self.words_where(store, ~one_of(words.c.note, notes)) == []
