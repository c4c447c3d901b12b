"""Approximate vector indexes: HNSW graphs of pgvector, which `optimize()` builds and drops.

A graph serves one space: the vectors of one model, of one length, by one metric. It is no part of
the schema. It is built once its space is too large to be measured as a whole, since loading into a
graph takes a hundred times as long as loading without. Its name is made of that of the vector index
and a hash of the space, so that a statement can name it for a model that it learns when it runs.
Its comment says how many rows are measured instead, and is written last: a graph without a comment
is not searched. See `nearest.py` for how it is.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from datastore.backends.postgresql.fallback import uses_pgvector
from datastore.definitions import Metric, VectorIndexDefinition

logger = logging.getLogger("datastore")

#: pgvector from which a scan goes on until enough rows fulfil a filter (its changelog, 0.8.0).
LEAST_VERSION = (0, 8)
#: What an HNSW index takes (README of pgvector 0.8, "HNSW"): longer vectors in half precision.
MOST_DIMENSIONS, MOST_SINGLE = 4000, 2000
OPERATOR_CLASSES = {"cosine": "cosine_ops", "l2": "l2_ops", "inner_product": "ip_ops"}
#: pgvector's operators of distance.
OPERATORS = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>"}
#: The comment of a graph that may be searched; the number of rows follows.
MARK = "datastore_graph:"
#: Names: of at most 63 bytes, the last of them an underscore and so many digits of the hash.
MOST_NAME, DIGITS = 63, 8
#: What a vertex takes in memory beside its vector while a graph is built: for m = 16, 32
#: neighbours and their distances at the ground level, and allocation.
VERTEX = 1000
#: Seconds to wait until transactions that began before a build have ended.
PATIENCE = 600
#: Held while graphs are built: the first eight bytes of SHA-256 of "datastore.graphs".
GRAPHS_LOCK = int.from_bytes(hashlib.sha256(b"datastore.graphs").digest()[:8], signed=True)
#: SQLSTATEs of a build whose workers found no shared memory: containers often have 64 MB.
_NO_SHARED_MEMORY = {"53100", "53200"}


@dataclass(frozen=True)
class Graph:
    """The graph that a space of so many rows is to have."""

    definition: VectorIndexDefinition
    model: str | None
    metric: Metric
    dimensions: int
    rows: int

    @property
    def name(self) -> str:
        """The name of the index; `nearest.py` says the same in SQL."""
        space = space_prefix(self.metric, self.dimensions) + (self.model or "")
        return name_prefix(self.definition) + hashlib.sha256(space.encode()).hexdigest()[:DIGITS]

    def statement(self, table: str) -> str:
        """Return the CREATE INDEX."""
        column = quoted(self.definition.column)
        keyed = expression(column, self.metric, self.dimensions)
        model = self.definition.model
        where = "" if model is None else f" WHERE {quoted(model)} = {literal(self.model or '')}"
        return (
            f"CREATE INDEX CONCURRENTLY {quoted(self.name)} ON {table} USING hnsw "
            f"(({keyed}) {element_type(self.dimensions)}_{OPERATOR_CLASSES[self.metric]}){where}"
        )

    @property
    def memory(self) -> int:
        """The bytes that a build takes in which nothing is written before its end."""
        number = 4 if self.dimensions <= MOST_SINGLE else 2
        return self.rows * (number * self.dimensions + VERTEX)


@dataclass(frozen=True)
class Built:
    """A graph that is in the database; `valid` where its build came to its end."""

    name: str
    valid: bool
    comment: str | None


def name_prefix(definition: VectorIndexDefinition) -> str:
    """Return what the names of all graphs of a vector index begin with."""
    most = MOST_NAME - DIGITS - 1
    return definition.name.encode()[:most].decode(errors="ignore") + "_"


def space_prefix(metric: str, dimensions: int) -> str:
    """Return what is hashed of a space, but for the name of the model."""
    return f"{metric}:{dimensions}:"


def element_type(dimensions: int) -> str:
    """Return the type of what a graph over vectors of this length holds."""
    return "vector" if dimensions <= MOST_SINGLE else "halfvec"


def expression(vector: str, metric: str, dimensions: int) -> str:
    """Render what a graph holds of a vector; a search must say exactly the same."""
    if metric == "cosine" and dimensions > MOST_SINGLE:
        # Half precision ends at 65,504; only the direction counts.
        vector = f"l2_normalize({vector})"
    return f"{vector}::{element_type(dimensions)}({dimensions})"


def quoted(name: str) -> str:
    """Return an identifier as PostgreSQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string constant."""
    return "'" + text.replace("'", "''") + "'"


def graphs(connection: Connection, definition: VectorIndexDefinition) -> list[Built]:
    """Find the graphs of a vector index, finished or not."""
    found = connection.execute(_GRAPHS, {"table": _table(definition)})
    prefix = name_prefix(definition)
    return [
        Built(*row) for row in found if row.name.startswith(prefix) and _is_hash(row.name, prefix)
    ]


_GRAPHS = sa.text("""\
SELECT i.relname AS name, x.indisvalid AS valid, obj_description(i.oid, 'pg_class') AS comment
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_am AS a ON a.oid = i.relam
WHERE x.indrelid = to_regclass(:table) AND a.amname = 'hnsw' ORDER BY i.relname""")


def _is_hash(name: str, prefix: str) -> bool:
    digits = name.removeprefix(prefix)
    return len(digits) == DIGITS and set(digits) <= set("0123456789abcdef")


def build_graphs(
    connection: Connection,
    definitions: Iterable[VectorIndexDefinition],
    metric: Metric,
    exact_limit: int,
) -> None:
    """Make the graphs of these vector indexes what their rows need, without blocking anyone.

    Spaces of at most `exact_limit` numbers have none. Indexes of several models compare by
    `metric`. The connection commits by itself.
    """
    if not _is_able(connection):
        return
    with _alone(connection):
        for definition in definitions:
            wanted = list(_wanted(connection, definition, metric, exact_limit))
            _settle(connection, definition, wanted, exact_limit)


def _is_able(connection: Connection) -> bool:
    if not uses_pgvector(connection.dialect):
        return False  # though the extension may be there already
    version = connection.exec_driver_sql(
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    ).scalar()
    return version is not None and tuple(map(int, version.split(".")[:2])) >= LEAST_VERSION


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Let one session at a time build graphs, without the timeouts of ordinary statements."""
    names = ("statement_timeout", "lock_timeout", "maintenance_work_mem",
             "max_parallel_maintenance_workers")  # fmt: skip
    before = {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}
    # Asked again and again: one who waits in the server has a snapshot, for whose end the build
    # of the one who holds the lock would wait.
    while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(GRAPHS_LOCK))):
        time.sleep(0.1)
    try:
        _set(connection, "statement_timeout", "0")
        _set(connection, "lock_timeout", f"{PATIENCE}s")
        yield
    finally:
        if not connection.invalidated:
            for name, value in before.items():
                _set(connection, name, value)
            connection.execute(sa.select(sa.func.pg_advisory_unlock(GRAPHS_LOCK)))


