"""`insert_many`: what Core would insert, faster, in bounded memory, all or none."""

from __future__ import annotations

import traceback
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from datastore import (
    Datastore,
    FullTextIndex,
    JSONDocument,
    RowKey,
    Text,
    TextArray,
    UTCDateTime,
    Vector,
    VectorIndex,
)
from datastore.errors import (
    CheckViolation,
    DatabaseError,
    DatastoreError,
    DimensionError,
    ForeignKeyViolation,
    InvalidValueError,
    NotNullViolation,
    UniqueViolation,
    UnknownNameError,
)

CANARY = "canary-7b1c9f"
#: More rows than any engine sends at once.
MANY = 9000

metadata = sa.MetaData()
everything = sa.Table(
    "Every%thing (of 'a' \"host\")",
    metadata,
    sa.Column("rid", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("te%xt", Text()),
    sa.Column("Integer", sa.Integer),
    sa.Column("order", sa.BigInteger, key="big"),
    sa.Column("float", sa.Double),
    sa.Column("boolean", sa.Boolean),
    sa.Column("bytes", sa.LargeBinary),
    sa.Column("instant", UTCDateTime()),
    sa.Column("texts", TextArray()),
    sa.Column("json", JSONDocument()),
    sa.Column("vector", Vector(3)),
    sa.Column("varying", sa.String(20)),
    sa.Column("day", sa.Date),
    sa.Column("naive", sa.DateTime),
    sa.Column("number", sa.Numeric(12, 2)),
    sa.Column("uuid", sa.Uuid),
    sa.Column("enum", sa.Enum("one", "two", name="one_or_two")),
    sa.Column("plain_json", sa.JSON),
    sa.Column("length", sa.Integer, sa.Computed('"Integer" / 2')),
)
VectorIndex("everything_vectors", everything.c.vector)
parents = sa.Table(
    "parents",
    metadata,
    sa.Column("id", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("name", Text(), nullable=False, unique=True),
    sa.Column("body", Text()),
    sa.Column("amount", sa.Integer, sa.CheckConstraint("amount >= 0", name="positive")),
    sa.Column("parent", sa.ForeignKey("parents.id")),
    sa.Column("kind", Text(), nullable=False, server_default="thing"),
)
FullTextIndex("parents_words", parents.c.body)
defaults = sa.Table(
    "defaults",
    metadata,
    sa.Column("id", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("name", Text()),
    sa.Column("scalar", sa.Integer, default=5),
    sa.Column("called", Text(), default=lambda context: context.get_current_parameters()["name"]),
    sa.Column("computed", sa.Integer, default=sa.select(sa.literal(6)).scalar_subquery()),
    sa.Column("server", sa.Integer, server_default="7"),
)


class Doubled(sa.TypeDecorator[str]):
    """A type of a host's that works in SQL."""

    impl = Text
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return bindparam.concat(bindparam)


doubled = sa.Table("doubled", metadata, sa.Column("word", Doubled()))


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store over the tables above."""
    with empty_store.engine.begin() as connection:
        metadata.create_all(connection)
    return Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)


def names(store: Datastore) -> list[str]:
    return [row["name"] for row in store.query("SELECT name FROM parents ORDER BY id")]


def numbered(count: int) -> Iterator[dict[str, Any]]:
    return ({"name": f"n{number}", "amount": number} for number in range(count))


def number_of(store: Datastore, table: sa.Table = parents) -> int:
    (row,) = store.query(sa.select(sa.func.count().label("n")).select_from(table))
    return int(row["n"])


class TestRows:
    @pytest.mark.parametrize("count", [0, 1, 9, 10, 499, 500, 501, 4001, MANY])
    def test_every_row_is_there_in_its_order(self, store: Datastore, count: int) -> None:
        assert store.insert_many(parents, numbered(count)) == count
        assert names(store) == [f"n{number}" for number in range(count)]

    def test_rows_are_mappings_or_sequences_in_the_order_of_columns(self, store: Datastore) -> None:
        store.insert_many("parents", [{"name": "a", "amount": 1}, {"amount": 2, "name": "b"}])
        store.insert_many(parents, [(3, "c"), [4, "d"]], columns=["amount", "name"])
        store.insert_many(parents, store.query("SELECT 'e' AS name, 5 AS amount"))
        found = store.query("SELECT name, amount FROM parents ORDER BY id")
        assert [tuple(row.values()) for row in found] == list(
            zip("abcde", range(1, 6), strict=True)
        )

    @pytest.mark.parametrize("many", [False, True])
    def test_what_is_left_out_takes_its_default(self, store: Datastore, many: bool) -> None:
        rows = [{"name": "first"}, {"name": "second"}] * (500 if many else 1)
        assert store.insert_many(defaults, rows) == len(rows)
        found = store.query(sa.select(defaults).order_by(defaults.c.id))
        assert [dict(row) for row in found] == [
            {"id": number, **row, "scalar": 5, "called": row["name"], "computed": 6, "server": 7}
            for number, row in enumerate(rows, 1)
        ]

    def test_generated_keys_and_server_defaults_are_filled_in(self, store: Datastore) -> None:
        store.insert_many(parents, numbered(600))
        found = store.query(sa.select(parents.c.id, parents.c.kind).order_by(parents.c.id))
        assert [tuple(row.values()) for row in found] == [(n, "thing") for n in range(1, 601)]

    def test_search_indexes_are_up_to_date(self, store: Datastore) -> None:
        rows = ({"name": f"n{n}", "body": f"common word{n}"} for n in range(700))
        store.insert_many(parents, rows)
        (hit,) = store.full_text_search(parents, "body", "word650")
        assert hit.row["name"] == "n650"

    def test_a_type_that_works_in_sql_is_given_its_way(self, store: Datastore) -> None:
        store.insert_many(doubled, [{"word": f"{n} "} for n in range(100)])
        found = store.query(sa.select(sa.type_coerce(doubled.c.word, Text()).label("word")))
        assert {row["word"] for row in found} == {f"{n} {n} " for n in range(100)}

    def test_one_may_refer_to_one_before_it(self, store: Datastore) -> None:
        rows = ({"id": n, "name": str(n), "parent": n - 1 or None} for n in range(1, MANY))
        assert store.insert_many(parents, rows) == MANY - 1

    def test_they_may_be_read_by_the_transaction_that_inserts_them(self, store: Datastore) -> None:
        def rows(transaction: Any) -> Iterator[Mapping[str, Any]]:
            for number in range(MANY):
                if number % 1500 == 0:
                    transaction.query("SELECT count(*) FROM parents")
                yield {"name": str(number)}

        with store.transaction() as transaction:
            assert transaction.insert_many(parents, rows(transaction)) == MANY
        assert number_of(store) == MANY

    def test_a_row_that_a_trigger_leaves_out_is_neither_counted_nor_tried_again(
        self, store: Datastore
    ) -> None:
        for statement in SKIPPING_TRIGGER[store.dialect]:
            store.execute(statement)
        assert store.insert_many(parents, numbered(600)) == 599
        assert "n300" not in names(store)

    def test_a_name_may_be_in_another_schema(self, store: Datastore) -> None:
        if store.dialect == "postgresql":
            store.execute('CREATE SCHEMA "Oth%er"')
            schema = "Oth%er"
        else:
            schema = "main"
        table = sa.Table("Some%where", sa.MetaData(), sa.Column("Ke%y", sa.Integer), schema=schema)
        table.create(store.engine)
        assert store.insert_many(table, ({"Ke%y": n} for n in range(100))) == 100
        assert number_of(store, table) == 100


SKIPPING_TRIGGER = {
    "sqlite": [
        "CREATE TRIGGER skip BEFORE INSERT ON parents WHEN new.name = 'n300' "
        "BEGIN SELECT RAISE(IGNORE); END"
    ],
    "postgresql": [
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN IF new.name = 'n300' THEN RETURN NULL; END IF; RETURN new; END$$",
        "CREATE TRIGGER skip BEFORE INSERT ON parents FOR EACH ROW EXECUTE FUNCTION skip()",
    ],
}


class TestValues:
    """What comes back is what comes back of Core's own insert."""

    def assert_same(self, store: Datastore, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = list(everything.c)[1:]
        found = []
        for insert in (
            lambda: store.insert_many(everything, rows),
            lambda: store.execute(sa.insert(everything), list(rows)),
        ):
            store.execute(sa.delete(everything))
            try:
                insert()
            except DatastoreError as error:
                found.append(type(error).__name__)
            else:
                selected = store.query(sa.select(*columns).order_by(everything.c.rid))
                found.append(repr([dict(row) for row in selected]))
        assert found[0] == found[1]

    def test_of_any_kind(self, store: Datastore) -> None:
        text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "te%xt": text,
            "Integer": st.integers(-(2**31), 2**31 - 1),
            "big": st.integers(-(2**63), 2**63 - 1),
            "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5),
            "boolean": st.booleans(),
            "bytes": st.binary(),
            "instant": st.datetimes(
                datetime(2, 1, 1),
                datetime(9998, 1, 1),
                timezones=st.timezones(),
            ),
            "texts": st.lists(text),
            "json": st.dictionaries(text, st.integers(0, 9) | st.lists(text) | st.none()),
            "vector": st.lists(st.floats(1, 2.0**60, width=32), min_size=3, max_size=3),
            "varying": text.filter(lambda value: len(value) <= 20),
            "day": st.dates(),
            "naive": st.datetimes(),
            "number": st.decimals(-(10**9), 10**9, places=2, allow_nan=False),
            "uuid": st.uuids(),
            "enum": st.sampled_from(["one", "two"]),
            "plain_json": st.none() | st.lists(st.integers(0, 9)),
        }
        row = st.fixed_dictionaries({name: st.none() | kind for name, kind in kinds.items()})

        @given(st.lists(row, min_size=1, max_size=5), st.sampled_from([None, *kinds]))
        def check(rows: list[dict[str, Any]], left_out: str | None) -> None:
            # Often enough for the fast way; the type that always goes the other is left out now
            # and then.
            kept = [{k: v for k, v in row.items() if k not in ("enum", left_out)} for row in rows]
            self.assert_same(store, kept * 30)
            self.assert_same(store, rows * 30)

        check()

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("te%xt", "a\x00b"), ("te%xt", "\ud800"), ("te%xt", 5), ("te%xt", b"x"),
            ("varying", "\ud800"), ("varying", "x" * 20),
            ("Integer", True), ("Integer", "x"), ("Integer", 2**31 - 1), ("Integer", [1]),
            ("big", 2**63), ("big", -(2**63) - 1), ("big", -(2**63)), ("big", 2**200),
            ("float", 2**70), ("float", -0.0), ("float", 5e-324), ("float", "x"),
            ("boolean", 1), ("boolean", "yes"),
            ("bytes", bytearray(b"xy")), ("bytes", b""),
            ("instant", datetime(2026, 1, 1)), ("instant", "2026"),
            ("instant", datetime.min.replace(tzinfo=UTC)),
            ("instant", datetime.max.replace(tzinfo=UTC)),
            ("texts", "abc"), ("texts", ["a", 1]), ("texts", ["\x00"]), ("texts", ("a", "b")),
            ("texts", []), ("texts", ["", "{}", "NULL", '"']),
            ("json", {"a": float("nan")}), ("json", {1: 2}), ("json", {"a": 2**63}),
            ("json", {"a": "\x00"}), ("json", {"\ud800": 1}), ("json", object()), ("json", []),
            ("json", 0), ("json", "text"), ("json", False),
            ("vector", [1, 2]), ("vector", [0, 0, 0]), ("vector", [1, float("nan"), 2]),
            ("vector", [1, float("inf"), 2]), ("vector", [3e38, 3e38, 3e38]), ("vector", "abc"),
            ("vector", np.ones((1, 3))), ("vector", np.array([1, 2, 3], dtype=">f8")),
            ("vector", np.arange(1, 7, dtype="f4")[::2]), ("vector", ["a", "b", "c"]),
            ("uuid", UUID(int=5)), ("number", Decimal("1.005")),
            ("plain_json", object()), ("plain_json", None),
        ],
    )  # fmt: skip
    @pytest.mark.filterwarnings("ignore:Dialect sqlite.*does .not. support Decimal")
    def test_of_an_awkward_kind_among_ordinary_ones(
        self, store: Datastore, column: str, value: Any
    ) -> None:
        for ordinary in (None, ORDINARY[column]):
            self.assert_same(
                store, [{column: value if number == 270 else ordinary} for number in range(300)]
            )

    @pytest.mark.parametrize(
        ("column", "value", "error"),
        [
            ("te%xt", f"{CANARY}\x00", InvalidValueError),
            ("te%xt", f"{CANARY}\ud800", InvalidValueError),
            ("big", 2**63, InvalidValueError),
            ("vector", [1.0, float("nan"), 3.0], InvalidValueError),
            ("vector", [1.0], DimensionError),
            ("json", {CANARY: "\x00"}, InvalidValueError),
            ("instant", CANARY, InvalidValueError),
            ("varying", CANARY * 10, DatastoreError),
        ],
    )
    def test_what_is_refused_is_not_told(
        self, store: Datastore, column: str, value: Any, error: type[DatastoreError]
    ) -> None:
        if column == "varying" and store.dialect == "sqlite":
            return  # lengths are not looked at
        rows = ({column: value if number == 4700 else None} for number in range(5000))
        with pytest.raises(error) as caught:
            store.insert_many(everything, rows)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert number_of(store, everything) == 0


ORDINARY: dict[str, Any] = {
    "te%xt": "é", "Integer": 1, "big": 1, "float": 0.5, "boolean": True, "bytes": b"x",
    "instant": datetime(2026, 1, 1, tzinfo=UTC), "texts": ["a"], "json": {"a": 1},
    "vector": [1, 2, 3], "varying": "v", "number": None, "uuid": UUID(int=1), "plain_json": {},
}  # fmt: skip


class TestFailures:
    @pytest.mark.parametrize(
        ("bad", "error"),
        [
            ({"name": "n3", "amount": 1}, UniqueViolation),
            ({"name": None, "amount": 1}, NotNullViolation),
            ({"name": CANARY, "amount": -1}, CheckViolation),
            ({"name": CANARY, "parent": 10**9}, ForeignKeyViolation),
        ],
    )
    @pytest.mark.parametrize("at", [700, 8700])
    def test_one_bad_row_leaves_nothing(
        self, store: Datastore, bad: dict[str, Any], error: type[DatastoreError], at: int
    ) -> None:
        good = dict.fromkeys(bad)
        rows = (
            bad if number == at else {**good, "name": f"n{number}"} for number in range(at + 300)
        )
        with pytest.raises(error) as caught:
            store.insert_many(parents, rows)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert number_of(store) == 0

    def test_rows_that_cannot_all_be_read_leave_nothing(self, store: Datastore) -> None:
        def rows() -> Iterator[Mapping[str, Any]]:
            number = 0
            while True:
                yield {"name": str(number)}
                number += 1
                if number == MANY:
                    raise LookupError("the source has dried up")

        with pytest.raises(LookupError, match="dried up"):
            store.insert_many(parents, rows())
        assert number_of(store) == 0

    @pytest.mark.parametrize(
        "rows",
        [
            [{"name": "a"}, {"name": "b", "amount": 1}],
            [{"name": "a", "amount": 1}, {"name": "b"}],
            [{"name": "a"}, {"amount": 1}],
            [{}],
            [("a",)],
            ["a"],
            {"name": "a"},
            5,
        ],
    )
    def test_rows_of_another_shape_are_refused(self, store: Datastore, rows: Any) -> None:
        with pytest.raises(InvalidValueError):
            store.insert_many(parents, rows)
        assert number_of(store) == 0

    @pytest.mark.parametrize("rows", [[("a", 1), ("b",)], ["ab"], [{"name": 1, "amount": 2}], [5]])
    def test_so_are_those_that_do_not_fit_the_columns(self, store: Datastore, rows: Any) -> None:
        with pytest.raises(InvalidValueError):
            store.insert_many(parents, rows, columns=["name", "amount"])
        assert number_of(store) == 0

    def test_columns_are_known_and_named_once(self, store: Datastore) -> None:
        with pytest.raises(UnknownNameError, match="absent"):
            store.insert_many(parents, [{"absent": 1}])
        with pytest.raises(UnknownNameError, match="absent"):
            store.insert_many("absent", [{"name": "a"}])
        with pytest.raises(InvalidValueError):
            store.insert_many(parents, [(1, 2)], columns=["name", "name"])

    def test_a_table_that_is_not_there_is_an_unknown_name(self, store: Datastore) -> None:
        table = sa.Table("nowhere", sa.MetaData(), sa.Column("a", sa.Integer))
        for count in (1, 100):
            with pytest.raises(UnknownNameError, match="nowhere"):
                store.insert_many(table, [{"a": 1}] * count)

    def test_a_value_for_a_computed_column_is_refused(self, store: Datastore) -> None:
        with pytest.raises(DatabaseError):
            store.insert_many(everything, [{"length": 1}] * 100)


class TestTransactions:
    def test_it_is_part_of_the_transaction(self, store: Datastore) -> None:
        with pytest.raises(LookupError), store.transaction() as transaction:
            transaction.execute("INSERT INTO parents (name) VALUES ('before')")
            assert transaction.insert_many(parents, numbered(5000)) == 5000
            assert number_of(transaction) == 5001  # type: ignore[arg-type]
            raise LookupError
        assert number_of(store) == 0

    def test_a_savepoint_takes_it_back_alone(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            transaction.insert_many(parents, [{"name": "kept"}])
            with pytest.raises(UniqueViolation), transaction.transaction() as savepoint:
                savepoint.insert_many(parents, [*numbered(600), {"name": "kept", "amount": 1}])
            transaction.insert_many(parents, [{"name": "after"}])
        assert names(store) == ["kept", "after"]

    @pytest.mark.parametrize(
        ("bad", "error"), [("n3", UniqueViolation), ("a\x00", InvalidValueError)]
    )
    @pytest.mark.parametrize("at", [10, 900])
    def test_after_it_has_failed_nothing_more_runs(
        self, store: Datastore, bad: str, error: type[DatastoreError], at: int
    ) -> None:
        rows = [*numbered(at), {"name": bad, "amount": 0}]
        with pytest.raises(DatabaseError, match="rolled back"), store.transaction() as transaction:
            with pytest.raises(error):
                transaction.insert_many(parents, rows)
            with pytest.raises(DatabaseError, match="roll it back"):
                transaction.query("SELECT 1")
        assert number_of(store) == 0

    def test_one_that_is_over_takes_no_rows(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            with transaction.transaction() as savepoint:
                pass
            with pytest.raises(DatabaseError):
                savepoint.insert_many(parents, [{"name": "late"}])
            transaction.insert_many(parents, [{"name": "kept"}])
        assert names(store) == ["kept"]


def test_memory_does_not_grow_with_the_number_of_rows(store: Datastore) -> None:
    def peak(count: int) -> int:
        rows = ({"name": f"{count}-{n}", "body": f"{n} " * 100} for n in range(count))
        tracemalloc.start()
        try:
            store.insert_many(parents, rows)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is made once
    assert peak(2 * MANY) < 1.5 * peak(MANY)
