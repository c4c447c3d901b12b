"""Files that are damaged, forged or made to hurt: an error that names the line, and nothing changed."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastore import Datastore
from datastore.errors import TransferError
from datastore.transfer import LoadOptions, check_jsonl, import_jsonl
from tests.contract.exported import File, exported, fill, line_of, rows_of, trailer_of

#: Gives the data of a hostile file, and the line that is wrong with it.
Forge = Callable[[File], tuple[bytes, int]]
OPTIONS = LoadOptions(existing="truncate")
DEEP = 100_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Datastore]:
    """A store with a few rows; no test changes it, so one does for all of them."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("victim") / "store.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        url, drop = f"sqlite:///{path}", lambda: None
    else:
        databases = request.getfixturevalue("postgres_databases")
        name = databases.create()
        url, drop = databases.url(name), lambda: databases.drop(name)
    with Datastore.open(url) as store:
        store.migrate()
        fill(store)
        yield store
    drop()


@pytest.fixture(scope="module")
def whole(victim: Datastore) -> bytes:
    """What the store holds, as a file."""
    return exported(victim)


def refused(store: Datastore, data: bytes, whole: bytes) -> TransferError:
    """Import a file; return the error, having looked that nothing was changed."""
    with pytest.raises(TransferError) as caught:
        import_jsonl(store, io.BytesIO(data), OPTIONS)
    assert rows_of(exported(store)) == rows_of(whole)
    return caught.value


def value(table: str, column: str, item: Any) -> Forge:
    """Return a forgery in which one value is another."""

    def forge(file: File) -> tuple[bytes, int]:
        line = file.set(table, column, item)
        return file.data(), line

    return forge


def text(table: str, old: bytes, new: bytes) -> Forge:
    """Return a forgery in which a line of a table reads otherwise, good JSON or not."""

    def forge(file: File) -> tuple[bytes, int]:
        at = file.row_of(table)
        assert old in file.lines[at]
        file.lines[at] = file.lines[at].replace(old, new, 1)
        return file.data(), at + 2

    return forge


def header(change: Callable[[File], Any]) -> Forge:
    """Return a forgery with another header."""

    def forge(file: File) -> tuple[bytes, int]:
        change(file)
        return b"".join([line_of(file.header), *file.lines]), 1

    return forge


def repeated_row(file: File) -> tuple[bytes, int]:
    at = file.row_of("kg_mentions")
    file.lines.insert(at, file.lines[at])
    return file.data(), at + 3


def row_of_an_unknown_table(file: File) -> tuple[bytes, int]:
    file.lines.insert(1, b'{"t":"../../etc/passwd","v":[1]}\n')
    return file.data(), 3


def rows_out_of_order(file: File) -> tuple[bytes, int]:
    file.lines.append(file.lines.pop(0))
    return file.data(), len(file.lines) + 1


def row_with_another_key(file: File) -> tuple[bytes, int]:
    file.lines[0] = file.lines[0].replace(b'"v":', b'"id":7,"v":')
    return file.data(), 2


def row_that_lacks_a_value(file: File) -> tuple[bytes, int]:
    row = json.loads(file.lines[0])
    file.lines[0] = line_of({**row, "v": row["v"][:-1]})
    return file.data(), 2


def rows_behind_the_trailer(file: File) -> tuple[bytes, int]:
    return file.data() + file.lines[0], len(file.lines) + 3


def trailer(change: Callable[[dict[str, Any]], Any]) -> Forge:
    """Return a forgery with another trailer, which agrees with itself."""

    def forge(file: File) -> tuple[bytes, int]:
        *lines, last = file.data().splitlines(keepends=True)
        document = json.loads(last)["trailer"]
        change(document)
        return b"".join([*lines, trailer_of(document)]), len(lines) + 1

    return forge


def trailer_of_other_rows(file: File) -> tuple[bytes, int]:
    last = file.data().splitlines(keepends=True)[-1]
    del file.lines[file.row_of("kg_mentions")]
    lines = file.data().splitlines(keepends=True)[:-1]
    return b"".join([*lines, last]), len(lines) + 1


def table(name: str) -> Callable[[File], Any]:
    return lambda file: file.table(name)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


