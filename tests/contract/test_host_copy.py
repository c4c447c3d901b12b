"""Copies of tables that a host declares: every type, every kind of key, and values at their limits."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from datastore import Datastore, RowKey, Text
from datastore.errors import ForeignKeyViolation, TransferError
from datastore.transfer import IncompleteLoadError, LoadOptions, copy, verify
from tests.moving import DIRECTIONS, MakeURL, both

directions = pytest.mark.parametrize(
    ("origin", "destination"), DIRECTIONS, ids=["-".join(each) for each in DIRECTIONS]
)
targets = pytest.mark.parametrize("destination", ["postgresql", "sqlite"])


class Colour(enum.Enum):
    red = "RED"
    # The name of one is the value of the other, which plain text would be taken for.
    RED = "red"


class Shade(str, enum.Enum):  # noqa: UP042 - as older hosts have it
    DARK = "LIGHT"
    LIGHT = "DARK"


class Lowered(sa.types.TypeDecorator[str]):
    """Makes one of what is stored as several."""

    impl = sa.String(20)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.lower()


class GUID(sa.types.TypeDecorator[uuid.UUID]):
    """Stores what each engine knows best, as SQLAlchemy's documentation has it."""

    impl = sa.CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        native = dialect.name == "postgresql"
        return dialect.type_descriptor(postgresql.UUID() if native else sa.CHAR(32))

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        value = value if isinstance(value, uuid.UUID) else uuid.UUID(value)
        return str(value) if dialect.name == "postgresql" else f"{value.int:032x}"

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(value)


metadata = sa.MetaData()
everything = sa.Table(
    "everything", metadata,
    sa.Column("id", sa.Integer(), primary_key=True),
    sa.Column("colour", sa.Enum(Colour)),
    sa.Column("shade", sa.Enum(Shade)),
    sa.Column("plain", sa.Enum("a", "b", native_enum=False)),
    sa.Column("money", sa.Numeric(12, 2)),
    sa.Column("number", sa.Numeric(12, 2, asdecimal=False)),
    sa.Column("float", sa.Float()),
    sa.Column("double", sa.Double()),
    sa.Column("big", sa.BigInteger()),
    sa.Column("flag", sa.Boolean()),
    sa.Column("day", sa.Date()),
    sa.Column("moment", sa.DateTime()),
    sa.Column("instant", sa.DateTime(timezone=True)),
    sa.Column("clock", sa.Time()),
    sa.Column("span", sa.Interval()),
    sa.Column("uuid", sa.Uuid()),
    sa.Column("uuid_text", sa.Uuid(as_uuid=False)),
    sa.Column("guid", GUID()),
    sa.Column("blob", sa.LargeBinary()),
    sa.Column("pickled", sa.PickleType()),
    sa.Column("document", sa.JSON()),
    sa.Column("lowered", Lowered()),
    sa.Column("name", sa.String(30)),
    sa.Column("doubled", sa.Integer(), sa.Computed("id * 2")),
)  # fmt: skip

ROWS: list[dict[str, Any]] = [
    {column.name: None for column in everything.c if column.name not in ("id", "doubled")} | {"id": 1},
    {
        "id": 2, "colour": Colour.red, "shade": Shade.DARK, "plain": "a", "money": Decimal("0.10"),
        "number": 0.25, "float": 0.1, "double": 5e-324, "big": 2**63 - 1, "flag": True, "day": date(1, 1, 1),
        "moment": datetime(1, 1, 1), "instant": datetime(1, 1, 1, tzinfo=UTC), "clock": time(0, 0),
        "span": timedelta(days=-1, microseconds=1), "uuid": uuid.UUID(int=0), "uuid_text": str(uuid.UUID(int=5)),
        "guid": uuid.UUID(int=2**127 + 1), "blob": b"", "pickled": {"a": 1}, "document": {"b": [1, 2.5]},
        "lowered": "ABC", "name": "",
    },
    {
        "id": 3, "colour": Colour.RED, "shade": Shade.LIGHT, "plain": "b", "money": Decimal("-9999999999.99"),
        "number": -1.5, "float": float("inf"), "double": -1.7976931348623157e308, "big": -(2**63), "flag": False,
        "day": date(9999, 12, 31), "moment": datetime(9999, 12, 31, 23, 59, 59, 999_999),
        "instant": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "clock": time(23, 59, 59, 999_999),
        "span": timedelta(days=40_000, seconds=1), "uuid": uuid.UUID(int=2**128 - 1), "uuid_text": str(uuid.UUID(int=7)),
        "guid": uuid.UUID(int=1), "blob": bytes(range(256)), "pickled": [None], "document": None,
        "lowered": "abc", "name": "x" * 30,
    },
    {"id": 4, "document": [], "double": -0.0, "float": float("-inf")},
    {"id": 5, "document": sa.null(), "double": 1e22, "float": -0.0},
    {"id": 6, "document": "text"}, {"id": 7, "document": 0}, {"id": 8, "document": False},
    {"id": 9, "document": {"$json": 1}},
]  # fmt: skip


