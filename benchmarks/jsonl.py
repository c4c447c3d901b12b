"""Files of JSON lines, written and read, beside what one would write for one table by hand."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from benchmarks.case import Bar, Case, Condition, Outcome, Target
from benchmarks.measure import Contestant, Measured, measure
from benchmarks.transfer import COLUMNS, metadata, source_of, target_of
from benchmarks.workbench import WireVector, Workbench, drain
from datastore import Datastore
from datastore.transfer import export_jsonl, import_jsonl

KB = 1000


def export(bench: Workbench) -> Outcome:
    """Write all rows, each with a vector of 1536."""
    store, file, count = _exported(bench)
    reader, bare = bench.raw_sqlite(store), file.with_suffix(".bare")
    measured = measure(
        [
            Contestant("datastore", lambda _: export_jsonl(store, file),
                       lambda: file.unlink(missing_ok=True)),
            Contestant("json and base64", lambda _: _write(reader, bare)),
        ],
        rounds=3,
        clock=time.process_time,
    )  # fmt: skip
    size = Condition("KB a row", file.stat().st_size / count / KB, Target("≤", 9.5))
    return _outcome(measured, count, [size])


def import_into_sqlite(bench: Workbench) -> Outcome:
    """Load the file into a store of a file, beside `executemany`."""
    _, file, count = _exported(bench)
    target = bench.kept("import", lambda: _empty(bench))
    raw, writer = bench.raw_sqlite(target), bench.raw_sqlite()
    columns = ", ".join(COLUMNS)
    writer.execute(f"CREATE TABLE bare ({columns}, PRIMARY KEY (id))")

    def by_hand(_: object) -> None:
        writer.execute("BEGIN")
        marks = ", ".join("?" * len(COLUMNS))
        rows = map(_stored, _read(file))
        writer.executemany(f"INSERT INTO bare ({columns}) VALUES ({marks})", rows)
        writer.execute("COMMIT")

    prepare = partial(raw.execute, "DELETE FROM documents")
    return _imported(
        target, file, count, prepare, by_hand, partial(writer.execute, "DELETE FROM bare")
    )


def import_into_postgresql(bench: Workbench) -> Outcome:
    """Load the file into a server, beside COPY BINARY."""
    _, file, count = _exported(bench)
    target = bench.kept("target", lambda: target_of(bench))
    raw = bench.raw_postgresql(target)
    raw.execute(
        "CREATE TABLE bare (id integer PRIMARY KEY, body text, meta jsonb, created timestamptz, "
        "flag boolean, score double precision, embedding vector(1536))"
    )

    def by_hand(_: object) -> None:
        statement = f"COPY bare ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)".encode()
        with raw.transaction(), raw.cursor() as cursor, cursor.copy(statement) as out:
            out.set_types(["int4", "text", "jsonb", "timestamptz", "bool", "float8", "vector"])
            for row in _read(file):
                vector = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
                moment = datetime.fromisoformat(row["created"])
                out.write_row(
                    (row["id"], row["body"], Jsonb(row["meta"]), moment, row["flag"],
                     row["score"], WireVector(vector))
                )  # fmt: skip

    return _imported(target, file, count, drain(raw, "documents"), by_hand, drain(raw, "bare"))


def _exported(bench: Workbench) -> tuple[Datastore, Path, int]:
    """Return a store, and a file with its rows."""
    count = bench.size(20_000, 2_000)
    store = bench.kept(("source", count), lambda: source_of(bench, count))
    file = Path(str(store.engine.url.database)).with_suffix(".jsonl")
    if not file.exists():
        export_jsonl(store, file)
    return store, file, count


def _empty(bench: Workbench) -> Datastore:
    store = bench.sqlite(metadata)
    store.migrate()
    return Datastore(store.engine, metadata=metadata)


def _imported(
    target: Datastore,
    file: Path,
    count: int,
    prepare: Callable[[], object],
    by_hand: Callable[[object], None],
    prepare_by_hand: Callable[[], object],
) -> Outcome:
    measured = measure(
        [
            Contestant("datastore, verified", lambda _: import_jsonl(target, file), prepare),
            Contestant("json and base64", by_hand, prepare_by_hand),
        ],
        rounds=3,
        clock=time.process_time,
    )
    return _outcome(measured, count, [])


def _outcome(measured: Measured, count: int, conditions: list[Condition]) -> Outcome:
    bars = [Bar(name, measured.seconds(name) / count * 1e6) for name in measured.names]
    notes = [f"{count:,} rows with vectors of 1536, synthetic; the processor time of the client"]
    return Outcome(bars[0].value, bars, "µs a row", conditions=conditions, notes=notes)


def _write(reader: Any, path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        for *values, vector in reader.execute(f"SELECT {', '.join(COLUMNS)} FROM documents"):
            row = dict(zip(COLUMNS, values, strict=False))
            row["meta"] = json.loads(row["meta"])
            row["created"] = datetime.fromtimestamp(row["created"] / 1e6, UTC).isoformat()
            row["flag"] = bool(row["flag"])
            row["embedding"] = base64.b64encode(vector).decode()
            out.write(json.dumps(row) + "\n")


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("t") == "documents":
                yield dict(zip(COLUMNS, row["v"], strict=True))


def _stored(row: dict[str, Any]) -> tuple[Any, ...]:
    moment = datetime.fromisoformat(row["created"]).timestamp()
    vector = base64.b64decode(row["embedding"])
    meta = json.dumps(row["meta"])
    return row["id"], row["body"], meta, int(moment * 1e6), row["flag"], row["score"], vector


_CPU = partial(Target, "≤", 200)

CASES = [
    Case("jsonl-export", "Export from SQLite", "", _CPU("µs a row"), export),
    Case("jsonl-import-sqlite", "Import into SQLite, verified", "", _CPU("µs a row"),
         import_into_sqlite),
    Case("jsonl-import-postgresql", "Import into PostgreSQL, verified", "", _CPU("µs a row"),
         import_into_postgresql, "a quarter of it is the proof, which reads all rows again"),
]  # fmt: skip
