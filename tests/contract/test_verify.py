"""Verification: equal where the rows are, and the key of the one row that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from datastore import Datastore, RowKey, Text, Vector
from datastore.cli import main
from datastore.errors import TransferError
from datastore.transfer import Difference, copy, verify
from tests.moving import MakeURL, both

FilledURL = Callable[[str], str]

ROWS = 100_000
TABLE = sa.MetaData()
MANY = sa.Table(
    "many", TABLE, sa.Column("id", RowKey(), primary_key=True), sa.Column("text", Text()),
    sa.Column("vector", Vector(2)),
)  # fmt: skip


@pytest.fixture(scope="module")
def many_rows(
    tmp_path_factory: pytest.TempPathFactory, postgres_databases
) -> Iterator[tuple[Datastore, Datastore]]:
    """Two databases with the same 100,000 rows."""
    path = tmp_path_factory.mktemp("many") / "many.db"
    name = postgres_databases.create()
    vectors = np.random.default_rng(5).random((ROWS, 2), dtype=np.float32) + 1
    with both(f"sqlite:///{path}", postgres_databases.url(name)) as stores:
        hosts = []
        for store in stores:
            store.migrate()  # which brings the type of vectors
            TABLE.create_all(store.engine)
            store = Datastore(store.engine, metadata=TABLE, settings=store.settings)
            rows = ((n, f"text {n}", vectors[n - 1]) for n in range(1, ROWS + 1))
            store.insert_many(MANY, rows, ["id", "text", "vector"])
            hosts.append(store)
        yield hosts[0], hosts[1]
    postgres_databases.drop(name)


def test_one_bit_one_missing_and_one_extra_row_in_100_000_are_found(
    many_rows: tuple[Datastore, Datastore],
) -> None:
    one, other = many_rows
    # One bit: the last of the mantissa of one number, here and there.
    one.execute("UPDATE many SET vector = x'0100803f0000803f' WHERE id = 77000")
    other.execute("UPDATE many SET vector = '[1,1]' WHERE id = 77000")
    other.execute("DELETE FROM many WHERE id = 50000")
    one.execute("DELETE FROM many WHERE id = 60000")
    report = verify(one, other)
    assert report.differences == (
        Difference("many", missing=("id=50000",), extra=("id=60000",), changed=("id=77000",)),
    )
    one.execute("DELETE FROM many WHERE id IN (77000, 50000)")
    other.execute("DELETE FROM many WHERE id IN (77000, 60000)")
    assert verify(one, other).is_same


def test_row_numbers_that_differ_alone_are_differences_too(make_url: MakeURL) -> None:
    table = sa.Table("t", sa.MetaData(), sa.Column("a", Text()), sa.Column("b", Text()))
    with both(make_url("sqlite"), make_url("postgresql")) as (one, other):
        stores = []
        for store in (one, other):
            table.metadata.create_all(store.engine)
            stores.append(Datastore(store.engine, metadata=table.metadata, settings=store.settings))
        # Without a primary key, rows are told apart by all of their values; NULL is no text.
        stores[0].insert_many(
            table, [{"a": "ab", "b": "c"}, {"a": None, "b": ""}, {"a": "x", "b": "x"}]
        )
        stores[1].insert_many(
            table, [{"a": "a", "b": "bc"}, {"a": "", "b": None}, {"a": "x", "b": "x"}]
        )
        (found,) = verify(*stores).differences
        assert (len(found.missing), len(found.extra), found.changed) == (2, 2, ())
        assert found.missing[0].startswith("sha256 ")


def test_rows_that_are_there_twice_are_counted(make_url: MakeURL) -> None:
    table = sa.Table("t", sa.MetaData(), sa.Column("a", Text()))
    with both(make_url("sqlite"), make_url("sqlite")) as (one, other):
        stores = []
        for store in (one, other):
            table.metadata.create_all(store.engine)
            stores.append(Datastore(store.engine, metadata=table.metadata, settings=store.settings))
        stores[0].insert_many(table, [{"a": "x"}, {"a": "x"}, {"a": "y"}])
        stores[1].insert_many(table, [{"a": "x"}, {"a": "y"}, {"a": "y"}])
        (found,) = verify(*stores).differences
        assert (len(found.missing), len(found.extra)) == (1, 1)


def test_a_table_on_one_side_alone_is_named(filled_url: FilledURL, make_url: MakeURL) -> None:
    with both(filled_url("sqlite"), make_url("sqlite")) as (one, other):
        report = verify(one, other)
        assert not report.is_same
        assert "chunks" in report.missing_tables


def test_a_value_that_is_none_of_its_column_is_named(filled_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    shutil.copyfile(filled_file, path)
    with both(f"sqlite:///{filled_file}", f"sqlite:///{path}") as (one, other):
        other.execute("UPDATE chunks SET start_line = 'abc' WHERE rid = 20")
        with pytest.raises(
            TransferError, match=r"table chunks, column start_line \(rid=20\): expected an integer"
        ):
            verify(one, other)


def test_an_index_that_does_not_work_is_noted(
    filled_file: Path, tmp_path: Path, make_url: MakeURL
) -> None:
    path = tmp_path / "broken.db"
    shutil.copyfile(filled_file, path)
    with both(f"sqlite:///{path}", make_url("sqlite")) as (one, other):
        one.execute("DROP TABLE chunk_text")
        report = copy(one, other)
        assert report.is_complete
        assert [note for note in report.notes if "search index chunk_text does not work" in note]
        assert len(other.full_text_search("chunks", "content", "river", limit=50)) > 0


def test_the_command_says_what_differs_and_ends_with_1(
    make_url: MakeURL, filled_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.db"
    shutil.copyfile(filled_file, path)
    there = make_url("postgresql")
    with both(f"sqlite:///{path}", there) as (source, target):
        copy(source, target)
    assert main(["verify", f"sqlite:///{path}", there]) == 0
    assert "both hold the same rows" in capsys.readouterr().out
    with Datastore.open(f"sqlite:///{path}") as store:
        store.execute("UPDATE chunks SET content = 'river' WHERE rid = 20")
        store.execute("DELETE FROM kg_mentions WHERE entity_id = 'e1'")
    assert main(["verify", f"sqlite:///{path}", there]) == 1
    said = capsys.readouterr().out
    assert "table chunks, different: rid=20" in said
    assert "table kg_mentions, in the second alone: namespace='default', entity_id='e1'" in said
    assert main(["verify", f"sqlite:///{path}", there, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["same"] is False
    assert {each["table"] for each in document["differences"]} == {"chunks", "kg_mentions"}
