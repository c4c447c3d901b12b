"""BM25 over substrings, in SQL text that both built-in dialects read.

FTS5's formula (SQLite manual, FTS5, 5.1.1), where a text is as long as it has trigrams, and each
place of a substring counts, overlapping ones too. A dialect writes three common table expressions
and takes the rest from here:

- `substring_terms`: `number`, `occur`, `repeated`, and what it needs to find them;
- `substring_corpus`: `texts`, how many there are, and their `mean_length`;
- `substring_found`: a row for each term and text with it: those three, and `key`, `id`, `length`
  and `frequency`, which is null for texts that cannot be hits.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from datastore.backends.standard import K1, LEAST_IDF, B
from datastore.elements import Matching, best
from datastore.textquery import TRIGRAM, TextQuery, fold_case


def substrings(query: TextQuery) -> list[dict[str, Any]]:
    """Return the rows of `substring_terms`, as they go to the server in JSON."""
    written = [(" ".join(term.words), term.occur.value) for term in query.terms]
    repeated = Counter((fold_case(term), occur) for term, occur in written if term)
    first = {(fold_case(term), occur): term for term, occur in reversed(written)}
    return [
        {"number": number, "term": first[key], "occur": key[1], "repeated": repeated[key]}
        for number, key in enumerate(repeated)
    ]


def length_of(columns: list[str], *, length: str, greatest: str) -> str:
    """Render the number of trigrams in several texts."""
    return " + ".join(
        f"{greatest}({length}(coalesce({column}, '')) - {TRIGRAM - 1}, 0)" for column in columns
    )


def scored(*, greatest: str, ln: str, in_order: str = "") -> str:
    """Render `substring_scored`: `key`, `id` and `relevance` of every hit.

    `in_order` makes a sum independent of the order in which the rows come, where that can be said.
    """
    idf = f"{greatest}({LEAST_IDF}, {ln}((corpus.texts - c.texts + 0.5) / (c.texts + 0.5)))"
    # Where no text has a trigram, all are as long as the mean.
    length = "coalesce(f.length / nullif(corpus.mean_length, 0), 1)"
    part = f"f.frequency * {K1 + 1} / (f.frequency + {K1} * ({1 - B} + {B} * {length}))"
    return f"""\
substring_rarity AS MATERIALIZED (
  SELECT c.number, {idf} AS importance
  FROM (SELECT number, count(*) AS texts FROM substring_found GROUP BY number) AS c
  CROSS JOIN substring_corpus AS corpus
), substring_scored AS MATERIALIZED (
  SELECT f.key, f.id, sum(f.repeated * r.importance * {part}{in_order}) AS relevance
  FROM substring_found AS f JOIN substring_rarity AS r ON r.number = f.number
  CROSS JOIN substring_corpus AS corpus
  GROUP BY f.key, f.id
  HAVING count(f.frequency) > 0 AND sum(CASE f.occur WHEN 'must not' THEN 1 ELSE 0 END) = 0
    AND sum(CASE f.occur WHEN 'must' THEN 1 ELSE 0 END)
      = (SELECT count(*) FROM substring_terms WHERE occur = 'must')
)"""


def best_substrings(ranked: str, tables: str, element: Matching, compiler: Any, **kw: Any) -> str:
    """Render the best rows of the common table expression `ranked`, one of `tables`."""
    rows = sa.table(
        ranked,
        sa.column("key"),
        sa.column("id", element.index.public_id.type),
        sa.column("relevance", sa.Double()),
    )
    statement = best(rows, "relevance", element, descending=True).correlate(None)
    return f"(WITH {tables}\n{compiler.process(statement, asfrom=True, **kw)})"