SHAPES: dict[str, Forge] = {
    "no JSON": text("chunks", b'"v"', b"'v'"),
    "no object": lambda file: (file.data().replace(file.lines[0], b"[1]\n"), 2),
    "an empty line": lambda file: (file.data().replace(file.lines[0], b"\n"), 2),
    "NaN": text("chunks", b'"x":0.1', b'"x":NaN'),
    "infinity": text("chunks", b'"x":0.1', b'"x":-Infinity'),
    "one key twice": text("chunks", b'"x":0.1', b'"n":0.1'),
    "one key of the row twice": text("chunks", b'{"t"', b'{"t":"chunks","t"'),
    "too deep": text("chunks", b'"x":0.1', b'"x":' + nested(DEEP)),
    "bad UTF-8": text("chunks", b"quick", b"qu\xffck"),
    "overlong UTF-8": text("chunks", b"quick", b"qu\xc0\x80ck"),
    "a bare NUL": text("chunks", b"quick", b"qu\x00ck"),
    "thousands of digits": text("chunks", b'"x":0.1', b'"x":' + b"9" * 5000),
    "too many values": text("chunks", b'"x":0.1', b'"x":[' + b"{}," * 400_000 + b"{}]"),
    "an unknown table": row_of_an_unknown_table,
    "rows out of order": rows_out_of_order,
    "another key": row_with_another_key,
    "a value that is missing": row_that_lacks_a_value,
    "a table that is no text": lambda file: (
        file.data().replace(file.lines[0], b'{"t":[],"v":[]}\n'),
        2,
    ),
}
VALUES: dict[str, Forge] = {
    "text for an integer": value("chunks", "start_line", "1"),
    "a boolean for an integer": value("chunks", "start_line", True),
    "a float for an integer": value("chunks", "start_line", 1.0),
    "an integer of 65 bits": value("chunks", "rid", 2**63),
    "an integer for text": value("chunks", "path", 7),
    "an object for text": value("chunks", "path", {}),
    "NUL in text": value("chunks", "path", "a\0b"),
    "a lone surrogate in text": value("chunks", "path", "a\ud800b"),
    "NUL in a document": value("chunks", "metadata", {"a": ["\0"]}),
    "a lone surrogate in a key": value("chunks", "metadata", {"\udfff": 1}),
    "an integer of 65 bits in a document": value("chunks", "metadata", [2**64]),
    "no time": value("chunks", "created_at", "2026-02-30T00:00:00Z"),
    "a time without a zone": value("chunks", "created_at", "2026-02-03T00:00:00"),
    "a time before the year 1": value("chunks", "created_at", "0001-01-01T00:00:00+14:00"),
    "an integer for a boolean": value("embedding_models", "active", 1),
    "no base64": value("chunk_embeddings", "embedding", "AAAA*AAA"),
    "bytes that are no numbers": value("chunk_embeddings", "embedding", "AAAAAAA="),
    "other dimensions": value("chunk_embeddings", "embedding", [1.0, 2.0, 3.0]),
    "no dimensions": value("chunk_embeddings", "embedding", ""),
    "a zero vector": value("chunk_embeddings", "embedding", [0, 0, 0, 0]),
    "an infinite number in a vector": value("chunk_embeddings", "embedding", [1e39, 1, 1, 1]),
    "NaN in a vector": value("chunk_embeddings", "embedding", "AADAfwAAwH8AAMB/AADAfw=="),
    "a boolean in a vector": value("chunk_embeddings", "embedding", [True, 1.5, 1, 1]),
    "text in a vector": value("chunk_embeddings", "embedding", ["1", 1, 1, 1]),
    "a vector in a vector": value("chunk_embeddings", "embedding", [[1], 1, 1, 1]),
    "text for a list": value("kg_relationships", "keywords", "x"),
    "a number in a list": value("kg_relationships", "keywords", ["x", 1]),
    "NULL where there must be a value": value("chunks", "content", None),
    "one key for two rows": repeated_row,
}
HEADERS: dict[str, Forge] = {
    "another format": header(lambda file: file.header.update(format="other")),
    "a later version": header(lambda file: file.header.update(version=2)),
    "a version that is no number": header(lambda file: file.header.update(version=True)),
    "no tables": header(lambda file: file.header.pop("tables")),
    "tables of another kind": header(lambda file: file.header.update(tables={"a": 1})),
    "a later revision": header(lambda file: file.header.update(schema_revision="9999")),
    "an unknown table": header(lambda file: file.table("chunks").update(name="unknown")),
    "an absolute name": header(lambda file: file.table("chunks").update(name="/etc/passwd")),
    "a name that goes up": header(lambda file: file.table("chunks").update(name="../chunks")),
    "a name that is SQL": header(lambda file: file.table("chunks").update(name='"; DROP TABLE x')),
    "the table of revisions": header(
        lambda file: file.table("chunks").update(name="datastore_version")
    ),
    "a table of a search index": header(
        lambda file: file.table("chunks").update(name="chunk_text_data")
    ),
    "one table twice": header(lambda file: file.header["tables"].append(file.table("chunks"))),
    "one column twice": header(
        lambda file: file.table("chunks")["columns"].append(file.table("chunks")["columns"][0])
    ),
    "no columns": header(lambda file: file.table("chunks").update(columns=[])),
    "an unknown column": header(lambda file: file.table("chunks")["columns"][1].update(name="x")),
    "a column that may not be missing": header(lambda file: file.table("chunks")["columns"].pop()),
    "a key that is missing": header(lambda file: file.table("chunks")["columns"].pop(0)),
    "another kind": header(lambda file: file.table("chunks")["columns"][0].update(kind="text")),
}
TRAILERS: dict[str, Forge] = {
    "rows behind it": rows_behind_the_trailer,
    "a second one": lambda file: (
        file.data() + file.data().splitlines(keepends=True)[-1],
        len(file.lines) + 3,
    ),
    "other rows": trailer_of_other_rows,
    "another count": trailer(lambda each: each["tables"]["chunks"].update(rows=4)),
    "a count that is no number": trailer(lambda each: each["tables"]["chunks"].update(rows="3")),
    "another hash": trailer(lambda each: each["tables"]["chunks"].update(sha256="0" * 64)),
    "another header": trailer(lambda each: each.update(header="0" * 64)),
    "a table that is missing": trailer(lambda each: each["tables"].pop("chunks")),
    "no tables": trailer(lambda each: each.pop("tables")),
    "a trailer that disagrees with itself": lambda file: (
        file.data().replace(b'"digest":"0', b'"digest":"1', 1),
        len(file.lines) + 2,
    ),
}


