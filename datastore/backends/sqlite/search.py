"""How the neutral constructs are written for SQLite."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from datastore.backends.sqlite.functions import COSINE, L2, NEGATIVE_PRODUCT
from datastore.backends.sqlite.nearest import nearest
from datastore.backends.sqlite.trigram import matching_substrings
from datastore.backends.standard import on_conflict, parenthesised
from datastore.elements import (
    Each,
    Matching,
    Nearest,
    OnConflict,
    OneOf,
    best,
    binary_order,
    distance,
    unplanned,
)

# Of what a query is bound as: see types.MatchExpressions.
_EXPRESSIONS: tuple[sa.ColumnElement[str], ...] = (
    sa.literal_column("'$[0]'"),
    sa.literal_column("'$[1]'"),
)
_FUNCTIONS = {"cosine": COSINE, "l2": L2, "inner_product": NEGATIVE_PRODUCT}

compiles(OnConflict, "sqlite")(on_conflict)
compiles(Nearest, "sqlite")(nearest)


@compiles(distance, "sqlite")
def _distance(element: distance, compiler: Any, **kw: Any) -> str:
    arguments = compiler.process(element.clauses, **kw)
    return f"{_FUNCTIONS[element.metric]}({arguments})"


@compiles(binary_order, "sqlite")
def _binary_order(element: binary_order, compiler: Any, **kw: Any) -> str:
    value = compiler.process(element.clauses, **kw)
    return f"{value} COLLATE BINARY" if element.type._type_affinity is sa.String else str(value)


@compiles(unplanned, "sqlite")
def _unplanned(element: unplanned, compiler: Any, **kw: Any) -> str:
    # SQLite (3.53 does) plans by the value of a bare parameter in LIMIT, and with STAT4 by that of
    # one compared with an indexed column: anew each time one is bound, which takes as long as all
    # the rest of a search. It does not look into a query for them.
    return f"(SELECT {compiler.process(element.clauses, **kw)})"


@compiles(Each, "sqlite")
def _each(element: Each, compiler: Any, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(OneOf, "sqlite")
def _one_of(element: OneOf, compiler: Any, **kw: Any) -> str:
    value, query = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({value} IN {query})"


@compiles(Matching, "sqlite")
def _matching(element: Matching, compiler: Any, **kw: Any) -> str:
    matched = matched_by_fts5(element, compiler)
    if element.index.tokenizer == "trigram":
        return matching_substrings(matched, element, compiler, **kw)
    rows = matched.subquery("scanned")
    return parenthesised(best(rows, "relevance", element, descending=True), compiler, **kw)


def matched_by_fts5(element: Matching, compiler: Any) -> sa.Select[*tuple[Any, ...]]:
    """Select key, id and `relevance` of the rows that FTS5 matches."""
    index = element.index
    words = sa.table(index.name, sa.column("rowid"), sa.column(index.name))
    ranking, narrowing = (sa.func.json_extract(element.query, path) for path in _EXPRESSIONS)
    matches = words.c[index.name].op("MATCH")
    return (
        sa.select(
            index.key.label("key"),
            index.public_id.label("id"),
            sa.literal_column(_relevance(index, compiler), sa.Double()).label("relevance"),
        )
        .select_from(words.join(index.target, index.key == words.c.rowid))
        .where(matches(ranking), _narrowed(words, index.name, narrowing), element.condition)
        .correlate(None)
    )


def _narrowed(words: Any, name: str, narrowing: Any) -> sa.ColumnElement[bool]:
    again = words.alias("narrowed")
    rows = sa.select(again.c.rowid).where(sa.column(name).op("MATCH")(narrowing))
    return sa.or_(narrowing.is_(None), words.c.rowid.in_(rows))


def _relevance(index: Any, compiler: Any) -> str:
    # FTS5's bm25() is negative, the better the smaller.
    weights = ", ".join(map(repr, index.definition.weights))
    return f"-bm25({compiler.preparer.quote(index.name)}, {weights})"
