"""Moving rows from SQLite to PostgreSQL, and what it takes of time and memory."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from benchmarks.case import Bar, Case, Condition, Outcome, Target, outcome_of_rates, rate
from benchmarks.measure import Contestant, Skipped, measure
from benchmarks.workbench import WireVector, Workbench, drain
from datastore import Datastore, JSONDocument, Text, UTCDateTime, Vector
from datastore.transfer import LoadOptions, copy

DIMENSIONS, SEED, MIB = 1536, 3, 2**20
COLUMNS = ("id", "body", "meta", "created", "flag", "score", "embedding")
_START = datetime(2026, 1, 1, tzinfo=UTC)

metadata = sa.MetaData()
documents = sa.Table(
    "documents",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", Text(), nullable=False),
    sa.Column("meta", JSONDocument(), nullable=False),
    sa.Column("created", UTCDateTime(), nullable=False),
    sa.Column("flag", sa.Boolean, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("embedding", Vector(DIMENSIONS), nullable=False),
)


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Make rows of about 7 KB: a text of 800 characters, some values, a vector."""
    numbers = np.random.default_rng(SEED)
    for number in range(count):
        vector = numbers.standard_normal(DIMENSIONS, dtype=np.float32)
        moment = _START + timedelta(seconds=number)
        meta = {"source": f"file-{number % 97}", "tags": ["one", "two"], "n": number}
        text = f"{number} lorem ipsum dolor sit amet ".ljust(800, "x")
        yield number, text, meta, moment, number % 2 == 0, number / 7, vector


def source_of(bench: Workbench, count: int) -> Datastore:
    """Return a SQLite store with so many rows, beside the tables of ours."""
    store = bench.sqlite(metadata)
    store.migrate()
    store.insert_many(documents, rows(count), COLUMNS)
    return Datastore(store.engine, metadata=metadata)


def target_of(bench: Workbench) -> Datastore:
    """Return a PostgreSQL store without rows."""
    store = bench.postgresql(metadata)
    store.migrate()
    return Datastore(store.engine, metadata=metadata)


def copy_beside_script(bench: Workbench, verify: Any) -> Outcome:
    """Copy beside the thirty lines that one would write for this one table."""
    count = bench.size(50_000, 5_000)
    source = bench.kept(("source", count), lambda: source_of(bench, count))
    target = bench.kept("target", lambda: target_of(bench))
    raw, reader = bench.raw_postgresql(target), bench.raw_sqlite(source)
    raw.execute("DROP TABLE IF EXISTS bare")
    raw.execute(
        "CREATE TABLE bare (id integer PRIMARY KEY, body text, meta jsonb, created timestamptz, "
        "flag boolean, score double precision, embedding vector(1536))"
    )
    options = LoadOptions(verify=verify)
    measured = measure(
        [
            Contestant(f"datastore copy, verify {verify}", lambda _: copy(source, target, options),
                       drain(raw, "documents")),
            Contestant("30 lines of COPY BINARY", lambda _: by_hand(reader, raw),
                       drain(raw, "bare")),
        ],
        rounds=3,
    )  # fmt: skip
    return outcome_of_rates(measured, count, [f"{count:,} rows of about 7 KB, synthetic"])


def by_hand(reader: Any, raw: psycopg.Connection[Any]) -> None:
    """Copy the table as a hand-written program would, without looking at the values."""
    types = ["int4", "text", "jsonb", "timestamptz", "bool", "float8", "vector"]
    found = reader.execute(f"SELECT {', '.join(COLUMNS)} FROM documents")
    statement = f"COPY bare ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)".encode()
    with raw.transaction(), raw.cursor() as cursor, cursor.copy(statement) as out:
        out.set_types(types)
        for id_, body, meta, created, flag, score, vector in found:
            moment = datetime.fromtimestamp(created / 1e6, UTC)
            wire = WireVector(np.frombuffer(vector, "<f4"))
            out.write_row((id_, body, Jsonb(json.loads(meta)), moment, bool(flag), score, wire))


