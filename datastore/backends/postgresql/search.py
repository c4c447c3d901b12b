"""How the neutral constructs are written for PostgreSQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from datastore.backends.postgresql.bm25 import bm25
from datastore.backends.postgresql.fallback import DISTANCES, uses_pgvector
from datastore.backends.postgresql.hnsw import OPERATORS
from datastore.backends.postgresql.nearest import nearest
from datastore.backends.postgresql.trigram import trigram_bm25
from datastore.backends.standard import on_conflict
from datastore.elements import Each, Matching, Nearest, OnConflict, OneOf, binary_order, distance

compiles(OnConflict, "postgresql")(on_conflict)
compiles(Nearest, "postgresql")(nearest)


@compiles(Matching, "postgresql")
def _matching(element: Matching, compiler: Any, **kw: Any) -> str:
    render = trigram_bm25 if element.index.tokenizer == "trigram" else bm25
    return render(element, compiler, **kw)


@compiles(distance, "postgresql")
def _distance(element: distance, compiler: Any, **kw: Any) -> str:
    left, right = (compiler.process(clause, **kw) for clause in element.clauses)
    if not uses_pgvector(compiler.dialect):
        return f"{DISTANCES[element.metric]}({left}, {right})"
    # The sum keeps an approximate index out of the plan: this is the exact distance of every row.
    return f"(({left} {OPERATORS[element.metric]} {right}) + 0.0::double precision)"


@compiles(binary_order, "postgresql")
def _binary_order(element: binary_order, compiler: Any, **kw: Any) -> str:
    value = compiler.process(element.clauses, **kw)
    if element.type._type_affinity is sa.String:
        return f'CAST({value} AS TEXT) COLLATE "C"'
    return str(value)


@compiles(Each, "postgresql")
def _each(element: Each, compiler: Any, **kw: Any) -> str:
    return f"(SELECT unnest({compiler.process(element.clauses, **kw)}) AS value)"


@compiles(OneOf, "postgresql")
def _one_of(element: OneOf, compiler: Any, **kw: Any) -> str:
    # An index is searched for all elements of an array in one pass, for the rows of a query anew by
    # each; and of how many rows there are the planner makes a wild guess.
    value, query = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({value} = ANY (ARRAY{query}))"
