"""Rows that a copy cannot take: named by table, key, column and reason; nothing lost unnoticed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from datastore import Datastore
from datastore.cli import main
from datastore.errors import ConfigurationError, TransferError
from datastore.transfer import IncompleteLoadError, LoadOptions, LoadReport, Trouble, copy
from tests.moving import MakeURL, both, rows_of

targets = pytest.mark.parametrize("destination", ["postgresql", "sqlite"])

#: What SQLite lets in, and what is to be said of it: a statement, its table, column and reason.
DAMAGES: list[tuple[str, str, str | None, str]] = [
    ("UPDATE chunks SET content = 'a' || char(0) || 'b' WHERE rid = :row",
     "chunks", "content", "text: found a NUL character, which PostgreSQL cannot store"),
    ("UPDATE chunks SET content = CAST(x'ff41' AS TEXT) WHERE rid = :row",
     "chunks", "content", "expected text, found text that is no UTF-8"),
    ("UPDATE chunks SET content = CAST(x'eda080' AS TEXT) WHERE rid = :row",
     "chunks", "content", "expected text, found text that is no UTF-8"),
    ("UPDATE chunks SET content = x'4142' WHERE rid = :row",
     "chunks", "content", "expected text, found a blob"),
    ("UPDATE chunks SET metadata = '{\"a\": \"\\u0000\"}' WHERE rid = :row",
     "chunks", "metadata", "text: found a NUL character, which PostgreSQL cannot store"),
    ("UPDATE chunks SET metadata = '{\"a\": \"\\ud800\"}' WHERE rid = :row",
     "chunks", "metadata", "text: found a lone surrogate, which is no Unicode text"),
    ("UPDATE chunks SET metadata = '{\"a\": NaN}' WHERE rid = :row",
     "chunks", "metadata", "expected JSON, found NaN or infinity"),
    ("UPDATE chunks SET metadata = '{\"a\": 1e999}' WHERE rid = :row",
     "chunks", "metadata", "JSON: expected JSON values without NaN, infinity or cycles"),
    ("UPDATE chunks SET metadata = '{\"a\": 18446744073709551616}' WHERE rid = :row",
     "chunks", "metadata", "integer: expected at most 64 bits"),
    ("UPDATE chunks SET metadata = '{\"a\": 1, \"a\": 2}' WHERE rid = :row",
     "chunks", "metadata", "expected JSON, found an object with a key that stands there twice"),
    ("UPDATE chunks SET metadata = '{bad' WHERE rid = :row",
     "chunks", "metadata", "expected JSON, found other text"),
    ("UPDATE chunks SET metadata = '" + "[" * 5000 + "]" * 5000 + "' WHERE rid = :row",
     "chunks", "metadata", "expected JSON, found values that are nested too deeply"),
    ("UPDATE chunks SET start_line = 'abc' WHERE rid = :row",
     "chunks", "start_line", "expected an integer, found text"),
    ("UPDATE chunks SET start_line = '' WHERE rid = :row",
     "chunks", "start_line", "expected an integer, found text"),
    ("UPDATE chunks SET start_line = 1.5 WHERE rid = :row",
     "chunks", "start_line", "expected an integer, found a real number"),
    ("UPDATE chunks SET start_line = 1e300 WHERE rid = :row",
     "chunks", "start_line", "expected an integer, found a real number"),
    ("UPDATE chunks SET created_at = '2026-02-30' WHERE rid = :row",
     "chunks", "created_at", "expected microseconds since 1970, found text"),
    ("UPDATE chunks SET created_at = 9000000000000000000 WHERE rid = :row",
     "chunks", "created_at", "expected an instant of the years 1 to 9999"),
    ("UPDATE embedding_models SET normalized = 2",
     "embedding_models", "normalized", "expected a boolean, found an integer other than 0 and 1"),
    ("INSERT INTO embedding_models VALUES ('other', 4, 'cosine', 1, 'true')",
     "embedding_models", "active", "expected a boolean, found text"),
    ("UPDATE chunk_embeddings SET embedding = x'000080' WHERE chunk = :row",
     "chunk_embeddings", "embedding", "expected a vector, found bytes that are no float32 numbers"),
    ("UPDATE chunk_embeddings SET embedding = x'' WHERE chunk = :row",
     "chunk_embeddings", "embedding", "vector, at most: expected 16000 dimensions, got 0"),
    ("UPDATE chunk_embeddings SET embedding = x'0000c07f0000803f' WHERE chunk = :row",
     "chunk_embeddings", "embedding", "vector: expected finite float32 numbers, found NaN or infinity"),
    ("UPDATE chunk_embeddings SET embedding = x'0000000000000000' WHERE chunk = :row",
     "chunk_embeddings", "embedding", "vector: expected a norm that float32 can hold, found zero or infinity"),
    ("UPDATE chunk_embeddings SET embedding = '[1,2,3,4]' WHERE chunk = :row",
     "chunk_embeddings", "embedding", "expected bytes, found text"),
    ("UPDATE kg_relationships SET keywords = '{\"a\": 1}' WHERE source_entity_id = 'e1'",
     "kg_relationships", "keywords", "expected a list, got dict"),
    ("UPDATE kg_relationships SET keywords = '[1]' WHERE source_entity_id = 'e2'",
     "kg_relationships", "keywords", "expected text, got int"),
]  # fmt: skip


@pytest.fixture(scope="module")
def damaged(filled_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Makes a copy of the filled file and runs statements on it, with nothing in their way."""

    def damage(*statements: str) -> str:
        path = tmp_path_factory.mktemp("damage") / "damaged.db"
        shutil.copyfile(filled_file, path)
        connection = sqlite3.connect(path)
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():  # those of the search indexes would refuse some
            connection.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
        return f"sqlite:///{path}"

    return damage


