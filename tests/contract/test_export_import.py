"""Export files: what was stored comes back bit by bit, on every backend and from one to the other."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore import Datastore, JSONDocument, RowKey, Text, TextArray, UTCDateTime, Vector
from datastore.errors import (
    CapabilityError,
    ConfigurationError,
    DiskFullError,
    SchemaMissingError,
    TransferError,
)
from datastore.transfer import LoadOptions, Progress, check_jsonl, export_jsonl, import_jsonl
from repositories import ChunkRepository, GraphRepository
from repositories.tables import metadata as our_metadata
from tests.contract.exported import File, exported, fill, rows_of
from tests.real_data import DATA, needs_real_data

SAMPLES = Path(__file__).parent / "samples"
TRUNCATE = LoadOptions(existing="truncate")

metadata = sa.MetaData()
everything = sa.Table(
    "everything",
    metadata,
    sa.Column("rid", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("text", Text()),
    sa.Column("integer", sa.BigInteger),
    sa.Column("float", sa.Double),
    sa.Column("boolean", sa.Boolean),
    sa.Column("bytes", sa.LargeBinary),
    sa.Column("instant", UTCDateTime()),
    sa.Column("timestamp", sa.DateTime),
    sa.Column("date", sa.Date),
    sa.Column("time", sa.Time),
    sa.Column("interval", sa.Interval),
    sa.Column("uuid", sa.Uuid),
    sa.Column("decimal", sa.Numeric),
    sa.Column("texts", TextArray()),
    sa.Column("json", JSONDocument()),
    sa.Column("t", Vector(3)),  # as files call the table of a row
    sa.Column("free", Vector()),
)

storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_numbers = numbers.filter(lambda x: not 1e15 <= abs(x) < 2.0**64)
int64 = st.integers(-(2**63), 2**63 - 1)
documents = st.recursive(
    st.booleans() | int64 | json_numbers | storable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(storable, inner, max_size=4),
    max_leaves=12,
)
float32 = st.floats(-(2.0**60), 2.0**60, width=32)


def vectors(least: int, most: int) -> st.SearchStrategy[Any]:
    lists = st.lists(float32, min_size=least, max_size=most)
    return lists.map(lambda v: np.array([*v[1:], v[0] or 1.0], "<f4")).filter(
        lambda v: float(np.dot(v, v)) > 0
    )


ROWS = st.fixed_dictionaries(
    {
        "text": st.none() | storable,
        "integer": st.none() | int64,
        "float": st.none() | st.floats(allow_nan=False).map(lambda x: x or 0.0),
        "boolean": st.none() | st.booleans(),
        "bytes": st.none() | st.binary(),
        "instant": st.none() | st.datetimes(timezones=st.just(UTC)),
        "timestamp": st.none() | st.datetimes(),
        "date": st.none() | st.dates(),
        "time": st.none() | st.times(),
        "interval": st.none() | st.timedeltas(-timedelta(20_000), timedelta(20_000)),
        "uuid": st.none() | st.uuids(),
        "decimal": st.none() | st.decimals(-(10**12), 10**12, places=3),
        "texts": st.none() | st.lists(storable, max_size=4),
        "json": st.none() | documents,
        "t": st.none() | vectors(3, 3),
        "free": st.none() | vectors(1, 5),
    }
)
AWKWARD: dict[str, Any] = {
    "text": "\ufeff\\N \\. \t\r\n \u2028\u2029 '\" \x01\x7f 👩\u200d🚀 \U0010ffff",
    "integer": -(2**63),
    "float": 5e-324,
    "boolean": False,
    "bytes": bytes(range(256)),
    "instant": datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    "timestamp": datetime(9999, 12, 31, 23, 59, 59, 999999),
    "date": date(1, 1, 1),
    "time": time(23, 59, 59, 999999),
    "interval": -timedelta(microseconds=1),
    "uuid": None,
    "decimal": Decimal("-0.001"),
    "texts": ["", "{", "NULL", "a,b", '"', "\\"],
    "json": {"": [1e300, -1, 1.5, True, None, {"\u2028": "\\u0000"}]},
    "t": np.array([1e-45, -0.0, 3.4e18], "<f4"),
    "free": np.array([0.1], "<f4"),
}


def over(store: Datastore) -> Datastore:
    """Return a store that has the table of everything."""
    with store.engine.begin() as connection:
        metadata.create_all(connection)
    return Datastore(store.engine, metadata=metadata, settings=store.settings)


@pytest.fixture
def host(store: Datastore) -> Datastore:
    return over(store)


@pytest.fixture
def filled(store: Datastore) -> Datastore:
    fill(store)
    return store


@pytest.fixture
def small(migrated_file: Path, tmp_path: Path) -> Iterator[Datastore]:
    """A store with rows, for what is the same whatever the engine."""
    path = tmp_path / "small.db"
    path.write_bytes(migrated_file.read_bytes())
    with Datastore.open(f"sqlite:///{path}") as store:
        fill(store)
        yield store


@pytest.fixture
def target(migrated_file: Path, tmp_path: Path) -> Iterator[Datastore]:
    """Another store, empty."""
    path = tmp_path / "target.db"
    path.write_bytes(migrated_file.read_bytes())
    with Datastore.open(f"sqlite:///{path}") as store:
        yield store


def stored(store: Datastore) -> list[tuple[Any, ...]]:
    """Every row of everything, with arrays as bytes."""
    rows = store.query(sa.select(everything).order_by(everything.c.rid))
    return [
        tuple(v.tobytes() if isinstance(v, np.ndarray) else v for v in row.values()) for row in rows
    ]


class TestRoundTrip:
    @settings(max_examples=10)
    @given(rows=st.lists(ROWS, min_size=1, max_size=8))
    def test_every_value_of_every_kind_comes_back(
        self, host: Datastore, rows: list[dict[str, Any]]
    ) -> None:
        host.execute(sa.delete(everything))
        host.execute(sa.insert(everything), [{"rid": n, **row} for n, row in enumerate(rows, 1)])
        before, data = stored(host), exported(host)
        host.execute(sa.delete(everything))
        import_jsonl(host, io.BytesIO(data), TRUNCATE)
        assert stored(host) == before
        assert rows_of(exported(host)) == rows_of(data)

    @pytest.mark.parametrize("embedding", ["base64", "array"])
    def test_awkward_values_come_back(self, host: Datastore, embedding: str) -> None:
        host.execute(sa.insert(everything), {"rid": 7, **AWKWARD})
        before, data = stored(host), exported(host, embedding=embedding)
        import_jsonl(host, io.BytesIO(data), TRUNCATE)
        assert stored(host) == before

    @needs_real_data
    def test_naughty_strings_come_back(self, host: Datastore) -> None:
        texts = [
            text.replace("\x00", "")
            for text in json.loads((DATA / "strings" / "blns.json").read_text("utf-8"))
        ]
        host.execute(
            sa.insert(everything),
            [{"rid": n, "text": t, "texts": [t], "json": {t: t}} for n, t in enumerate(texts)],
        )
        data = exported(host)
        import_jsonl(host, io.BytesIO(data), TRUNCATE)
        found = host.query(sa.select(everything).order_by(everything.c.rid))
        assert [row["text"] for row in found] == texts
        assert [row["texts"] for row in found] == [[t] for t in texts]
        assert [row["json"] for row in found] == [{t: t} for t in texts]

    def test_every_engine_writes_the_same_rows(
        self, backend_stores: list[Datastore], tmp_path: Path
    ) -> None:
        first, second = backend_stores
        for store in backend_stores:
            store.migrate()
        one = over(first)
        one.execute(sa.insert(everything), {"rid": 7, **AWKWARD})
        fill(one)
        data = exported(one)
        import_jsonl(over(second), io.BytesIO(data))
        again = exported(over(second))
        assert rows_of(again) == rows_of(data)
        assert (
            json.loads(again.splitlines()[-1])["trailer"]["tables"]
            == (json.loads(data.splitlines()[-1])["trailer"]["tables"])
        )

    def test_search_indexes_are_made_anew(self, filled: Datastore, target: Datastore) -> None:
        data = exported(filled)
        declared = {table.name for table in our_metadata.sorted_tables}
        assert {table["name"] for table in File.of(data).header["tables"]} == declared
        import_jsonl(target, io.BytesIO(data))
        before, after = ChunkRepository(filled), ChunkRepository(target)
        for search in ({"text": "chapter"}, {"embedding": [1.0, 2.0, 3.0, 4.0]}):
            assert [hit.id for hit in after.search(**search)] == [
                hit.id for hit in before.search(**search)
            ]
        assert GraphRepository(target).neighborhood("ann") == (
            GraphRepository(filled).neighborhood("ann")
        )

    def test_the_next_row_gets_a_key_of_its_own(self, filled: Datastore) -> None:
        import_jsonl(filled, io.BytesIO(exported(filled)), TRUNCATE)
        chunk = ChunkRepository(filled).get("c0")
        ChunkRepository(filled).add(type(chunk)("new", "p", 1, 1, "text"))
        assert ChunkRepository(filled).count() == 4

    def test_the_report_of_an_import_has_the_digests_of_the_export(
        self, filled: Datastore, target: Datastore
    ) -> None:
        stream = io.BytesIO()
        written = export_jsonl(filled, stream)
        stream.seek(0)
        read = import_jsonl(target, stream)
        assert {table.table: table.digest for table in written.tables} == {
            table.table: table.target for table in read.tables
        }
        assert written.rows == read.rows > 0


class TestFiles:
    @pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst"])
    def test_the_ending_chooses_the_compression_and_the_first_bytes_tell_it(
        self, small: Datastore, target: Datastore, tmp_path: Path, ending: str
    ) -> None:
        path, renamed = tmp_path / f"backup.{ending}", tmp_path / "renamed"
        export_jsonl(small, path)
        first = {"jsonl": b'{"fo', "jsonl.gz": b"\x1f\x8b", "jsonl.zst": b"\x28\xb5\x2f\xfd"}
        assert path.read_bytes().startswith(first[ending])
        path.rename(renamed)
        import_jsonl(target, renamed)
        assert rows_of(exported(target)) == rows_of(exported(small))

    def test_a_pipe_that_gives_a_byte_at_a_time_is_read(self, small: Datastore) -> None:
        class Trickle(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(1)

        data = gzip.compress(exported(small))
        assert import_jsonl(small, Trickle(data), TRUNCATE).is_complete

    def test_a_file_is_for_its_owner_alone(self, small: Datastore, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            export_jsonl(small, tmp_path / "backup.jsonl")
        finally:
            os.umask(before)
        assert (tmp_path / "backup.jsonl").stat().st_mode & 0o777 == 0o600

    def test_a_failure_leaves_the_file_of_that_name_as_it_was(
        self, small: Datastore, tmp_path: Path
    ) -> None:
        path = tmp_path / "backup.jsonl"
        path.write_text("the last one")

        def fail(_: Progress) -> None:
            raise RuntimeError

        with pytest.raises(RuntimeError):
            export_jsonl(small, path, progress=fail)
        assert path.read_text() == "the last one"
        assert list(tmp_path.glob(".backup*")) == []

    def test_a_kill_leaves_no_file_of_that_name(self, small: Datastore, tmp_path: Path) -> None:
        program = (
            "import os, signal, sys\n"
            "from datastore import Datastore\n"
            "from datastore.transfer import export_jsonl\n"
            "def kill(progress): os.kill(os.getpid(), signal.SIGKILL)\n"
            "with Datastore.open(sys.argv[1]) as store:\n"
            "    export_jsonl(store, sys.argv[2], progress=kill)\n"
        )
        url = small.engine.url.render_as_string(hide_password=False)
        path = tmp_path / "backup.jsonl"
        ended = subprocess.run([sys.executable, "-c", program, url, str(path)], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert not path.exists()

    def test_a_link_stays_and_what_it_names_is_replaced(
        self, small: Datastore, tmp_path: Path
    ) -> None:
        (tmp_path / "latest.jsonl").symlink_to(tmp_path / "real.jsonl")
        export_jsonl(small, tmp_path / "latest.jsonl")
        assert (tmp_path / "latest.jsonl").is_symlink()
        check_jsonl(tmp_path / "real.jsonl")

    def test_a_device_is_written_to_and_not_replaced(self, small: Datastore) -> None:
        export_jsonl(small, "/dev/null")
        assert Path("/dev/null").is_char_device()

    def test_a_folder_that_is_not_there_is_an_error(self, small: Datastore) -> None:
        with pytest.raises(TransferError, match="cannot be written: No such file"):
            export_jsonl(small, "/nowhere/backup.jsonl")

    def test_a_full_disk_is_an_error(self, small: Datastore) -> None:
        with pytest.raises(DiskFullError, match="No space left"):
            export_jsonl(small, "/dev/full")

    def test_without_zstd_the_error_says_how_to_get_it(
        self, small: Datastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "backup.jsonl.zst"
        export_jsonl(small, path)
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with pytest.raises(CapabilityError, match=r"pip install 'datastore\[zstd\]'"):
            import_jsonl(small, path)
        with pytest.raises(CapabilityError, match="zstd"):
            export_jsonl(small, path)

    def test_an_unknown_way_to_write_vectors_is_refused(self, small: Datastore) -> None:
        with pytest.raises(ConfigurationError, match="base64, array"):
            exported(small, embedding="hex")

    def test_a_long_line_is_noted_and_read_where_it_is_allowed(
        self, small: Datastore, tmp_path: Path
    ) -> None:
        host = over(small)
        host.execute(sa.insert(everything), {"rid": 1, "text": "x" * (9 * 2**20)})
        path = tmp_path / "backup.jsonl"
        (note,) = [n for n in export_jsonl(host, path).notes if "bytes" in n]
        assert "--max-line 10" in note
        with pytest.raises(TransferError, match=r"line \d+: .*--max-line"):
            import_jsonl(host, path, TRUNCATE)
        assert import_jsonl(host, path, TRUNCATE, longest_line=10 * 2**20).is_complete


class TestSource:
    def test_a_database_without_tables_is_refused(self, empty_store: Datastore) -> None:
        with pytest.raises(SchemaMissingError):
            exported(empty_store)

    def test_tables_that_nothing_declares_are_noted(self, filled: Datastore) -> None:
        filled.execute("CREATE TABLE theirs (id INTEGER)")
        report = export_jsonl(filled, io.BytesIO())
        assert any("theirs was left out" in note for note in report.notes)

    def test_the_header_tells_the_lengths_of_vectors(self, filled: Datastore) -> None:
        header = File.of(exported(filled)).table("chunk_embeddings")
        assert header["key"] == ["chunk", "model"]
        assert {"name": "embedding", "kind": "vector", "dimensions": [4]} in header["columns"]

    def test_one_snapshot_is_written(self, filled: Datastore) -> None:
        """What is committed meanwhile is not in the file."""
        stream = io.BytesIO()
        added = []

        def add(_: Progress) -> None:
            if not added:
                added.append(filled.execute("DELETE FROM kg_mentions"))

        export_jsonl(filled, stream, progress=add)
        assert added[0].changes == 2
        assert (
            sum(line.startswith(b'{"t":"kg_mentions"') for line in stream.getvalue().splitlines())
            == 2
        )

    def test_a_value_of_another_kind_stops_the_export(
        self, migrated_file: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "loose.db"
        path.write_bytes(migrated_file.read_bytes())
        with Datastore.open(f"sqlite:///{path}") as store:
            fill(store)
            store.execute("UPDATE chunks SET start_line = 'canary' WHERE id = 'c1'")
            with pytest.raises(TransferError) as caught:
                export_jsonl(store, tmp_path / "backup.jsonl")
        assert "table chunks, column start_line (rid=2): expected an integer" in str(caught.value)
        assert "canary" not in str(caught.value)
        assert (caught.value.table, caught.value.key) == ("chunks", "rid=2")
        assert not (tmp_path / "backup.jsonl").exists()


class TestVersions:
    @pytest.mark.parametrize("name", ["version-1.jsonl", "version-1.jsonl.gz"])
    def test_files_of_earlier_versions_are_read(self, store: Datastore, name: str) -> None:
        report = import_jsonl(store, SAMPLES / name)
        assert report.is_complete
        assert {table.table: table.written for table in report.tables if table.written} == {
            "chunks": 3,
            "chunk_embeddings": 3,
            "embedding_models": 1,
            "kg_entities": 2,
            "kg_entity_names": 2,
            "kg_mentions": 2,
            "kg_relationships": 1,
        }
        chunk = ChunkRepository(store).get("c2")
        assert chunk.content == "Chapter 2: the quick brown fox\n\tnaïve 日本 👩\u200d🚀"
        assert chunk.metadata == {"n": 2, "tags": ["a", {"b": None}], "x": 0.1}
        assert chunk.embedding is not None
        assert chunk.embedding.tobytes() == np.array([3, 0.5, -0.1, 3e-45], "<f4").tobytes()

    def test_a_column_that_came_later_takes_its_default(self, filled: Datastore) -> None:
        file = File.of(exported(filled))
        forget(file, "kg_relationships", "strength")  # has a default
        forget(file, "kg_relationships", "description")  # may be NULL
        import_jsonl(filled, io.BytesIO(file.data()), TRUNCATE)
        found = filled.query("SELECT strength, description FROM kg_relationships")
        assert [dict(row) for row in found] == [{"strength": 5, "description": None}]

    def test_an_earlier_revision_is_read(self, filled: Datastore) -> None:
        file = File.of(exported(filled))
        file.header["schema_revision"] = "0002"
        assert import_jsonl(filled, io.BytesIO(file.data()), TRUNCATE).is_complete

    def test_a_later_revision_is_refused(self, filled: Datastore) -> None:
        file = File.of(exported(filled))
        file.header["schema_revision"] = "9999"
        with pytest.raises(TransferError, match=r"line 1: .*'9999'.*up to \d{4}"):
            import_jsonl(filled, io.BytesIO(file.data()), TRUNCATE)

    def test_keys_that_a_later_header_adds_are_passed_over(self, filled: Datastore) -> None:
        file = File.of(exported(filled))
        file.header["comment"] = file.table("chunks")["comment"] = {"x": 1}
        assert import_jsonl(filled, io.BytesIO(file.data()), TRUNCATE).is_complete


class TestLoading:
    def test_a_target_with_rows_is_refused(self, filled: Datastore) -> None:
        data = exported(filled)
        with pytest.raises(TransferError, match="holds rows already"):
            import_jsonl(filled, io.BytesIO(data))
        assert rows_of(exported(filled)) == rows_of(data)

    def test_an_upsert_twice_changes_nothing(self, filled: Datastore) -> None:
        data = exported(filled)
        for _ in range(2):
            import_jsonl(filled, io.BytesIO(data), LoadOptions(existing="upsert"))
            assert rows_of(exported(filled)) == rows_of(data)

    def test_a_dry_run_writes_nothing(self, filled: Datastore, target: Datastore) -> None:
        report = import_jsonl(target, io.BytesIO(exported(filled)), LoadOptions(dry_run=True))
        assert report.is_complete
        assert ChunkRepository(target).count() == 0

    @pytest.mark.parametrize("on_error", ["skip", "quarantine"])
    def test_rows_that_cannot_be_taken_are_named_by_line(
        self, filled: Datastore, tmp_path: Path, on_error: Any
    ) -> None:
        file = File.of(exported(filled))
        line = file.set("kg_relationships", "strength", "strong")
        rejects = tmp_path / "rejected.jsonl" if on_error == "quarantine" else None
        options = LoadOptions(existing="truncate", on_error=on_error, rejects=rejects)
        report = import_jsonl(filled, io.BytesIO(file.data()), options)
        (trouble,) = report.troubles
        assert (trouble.table, trouble.column) == ("kg_relationships", "strength")
        assert (trouble.line, trouble.rows) == (line, 1)
        assert not report.is_complete
        assert filled.query("SELECT * FROM kg_relationships") == []
        if rejects is not None:
            assert json.loads(rejects.read_text())["row"]["strength"] == "strong"

    def test_an_import_that_was_interrupted_is_resumed(
        self, filled: Datastore, target: Datastore, tmp_path: Path
    ) -> None:
        path = tmp_path / "backup.jsonl.gz"
        export_jsonl(filled, path)

        def stop(progress: Progress) -> None:
            if progress.table == "chunk_embeddings":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            import_jsonl(target, path, LoadOptions(resume=True, progress=stop))
        assert ChunkRepository(target).count() == 3
        for _ in range(2):
            assert import_jsonl(target, path, LoadOptions(resume=True)).is_complete
            assert rows_of(exported(target)) == rows_of(exported(filled))

    def test_a_damaged_file_is_found_before_anything_is_committed(
        self, filled: Datastore, target: Datastore, tmp_path: Path
    ) -> None:
        path = tmp_path / "backup.jsonl"
        path.write_bytes(exported(filled)[:-200])
        with pytest.raises(TransferError, match="cut off"):
            import_jsonl(target, path, LoadOptions(resume=True))
        assert ChunkRepository(target).count() == 0

    def test_a_stream_cannot_be_resumed(self, filled: Datastore) -> None:
        with pytest.raises(TransferError, match="name a file"):
            import_jsonl(filled, io.BytesIO(exported(filled)), LoadOptions(resume=True))


def forget(file: File, table: str, column: str) -> None:
    """Take a column out of a file, as if it had not been there yet."""
    columns = file.table(table)["columns"]
    place = [each["name"] for each in columns].index(column)
    del columns[place]
    for at, line in enumerate(file.lines):
        row = json.loads(line)
        if row["t"] == table:
            del row["v"][place]
            file.lines[at] = json.dumps(row, separators=(",", ":")).encode() + b"\n"
