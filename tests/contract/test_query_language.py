"""The query language in the database: the same texts and scores on every backend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from host_tables import Notes
from hypothesis import given
from hypothesis import strategies as st

from datastore import Datastore
from datastore.textquery import Occur, Term, TextQuery

#: Words that begin alike, so that prefixes find several.
VOCABULARY = ["ab", "abc", "abcd", "bc", "bcd", "xy", "x1"]
words = st.lists(st.sampled_from(VOCABULARY), max_size=12).map(" ".join)
terms = st.builds(
    Term,
    st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3).map(tuple),
    st.sampled_from([*[Occur.SHOULD] * 4, Occur.MUST, Occur.MUST_NOT]),
    st.booleans(),
)
queries = st.lists(terms, max_size=4).map(lambda several: TextQuery(tuple(several)))


def places(term: Term, text: str) -> int:
    """Count the places at which a term begins in a text."""
    held, n = text.split(), len(term.words)
    *before, last = term.words
    return sum(
        held[at : at + n - 1] == before
        and (held[at + n - 1].startswith(last) if term.prefix else held[at + n - 1] == last)
        for at in range(len(held) - n + 1)
    )


def reference(
    rows: Mapping[str, Sequence[str]], query: TextQuery, weights: Sequence[float]
) -> dict[str, float]:
    """BM25 with FTS5's formula over terms, and the conditions of the query: id -> relevance."""

    def holds(row: Sequence[str], term: Term) -> bool:
        return any(places(term, text) for text in row)

    def score(row: Sequence[str]) -> float:
        length = sum(len(text.split()) for text in row)
        total = 0.0
        for term in query.scored:
            holders = sum(holds(other, term) for other in rows.values())
            idf = max(1e-6, math.log((len(rows) - holders + 0.5) / (holders + 0.5)))
            frequency = sum(w * places(term, text) for w, text in zip(weights, row, strict=True))
            total += idf * frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * length / mean))
        return total

    mean = sum(len(text.split()) for row in rows.values() for text in row) / len(rows)
    return {
        id: score(row)
        for id, row in rows.items()
        if any(holds(row, term) for term in query.scored)
        and all(holds(row, term) for term in query.required)
        and not any(holds(row, term) for term in query.excluded)
    }


@pytest.mark.parametrize("weights", [(1.0, 1.0), (4.0, 0.5)])
def test_terms_match_and_score_as_the_reference_does(
    empty_store: Datastore, weights: tuple[float, float]
) -> None:
    notes = Notes(language="simple", weights=dict(zip(("title", "body"), weights, strict=True)))
    store = notes.over(empty_store)

    @given(st.lists(words, min_size=1, max_size=12), queries, st.sampled_from([3, 100]))
    def check(bodies: list[str], query: TextQuery, limit: int) -> None:
        store.execute(sa.delete(notes.table))
        notes.fill(store, [{"title": "xy", "body": body} for body in bodies])
        rows = {f"n{n}": ("xy", body) for n, body in enumerate(bodies, 1)}
        expected = reference(rows, query, weights)
        found = store.full_text_search("notes", ["title", "body"], query, limit)
        assert len(found) == min(limit, len(expected))
        best = sorted(expected.values(), reverse=True)[:limit]
        assert [hit.relevance for hit in found] == pytest.approx(best, rel=1e-9, abs=1e-15)
        for hit in found:
            assert hit.relevance == pytest.approx(expected[hit.id], rel=1e-9, abs=1e-15)

    check()


def test_conditions_hold_within_hybrid_search_too(store: Datastore) -> None:
    notes = Notes()
    store = notes.over(store)
    rows: list[dict[str, Any]] = [
        {"body": body, "embedding": [1, 0, 0, n]}
        for n, body in enumerate(["red apple", "green apple", "red pear", "red apple tree"], 1)
    ]
    notes.fill(store, rows)
    found = store.full_text_search("notes", ["title", "body"], '+"red apple" -tree')
    assert [hit.id for hit in found] == ["n1"]
    hybrid = store.hybrid_search("notes", text="+apple -green", vector=[1, 0, 0, 9], limit=4)
    by_text = [hit.id for hit in hybrid if hit.score > 0.5]
    assert sorted(by_text) == ["n1", "n4"]


def test_a_phrase_and_a_prefix_are_stemmed_as_the_texts_are(store: Datastore) -> None:
    notes = Notes()
    store = notes.over(store)
    notes.fill(store, [{"body": "running dogs"}, {"body": "dogs running"}, {"body": "a runner"}])
    for query, expected in {
        '"run dog"': ["n1"],
        "runn*": ["n3"],
        "run*": ["n1", "n2", "n3"],
        '+dog +"dogs run"': ["n2"],
    }.items():
        found = store.full_text_search("notes", ["title", "body"], query)
        assert sorted(hit.id for hit in found) == expected, query


def test_no_phrase_spans_two_columns(store: Datastore) -> None:
    notes = Notes()
    store = notes.over(store)
    notes.fill(store, [{"title": "red", "body": "apple"}, {"title": "red apple"}])
    found = store.full_text_search("notes", ["title", "body"], '"red apple"')
    assert [hit.id for hit in found] == ["n2"]
