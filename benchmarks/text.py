"""Full-text search."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa

from benchmarks.case import Case, Outcome, outcome_of_times, times
from benchmarks.data import SEED, rfc_chunks
from benchmarks.measure import Contestant, Skipped, measure
from benchmarks.workbench import Workbench, settle
from datastore import Datastore, FullTextIndex, Text
from datastore.textquery import STOP_WORDS

LIMIT = 10

metadata = sa.MetaData()
texts = sa.Table(
    "texts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", Text(), nullable=False),
)
FullTextIndex("texts_words", texts.c.body)


@cache
def collection(size: int) -> list[str]:
    """Return texts of about 100 words: chunks of the RFCs, and others mixed of two halves."""
    chunks = [" ".join(chunk.split()[:150]) for chunk in rfc_chunks()]
    generator = np.random.default_rng(SEED)
    mixed: list[str] = []
    while len(chunks) + len(mixed) < size:
        one, other = (chunks[n].split() for n in generator.integers(len(chunks), size=2))
        mixed.append(" ".join([*one[: len(one) // 2], *other[len(other) // 2 :]]))
    return [*chunks, *mixed][:size]


@cache
def questions(size: int, count: int) -> list[str]:
    """Return queries of four words of one text and a common one, without stop words."""
    stop_words = STOP_WORDS["english"]
    words = [
        sorted(set(re.findall("[a-z]{3,}", text.lower())) - stop_words) for text in collection(size)
    ]
    counts = Counter(word for of_text in words for word in of_text)
    common = [word for word, _ in counts.most_common(40)]
    generator = np.random.default_rng(SEED + 1)
    long_enough = [of_text for of_text in words if len(of_text) >= 8]
    return [
        " ".join([*generator.choice(long_enough[number], 4, replace=False), common[n % 40]])
        for n, number in enumerate(generator.integers(len(long_enough), size=count))
    ]


def filled(bench: Workbench, store: Datastore, size: int) -> Datastore:
    """Load the texts and make the store ready."""
    store.insert_many(texts, ({"id": n, "body": body} for n, body in enumerate(collection(size))))
    return settle(bench, store)


def described(size: int) -> str:
    """Say what is searched."""
    return f"{size:,} texts: Rust RFCs, others mixed of two (synthetic); 5-word queries"


def postgresql(bench: Workbench) -> Outcome:
    """BM25 beside the ranking that PostgreSQL has, over the same index."""
    size = bench.size(60_000, 5_000)
    store = filled(bench, bench.postgresql(metadata), size)
    raw = bench.raw_postgresql(store)
    statement = f"""\
        SELECT t.*, ts_rank(texts_words_lexemes, query) AS relevance
        FROM texts AS t, to_tsquery('datastore_english', %s) AS query
        WHERE texts_words_lexemes @@ query ORDER BY relevance DESC LIMIT {LIMIT}"""

    def ranked(question: str) -> Any:
        return raw.execute(statement.encode(), (" | ".join(question.split()),)).fetchall()

    measured = measure(
        [
            Contestant("datastore, BM25",
                       lambda query: store.full_text_search(texts, "body", query, LIMIT)),
            Contestant("OR and ts_rank by hand", ranked),
        ],
        questions(size, bench.size(60, 15)),
        bench.rounds,
    )  # fmt: skip
    return outcome_of_times(measured, notes=[described(size)])


def sqlite(bench: Workbench) -> Outcome:
    """The verb beside FTS5 by hand, over the same index, and beside bm25s."""
    size = bench.size(60_000, 5_000)
    store = filled(bench, bench.sqlite(metadata), size)
    raw = bench.raw_sqlite(store)
    statement = f"""\
        SELECT t.*, found.relevance FROM (
          SELECT rowid, bm25(texts_words) AS relevance FROM texts_words
          WHERE texts_words MATCH ? ORDER BY rank LIMIT {LIMIT}) AS found
        JOIN texts AS t ON t.id = found.rowid ORDER BY found.relevance"""

    def by_hand(question: str) -> Any:
        return raw.execute(statement, (" OR ".join(question.split()),)).fetchall()

    measured = measure(
        [
            Contestant("datastore",
                       lambda query: store.full_text_search(texts, "body", query, LIMIT)),
            Contestant("FTS5 by hand", by_hand),
            Contestant("bm25s, in memory", _bm25s(collection(size))),
        ],
        questions(size, bench.size(60, 15)),
        bench.rounds,
    )  # fmt: skip
    return outcome_of_times(measured, notes=[described(size)])


def _bm25s(documents: list[str]) -> Any:
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise Skipped(f"the package {error.name} is not installed") from None
    stemmer = Stemmer.Stemmer("porter")

    def tokens(of: list[str]) -> Any:
        return bm25s.tokenize(of, stopwords="en", stemmer=stemmer, show_progress=False)

    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index(tokens(documents), show_progress=False)
    return lambda query: index.retrieve(tokens([query]), k=LIMIT, show_progress=False)


CASES = [
    Case("bm25-postgresql", "Text search, BM25 on PostgreSQL", "OR and ts_rank by hand",
         times(2), postgresql,
         "the statement has a cost of its own, which shows where there are few texts"),
    Case("bm25-sqlite", "Text search on SQLite", "FTS5 by hand", None, sqlite),
]  # fmt: skip