def copy_beside_pgloader(bench: Workbench) -> Outcome:
    """Copy beside pgloader, with the settings that kept it from running out of memory."""
    if shutil.which("pgloader") is None:
        raise Skipped("pgloader is not installed")
    count = bench.size(20_000, 2_000)
    source = bench.kept(("source", count), lambda: source_of(bench, count))
    target = bench.kept("target", lambda: target_of(bench))
    raw = bench.raw_postgresql(target)
    command = _pgloader_command(bench, source, target)

    def pgloader(_: object) -> None:
        subprocess.run(["pgloader", str(command)], check=True, capture_output=True)
        # It returns 0 whatever happened.
        found = raw.execute("SELECT count(*) FROM loaded.documents").fetchone()
        if found != (count,):
            raise RuntimeError(f"pgloader: expected {count} rows, found {found}")

    measured = measure(
        [
            Contestant("datastore copy, verify full", lambda _: copy(source, target),
                       drain(raw, "documents")),
            Contestant("pgloader", pgloader,
                       lambda: raw.execute("DROP SCHEMA IF EXISTS loaded CASCADE")),
        ],
        rounds=3,
    )  # fmt: skip
    return outcome_of_rates(measured, count, [f"{count:,} rows; pgloader makes bytea of vectors"])


def _pgloader_command(bench: Workbench, source: Datastore, target: Datastore) -> Path:
    alone = bench.raw_sqlite()  # a file with this table and no other
    file = alone.execute("PRAGMA database_list").fetchone()[2]
    alone.execute("ATTACH ? AS given", (source.engine.url.database,))
    alone.execute(
        "CREATE TABLE documents (id integer PRIMARY KEY, body text, meta text, created bigint, "
        "flag integer, score double precision, embedding blob)"
    )
    alone.execute("INSERT INTO documents SELECT * FROM given.documents")
    alone.execute("DETACH given")
    alone.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    url = target.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    path = Path(file).with_suffix(".load")
    path.write_text(
        f"LOAD DATABASE FROM sqlite://{file} INTO {url}\n"
        "WITH include drop, create tables, prefetch rows = 1000, batch rows = 1000, "
        "batch size = 8MB\n"
        "SET search_path TO 'loaded'\n"
        "BEFORE LOAD DO $$ CREATE SCHEMA IF NOT EXISTS loaded $$;\n"
    )
    return path


def memory(bench: Workbench) -> Outcome:
    """Copy in processes of their own, and see how much memory they took."""
    few, many = bench.size(50_000, 2_000), bench.size(200_000, 8_000)
    peaks = {count: _peak(bench, count) for count in (few, many)}
    growth = peaks[many] - peaks[few]
    return Outcome(
        peaks[many],
        [Bar(f"{count:,} rows", peak) for count, peak in peaks.items()],
        "MiB",
        conditions=[Condition("growth in MiB", growth, Target("≤", 10))],
        notes=["the whole process, verification included"],
    )


def _peak(bench: Workbench, count: int) -> float:
    source, target = source_of(bench, count), target_of(bench)
    urls = [store.engine.url.render_as_string(hide_password=False) for store in (source, target)]
    program = [sys.executable, "-m", "benchmarks.transfer", *urls]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(program, check=True, capture_output=True, text=True, cwd=root)
    return float(done.stdout)


def _copy_alone(source: str, target: str) -> float:
    """Copy, and return the most memory that this process took, in MiB.

    `getrusage` would give that of the process which started this one, if that is larger.
    """
    with Datastore.open(source) as one, Datastore.open(target) as other:
        copy(Datastore(one.engine, metadata=metadata), Datastore(other.engine, metadata=metadata))
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) * 1024 / MIB


_CLIENT = (
    "each value is looked at and each batch kept until the server has taken it; of two processors "
    "the client has one"
)
_PROOF = (
    "beside what the script does, each value is looked at and hashed on its way, and all of the "
    "target is read and hashed again, by one processor"
)

_FAST_PEER = (
    "pgloader puts the bytes of a vector into a column of bytes as they are, in several threads, "
    "and compares nothing afterwards"
)

CASES = [
    Case("copy", "Copy of a table, SQLite to PostgreSQL", "COPY BINARY by hand",
         rate(0.7), lambda bench: copy_beside_script(bench, "none"), if_missed=_CLIENT),
    Case("copy-verified", "The same, every value compared", "COPY BINARY by hand",
         rate(0.5), lambda bench: copy_beside_script(bench, "full"), if_missed=_PROOF),
    Case("copy-pgloader", "Copy of a table, verified", "pgloader",
         rate(3), copy_beside_pgloader, if_missed=_FAST_PEER),
    Case("copy-memory", "Memory of a copy", "", Target("≤", 150, "MiB"), memory),
]  # fmt: skip


if __name__ == "__main__":
    print(_copy_alone(*sys.argv[1:]))
