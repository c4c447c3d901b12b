"""BM25 over substrings: candidates from a GIN index of pg_trgm, counts from the folded text.

The index knows runs of three letters or digits. A term without one is looked for in every text.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from datastore.backends.postgresql.indexes import (
    COLUMN_END,
    case_folded,
    column_text,
    folded_column,
    length_column,
)
from datastore.backends.substrings import best_substrings, scored
from datastore.elements import Matching

_BY_INDEX = "substring_terms.indexed AND {} LIKE substring_terms.pattern"
# The first condition belongs to no row, so that without short terms no text is read.
_BY_SCAN = (
    "(SELECT bool_or(NOT indexed) FROM substring_terms) "
    "AND NOT substring_terms.indexed AND strpos({}, substring_terms.term) > 0"
)


def trigram_bm25(element: Matching, compiler: Any, **kw: Any) -> str:
    """Render the best rows, with BM25 as FTS5 defines it."""
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)
    length = compiler.preparer.quote(length_column(element.index.definition))
    by_index, by_scan = (
        compiler.process(_found(element, compiler, held), asfrom=True, **kw)
        for held in (_BY_INDEX, _BY_SCAN)
    )
    folded = ", ".join(
        f"{case_folded('g.' + name)} AS {name}" for name in ("term", "pattern", "regex")
    )
    tables = f"""\
substring_terms AS MATERIALIZED (
  SELECT g.number, g.occur, g.repeated, g.indexed, {folded},
    ARRAY(SELECT {case_folded("unnest")} FROM unnest(g.doubled)) AS doubled
  FROM jsonb_to_recordset(CAST({compiler.process(element.query, **kw)} AS jsonb)) AS g(
    number integer, occur text, repeated integer, indexed boolean, term text, pattern text,
    regex text, doubled text[])
), substring_corpus AS MATERIALIZED (
  SELECT count(*)::double precision AS texts, avg({length})::double precision AS mean_length
  FROM {compiler.preparer.format_table(element.index.target)}
), substring_found AS MATERIALIZED (
  {by_index}
  UNION ALL
  {by_scan}
), {scored(greatest="greatest", ln="ln", in_order=" ORDER BY f.number")}"""
    return best_substrings("substring_scored", tables, element, compiler, **kw)


def _found(element: Matching, compiler: Any, held: str) -> sa.Select[*tuple[Any, ...]]:
    index = element.index
    folded, length = (
        column_text(index.target, name, compiler)
        for name in (folded_column(index.definition), length_column(index.definition))
    )
    terms = sa.table("substring_terms", *map(sa.column, ("number", "occur", "repeated")))
    counts: sa.ColumnElement[bool] = sa.literal_column(
        "substring_terms.occur <> 'must not'", sa.Boolean()
    )
    frequency: sa.ColumnElement[float] = sa.literal_column(
        _frequency(folded, index.definition.weights), sa.Double()
    )
    return (
        sa.select(
            *terms.c,
            index.key.label("key"),
            index.public_id.label("id"),
            sa.literal_column(length, sa.Integer()).label("length"),
            sa.case((sa.and_(counts, element.condition), frequency)).label("frequency"),
        )
        .join_from(terms, index.target, sa.literal_column(held.format(folded), sa.Boolean()))
        .correlate(None)
    )


def _frequency(folded: str, weights: tuple[float, ...]) -> str:
    """Render how often a term stands in a row, each time by the weight of its column."""
    if len(set(weights)) == 1:
        return f"{weights[0]!r}::double precision * {_places(folded)}"
    texts = (f"split_part({folded}, '{COLUMN_END}', {n})" for n in range(1, len(weights) + 1))
    return " + ".join(
        f"{weight!r}::double precision * {_places(text)}"
        for weight, text in zip(weights, texts, strict=True)
    )


def _places(text: str) -> str:
    # replace() takes out what does not overlap, which is all in almost every text; looking ahead at
    # every place takes eight times as long.
    every_place = f"(SELECT count(*) FROM regexp_matches({text}, substring_terms.regex, 'g'))"
    taken_out = f"octet_length({text}) - octet_length(replace({text}, substring_terms.term, ''))"
    apart = f"({taken_out}) / octet_length(substring_terms.term)"
    return (
        f"(CASE WHEN {text} LIKE ANY (substring_terms.doubled) THEN {every_place} ELSE {apart} END)"
    )
