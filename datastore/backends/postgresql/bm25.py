"""BM25 on a stock server, exact: in SQL over the `tsvector` column and its GIN index.

Three things make it fast. Term frequencies are read off `ts_rank`, which for one lexeme is a
monotone function of them, rather than by taking every vector apart. Document frequencies are
counted in the index. And most texts are never scored (MaxScore: Turtle and Flood, "Query
evaluation: strategies and optimizations", 1995): once `limit` texts with the rare terms are scored,
a text that holds only the frequent ones cannot be among the best if these together cannot add up to
the score of the last.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from datastore.backends.postgresql.indexes import (
    CONFIGURATIONS,
    MARK,
    column_text,
    labels,
    length_column,
    lexemes_column,
    words_of,
)
from datastore.backends.standard import K1, LEAST_IDF, B
from datastore.definitions import FullTextIndexDefinition
from datastore.elements import Matching

#: The first pass scores texts with the rarest terms: so many times the limit, before it stops.
FIRST_PASS = 4
#: A tsvector holds at most so many positions of one lexeme (PostgreSQL manual, 12.11).
MOST_POSITIONS = 255


def bm25(element: Matching, compiler: Any, **kw: Any) -> str:
    """Render the best rows, with BM25 as FTS5 defines it."""
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)
    definition, quote = element.index.definition, compiler.preparer.quote
    table = compiler.preparer.format_table(element.index.target)
    lexemes, length = quote(lexemes_column(definition)), quote(length_column(definition))
    configuration = CONFIGURATIONS[definition.language]
    query, limit = (compiler.process(part, **kw) for part in (element.query, element.limit))
    key, order = quote(element.index.key.name), _order(element)
    first, every = (
        compiler.process(_candidates(element, compiler, terms), asfrom=True, **kw)
        for terms in ("bm25_first", "bm25_essential")
    )
    return f"""\