def cases(forgeries: dict[str, Forge]) -> Any:
    return pytest.mark.parametrize("forge", list(forgeries.values()), ids=list(forgeries))


@cases(SHAPES)
def test_a_row_of_another_shape(victim: Datastore, whole: bytes, forge: Forge) -> None:
    data, line = forge(File.of(whole))
    error = refused(victim, data, whole)
    assert (error.line, f"line {line}: " in str(error)) == (line, True)


@cases(VALUES)
def test_a_value_that_its_column_does_not_take(
    victim: Datastore, whole: bytes, forge: Forge
) -> None:
    data, line = forge(File.of(whole))
    error = refused(victim, data, whole)
    assert error.line == line
    assert f"line {line}" in str(error)


def test_a_row_whose_parent_is_missing(victim: Datastore, whole: bytes) -> None:
    """Only once all rows are there can that be known, and then by the key."""
    file = File.of(whole)
    file.set("kg_mentions", "entity_id", "nobody")
    error = refused(victim, file.data(), whole)
    assert "kg_mentions: foreign key to kg_entities" in str(error)
    assert "entity_id='nobody'" in str(error)


@cases(HEADERS)
def test_a_header_that_is_none(victim: Datastore, whole: bytes, forge: Forge) -> None:
    data, line = forge(File.of(whole))
    assert refused(victim, data, whole).line == line


@cases(TRAILERS)
def test_a_trailer_that_is_none(victim: Datastore, whole: bytes, forge: Forge) -> None:
    data, line = forge(File.of(whole))
    assert refused(victim, data, whole).line == line


def test_a_file_without_a_trailer(victim: Datastore, whole: bytes) -> None:
    lines = whole.splitlines(keepends=True)
    error = refused(victim, b"".join(lines[:-1]), whole)
    assert error.line == len(lines)
    assert "cut off" in str(error)


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"\xef\xbb\xbf{}\n", b"PK\x03\x04", b"\x00"])
def test_a_file_that_is_something_else(victim: Datastore, whole: bytes, data: bytes) -> None:
    assert refused(victim, data, whole).line == 1


def compressed(data: bytes, compression: str) -> bytes:
    return gzip.compress(data) if compression == "gzip" else zstandard.compress(data)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_compressed_file_that_was_cut_off(
    victim: Datastore, whole: bytes, compression: str, share: float
) -> None:
    data = compressed(whole, compression)
    cut = data[: max(5, int(len(data) * share))]
    assert refused(victim, cut, whole).line is not None


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_file_with_more_behind_it(
    victim: Datastore, whole: bytes, compression: str
) -> None:
    error = refused(victim, compressed(whole, compression) + b"garbage", whole)
    assert "damaged" in str(error)
    assert error.line is not None


