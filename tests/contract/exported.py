"""What the tests of export files share: a small store, and files taken apart and put together."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datastore import Datastore
from datastore.transfer import export_jsonl
from repositories import Chunk, ChunkRepository, Entity, GraphRepository, Relationship

NOTHING = "0" * 64


def fill(store: Datastore) -> None:
    """Put a few rows into each table that `add` methods write to."""
    chunks, graph = ChunkRepository(store), GraphRepository(store)
    chunks.add_many(
        Chunk(
            id=f"c{n}",
            path=f"docs/{n}.md",
            start_line=1,
            end_line=n + 1,
            content=f"Chapter {n}: the quick brown fox\n\tnaïve 日本 👩\u200d🚀",
            embedding=[n + 1.0, 0.5, -0.1, 3e-45],
            metadata={"n": n, "x": 0.1, "tags": ["a", {"b": None}]},
        )
        for n in range(3)
    )
    graph.add_entities([Entity("ann", "Ann", "person", "a person"), Entity("bob", "Bob", "person")])
    graph.add_relationships([Relationship("ann", "bob", "knows", "r1", None, ("x", "y"), 9)])
    graph.link("ann", ["c0", "c2"])


def exported(store: Datastore, **options: Any) -> bytes:
    """Return an export as one piece."""
    stream = io.BytesIO()
    export_jsonl(store, stream, **options)
    return stream.getvalue()


@dataclass
class File:
    """A file taken apart: its header, and the lines of its rows."""

    header: dict[str, Any]
    lines: list[bytes]

    @classmethod
    def of(cls, data: bytes) -> File:
        first, *rows, _ = data.splitlines(keepends=True)
        return cls(json.loads(first), rows)

    def table(self, name: str) -> Any:
        """Return the header of a table."""
        (found,) = [table for table in self.header["tables"] if table["name"] == name]
        return found

    def row_of(self, name: str, number: int = 0) -> int:
        """Return where a row of a table stands among the lines."""
        start = b'{"t":"%b"' % name.encode()
        return [at for at, line in enumerate(self.lines) if line.startswith(start)][number]

    def set(self, name: str, column: str, value: Any, number: int = 0) -> int:
        """Change one value; return the line that it stands on."""
        at = self.row_of(name, number)
        row = json.loads(self.lines[at])
        columns = [each["name"] for each in self.table(name)["columns"]]
        row["v"][columns.index(column)] = value
        self.lines[at] = line_of(row)
        return at + 2

    def data(self) -> bytes:
        """Put it together, with a trailer that agrees with what it says."""
        first = line_of(self.header)
        tables = {table["name"]: self._totals(table["name"]) for table in self.header["tables"]}
        trailer = {"header": hashlib.sha256(first).hexdigest(), "tables": tables}
        return b"".join([first, *self.lines, trailer_of(trailer)])

    def _totals(self, name: str) -> dict[str, Any]:
        start = b'{"t":%b,' % json.dumps(name).encode()
        rows = [line for line in self.lines if line.startswith(start)]
        sha256 = hashlib.sha256(b"".join(rows)).hexdigest()
        return {"rows": len(rows), "sha256": sha256, "digest": NOTHING}


def line_of(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def trailer_of(trailer: Any) -> bytes:
    text = line_of(trailer).strip()
    return b'{"trailer":%b,"sha256":"%b"}\n' % (text, hashlib.sha256(text).hexdigest().encode())


def rows_of(data: bytes) -> Sequence[bytes]:
    """Return the lines of an export that say what was stored."""
    return data.splitlines()[1:-1]
