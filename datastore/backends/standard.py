"""SQL that both built-in dialects write alike; a backend registers what fits it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from datastore.elements import Nearest, OnConflict, best

#: The usual constants of BM25, and those of FTS5's bm25() (SQLite manual, FTS5, 5.1.1).
K1, B = 1.2, 0.75
#: FTS5's least inverse document frequency: a word in more than half of the texts still counts.
LEAST_IDF = 1e-6


def on_conflict(element: OnConflict, compiler: Any, **kw: Any) -> str:
    """Render ON CONFLICT as PostgreSQL and SQLite (3.24 and later) write it."""
    quote = compiler.preparer.quote
    target = ", ".join(quote(column.name) for column in element.key)
    if not element.updates:
        return f"ON CONFLICT ({target}) DO NOTHING"
    options = {**kw, "use_schema": False, "is_upsert_set": True, "include_table": True}
    updates = ", ".join(
        f"{quote(column.name)} = {compiler.process(value.self_group(), **options)}"
        for column, value in element.updates.items()
    )
    return f"ON CONFLICT ({target}) DO UPDATE SET {updates}"


def exact_nearest(element: Nearest, compiler: Any, **kw: Any) -> str:
    """Render a search that computes every distance: right always, slow on many rows."""
    rows = element.scan().subquery("scanned")
    found = best(rows, "distance", element).add_columns(sa.false().label("approximate"))
    return parenthesised(found, compiler, **kw)


def parenthesised(statement: sa.Select[*tuple[Any, ...]], compiler: Any, **kw: Any) -> str:
    """Render a SELECT in the place of a table."""
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)
    return f"({compiler.process(statement.correlate(None), asfrom=True, **kw)})"