def test_a_compressed_file_with_a_wrong_checksum(victim: Datastore, whole: bytes) -> None:
    data = bytearray(gzip.compress(whole))
    data[-8] ^= 1  # of the CRC, behind all lines
    assert "damaged" in str(refused(victim, bytes(data), whole))


class TestAnyDamage:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_one_flipped_bit_is_found(
        self, victim: Datastore, whole: bytes, tmp_path: Path, data: st.DataObject
    ) -> None:
        place = data.draw(st.integers(0, len(whole) * 8 - 1))
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        self.check(tmp_path, bytes(damaged))

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_an_end_that_is_missing_is_found(
        self, victim: Datastore, whole: bytes, tmp_path: Path, data: st.DataObject
    ) -> None:
        # The end of the last line alone says nothing.
        self.check(tmp_path, whole[: data.draw(st.integers(0, len(whole) - 2))])

    def check(self, folder: Path, data: bytes) -> None:
        path = folder / "damaged.jsonl"
        path.write_bytes(data)
        with pytest.raises(TransferError) as caught:
            check_jsonl(path)
        assert caught.value.line is not None


BOMBS = """
import gzip, io, sys
from datastore import Datastore
from datastore.errors import TransferError
from datastore.transfer import LoadOptions, import_jsonl

def pieces(*parts):
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=1) as stream:
        for part, times in parts:
            for _ in range(times):
                stream.write(part)
    made.seek(0)
    return made

MEGABYTE = 2**20
header, row = open(sys.argv[1], "rb").read().splitlines(keepends=True)[:2]
before, after = row.split(b"Chapter")
after = after[after.index(b'"'):]
def wide(character, size):
    return before + character.encode() + b"x" * int(size * MEGABYTE) + after

bombs = {
    "one line of 300 MB": pieces((header, 1), (b"x" * MEGABYTE, 300)),
    "a header of 300 MB": pieces((b"x" * MEGABYTE, 300)),
    "300 MB behind a row": pieces((header, 1), (row, 1), (b"\\0" * MEGABYTE, 300)),
    "long text, three times": pieces((header, 1), (wide("x", 7.9), 3)),
    "wide text, three times": pieces((header, 1), (wide("\\u2019", 7.9), 3)),
    "wider text, three times": pieces((header, 1), (wide("\\U0001f600", 3.9), 3)),
    "too wide a text": pieces((header, 1), (wide("\\U0001f600", 7.9), 1)),
    "too wide a text, escaped": pieces((header, 1), (wide("\\\\ud83d\\\\ude00", 7.9), 1)),
    "nested lists": pieces((header, 1), (b"[" * MEGABYTE, 8), (b"]" * MEGABYTE, 8)),
    "quotation marks": pieces((header, 1), (b'\\\\"' * (MEGABYTE // 2), 11), (b"\\n", 1)),
    "objects": pieces((header, 1), (b'{"t":[', 1), (b'{"a":1},' * MEGABYTE, 1), (b"0]}\\n", 1)),
}
with Datastore.open(sys.argv[2]) as store:
    for name, stream in bombs.items():
        try:
            import_jsonl(store, stream, LoadOptions(existing="truncate", verify="none"))
        except TransferError as error:
            print(name, error.line)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of memory")
def test_files_that_swell_in_memory_are_refused_in_little_of_it(
    migrated_file: Path, tmp_path: Path
) -> None:
    path, file = tmp_path / "store.db", tmp_path / "whole.jsonl"
    shutil.copyfile(migrated_file, path)
    with Datastore.open(f"sqlite:///{path}") as store:
        fill(store)
        file.write_bytes(exported(store))
    program = [sys.executable, "-c", BOMBS, str(file), f"sqlite:///{path}"]
    ran = subprocess.run(program, check=True, capture_output=True, text=True)
    *errors, peak = ran.stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in errors] == [
        "2",
        "1",
        "3",
        "5",
        "5",
        "5",
        "2",
        "2",
        "2",
        "2",
        "2",
    ]
    assert int(peak.split()[1]) < 256
    with Datastore.open(f"sqlite:///{path}") as store:
        assert rows_of(exported(store)) == rows_of(file.read_bytes())
