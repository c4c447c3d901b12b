"""How the neutral constructs are written for PostgreSQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from datastore.backends.postgresql.indexes import (
    CONFIGURATIONS,
    folded,
    labels,
    length_column,
    lexemes_column,
)
from datastore.backends.standard import exact_nearest, on_conflict
from datastore.schema import FullTextIndexDefinition, public_id
from datastore.sql import Each, Matching, Nearest, OnConflict, binary_order, distance

_OPERATORS = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>"}
#: The usual constants of BM25, and those of FTS5's bm25() (SQLite manual, FTS5, 5.1.1).
K1, B = 1.2, 0.75
#: FTS5's least inverse document frequency: a word in more than half of the texts still counts.
LEAST_IDF = 1e-6

compiles(OnConflict, "postgresql")(on_conflict)
compiles(Nearest, "postgresql")(exact_nearest)


@compiles(distance, "postgresql")
def _distance(element: distance, compiler: Any, **kw: Any) -> str:
    left, right = (compiler.process(clause, **kw) for clause in element.clauses)
    # The sum keeps an approximate index out of the plan: this is the exact distance of every row.
    return f"(({left} {_OPERATORS[element.metric]} {right}) + 0.0::double precision)"


@compiles(binary_order, "postgresql")
def _binary_order(element: binary_order, compiler: Any, **kw: Any) -> str:
    value = compiler.process(element.clauses, **kw)
    return f'{value} COLLATE "C"' if element.type._type_affinity is sa.String else str(value)


@compiles(Each, "postgresql")
def _each(element: Each, compiler: Any, **kw: Any) -> str:
    return f"(SELECT unnest({compiler.process(element.clauses, **kw)}) AS value)"


@compiles(Matching, "postgresql")
def _matching(element: Matching, compiler: Any, **kw: Any) -> str:
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)
    definition, quote = element.index.definition, compiler.preparer.quote
    table = compiler.preparer.format_table(element.index.found)
    words = f"to_tsvector('{CONFIGURATIONS[definition.language]}', " + (
        f"{folded(compiler.process(element.query, **kw))})"
    )
    lexemes, length = quote(lexemes_column(definition)), quote(length_column(definition))
    key = quote(element.index.key.name)
    order = 'relevance DESC, id COLLATE "C"' if _has_text_id(element) else "relevance DESC, id"
    return f"""\
(WITH bm25_words AS MATERIALIZED (
  SELECT w.lexeme, cardinality(w.positions) AS repeated,
    (SELECT count(*) FROM {table} WHERE {lexemes} @@ quote_literal(w.lexeme)::tsquery) AS texts
  FROM unnest({words}) AS w
), bm25_corpus AS MATERIALIZED (
  SELECT count(*)::double precision AS texts, avg({length})::double precision AS mean_length
  FROM {table}
), bm25_candidates AS MATERIALIZED (
  {compiler.process(_candidates(element, compiler), asfrom=True, **kw)}
), bm25_scored AS (
  SELECT c.key, c.id, sum({_contribution(definition)}) AS relevance
  FROM bm25_candidates AS c CROSS JOIN bm25_corpus AS corpus
  CROSS JOIN LATERAL (
    SELECT lexeme, {_frequency(definition)} AS frequency FROM unnest(c.lexemes)
  ) AS f JOIN bm25_words AS w ON w.lexeme = f.lexeme
  GROUP BY c.key, c.id
  ORDER BY {order} LIMIT {compiler.process(element.limit, **kw)}
)
SELECT key AS {key}, row_number() OVER (ORDER BY {order}) AS rank, relevance
FROM bm25_scored ORDER BY {order})"""


def _has_text_id(element: Matching) -> bool:
    return public_id(element.index.found, element.index.name).type._type_affinity is sa.String


def _candidates(element: Matching, compiler: Any) -> sa.Select[*tuple[Any, ...]]:
    """Select the rows that hold a word of the query, found by GIN, and fulfil the filter."""
    index, quote = element.index, compiler.preparer.quote
    table = compiler.preparer.format_table(index.found)
    definition = index.definition
    lexemes = f"{table}.{quote(lexemes_column(definition))}"
    any_word = "(SELECT string_agg(quote_literal(lexeme), ' | ')::tsquery FROM bm25_words)"
    return (
        sa.select(
            index.key.label("key"),
            public_id(index.found, index.name).label("id"),
            sa.literal_column(lexemes).label("lexemes"),
            sa.literal_column(f"{table}.{quote(length_column(definition))}").label("length"),
        )
        .where(sa.literal_column(f"{lexemes} @@ {any_word}", sa.Boolean()), element.condition)
        .correlate(None)
    )


def _contribution(definition: FullTextIndexDefinition) -> str:
    # Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), with FTS5's idf.
    idf = f"greatest({LEAST_IDF}, ln((corpus.texts - w.texts + 0.5) / (w.texts + 0.5)))"
    norm = f"{K1} * (1 - {B} + {B} * c.length / corpus.mean_length)"
    return f"w.repeated * {idf} * f.frequency * {K1 + 1} / (f.frequency + {norm})"


def _frequency(definition: FullTextIndexDefinition) -> str:
    label_of = labels(definition)
    if len(label_of) == 1:
        return f"cardinality(positions) * {definition.weights[0]!r}::double precision"
    cases = " ".join(f"WHEN '{label}' THEN {weight!r}" for weight, label in label_of.items())
    return f"(SELECT sum(CASE label {cases} END)::double precision FROM unnest(weights) AS label)"
