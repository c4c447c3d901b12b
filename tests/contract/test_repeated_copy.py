"""Copies into a target that holds rows: refused, upserted, or emptied first; the same when repeated."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from datastore import Datastore, Text, migrate
from datastore.errors import TransferError
from datastore.transfer import IncompleteLoadError, LoadOptions, LoadReport, copy, verify
from repositories import Chunk, ChunkRepository, Entity, GraphRepository
from tests.moving import DIRECTIONS, MakeURL, both, contents

FilledURL = Callable[[str], str]
directions = pytest.mark.parametrize(
    ("origin", "destination"), DIRECTIONS, ids=["-".join(each) for each in DIRECTIONS]
)
targets = pytest.mark.parametrize("destination", ["postgresql", "sqlite"])


def copied(source: Datastore, target: Datastore, **options: Any) -> LoadReport:
    return copy(source, target, LoadOptions(**options))


@targets
def test_a_target_that_holds_rows_is_refused(
    filled_url: FilledURL, make_url: MakeURL, destination: str
) -> None:
    with both(filled_url("sqlite"), make_url(destination)) as (source, target):
        target.migrate()
        ChunkRepository(target).add(Chunk("own", "own.md", 1, 1, "own"))
        before = contents(target)
        with pytest.raises(TransferError, match=r"holds rows already, in chunks: .*upsert"):
            copied(source, target)
        assert contents(target) == before


@directions
def test_an_upsert_leads_embeddings_and_mentions_to_the_rows_of_the_target(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        target.migrate()
        # Its own rows have the numbers of others in the source, and one is the source's by its id.
        own = ChunkRepository(target)
        own.add_many(Chunk(f"own{n}", "own.md", n, n, "own", [1, 1, 1, n]) for n in range(1, 20))
        own.add(Chunk("c30", "old.md", 1, 1, "old", [4, 3, 2, 1]))
        GraphRepository(target).add_entities(
            [Entity("own", "own", "thing"), Entity("e3", "old", "old")]
        )
        kept = contents(target)
        report = copied(source, target, existing="upsert")
        assert report.is_complete
        wanted = contents(source)
        after = contents(target)
        for table, rows in after.items():
            own_rows = [row for row in kept[table] if str(row[1]).startswith("own")]
            assert sorted(map(str, rows)) == sorted(map(str, [*own_rows, *wanted[table]]))
        assert copied(source, target, existing="upsert").is_complete
        assert contents(target) == after


@directions
def test_a_copy_that_is_repeated_changes_nothing(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        for options in ({}, {"existing": "upsert"}, {"existing": "truncate"}):
            assert copied(source, target, **options).is_complete
            assert verify(source, target).is_same
        ChunkRepository(target).add(Chunk("next", "next.md", 1, 1, "next"))


@targets
def test_an_upsert_against_another_unique_key_is_refused_and_named(
    filled_url: FilledURL, make_url: MakeURL, destination: str
) -> None:
    with both(filled_url("sqlite"), make_url(destination)) as (source, target):
        copied(source, target)
        target.execute(
            "UPDATE kg_relationships SET relationship_id = 'own' WHERE source_entity_id = 'e1'"
        )
        before = contents(target)
        with pytest.raises(IncompleteLoadError) as caught:
            copied(source, target, existing="upsert")
        (trouble,) = caught.value.report.troubles
        assert trouble.table == "kg_relationships"
        assert "unique constraint" in trouble.reason
        assert "relationship_id=" in trouble.keys[0]
        assert contents(target) == before


@targets
def test_an_upsert_leaves_orphans_that_the_target_had_before(
    filled_url: FilledURL, make_url: MakeURL, destination: str
) -> None:
    metadata = sa.MetaData()
    people = sa.Table("people", metadata, sa.Column("id", Text(), primary_key=True))
    pets = sa.Table(
        "pets", metadata, sa.Column("id", Text(), primary_key=True),
        sa.Column("owner", Text(), sa.ForeignKey("people.id")),
    )  # fmt: skip
    with both(make_url("sqlite"), make_url(destination)) as (one, other):
        metadata.create_all(one.engine)
        source, target = (
            Datastore(store.engine, metadata=metadata, settings=store.settings)
            for store in (one, other)
        )
        source.execute(sa.insert(people), [{"id": "ann"}])
        source.execute(sa.insert(pets), [{"id": "rex", "owner": "ann"}])
        copied(source, target)
        if destination == "sqlite":
            loose = sqlite3.connect(str(target.engine.url.database))
            with loose:
                loose.execute("INSERT INTO pets VALUES ('stray', 'nobody')")
            loose.close()
        assert copied(source, target, existing="upsert").is_complete
        assert target.query("SELECT count(*) AS n FROM pets")[0]["n"] == 2 - (
            destination != "sqlite"
        )


@targets
def test_truncate_leaves_tables_alone_that_the_source_has_not(
    filled_url: FilledURL, make_url: MakeURL, destination: str
) -> None:
    with both(filled_url("sqlite"), make_url(destination)) as (source, target):
        copied(source, target)
        target.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        target.execute("INSERT INTO notes VALUES (1, 'mine')")
        ChunkRepository(target).add(Chunk("own", "own.md", 1, 1, "own"))
        assert copied(source, target, existing="truncate").is_complete
        assert contents(target) == contents(source)
        assert target.query("SELECT text FROM notes")[0]["text"] == "mine"


@targets
@pytest.mark.parametrize("action", ["", " ON DELETE CASCADE"])
def test_truncate_takes_no_rows_of_tables_that_the_source_has_not(
    filled_url: FilledURL, make_url: MakeURL, destination: str, action: str
) -> None:
    with both(filled_url("sqlite"), make_url(destination)) as (source, target):
        copied(source, target)
        target.execute(
            f"CREATE TABLE marks (id INTEGER PRIMARY KEY, chunk INTEGER REFERENCES chunks (rid){action})"
        )
        target.execute("INSERT INTO marks VALUES (1, 5), (2, NULL)")
        with pytest.raises(TransferError, match="table marks of the target refers to chunks"):
            copied(source, target, existing="truncate")
        assert target.query("SELECT chunk FROM marks WHERE id = 1")[0]["chunk"] == 5
        target.execute("DELETE FROM marks WHERE id = 1")
        assert copied(source, target, existing="truncate").is_complete


@targets
def test_truncate_that_fails_leaves_the_rows(
    filled_file: Path, make_url: MakeURL, tmp_path: Path, destination: str
) -> None:
    path = tmp_path / "bad.db"
    shutil.copyfile(filled_file, path)
    with both(f"sqlite:///{path}", make_url(destination)) as (source, target):
        copied(source, target)
        before = contents(target)
        source.execute("UPDATE chunks SET start_line = 'x' WHERE rid = 9")
        with pytest.raises(IncompleteLoadError, match="nothing was loaded"):
            copied(source, target, existing="truncate")
        assert contents(target) == before
        assert len(ChunkRepository(target).search("river", limit=50)) > 0


def test_source_and_target_must_be_two(filled_file: Path, tmp_path: Path) -> None:
    linked = tmp_path / "link.db"
    linked.symlink_to(filled_file)
    with both(f"sqlite:///{filled_file}", f"sqlite:///{linked}") as (one, other):
        with pytest.raises(TransferError, match="the same database"):
            copied(one, other)


def test_a_server_and_a_file_of_one_name_are_two(
    make_url: MakeURL, filled_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = make_url("postgresql")
    name = sa.make_url(there).database
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(filled_file, str(name))
    with both(f"sqlite:///{name}", there) as (one, other):
        assert copied(one, other).is_complete


@targets
def test_two_revisions_are_refused_by_name(
    filled_url: FilledURL, make_url: MakeURL, destination: str
) -> None:
    with both(filled_url("sqlite"), make_url(destination)) as (source, target):
        target.migrate("0002")
        with pytest.raises(TransferError, match=f"revision {migrate.head()}, the target at 0002"):
            copied(source, target)


@targets
def test_counts_may_be_enough_and_nothing_may_be(
    filled_url: FilledURL, make_url: MakeURL, destination: str
) -> None:
    with both(filled_url("sqlite"), make_url(destination)) as (source, target):
        report = copied(source, target, verify="count")
        assert report.is_complete
        assert report.searches == ()
        assert {table.target for table in report.tables} == {None}
        assert copied(source, target, verify="none", existing="truncate").is_complete
        assert verify(source, target).is_same


@targets
def test_a_dry_run_writes_nothing_and_says_what_it_would(
    filled_url: FilledURL, make_url: MakeURL, destination: str
) -> None:
    with both(filled_url("sqlite"), make_url(destination)) as (source, target):
        report = copied(source, target, dry_run=True)
        assert report.dry_run
        assert sum(table.read for table in report.tables) > 100
        assert target.schema().tables == {}
        target.migrate()
        ChunkRepository(target).add(Chunk("own", "own.md", 1, 1, "own"))
        with pytest.raises(TransferError, match="holds rows already"):
            copied(source, target, dry_run=True)