def over(store: Datastore, tables: sa.MetaData) -> Datastore:
    return Datastore(store.engine, metadata=tables, settings=store.settings)


@contextmanager
def hosts(source: str, target: str, tables: sa.MetaData) -> Iterator[tuple[Datastore, Datastore]]:
    """Two stores over a host's tables, which are there in the source alone."""
    with both(source, target) as (one, other):
        tables.create_all(one.engine)
        yield over(one, tables), over(other, tables)


def seen(store: Datastore, table: sa.Table) -> list[tuple[Any, ...]]:
    order = list(table.primary_key) or list(table.c)
    rows = store.query(sa.select(table).order_by(*order))
    return [tuple(map(_in_no_zone, row.values())) for row in rows]


def _in_no_zone(value: Any) -> Any:
    # SQLAlchemy's own type for SQLite gives the instant without its zone, which is UTC.
    return value.astimezone(UTC).replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


@directions
def test_every_type_arrives_as_it_was(make_url: MakeURL, origin: str, destination: str) -> None:
    with hosts(make_url(origin), make_url(destination), metadata) as (source, target):
        for row in ROWS:
            source.execute(sa.insert(everything), row)
        report = copy(source, target)
        assert report.is_complete
        assert seen(target, everything) == seen(source, everything)
        # What a host's types hide, and what JSON's null and no document at all have to be told by.
        stored = sa.select(
            everything.c.id,
            sa.type_coerce(everything.c.lowered, sa.String()),
            everything.c.document.is_(sa.null()),
        ).order_by(everything.c.id)
        assert [tuple(r.values()) for r in target.query(stored)] == [
            tuple(r.values()) for r in source.query(stored)
        ]
        assert (
            seen(target, everything)[1][everything.c.doubled.table.c.keys().index("doubled")] == 4
        )
        assert verify(source, target).is_same
        # The form that the host itself looks for.
        found = target.query(
            sa.select(everything.c.id).where(everything.c.guid == uuid.UUID(int=1))
        )
        assert [row["id"] for row in found] == [3]
        assert copy(source, target, LoadOptions(existing="upsert")).is_complete
        assert seen(target, everything) == seen(source, everything)