def _set(connection: Connection, name: str, value: str) -> None:
    connection.execute(sa.select(sa.func.set_config(name, value, False)))


def _wanted(
    connection: Connection, definition: VectorIndexDefinition, metric: Metric, exact_limit: int
) -> Iterator[Graph]:
    measure = definition.metric if definition.model is None else metric
    for model, rows, dimensions in _spaces(connection, definition):
        if rows * dimensions > exact_limit and dimensions <= MOST_DIMENSIONS:
            yield Graph(definition, model, measure, dimensions, rows)


def _spaces(
    connection: Connection, definition: VectorIndexDefinition
) -> Iterator[tuple[str | None, int, int]]:
    """Yield model, number of rows and length of the first vector of each space."""
    vectors = _Vectors(definition)
    for model, rows in connection.execute(vectors.counts()).all():
        dimensions = connection.scalar(vectors.of(model, vectors.length).limit(1))
        if dimensions is not None:
            yield model, rows, dimensions


class _Vectors:
    """Statements about the rows of a vector index."""

    def __init__(self, definition: VectorIndexDefinition) -> None:
        vector: sa.ColumnClause[object] = sa.column(definition.column)
        self._table = sa.table(definition.table, vector, schema=definition.schema)
        self._is_vector = vector.is_not(None)
        self._model: sa.ColumnClause[str] | None = None
        if definition.model is not None:
            self._model = sa.column(definition.model)
        self.length: sa.Function[int] = sa.func.vector_dims(vector)

    def counts(self) -> sa.Select[*tuple[Any, ...]]:
        """Select each model and the number of its vectors."""
        count = sa.func.count()
        if self._model is None:
            return sa.select(sa.null(), count).select_from(self._table).where(self._is_vector)
        rows = sa.select(self._model, count).select_from(self._table).where(self._is_vector)
        return rows.where(self._model.is_not(None)).group_by(self._model)

    def of(self, model: str | None, *what: Any) -> sa.Select[*tuple[Any, ...]]:
        """Select something of the vectors of one model."""
        rows = sa.select(*what).select_from(self._table).where(self._is_vector)
        return rows if self._model is None else rows.where(self._model == model)


