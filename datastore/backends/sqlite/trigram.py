"""Substrings: FTS5 matches those of three characters and more, and a scan of the texts the others.

FTS5's trigram tokenizer makes nothing of one or two characters, which are whole words in Chinese
and Japanese. A query with such a term is answered by reading every text, and ranked by the same
formula.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import sqlalchemy as sa

from datastore.backends.sqlite.functions import LN, PLACES
from datastore.backends.sqlite.joins import OrderedJoin
from datastore.backends.substrings import best_substrings, length_of, scored
from datastore.elements import Matching


def matching_substrings(
    matched: sa.Select[*tuple[Any, ...]], element: Matching, compiler: Any, **kw: Any
) -> str:
    """Render the best of the rows that FTS5 matched, and of those that were found by the scan."""
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)
    fields = ("number", "occur", "repeated", "term")
    given = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in fields)
    # From the terms outwards, so that without any no text is read.
    tables = f"""\
substring_terms AS MATERIALIZED (
  SELECT {given} FROM json_each({compiler.process(element.query, **kw)}, '$[2]')
), substring_corpus AS MATERIALIZED (
  SELECT count(*) AS texts, avg({_length(element, compiler)}) AS mean_length
  FROM (SELECT 1 FROM substring_terms LIMIT 1)
  CROSS JOIN {compiler.preparer.format_table(element.index.target)}
), substring_found AS MATERIALIZED (
  {compiler.process(_found(element, compiler), asfrom=True, **kw)}
), {scored(greatest="max", ln=LN)}, substring_hits AS (
  {compiler.process(matched, asfrom=True, **kw)}
  UNION ALL SELECT key, id, relevance FROM substring_scored
)"""
    return best_substrings("substring_hits", tables, element, compiler, **kw)


def _found(element: Matching, compiler: Any) -> sa.Select[*tuple[Any, ...]]:
    index = element.index
    fields = ("number", "occur", "repeated", "term")
    terms = sa.table("substring_terms", *map(sa.column, fields))
    places = [getattr(sa.func, PLACES)(column, terms.c.term) for column in index.columns]
    weighted = (
        sa.literal_column(repr(weight), sa.Double()) * count
        for weight, count in zip(index.definition.weights, places, strict=True)
    )
    counts = sa.and_(terms.c.occur != sa.literal_column("'must not'"), element.condition)
    return (
        sa.select(
            terms.c.number,
            terms.c.occur,
            terms.c.repeated,
            index.key.label("key"),
            index.public_id.label("id"),
            sa.literal_column(_length(element, compiler), sa.Integer()).label("length"),
            sa.case((counts, reduce(add, weighted))).label("frequency"),
        )
        .select_from(OrderedJoin(terms, index.target, sa.true()))
        .where(sa.or_(*(count > sa.literal_column("0") for count in places)))
        .correlate(None)
    )


def _length(element: Matching, compiler: Any) -> str:
    columns = [compiler.preparer.format_column(c, use_table=True) for c in element.index.columns]
    return length_of(columns, length="length", greatest="max")