def refused(source: str, target: str, **options: Any) -> LoadReport:
    """Copy in vain; nothing may be there afterwards."""
    with both(source, target) as (one, other):
        with pytest.raises(IncompleteLoadError) as caught:
            copy(one, other, LoadOptions(**options))
        assert other.schema().tables == {}
        return caught.value.report


@pytest.fixture(scope="module")
def troubles(
    damaged: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> list[Trouble]:
    """What a copy says of all damages at once, each done to a row of its own."""
    statements = [each[0].replace(":row", str(place + 10)) for place, each in enumerate(DAMAGES)]
    target = f"sqlite:///{tmp_path_factory.mktemp('damaged') / 'target.db'}"
    return list(refused(damaged(*statements), target).troubles)


@pytest.mark.parametrize(("damage", "table", "column", "reason"), DAMAGES)
def test_a_value_that_is_none_of_its_column_stops_a_copy(
    troubles: Sequence[Trouble], damage: str, table: str, column: str, reason: str
) -> None:
    (found,) = [t for t in troubles if (t.table, t.column, t.reason) == (table, column, reason)]
    assert found.rows >= 1
    assert "=" in found.keys[0]


@targets
def test_every_kind_of_trouble_is_counted_and_named_at_once(
    damaged: Callable[..., str], make_url: MakeURL, destination: str
) -> None:
    source = damaged(
        "UPDATE chunks SET content = x'00' WHERE rid BETWEEN 10 AND 16",
        "UPDATE chunks SET start_line = 'many' WHERE rid = 20",
        "UPDATE chunk_embeddings SET embedding = x'00' WHERE chunk = 30",
    )
    report = refused(source, make_url(destination))
    blobs, text, vector, *children = report.troubles
    assert blobs == Trouble(
        "chunks",
        "content",
        "expected text, found a blob",
        7,
        tuple(f"rid={n}" for n in range(10, 15)),
    )
    assert (text.column, text.keys) == ("start_line", ("rid=20",))
    assert (vector.table, vector.rows) == ("chunk_embeddings", 1)
    # What would be left without a parent is counted too.
    assert {(each.table, each.rows) for each in children} == {
        ("chunk_embeddings", 8),
        ("kg_mentions", 7),
    }
    chunks = next(table for table in report.tables if table.table == "chunks")
    assert (chunks.read, chunks.written, chunks.rejected) == (41, 33, 8)


@targets
def test_skip_takes_the_rest_and_says_what_it_left(
    damaged: Callable[..., str], make_url: MakeURL, destination: str
) -> None:
    source = damaged("UPDATE chunks SET content = x'00' WHERE rid = 3")
    with both(source, make_url(destination)) as (one, other):
        report = copy(one, other, LoadOptions(on_error="skip"))
        assert not report.is_complete
        assert [(t.table, t.column, t.rows) for t in report.troubles] == [
            ("chunks", "content", 1), ("chunk_embeddings", None, 1), ("kg_mentions", None, 1),
        ]  # fmt: skip
        (left,) = other.query("SELECT count(*) AS n FROM chunks")
        assert left["n"] == 40
        assert not other.query("SELECT * FROM chunk_embeddings WHERE chunk = 3")
        assert all(table.source == table.target for table in report.tables)


@targets
def test_quarantine_writes_what_it_left_with_the_reason(
    damaged: Callable[..., str], make_url: MakeURL, tmp_path: Path, destination: str
) -> None:
    source = damaged(
        "UPDATE chunks SET content = CAST(x'ff41' AS TEXT) WHERE rid = 3",
        "UPDATE chunks SET start_line = 9223372036854775807 WHERE rid = 4",
    )
    file = tmp_path / "left.jsonl"
    with both(source, make_url(destination)) as (one, other):
        report = copy(one, other, LoadOptions(on_error="quarantine", rejects=file))
    rows = rows_of(file)
    assert rows[0]["table"] == "chunks"
    assert rows[0]["column"] == "content"
    assert rows[0]["reason"] == "expected text, found text that is no UTF-8"
    assert rows[0]["row"]["content"] == {"base64": "/0E="}
    assert rows[0]["row"]["rid"] == 3
    assert len(rows) == sum(trouble.rows for trouble in report.troubles)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_of_rejected_rows_is_not_written_over(
    damaged: Callable[..., str], make_url: MakeURL, tmp_path: Path
) -> None:
    file = tmp_path / "left.jsonl"
    file.write_text("somebody's\n")
    with both(damaged("SELECT 1"), make_url("sqlite")) as (one, other):
        with pytest.raises(TransferError, match=r"left\.jsonl exists"):
            copy(one, other, LoadOptions(on_error="quarantine", rejects=file))
    assert file.read_text() == "somebody's\n"


@targets
def test_orphans_of_the_source_are_found(
    damaged: Callable[..., str], make_url: MakeURL, destination: str
) -> None:
    source = damaged(
        "DELETE FROM chunks WHERE rid = 5",
        "DELETE FROM kg_entities WHERE entity_id = 'e2'",
    )
    report = refused(source, make_url(destination))
    assert {(t.table, t.column, t.reason) for t in report.troubles} >= {
        ("chunk_embeddings", None, "foreign key to chunks: there is no such row"),
        ("kg_relationships", None, "foreign key to kg_entities: there is no such row"),
        ("kg_entity_names", None, "foreign key to kg_entities: there is no such row"),
    }
    assert (
        next(t for t in report.troubles if t.table == "chunk_embeddings")
        .keys[0]
        .startswith("chunk=5")
    )


@targets
def test_skipped_orphans_take_their_own_children_with_them(
    damaged: Callable[..., str], make_url: MakeURL, destination: str
) -> None:
    source = damaged("DELETE FROM kg_entities WHERE entity_id = 'e2'")
    with both(source, make_url(destination)) as (one, other):
        report = copy(one, other, LoadOptions(on_error="skip"))
        assert all(table.matches for table in report.tables)
        assert not other.query("SELECT * FROM kg_entity_names WHERE entity_id = 'e2'")
        assert not other.query("SELECT * FROM kg_mentions WHERE entity_id = 'e2'")


@targets
def test_a_row_that_is_there_twice_is_named(
    damaged: Callable[..., str], make_url: MakeURL, destination: str
) -> None:
    source = damaged(
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'sources'",
        "PRAGMA writable_schema=RESET",
        "INSERT INTO sources SELECT NULL, path, root, content_hash, indexed_at FROM sources LIMIT 1",
    )
    (trouble,) = refused(source, make_url(destination)).troubles
    assert trouble.table == "sources"
    assert trouble.rows == 1
    assert "NOT NULL constraint" in trouble.reason
    assert trouble.keys[0].startswith("namespace=None")


@pytest.mark.parametrize("existing", [[], ["--on-error", "skip"], ["--on-error", "quarantine"]])
def test_the_command_ends_with_1_and_keeps_what_it_loaded(
    damaged: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    existing: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    source = damaged("UPDATE chunks SET content = x'00' WHERE rid = 3")
    code = main(["copy", source, "sqlite:///made.db", "--json", *existing])
    document = json.loads(capsys.readouterr().out)
    assert code == 1
    assert not document["complete"]
    assert document["troubles"][0]["keys"] == ["rid=3"]
    made = tmp_path / "made.db"
    if not existing:
        assert not made.exists()
        return
    with Datastore.open("sqlite:///made.db", create=False) as store:
        assert store.query("SELECT count(*) AS n FROM chunks")[0]["n"] == 40
    assert (tmp_path / "rejected.jsonl").exists() is (existing[-1] == "quarantine")


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for options in (
        {"on_error": "quarantine"}, {"rejects": tmp_path / "x"}, {"on_error": "fix"},
        {"resume": True, "existing": "upsert"}, {"verify": "some"},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            LoadOptions(**options)  # type: ignore[arg-type]