@directions
def test_steps_go_by_keys_of_every_type(make_url: MakeURL, origin: str, destination: str) -> None:
    tables = sa.MetaData()
    keyed = sa.Table(
        "keyed", tables,
        sa.Column("day", sa.Date(), primary_key=True), sa.Column("moment", sa.DateTime(), primary_key=True),
        sa.Column("guid", GUID(), primary_key=True), sa.Column("uuid", sa.Uuid(), primary_key=True),
        sa.Column("blob", sa.LargeBinary(), primary_key=True), sa.Column("money", sa.Numeric(8, 2), primary_key=True),
        sa.Column("colour", sa.Enum(Colour), primary_key=True), sa.Column("text", sa.String(), primary_key=True),
        sa.Column("flag", sa.Boolean(), primary_key=True), sa.Column("float", sa.Double(), primary_key=True),
        sa.Column("instant", sa.DateTime(timezone=True), primary_key=True),
    )  # fmt: skip
    rows = [
        {
            "day": date(2026, 1, 1 + n // 8), "moment": datetime(2026, 1, 1, n // 4), "guid": uuid.UUID(int=n // 2),
            "uuid": uuid.UUID(int=n), "blob": bytes([0, 255, n]), "money": Decimal(n) / 4,
            "colour": [Colour.red, Colour.RED][n % 2], "text": f"'%s\\ {n}%%", "flag": n % 2 == 0, "float": n / 3,
            "instant": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for n in range(24)
    ]  # fmt: skip
    with hosts(make_url(origin), make_url(destination), tables) as (source, target):
        for row in rows:
            source.execute(sa.insert(keyed), row)

        def stop(progress: Any) -> None:
            if progress.step == "load" and progress.rows == 12:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy(source, target, LoadOptions(resume=True, batch_rows=4, progress=stop))
        # Of SQLite nobody knows who wrote it, and how: such keys are no place to go on from.
        assert len(seen(target, keyed)) == (8 if origin == "postgresql" else 0)
        assert copy(source, target, LoadOptions(resume=True, batch_rows=5)).is_complete
        assert seen(target, keyed) == seen(source, keyed)
        assert copy(source, target, LoadOptions(existing="upsert")).is_complete


@targets
def test_rows_that_refer_to_rows_behind_them_arrive(make_url: MakeURL, destination: str) -> None:
    tables = sa.MetaData()
    nodes = sa.Table(
        "nodes", tables, sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("parent", sa.ForeignKey("nodes.id")),
    )  # fmt: skip
    hens = sa.Table(
        "hens", tables, sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("egg", sa.ForeignKey("eggs.id", use_alter=True, name="hens_egg")),
    )  # fmt: skip
    eggs = sa.Table(
        "eggs", tables, sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("hen", sa.ForeignKey("hens.id")),
    )  # fmt: skip
    with hosts(make_url("sqlite"), make_url(destination), tables) as (source, target):
        source.execute(sa.insert(nodes), [{"id": n, "parent": None} for n in range(1, 10)])
        source.execute("UPDATE nodes SET parent = 10 - id")
        source.execute(sa.insert(hens), [{"id": 1, "egg": None}])
        source.execute(sa.insert(eggs), [{"id": 1, "hen": 1}])
        source.execute("UPDATE hens SET egg = 1")
        assert copy(source, target, LoadOptions(batch_rows=2)).is_complete
        for table in (nodes, hens, eggs):
            assert seen(target, table) == seen(source, table)
        assert copy(source, target, LoadOptions(existing="truncate")).is_complete
        target.execute("UPDATE nodes SET parent = NULL")
        target.execute("DELETE FROM nodes WHERE id > 5")
        assert copy(source, target, LoadOptions(existing="upsert")).is_complete
        assert seen(target, nodes) == seen(source, nodes)
        with pytest.raises(ForeignKeyViolation):
            target.execute(sa.insert(nodes), [{"id": 99, "parent": 98}])


@targets
def test_what_a_column_of_the_target_would_change_is_refused_by_its_name(
    make_url: MakeURL, destination: str
) -> None:
    tables = sa.MetaData()
    limited = sa.Table(
        "limited", tables, sa.Column("id", sa.Integer(), primary_key=True), sa.Column("small", sa.SmallInteger()),
        sa.Column("whole", sa.Integer()), sa.Column("single", sa.REAL()), sa.Column("short", sa.String(3)),
        sa.Column("long", sa.Numeric(30, 10)),
    )  # fmt: skip
    with hosts(make_url("sqlite"), make_url(destination), tables) as (source, target):
        source.execute("INSERT INTO limited (id, small) VALUES (1, 40000)")
        source.execute("INSERT INTO limited (id, whole) VALUES (2, 3000000000)")
        source.execute("INSERT INTO limited (id, single) VALUES (3, 0.1), (4, 0.5)")
        source.execute("INSERT INTO limited (id, short) VALUES (5, 'abcd'), (6, 'äöü')")
        if destination == "sqlite":  # which takes them all, as its own
            assert copy(source, target).is_complete
            assert seen(target, limited) == seen(source, limited)
            return
        for verifying in ("full", "none"):
            with pytest.raises(IncompleteLoadError) as caught:
                copy(source, target, LoadOptions(verify=verifying))  # type: ignore[arg-type]
            assert [(t.column, t.keys, t.reason) for t in caught.value.report.troubles] == [
                ("small", ("id=1",), "expected an integer of 16 bits"),
                ("whole", ("id=2",), "expected an integer of 32 bits"),
                ("single", ("id=3",), "expected a float of single precision"),
                ("short", ("id=5",), "expected text of at most 3 characters"),
            ]


def test_digits_that_sqlite_does_not_hold_are_refused(make_url: MakeURL) -> None:
    tables = sa.MetaData()
    sums = sa.Table(
        "sums",
        tables,
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("sum", sa.Numeric()),
    )
    with hosts(make_url("postgresql"), make_url("sqlite"), tables) as (source, target):
        source.execute(
            "INSERT INTO sums VALUES (1, 12345678901234567.89), (2, 0.1), (3, 123456789012345), (4, 1e-20)"
        )
        with pytest.raises(IncompleteLoadError) as caught:
            copy(source, target, LoadOptions(verify="none"))
        (trouble,) = caught.value.report.troubles
        assert (trouble.column, trouble.keys) == ("sum", ("id=1",))
        source.execute("DELETE FROM sums WHERE id = 1")
        assert copy(source, target).is_complete
        assert [row[0] for row in seen(target, sums)] == [2, 3, 4]


def test_times_that_python_or_sqlite_have_no_value_for_are_named(make_url: MakeURL) -> None:
    tables = sa.MetaData()
    sa.Table(
        "times", tables, sa.Column("id", sa.Integer(), primary_key=True), sa.Column("moment", sa.DateTime()),
        sa.Column("instant", sa.DateTime(timezone=True)), sa.Column("day", sa.Date()), sa.Column("clock", sa.Time()),
        sa.Column("span", sa.Interval()), sa.Column("number", sa.Numeric()), sa.Column("float", sa.Double()),
    )  # fmt: skip
    with hosts(make_url("postgresql"), make_url("sqlite"), tables) as (source, target):
        for column, value in (
            ("moment", "infinity"), ("instant", "-infinity"), ("day", "20000-01-01"), ("clock", "24:00"),
            ("span", "1 month"), ("span", "1000000000 days"), ("number", "NaN"), ("float", "NaN"),
        ):  # fmt: skip
            source.execute(
                f"INSERT INTO times (id, {column}) SELECT count(*) + 1, '{value}' FROM times"
            )
        with pytest.raises(IncompleteLoadError) as caught:
            copy(source, target)
        assert {(t.column, t.keys) for t in caught.value.report.troubles} == {
            ("moment", ("id=1",)), ("instant", ("id=2",)), ("day", ("id=3",)), ("clock", ("id=4",)),
            ("span", ("id=5",)), ("span", ("id=6",)), ("number", ("id=7",)), ("float", ("id=8",)),
        }  # fmt: skip


def test_texts_that_are_no_times_are_named(make_url: MakeURL) -> None:
    tables = sa.MetaData()
    sa.Table(
        "times", tables, sa.Column("id", sa.Integer(), primary_key=True), sa.Column("moment", sa.DateTime()),
        sa.Column("day", sa.Date()), sa.Column("clock", sa.Time()),
    )  # fmt: skip
    wrong = [
        ("moment", "0000-00-00"), ("moment", "2026-02-30 00:00:00"), ("moment", 1767225600), ("moment", 2461041.5),
        ("moment", ""), ("moment", "2026-01-01 00:00:00+02:00"), ("moment", "2026-01-01 00:00:00.1234567"),
        ("day", "2026-01-01 12:00:00"), ("day", "12345-01-01"), ("day", "infinity"), ("clock", "24:00"),
        ("clock", "12:00:00.0000001"),
    ]  # fmt: skip
    right = [
        ("moment", "2026-01-01"),
        ("moment", "2026-01-01T12:30"),
        ("moment", "2026-01-01 00:00:00.120000000"),
    ]
    with hosts(make_url("sqlite"), make_url("sqlite"), tables) as (source, target):
        for number, (column, value) in enumerate([*wrong, *right]):
            source.execute(
                f"INSERT INTO times (id, {column}) VALUES ({number}, :value)", {"value": value}
            )
        with pytest.raises(IncompleteLoadError) as caught:
            copy(source, target)
        found = {key for trouble in caught.value.report.troubles for key in trouble.keys}
        assert found == {f"id={number}" for number in range(len(wrong))}


@targets
def test_tables_without_a_key_and_with_columns_of_another_name_arrive(
    make_url: MakeURL, destination: str
) -> None:
    tables = sa.MetaData()
    logs = sa.Table("logs", tables, sa.Column("line", Text()), sa.Column("n", sa.Integer()))
    named = sa.Table(
        "Named Things", tables, sa.Column("The Id", sa.Integer(), key="ident", primary_key=True),
        sa.Column("100 %", Text(), key="percent"), sa.Column("select", Text(), unique=True),
    )  # fmt: skip
    with hosts(make_url("sqlite"), make_url(destination), tables) as (source, target):
        source.execute(sa.insert(logs), [{"line": "same", "n": 1}] * 3)
        source.execute(sa.insert(named), [{"ident": 1, "percent": "a%sb", "select": "x"}])
        assert copy(source, target).is_complete
        assert seen(target, named) == seen(source, named)
        assert seen(target, logs) == seen(source, logs)
        assert copy(source, target, LoadOptions(existing="truncate")).is_complete
        with pytest.raises(TransferError, match="table logs has no primary key"):
            copy(source, target, LoadOptions(existing="upsert"))


@targets
def test_no_table_of_ours_is_made_for_a_host_that_has_none(
    make_url: MakeURL, destination: str
) -> None:
    tables = sa.MetaData()
    things = sa.Table("things", tables, sa.Column("id", sa.Integer(), primary_key=True))
    with hosts(make_url("sqlite"), make_url(destination), tables) as (source, target):
        source.execute(sa.insert(things), [{"id": 5}])
        source.execute("CREATE TABLE strange (id INTEGER)")
        report = copy(source, target)
        assert set(target.schema().tables) == {"things"}
        assert report.notes == (
            "table strange was left out: no metadata of the settings declares it",
        )
        target.execute(sa.insert(things))
        assert seen(target, things) == [(5,), (6,)]


@pytest.mark.parametrize("numbers", [[-5, -1], [2**63 - 1], [0]])
def test_keys_at_their_limits_do_not_stop_a_copy(make_url: MakeURL, numbers: list[int]) -> None:
    tables = sa.MetaData()
    things = sa.Table("things", tables, sa.Column("id", RowKey(), sa.Identity(), primary_key=True))
    with hosts(make_url("sqlite"), make_url("postgresql"), tables) as (source, target):
        source.execute(sa.insert(things), [{"id": number} for number in numbers])
        assert copy(source, target).is_complete
        assert seen(target, things) == [(number,) for number in numbers]


def test_tables_of_other_schemas_are_copied_too(make_url: MakeURL) -> None:
    tables = sa.MetaData()
    parents = sa.Table(
        "parents", tables, sa.Column("id", sa.Integer(), primary_key=True), schema="other"
    )
    sa.Table("children", tables, sa.Column("id", sa.ForeignKey(parents.c.id), primary_key=True))
    with both(make_url("postgresql"), make_url("postgresql")) as (one, other):
        for store in (one, other):
            store.execute("CREATE SCHEMA other")
        tables.create_all(one.engine)
        source, target = over(one, tables), over(other, tables)
        source.execute("INSERT INTO other.parents VALUES (1)")
        source.execute("INSERT INTO children VALUES (1)")
        report = copy(source, target)
        assert {table.table: table.written for table in report.tables} == {
            "other.parents": 1,
            "children": 1,
        }
        assert verify(source, target).is_same


def test_tables_that_are_parted_keep_their_indexes(make_url: MakeURL) -> None:
    tables = sa.MetaData()
    sa.Table("parted", tables, sa.Column("id", sa.Integer()), sa.Column("text", Text()))
    with both(make_url("sqlite"), make_url("postgresql")) as (one, other):
        tables.create_all(one.engine)
        one.execute("INSERT INTO parted VALUES (1, 'a'), (15, 'b')")
        for statement in (
            "CREATE TABLE parted (id integer, text text) PARTITION BY RANGE (id)",
            "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20)",
            "CREATE INDEX parted_text ON parted (text)",
        ):
            other.execute(statement)
        indexes = (
            "SELECT indexrelid::regclass::text AS name, indisvalid AS ok FROM pg_index ORDER BY 1"
        )
        before = other.query(indexes)
        assert copy(over(one, tables), over(other, tables)).is_complete
        assert other.query(indexes) == before