def _settle(
    connection: Connection,
    definition: VectorIndexDefinition,
    wanted: Sequence[Graph],
    exact_limit: int,
) -> None:
    """Drop the graphs that are not wanted or were left unfinished, and build those missing."""
    names = {graph.name for graph in wanted}
    there = {built.name: built for built in graphs(connection, definition)}
    for built in there.values():
        if not built.valid or built.name not in names:
            _drop(connection, definition, built.name)
    for graph in wanted:
        found = there.get(graph.name)
        mark = f"{MARK}{exact_limit // graph.dimensions}"
        is_ready = found is not None and found.valid
        if is_ready and found is not None and found.comment == mark:
            continue
        if is_ready or _build(connection, graph):
            name = _sibling(connection, definition, graph.name)
            _run(connection, f"COMMENT ON INDEX {name} IS {literal(mark)}")


def _build(connection: Connection, graph: Graph) -> bool:
    """Build a graph; tell whether its space can have one."""
    if not _is_uniform(connection, graph) or _is_partitioned(connection, graph.definition):
        logger.warning("%s: vectors cannot be indexed as one space", graph.definition.name)
        return False
    _give_memory(connection, graph.memory)
    try:
        _create(connection, graph)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _NO_SHARED_MEMORY:
            raise
        _set(connection, "max_parallel_maintenance_workers", "0")
        _create(connection, graph)
    return True


def _create(connection: Connection, graph: Graph) -> None:
    try:
        _run(connection, graph.statement(_table(graph.definition)))
    except DBAPIError:
        if not connection.invalidated:
            _drop(connection, graph.definition, graph.name)
        raise


def _is_uniform(connection: Connection, graph: Graph) -> bool:
    if graph.definition.dimensions is not None:
        return True
    vectors = _Vectors(graph.definition)
    ends = (sa.func.min(vectors.length), sa.func.max(vectors.length))
    row = connection.execute(vectors.of(graph.model, *ends)).one()
    return tuple(row) == (graph.dimensions, graph.dimensions)


def _is_partitioned(connection: Connection, definition: VectorIndexDefinition) -> bool:
    kind = sa.text("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:table)")
    return bool(connection.scalar(kind, {"table": _table(definition)}))


def _give_memory(connection: Connection, needed: int) -> None:
    """Let a build have what it needs, up to what the server may use for its cache.

    A graph that outgrows its memory is written and read again for every row that is added.
    """
    size = sa.text(
        "SELECT greatest(pg_size_bytes(current_setting('maintenance_work_mem')), "
        "least(CAST(:needed AS bigint), pg_size_bytes(current_setting('shared_buffers')))) / 1024"
    )
    _set(connection, "maintenance_work_mem", f"{connection.scalar(size, {'needed': needed})}kB")


def _drop(connection: Connection, definition: VectorIndexDefinition, name: str) -> None:
    index = _sibling(connection, definition, name)
    _run(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {index}")


def _sibling(connection: Connection, definition: VectorIndexDefinition, name: str) -> str:
    """Return the full name of an index, which is in the schema of its table."""
    schema = connection.scalar(
        sa.text(
            "SELECT n.nspname FROM pg_class AS t JOIN pg_namespace AS n ON n.oid = t.relnamespace "
            "WHERE t.oid = to_regclass(:table)"
        ),
        {"table": _table(definition)},
    )
    return f"{quoted(str(schema))}.{quoted(name)}"


def _table(definition: VectorIndexDefinition) -> str:
    name = quoted(definition.table)
    return name if definition.schema is None else f"{quoted(definition.schema)}.{name}"


def _run(connection: Connection, statement: str) -> None:
    connection.execute(sa.DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
