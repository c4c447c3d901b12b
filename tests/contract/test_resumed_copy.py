"""Copies in steps: interrupted anywhere, they go on, and end as if nothing had been."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from datastore import Datastore, Text
from datastore.errors import TransferError
from datastore.transfer import IncompleteLoadError, LoadOptions, LoadReport, Progress, copy, verify
from tests.moving import DIRECTIONS, MakeURL, both, contents, fill, rows_of

FilledURL = Callable[[str], str]
directions = pytest.mark.parametrize(
    ("origin", "destination"), DIRECTIONS, ids=["-".join(each) for each in DIRECTIONS]
)


class InterruptionError(Exception):
    """Raised in the midst of a load."""


def interrupted(after: int) -> Callable[[Progress], None]:
    """Fails a load once it has dealt with so many rows."""

    def tell(progress: Progress) -> None:
        if progress.rows >= after:
            raise InterruptionError

    return tell


def interrupted_at(step: str) -> Callable[[Progress], None]:
    """Fails a load at a step."""

    def tell(progress: Progress) -> None:
        if progress.step == step:
            raise InterruptionError

    return tell


def resumed(source: Datastore, target: Datastore, **options: Any) -> LoadReport:
    return copy(source, target, LoadOptions(**{"resume": True, "batch_rows": 7, **options}))


def interrupt(source: Datastore, target: Datastore, after: int, **options: Any) -> None:
    with pytest.raises(InterruptionError):
        resumed(source, target, progress=interrupted(after), **options)


def count(store: Datastore, table: str = "chunks") -> int:
    return int(store.query(f"SELECT count(*) AS n FROM {table}")[0]["n"])


@directions
def test_an_interrupted_copy_goes_on_to_the_same_end(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        interrupt(source, target, 20)
        assert 0 < count(target) < 41
        interrupt(source, target, 70)
        report = resumed(source, target)
        assert report.is_complete
        assert all(table.source == table.target for table in report.tables)
        assert sum(table.read for table in report.tables) == report.rows
        assert "datastore_transfer" not in target.schema().tables
        assert contents(target) == contents(source)
        assert verify(source, target).is_same


@directions
def test_what_is_committed_is_searched_at_once(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        interrupt(source, target, 40)
        found = target.full_text_search("chunks", "content", "river stone cloud", limit=100)
        assert 0 < len(found) <= count(target)


@directions
def test_a_copy_that_came_to_its_end_is_not_done_again(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        resumed(source, target)
        again = resumed(source, target)
        assert again.rows == 0
        assert again.is_complete
        assert again.notes == ("the target held all rows already",)
        target.execute("DELETE FROM kg_mentions WHERE chunk_id = 'c20'")
        target.execute("UPDATE sources SET root = 'other'")
        with pytest.raises(TransferError, match="holds rows already"):
            resumed(source, target)


def test_another_source_is_refused(filled_file: Path, make_url: MakeURL, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    shutil.copyfile(filled_file, other)
    target = make_url("postgresql")
    with both(f"sqlite:///{filled_file}", target) as (source, store):
        interrupt(source, store, 20)
    with both(f"sqlite:///{other}", target) as (source, store):
        with pytest.raises(TransferError, match="in the midst of a load from another source"):
            resumed(source, store)


def test_a_source_is_the_same_however_its_path_is_written(
    filled_file: Path, make_url: MakeURL, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_url("sqlite")
    with both(f"sqlite:///{filled_file}", target) as (source, store):
        interrupt(source, store, 20)
    monkeypatch.chdir(filled_file.parent)
    with both(f"sqlite:///{filled_file.name}", target) as (source, store):
        assert resumed(source, store).is_complete


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE chunks SET content = 'changed' WHERE rid = 2",
        "DELETE FROM kg_mentions WHERE chunk_id = (SELECT id FROM chunks WHERE rid = 2)",
        "DELETE FROM chunks WHERE rid = 3",
    ],
)
def test_a_source_that_changed_meanwhile_is_found(
    filled_file: Path, make_url: MakeURL, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "changing.db"
    shutil.copyfile(filled_file, path)
    with both(f"sqlite:///{path}", make_url("postgresql")) as (source, target):
        with pytest.raises(InterruptionError):
            resumed(source, target, progress=interrupted_at("verify"))
        source.execute(change)
        with pytest.raises(TransferError, match="has changed since the load began"):
            resumed(source, target)
        report = copy(source, target, LoadOptions(existing="truncate"))
        assert report.is_complete
        assert "datastore_transfer" not in target.schema().tables
        assert verify(source, target).is_same


def test_rows_added_behind_the_last_one_come_too(
    filled_file: Path, make_url: MakeURL, tmp_path: Path
) -> None:
    path = tmp_path / "growing.db"
    shutil.copyfile(filled_file, path)
    with both(f"sqlite:///{path}", make_url("postgresql")) as (source, target):
        interrupt(source, target, 20)
        fill(source, 20, namespace="later")
        assert resumed(source, target).is_complete
        assert verify(source, target).is_same


def test_a_target_amid_a_load_is_no_source(filled_url: FilledURL, make_url: MakeURL) -> None:
    with both(filled_url("sqlite"), make_url("postgresql")) as (source, target):
        interrupt(source, target, 20)
        with Datastore.open(make_url("sqlite")) as third:
            with pytest.raises(TransferError, match="in the midst of a load"):
                copy(target, third)
        with pytest.raises(TransferError, match="in the midst of a load"):
            verify(source, target)


def test_a_copy_at_once_points_to_the_interrupted_one(
    filled_url: FilledURL, make_url: MakeURL
) -> None:
    with both(filled_url("sqlite"), make_url("postgresql")) as (source, target):
        interrupt(source, target, 20)
        with pytest.raises(TransferError, match="interrupted load, which --resume goes on with"):
            copy(source, target)


@pytest.mark.parametrize("destination", ["postgresql", "sqlite"])
def test_bad_rows_stop_a_step_and_are_skipped_if_so_wished(
    filled_file: Path, make_url: MakeURL, tmp_path: Path, destination: str
) -> None:
    path, rejects = tmp_path / "bad.db", tmp_path / "rejected.jsonl"
    shutil.copyfile(filled_file, path)
    with both(f"sqlite:///{path}", make_url(destination)) as (source, target):
        # Some stand at the end of a batch, one in the key.
        source.execute("DELETE FROM sources")
        source.execute(
            "INSERT INTO sources VALUES ('a', CAST(x'ff' AS TEXT), '', '', 0), ('b', 'x', '', '', 0)"
        )
        source.execute("UPDATE embedding_models SET metric = CAST(x'ff' AS TEXT)")
        with pytest.raises(IncompleteLoadError, match=r"has stopped; .*\n  .*: 1 row"):
            resumed(source, target, batch_rows=1)
        options = {"on_error": "quarantine", "rejects": rejects, "batch_rows": 1}
        interrupt(source, target, 60, **options)
        first = len(rows_of(rejects))
        assert first > 0
        report = resumed(source, target, **options)
        assert not report.is_complete  # what an earlier run left out is not forgotten
        assert sum(table.rejected for table in report.tables) == len(rows_of(rejects)) == 2
        assert all(table.matches for table in report.tables)


HOST = sa.MetaData()
NODES = sa.Table(
    "nodes", HOST, sa.Column("id", sa.Integer(), primary_key=True),
    sa.Column("parent", sa.ForeignKey("nodes.id")),
)  # fmt: skip
KEYLESS = sa.MetaData()
LOGS = sa.Table("logs", KEYLESS, sa.Column("line", Text()))


def hosted(store: Datastore, metadata: sa.MetaData) -> Datastore:
    return Datastore(store.engine, metadata=metadata, settings=store.settings)


def test_tables_that_refer_to_themselves_are_refused_by_name(make_url: MakeURL) -> None:
    with both(make_url("sqlite"), make_url("sqlite")) as (one, other):
        HOST.create_all(one.engine)
        with pytest.raises(TransferError, match=r"table nodes .* load without\s+--resume"):
            resumed(hosted(one, HOST), hosted(other, HOST))


@pytest.mark.parametrize("destination", ["postgresql", "sqlite"])
def test_a_table_without_a_key_is_one_step(make_url: MakeURL, destination: str) -> None:
    with both(make_url("sqlite"), make_url(destination)) as (one, other):
        KEYLESS.create_all(one.engine)
        source, target = hosted(one, KEYLESS), hosted(other, KEYLESS)
        source.insert_many(LOGS, [{"line": "same"}] * 50)
        interrupt(source, target, 20)
        assert count(target, "logs") == 0
        assert resumed(source, target).is_complete
        assert count(target, "logs") == 50