(WITH bm25_given AS MATERIALIZED (
  SELECT g.occur, g.prefix, t.lexemes,
    CASE WHEN g.prefix THEN regexp_replace(p.phrase, '{MARK}''$', '''') || ':*'
      ELSE p.phrase END AS term
  FROM jsonb_to_recordset(CAST({query} AS jsonb)) AS g(words text, occur text, prefix boolean)
  CROSS JOIN LATERAL (SELECT {words_of("g.words", definition.language)} AS words) AS f
  CROSS JOIN LATERAL (SELECT phraseto_tsquery('{configuration}', f.words)::text AS phrase) AS p
  CROSS JOIN LATERAL (
    SELECT array_agg(CASE WHEN g.prefix AND position = cardinality(string_to_array(f.words, ' '))
      THEN rtrim(v.lexeme, '{MARK}') ELSE v.lexeme END ORDER BY position) AS lexemes
    FROM unnest(to_tsvector('{configuration}', f.words)) AS v, unnest(v.positions) AS position
  ) AS t
  WHERE p.phrase <> ''
), bm25_corpus AS MATERIALIZED (
  SELECT count(*)::double precision AS texts, avg({length})::double precision AS mean_length
  FROM {table}
), bm25_thresholds AS MATERIALIZED (
  SELECT array_agg((total - 0.5 / (n * n)) / (pi() * pi() / 6) ORDER BY n) AS thresholds
  FROM (SELECT n, sum(1.0::double precision / (n * n)) OVER (ORDER BY n) AS total
        FROM generate_series(1, {MOST_POSITIONS}) AS n) AS totals
), bm25_counted AS MATERIALIZED (
  SELECT s.*, (SELECT count(*) FROM {table} WHERE {lexemes} @@ s.term::tsquery) AS texts
  FROM (SELECT term, lexemes, prefix, count(*) AS repeated FROM bm25_given
        WHERE occur <> 'must not' GROUP BY term, lexemes, prefix) AS s
), bm25_terms AS MATERIALIZED (
  SELECT c.term, c.term::tsquery AS query, c.lexemes, c.prefix, c.texts,
    cardinality(c.lexemes) = 1 AND NOT c.prefix AS is_word, c.repeated * {_idf()} AS importance,
    corpus.mean_length, h.thresholds
  FROM bm25_counted AS c CROSS JOIN bm25_corpus AS corpus CROSS JOIN bm25_thresholds AS h
), bm25_bounded AS MATERIALIZED (
  SELECT *, sum(texts) OVER rare - texts AS texts_of_rarer,
    {K1 + 1} * sum(importance) OVER frequent AS bound
  FROM bm25_terms
  WINDOW rare AS (ORDER BY texts, term), frequent AS (ORDER BY texts DESC, term DESC)
), bm25_narrowing AS MATERIALIZED (
  SELECT string_agg(CASE occur WHEN 'must' THEN '(' ELSE '!(' END || term || ')', ' & ')::tsquery
    AS query FROM bm25_given WHERE occur <> 'should'
), bm25_first AS MATERIALIZED (
  SELECT CASE WHEN bool_or(NOT is_first)
    THEN string_agg('(' || term || ')', ' | ') FILTER (WHERE is_first) END::tsquery AS query
  FROM (SELECT term, texts_of_rarer < {FIRST_PASS} * CAST({limit} AS bigint) AS is_first
        FROM bm25_bounded) AS f
), bm25_least AS MATERIALIZED (
  SELECT coalesce((SELECT {_relevance(definition)} AS relevance
    FROM ({first}) AS d ORDER BY relevance DESC
    OFFSET greatest({limit} - 1, 0) LIMIT 1), 0) AS relevance
), bm25_essential AS MATERIALIZED (
  SELECT string_agg('(' || term || ')', ' | ')::tsquery AS query
  FROM bm25_bounded, bm25_least WHERE bound * (1 + 1e-9) >= relevance
), bm25_best AS MATERIALIZED (
  SELECT d.key, d.id, {_relevance(definition)} AS relevance
  FROM ({every}) AS d ORDER BY {order} LIMIT {limit}
)
SELECT key AS {key}, row_number() OVER (ORDER BY {order}) AS rank, relevance
FROM bm25_best ORDER BY {order})"""


def _order(element: Matching) -> str:
    is_text = element.index.public_id.type._type_affinity is sa.String
    name = 'CAST(id AS TEXT) COLLATE "C"' if is_text else "id"
    return f"relevance DESC, {name} NULLS FIRST"


def _candidates(element: Matching, compiler: Any, terms: str) -> sa.Select[*tuple[Any, ...]]:
    """Select the rows that hold one of `terms` and fulfil the query's conditions and the filter.

    Adding nothing to the lexemes fetches them whole, once and not for each term: they are
    compressed, or lie in another table. OFFSET 0 keeps this from being done wherever they are used.
    """
    index = element.index
    lexemes, length_text = (
        column_text(index.target, name, compiler)
        for name in (lexemes_column(index.definition), length_column(index.definition))
    )
    length: sa.ColumnElement[int] = sa.literal_column(length_text)
    conditions = (
        f"{lexemes} @@ (SELECT query FROM {terms})",
        f"coalesce({lexemes} @@ (SELECT query FROM bm25_narrowing), true)",
    )
    return (
        sa.select(
            index.key.label("key"),
            index.public_id.label("id"),
            sa.literal_column(f"{lexemes} || ''").label("lexemes"),
            length.label("length"),
        )
        .where(*(sa.literal_column(sql, sa.Boolean()) for sql in conditions), element.condition)
        .offset(sa.literal_column("0"))
        .correlate(None)
    )


def _idf() -> str:
    # Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), 3.1; not below FTS5's.
    return f"greatest({LEAST_IDF}, ln((corpus.texts - c.texts + 0.5) / (c.texts + 0.5)))"


def _relevance(definition: FullTextIndexDefinition) -> str:
    """Render the score of one row `d`.

    OFFSET 0 has the frequency computed once, rather than wherever it stands.
    """
    norm = f"{K1} * ({1 - B} + {B} * d.length / t.mean_length)"
    return f"""\
(SELECT sum(t.importance * f.frequency * {K1 + 1} / (f.frequency + {norm}))
    FROM bm25_terms AS t
    CROSS JOIN LATERAL (SELECT {_frequency(definition)} AS frequency OFFSET 0) AS f
    WHERE f.frequency > 0)"""


def _frequency(definition: FullTextIndexDefinition) -> str:
    """Render how often term `t` stands in row `d`, each time by the weight of its column."""
    counted = f"CASE WHEN d.lexemes @@ t.query THEN {_counted(definition)} ELSE 0 END"
    if len(labels(definition)) > 1:
        return counted
    weight = definition.weights[0]
    read = "width_bucket(ts_rank('{1,1,1,1}', d.lexemes, t.query)::double precision, t.thresholds)"
    return f"CASE WHEN t.is_word THEN {weight!r} * {read} ELSE {counted} END"


def _counted(definition: FullTextIndexDefinition) -> str:
    # Each place of the term is one start at which all of its words stand in their order.
    cases = " ".join(f"WHEN '{label}' THEN {w!r}" for w, label in labels(definition).items())
    return f"""\
(SELECT coalesce(sum(weight), 0)::double precision FROM (
      SELECT min(CASE label {cases} END) AS weight
      FROM unnest(t.lexemes) WITH ORDINALITY AS w(lexeme, place)
      JOIN unnest(d.lexemes) AS v ON v.lexeme = w.lexeme
        OR t.prefix AND w.place = cardinality(t.lexemes) AND starts_with(v.lexeme, w.lexeme)
      CROSS JOIN LATERAL unnest(v.positions, v.weights) AS p(position, label)
      GROUP BY position - place HAVING count(*) = cardinality(t.lexemes)) AS places)"""
