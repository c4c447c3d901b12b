"""Vector, full-text and hybrid search over tables of a host: the same hits on every engine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from host_tables import DIMENSIONS, Notes, bm25
from hypothesis import given
from hypothesis import strategies as st

from datastore import (
    Datastore,
    FullTextIndex,
    JSONDocument,
    RowKey,
    Text,
    Vector,
    VectorIndex,
    hybrid,
    matching,
    nearest,
)
from datastore.errors import (
    ConfigurationError,
    DimensionError,
    InvalidValueError,
    UnknownNameError,
)
from datastore.results import SearchResult
from datastore.sql import RRF_K
from datastore.textquery import Occur, Term, TextQuery

METRICS = ("cosine", "l2", "inner_product")
#: Words that Porter's algorithm leaves alone, some of them common, some rare.
WORDS = [
    "apple",
    "bolt",
    "cloud",
    "drum",
    "elk",
    "fig",
    "gold",
    "hat",
    "ink",
    "jump",
    "kelp",
    "lamp",
]

NASTY = [
    "", " ", "\x00", "a\x00b", "\ud800", "apple \udfff bolt", '"', '"apple', "'", "''; --", "apple'",
    "apple AND bolt", "apple OR", "NOT apple", "NEAR(apple bolt)", "AND", "OR", "NOT", "apple NEAR",
    "body:apple", "-apple", "+apple", "apple*", "*", "^apple", "(apple", "apple)", "()", "{apple}",
    "a & b | !c", "!apple", "apple <-> bolt", "a:*", "a:b:c", ":", "&", "|", "!", "<->", "<2>", "\\",
    "\\'", "%", "_", "%s", ":name", "?", "$1", "{0}", "- " * 600, "-" * 4000, '"' * 3001, "(" * 3001,
    "apple\n\t\rbolt", "\u202eapple", "日本語", "👩‍👩‍👧", "\U0010ffff", "e\u0301", "ﬀ", "ß", "x" * 3000,
    "the", "the a of", "ＡＰＰＬＥ", "a" * 1_000_000, "apple " * 170_000, "\u0000apple", "apple\u0000",
    "1e308", "-1", "null", "NaN", "٣", "½", "m²", "_", "a_b", "İ", "ς", "\ufeffapple", "\u00adapple",
]  # fmt: skip

component = st.floats(-8, 8, width=32).map(lambda x: round(x, 3))
vectors = st.lists(component, min_size=DIMENSIONS, max_size=DIMENSIONS).filter(
    lambda v: sum(x * x for x in v) > 1e-3
)
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


def ids(result: SearchResult[Any]) -> list[Any]:
    return [hit.id for hit in result]


def distances(matrix: np.ndarray[Any, Any], query: Sequence[float], metric: str) -> Any:
    query_ = np.asarray(query, dtype=np.float64)
    if metric == "l2":
        return np.linalg.norm(matrix - query_, axis=1)
    products = matrix @ query_
    if metric == "inner_product":
        return -products
    return 1 - products / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query_))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def store(empty_store: Datastore, notes: Notes) -> Datastore:
    """A store over the host's empty tables, instead of ours."""
    return notes.over(empty_store)


def corpus(size: int, seed: int = 7) -> list[dict[str, Any]]:
    """Texts and vectors as different from each other as real ones."""
    generator = random.Random(seed)
    rows = []
    for number in range(size):
        rows.append(
            {
                "title": " ".join(generator.choices(WORDS, k=2)),
                "body": " ".join(
                    generator.choices(WORDS, range(1, 13), k=generator.randint(1, 30))
                ),
                "kind": "even" if number % 2 == 0 else "odd",
                "embedding": [generator.gauss(0, 1) for _ in range(DIMENSIONS)],
            }
        )
    return rows


class TestVectorSearch:
    @pytest.mark.parametrize("metric", METRICS)
    def test_distances_and_order_are_those_of_numpy(
        self, empty_store: Datastore, metric: str
    ) -> None:
        notes = Notes(metric=metric)
        store = notes.over(empty_store)

        @given(st.lists(vectors, min_size=1, max_size=12), vectors, st.integers(1, 15))
        def check(stored: list[list[float]], query: list[float], limit: int) -> None:
            store.execute(sa.delete(notes.table))
            notes.fill(store, [{"embedding": vector} for vector in stored])
            expected = distances(np.asarray(stored, dtype=np.float32), query, metric)
            found = store.vector_search("notes", "embedding", query, limit)
            assert len(found) == min(limit, len(stored))
            at = [hit.row["rid"] - 1 for hit in found]
            measured = [hit.distance for hit in found]
            assert measured == pytest.approx(expected[at], rel=2e-5, abs=2e-5)
            assert measured == sorted(measured)  # type: ignore[type-var]
            assert measured == pytest.approx(np.sort(expected)[:limit], rel=2e-5, abs=2e-5)

        check()

    @pytest.mark.parametrize(
        ("metric", "score"),
        [("cosine", [1.0, 0.5, 0.0]), ("l2", [1.0, 1 / (1 + 2**0.5), 1 / 3])],
    )
    def test_scores_fall_from_one_towards_zero(
        self, empty_store: Datastore, metric: str, score: list[float]
    ) -> None:
        notes = Notes(metric=metric)
        store = notes.over(empty_store)
        notes.fill(store, [{"embedding": v} for v in ([1, 0, 0, 0], [0, 1, 0, 0], [-1, 0, 0, 0])])
        found = store.vector_search("notes", "embedding", [1, 0, 0, 0])
        assert [hit.score for hit in found] == pytest.approx(score)

    def test_score_of_an_inner_product_is_its_logistic(self, empty_store: Datastore) -> None:
        notes = Notes(metric="inner_product")
        store = notes.over(empty_store)
        notes.fill(store, [{"embedding": [x, 1, 0, 0]} for x in (1e9, 2, 0, -2, -1e9)])
        found = store.vector_search("notes", "embedding", [1, 0, 0, 0])
        assert ids(found) == ["n1", "n2", "n3", "n4", "n5"]
        logistic = [1.0, 1 / (1 + np.exp(-2)), 0.5, 1 / (1 + np.exp(2)), 0.0]
        assert [hit.score for hit in found] == pytest.approx(logistic)

    def test_equal_distances_are_ordered_by_id_in_binary_order(
        self, store: Datastore, notes: Notes
    ) -> None:
        names = ["b", "a", "B", "é", "Z", "_", "a1", "a0", "10", "9", "\U0001f600", "\uffff", "ä"]
        notes.fill(store, [{"id": name, "embedding": [1, 2, 3, 4]} for name in names])
        found = store.vector_search("notes", "embedding", [1, 2, 3, 4], 20)
        assert ids(found) == sorted(names)

    def test_the_limit_cuts_equal_distances_in_the_same_order(
        self, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, [{"id": name, "embedding": [1, 2, 3, 4]} for name in "dBcaDbAC"])
        assert ids(store.vector_search("notes", "embedding", [4, 3, 2, 1], 3)) == ["A", "B", "C"]

    def test_rows_without_a_vector_are_no_hits(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"embedding": None}, {"embedding": [1, 0, 0, 0]}])
        assert ids(store.vector_search("notes", "embedding", [1, 0, 0, 0])) == ["n2"]

    @pytest.mark.parametrize("as_mapping", [True, False])
    def test_a_filter_costs_no_hits(self, store: Datastore, notes: Notes, as_mapping: bool) -> None:
        rows = [{"embedding": [1, 0, 0, n / 100], "kind": "near"} for n in range(50)]
        rows += [{"embedding": [-1, 0, 0, n / 100], "kind": "far"} for n in range(8)]
        notes.fill(store, rows)
        condition: Any = {"kind": "far"} if as_mapping else notes.table.c.kind.startswith("f")
        found = store.vector_search("notes", "embedding", [1, 0, 0, 0], 5, filter=condition)
        assert len(found) == 5
        assert {hit.row["kind"] for hit in found} == {"far"}

    def test_a_filter_may_be_a_subquery_over_the_same_table(
        self, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, corpus(20))
        other = sa.select(notes.table.c.rid).where(notes.table.c.kind == "odd")
        found = store.vector_search(
            "notes", "embedding", [1, 0, 0, 0], 50, filter=notes.table.c.rid.in_(other)
        )
        assert len(found) == 10

    def test_a_mapping_finds_rows_without_a_value_by_none(
        self, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, [{"embedding": [1, 0, 0, 0], "kind": kind} for kind in ("a", None)])
        found = store.vector_search("notes", "embedding", [1, 0, 0, 0], filter={"kind": None})
        assert ids(found) == ["n2"]

    def test_min_score_drops_what_scores_less(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"embedding": v} for v in ([1, 0, 0, 0], [0, 1, 0, 0], [-1, 0, 0, 0])])
        found = store.vector_search("notes", "embedding", [1, 0, 0, 0], min_score=0.5)
        assert ids(found) == ["n1", "n2"]

    def test_another_metric_may_be_asked_for(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"embedding": v} for v in ([10, 1, 0, 0], [1, 0.5, 0, 0])])
        query = [1, 0, 0, 0]
        assert ids(store.vector_search("notes", "embedding", query)) == ["n1", "n2"]
        assert ids(store.vector_search("notes", "embedding", query, metric="l2")) == ["n2", "n1"]

    def test_an_unknown_metric_is_refused(self, store: Datastore) -> None:
        with pytest.raises(InvalidValueError, match="metric"):
            store.vector_search("notes", "embedding", [1, 0, 0, 0], metric="l7")  # type: ignore[arg-type]

    def test_the_result_says_how_it_was_made(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(3))
        found = store.vector_search("notes", "embedding", [1, 0, 0, 0])
        assert (found.method, found.indexes, found.notes) == ("exact", ("note_vectors",), ())

    def test_a_query_of_another_length_names_both(self, store: Datastore) -> None:
        with pytest.raises(DimensionError, match="expected 4 dimensions, got 3"):
            store.vector_search("notes", "embedding", [1, 2, 3])

    @pytest.mark.parametrize("query", [[0, 0, 0, 0], [1, 2, float("nan"), 3], "text", None, [[1]]])
    def test_a_query_that_is_no_vector_is_refused(self, store: Datastore, query: Any) -> None:
        with pytest.raises(InvalidValueError):
            store.vector_search("notes", "embedding", query)

    def test_vectors_of_several_lengths_in_one_column_are_refused_when_compared(
        self, empty_store: Datastore
    ) -> None:
        notes = Notes(dimensions=None)
        store = notes.over(empty_store)
        notes.fill(store, [{"embedding": [1, 2, 3]}])
        with pytest.raises(InvalidValueError):
            store.vector_search("notes", "embedding", [1, 2])


class TestVectorsInATableOfTheirOwn:
    @pytest.fixture
    def tables(self, empty_store: Datastore) -> tuple[Datastore, sa.Table, sa.Table, VectorIndex]:
        metadata = sa.MetaData()
        pages = sa.Table(
            "pages",
            metadata,
            sa.Column("rid", RowKey(), primary_key=True),
            sa.Column("id", Text(), unique=True),
        )
        spaces = sa.Table(
            "page_vectors",
            metadata,
            sa.Column("page", sa.ForeignKey(pages.c.rid), primary_key=True),
            sa.Column("model", Text(), primary_key=True),
            sa.Column("embedding", Vector()),
        )
        index = VectorIndex("by_meaning", spaces.c.embedding, of=pages, model=spaces.c.model)
        with empty_store.engine.begin() as connection:
            metadata.create_all(connection)
        store = Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)
        store.execute(sa.insert(pages), [{"rid": 1, "id": "x"}, {"rid": 2, "id": "y"}])
        store.execute(
            sa.insert(spaces),
            [
                {"page": 1, "model": "default", "embedding": [1, 0]},
                {"page": 2, "model": "default", "embedding": [0, 1]},
                {"page": 1, "model": "other", "embedding": [1, 2, 3]},
            ],
        )
        return store, pages, spaces, index

    def test_hits_are_rows_of_the_table_that_the_index_finds(self, tables: Any) -> None:
        store, *_ = tables
        found = store.vector_search("pages", "embedding", [0, 1])
        assert [(hit.id, dict(hit.row)) for hit in found] == [
            ("y", {"rid": 2, "id": "y"}),
            ("x", {"rid": 1, "id": "x"}),
        ]

    def test_a_search_sees_the_vectors_of_one_model(self, tables: Any) -> None:
        store, pages, _, index = tables
        hits = nearest(index, [3, 2, 1], 5, model="other")
        statement = sa.select(pages.c.id).join(hits, hits.c.rid == pages.c.rid)
        assert [row.id for row in store.query(statement)] == ["x"]

    def test_the_model_must_be_named(self, tables: Any) -> None:
        with pytest.raises(InvalidValueError, match="model"):
            nearest(tables[3], [1, 2])

    def test_filters_speak_of_the_table_that_is_found(self, tables: Any) -> None:
        store, pages, *_ = tables
        found = store.vector_search("pages", "embedding", [0, 1], filter=pages.c.id < "y")
        assert ids(found) == ["x"]

    @pytest.mark.parametrize("exact", [False, True])
    @pytest.mark.parametrize("equals", [8, 60])
    def test_equal_distances_are_cut_by_id_however_many_they_are(
        self, tables: Any, equals: int, exact: bool
    ) -> None:
        store, pages, spaces, _ = tables
        rids = range(10, 10 + equals)
        # The later a row was written, the earlier its id.
        store.execute(sa.insert(pages), [{"rid": n, "id": f"p{99 - n}"} for n in rids])
        embedding = {"model": "default", "embedding": [1, 1]}
        store.execute(sa.insert(spaces), [{"page": n, **embedding} for n in rids])
        found = store.vector_search("pages", "embedding", [1, 4], 5, exact=exact)
        assert ids(found) == ["y", *sorted(f"p{99 - n}" for n in rids)[:4]]


class TestFullTextSearch:
    @pytest.mark.parametrize("weights", [(1.0, 1.0), (5.0, 1.0), (0.5, 3.25)])
    def test_relevance_is_bm25_as_fts5_defines_it(
        self, empty_store: Datastore, weights: tuple[float, float]
    ) -> None:
        notes = Notes(weights={"title": weights[0], "body": weights[1]})
        store = notes.over(empty_store)
        row = st.tuples(texts, texts)

        @given(st.lists(row, min_size=1, max_size=10), st.lists(st.sampled_from(WORDS), max_size=5))
        def check(rows: list[tuple[str, str]], query: list[str]) -> None:
            store.execute(sa.delete(notes.table))
            notes.fill(store, [{"title": title, "body": body} for title, body in rows])
            expected = bm25({f"n{n}": row for n, row in enumerate(rows, 1)}, query, weights)
            found = store.full_text_search("notes", ["title", "body"], " ".join(query), 100)
            relevance = {hit.id: hit.relevance for hit in found}
            assert relevance == pytest.approx(expected, rel=1e-9, abs=1e-15)
            scores = [hit.score for hit in found]
            assert scores == sorted(scores, reverse=True)
            assert all(0 < score < 1 for score in scores)

        check()

    def test_one_of_the_words_is_enough(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"body": "apple"}, {"body": "bolt"}, {"body": "cloud"}])
        found = store.full_text_search("notes", ["title", "body"], "apple bolt")
        assert sorted(ids(found)) == ["n1", "n2"]

    def test_more_of_the_words_rank_higher(self, store: Datastore, notes: Notes) -> None:
        notes.fill(
            store, [{"body": "apple elk"}, {"body": "apple bolt"}, *[{"body": "drum fig"}] * 9]
        )
        found = store.full_text_search("notes", ["body", "title"], "apple bolt")
        assert ids(found) == ["n2", "n1"]

    def test_a_repeated_word_counts_as_often(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"body": "apple"}, *[{"body": "drum"}] * 9])
        once, twice = (
            store.full_text_search("notes", ["title", "body"], query)[0].relevance
            for query in ("apple", "apple apple")
        )
        assert once is not None
        assert twice == pytest.approx(2 * once)

    def test_equal_relevance_is_ordered_by_id_in_binary_order(
        self, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, [{"id": name, "body": "apple"} for name in ("b", "é", "B", "a", "Z")])
        found = store.full_text_search("notes", ["title", "body"], "apple", 4)
        assert ids(found) == ["B", "Z", "a", "b"]

    def test_stop_words_are_not_asked_for(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"body": "the drum of it"}, {"body": "apple"}])
        assert ids(store.full_text_search("notes", ["title", "body"], "the apple of")) == ["n2"]

    def test_a_query_of_stop_words_alone_asks_for_them(
        self, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, [{"body": "to be or not to be"}, {"body": "apple"}])
        assert ids(store.full_text_search("notes", ["title", "body"], "to be")) == ["n1"]

    @pytest.mark.parametrize(
        ("stored", "query"),
        [
            ("Crème BRÛLÉE", "creme brulee"),
            ("creme brulee", "CRÈME"),
            ("cre\u0300me", "crème"),
            ("Łódź nad Nerem", "łódź"),
            ("Größe", "GRÖSSE größe"),
            ("Москва слезам", "москва"),
            ("ΟΔΟΣ", "οδος"),
            ("οδος", "ΟΔΟΣ"),
            ("한국어 문서", "한국어"),
            ("がっこう", "がっこう"),
            ("running runner", "runs"),
            ("ponies", "pony"),
            ("snake_case and dotted.name", "case"),
            ("snake_case and dotted.name", "dotted"),
            ("version 3.14", "14"),
            ("a-b/c", "c"),
            ("e2e utf8", "UTF8"),
            ("visit http://example.org/path now", "path"),
            ("mail me@example.org", "example"),
            ("<b>bold</b>", "bold"),
        ],
    )
    def test_case_accents_and_word_forms_are_folded(
        self, store: Datastore, notes: Notes, stored: str, query: str
    ) -> None:
        notes.fill(store, [{"body": stored}, {"body": "something else"}])
        assert ids(store.full_text_search("notes", ["title", "body"], query)) == ["n1"]

    def test_a_simple_index_stems_no_words(self, empty_store: Datastore) -> None:
        notes = Notes(language="simple")
        store = notes.over(empty_store)
        notes.fill(store, [{"body": "running"}, {"body": "run"}, {"body": "the"}])
        assert ids(store.full_text_search("notes", ["title", "body"], "RUN")) == ["n2"]
        assert ids(store.full_text_search("notes", ["title", "body"], "the")) == ["n3"]

    def test_updates_and_deletes_are_seen(self, store: Datastore, notes: Notes) -> None:
        table = notes.table
        notes.fill(store, [{"body": "apple"}, {"body": "apple"}, {"body": "apple"}])
        store.execute(sa.update(table).where(table.c.rid == 1).values(body="bolt"))
        store.execute(sa.update(table).where(table.c.rid == 3).values(body=None, title="bolt"))
        store.execute(sa.delete(table).where(table.c.rid == 2))
        assert ids(store.full_text_search("notes", ["title", "body"], "apple")) == []
        assert ids(store.full_text_search("notes", ["title", "body"], "bolt")) == ["n1", "n3"]

    def test_a_row_whose_key_changes_is_still_found(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"body": "apple"}])
        store.execute(sa.update(notes.table).values(rid=77))
        found = store.full_text_search("notes", ["title", "body"], "apple")
        assert [hit.row["rid"] for hit in found] == [77]

    def test_rows_of_the_open_transaction_are_seen_and_rolled_back_ones_are_not(
        self, store: Datastore, notes: Notes
    ) -> None:
        with store.transaction() as transaction:
            transaction.execute(sa.insert(notes.table).values(rid=1, id="a", body="apple"))
            found = transaction.full_text_search("notes", ["title", "body"], "apple")
            assert ids(found) == ["a"]
            transaction.rollback()
        assert ids(store.full_text_search("notes", ["title", "body"], "apple")) == []

    def test_a_filter_costs_no_hits(self, store: Datastore, notes: Notes) -> None:
        rows = [{"body": "apple", "kind": "short"} for _ in range(40)]
        rows += [{"body": "apple and much more beside", "kind": "long"} for _ in range(7)]
        notes.fill(store, rows)
        found = store.full_text_search(
            "notes", ["title", "body"], "apple", 6, filter={"kind": "long"}
        )
        assert len(found) == 6
        assert {hit.row["kind"] for hit in found} == {"long"}

    def test_a_filter_leaves_the_relevance_as_it_is(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(30))
        everything = store.full_text_search("notes", ["title", "body"], "apple drum", 100)
        some = store.full_text_search(
            "notes", ["title", "body"], "apple drum", 100, filter=notes.table.c.kind == "odd"
        )
        expected = [(h.id, h.relevance) for h in everything if h.row["kind"] == "odd"]
        assert [(hit.id, hit.relevance) for hit in some] == expected

    def test_the_result_names_its_index(self, store: Datastore) -> None:
        found = store.full_text_search("notes", ["title", "body"], "apple")
        assert (found.method, found.indexes, len(found)) == ("exact", ("note_words",), 0)

    def test_the_columns_may_be_named_in_any_order(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"body": "apple"}])
        assert ids(store.full_text_search("notes", ["body", "title"], "apple")) == ["n1"]

    @pytest.mark.parametrize("language", ["english", "simple"])
    def test_no_text_raises(self, empty_store: Datastore, language: str) -> None:
        notes = Notes(language=language)
        store = notes.over(empty_store)
        notes.fill(store, corpus(5))
        for text in NASTY:
            store.full_text_search("notes", ["title", "body"], text)
            store.hybrid_search("notes", text=text, vector=[1, 2, 3, 4])

        @given(st.text(st.characters()))
        def check(text: str) -> None:
            for hit in store.full_text_search("notes", ["title", "body"], text):
                assert 0 < hit.score < 1

        check()

    @pytest.mark.parametrize("query", [7, b"apple", ["apple"]])
    def test_what_is_no_text_is_refused(self, store: Datastore, query: Any) -> None:
        with pytest.raises(InvalidValueError):
            store.full_text_search("notes", ["title", "body"], query)


class TestHybridSearch:
    @pytest.mark.parametrize("weights", [None, (2.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
    def test_scores_are_those_of_reciprocal_rank_fusion(
        self, store: Datastore, notes: Notes, weights: tuple[float, float] | None
    ) -> None:
        notes.fill(store, corpus(40))
        query, vector = "apple bolt cloud", [1.0, -0.5, 0.25, 2.0]
        lists = (
            store.full_text_search("notes", ["title", "body"], query, 100),
            store.vector_search("notes", "embedding", vector, 100),
        )
        both = weights or (1.0, 1.0)
        expected: dict[Any, float] = {}
        for result, weight in zip(lists, both, strict=True):
            for rank, hit in enumerate(result, 1):
                expected[hit.id] = expected.get(hit.id, 0.0) + weight / (RRF_K + rank)
        found = store.hybrid_search("notes", text=query, vector=vector, limit=50, weights=weights)
        best = sum(both) / (RRF_K + 1)
        assert {hit.id: hit.score for hit in found} == pytest.approx(
            {key: votes / best for key, votes in expected.items()}
        )
        order = sorted(expected, key=lambda key: (-expected[key], key))
        assert ids(found) == order

    def test_the_first_of_both_lists_scores_one(self, store: Datastore, notes: Notes) -> None:
        notes.fill(
            store,
            [
                {"body": "apple", "embedding": [1, 0, 0, 0]},
                {"body": "drum", "embedding": [0, 1, 0, 0]},
            ],
        )
        found = store.hybrid_search("notes", text="apple", vector=[1, 0, 0, 0])
        assert (found[0].id, found[0].score) == ("n1", pytest.approx(1.0))

    def test_a_text_without_words_leaves_the_vectors(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(6))
        found = store.hybrid_search("notes", text="?!", vector=[1, 0, 0, 0], limit=6)
        assert ids(found) == ids(store.vector_search("notes", "embedding", [1, 0, 0, 0], 6))

    def test_a_filter_costs_no_hits(self, store: Datastore, notes: Notes) -> None:
        rows = [{"body": "apple", "embedding": [1, 0, 0, n], "kind": "near"} for n in range(120)]
        rows += [{"body": "drum", "embedding": [-1, 0, 0, n], "kind": "far"} for n in range(5)]
        notes.fill(store, rows)
        found = store.hybrid_search(
            "notes", text="apple", vector=[1, 0, 0, 0], limit=5, filter={"kind": "far"}
        )
        assert {hit.row["kind"] for hit in found} == {"far"}
        assert len(found) == 5

    def test_limits_beyond_the_pool_are_kept(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(130))
        found = store.hybrid_search("notes", text="apple", vector=[1, 0, 0, 0], limit=125)
        assert len(found) == 125

    @pytest.mark.parametrize(
        "weights", [(0, 0), (-1, 1), (1,), (1, 1, 1), (float("nan"), 1), (float("inf"), 1)]
    )
    def test_weights_that_rank_nothing_are_refused(self, store: Datastore, weights: Any) -> None:
        with pytest.raises(InvalidValueError, match="weights"):
            store.hybrid_search("notes", text="a", vector=[1, 0, 0, 0], weights=weights)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    *(("hybrid", {"weights": weights}) for weights in (
        (0, 0), (-1, 1), (1,), (1, 1, 1), (float("nan"), 1), (float("inf"), 1), (1e308, 1),
        (5e-324, 1), ("a", 1), "ab", 5, (None, 1), (True, 1), (10**400, 1))),
    *(("hybrid", {"pool": pool}) for pool in (0, -1, 1.5, "1", None, True)),
    *((kind, {name: number}) for kind in ("vector", "hybrid")
      for name in ("oversample", "ef_search") for number in (0, -1, 1.5, "1", True)),
    *((kind, {"marks": marks}) for kind in ("text", "hybrid")
      for marks in ((), ("a",), ("a", "b", "c"), (1, 2), 5)),
    *(("vector", {"min_score": score}) for score in ("x", True, float("nan"), [1])),
    *(("text", {"columns": columns}) for columns in (5, None, [5], [["body"]])),
    *(("vector", {"column": column}) for column in (5, None, [5])),
    *(("text", {"query": query}) for query in (
        5, b"apple", ["apple"], TextQuery(("apple",)), TextQuery((Term("apple"),)),
        TextQuery((Term((5,)),)))),
]  # fmt: skip


def test_arguments_that_make_no_sense_are_refused(store: Datastore) -> None:
    searches: dict[str, tuple[Any, dict[str, Any]]] = {
        "vector": (store.vector_search, {"column": "embedding", "query": [1, 0, 0, 0]}),
        "text": (store.full_text_search, {"columns": ["title", "body"], "query": "apple"}),
        "hybrid": (store.hybrid_search, {"text": "apple", "vector": [1, 0, 0, 0]}),
    }
    for kind, arguments in REFUSED:
        search, usual = searches[kind]
        with pytest.raises(InvalidValueError):
            search("notes", **{**usual, **arguments})
            pytest.fail(f"{kind} search took {arguments}")


def test_a_query_made_by_hand_finds_what_a_text_finds(store: Datastore, notes: Notes) -> None:
    notes.fill(store, [{"title": "Red Apple", "body": "crème"}, {"body": "apple"}, {"body": "fig"}])
    for terms, found in (
        ((Term(("Apple",)),), ["n1", "n2"]),
        ((Term(("CRÈME",)),), ["n1"]),
        ((Term(("red apple",)),), ["n1"]),
        ((Term(("apple\x00",)), Term(("-",), Occur.MUST)), ["n1", "n2"]),
        ((Term(("\ud800apple",)), Term(('"red',), Occur.MUST_NOT)), ["n2"]),
        ((Term(()),), []),
        ((), []),
    ):
        query = TextQuery(terms)
        hits = store.full_text_search("notes", ["title", "body"], query, marks=("[", "]"))
        assert sorted(ids(hits)) == found
        assert all("[" in (hit.snippet or "") for hit in hits)


class TestEverySearch:
    @pytest.fixture(params=["vector", "text", "hybrid"])
    def search(self, request: pytest.FixtureRequest, store: Datastore) -> Any:
        searches = {
            "vector": lambda *a, **k: store.vector_search(
                k.pop("table", "notes"), "embedding", [1, 0, 0, 0], *a, **k
            ),
            "text": lambda *a, **k: store.full_text_search(
                k.pop("table", "notes"), ["title", "body"], "apple drum", *a, **k
            ),
            "hybrid": lambda *a, **k: store.hybrid_search(
                k.pop("table", "notes"),
                text="apple drum",
                vector=[1, 0, 0, 0],
                **({"limit": a[0]} if a else {}),
                **k,
            ),
        }
        return searches[request.param]

    def test_an_empty_table_has_no_hits(self, search: Any) -> None:
        assert list(search()) == []

    def test_limit_zero_finds_nothing(self, search: Any, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(4))
        assert len(search(0)) == 0

    @pytest.mark.parametrize("limit", [-1, 1.5, "3", True, None])
    def test_a_limit_that_is_no_count_is_refused(self, search: Any, limit: Any) -> None:
        with pytest.raises(InvalidValueError, match="limit"):
            search(limit)

    def test_a_huge_limit_finds_everything(
        self, search: Any, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, [{"body": "apple", "embedding": [1, 0, 0, n]} for n in range(3)])
        assert len(search(10**30)) == 3

    def test_an_unknown_table_is_refused(self, search: Any) -> None:
        with pytest.raises(UnknownNameError, match="nothing"):
            search(table="nothing")

    @pytest.mark.parametrize("name", ["nothing", "kind; DROP TABLE notes", 'kind" = "kind', ""])
    def test_an_unknown_column_of_a_filter_is_refused(self, search: Any, name: str) -> None:
        with pytest.raises(UnknownNameError, match="has no column"):
            search(filter={name: 1})

    @pytest.mark.parametrize("filter", [True, "kind = 'a'", 7, ["kind"]])
    def test_a_filter_that_is_no_condition_is_refused(self, search: Any, filter: Any) -> None:
        with pytest.raises(InvalidValueError, match="filter"):
            search(filter=filter)

    def test_a_filter_that_names_no_column_is_refused(self, search: Any) -> None:
        with pytest.raises(UnknownNameError, match="has no column 5"):
            search(filter={5: 5})

    @pytest.mark.parametrize("value", [1.5, "1", True, b"1", [1], 2**63])
    def test_an_integer_is_compared_with_integers_alone(self, search: Any, value: Any) -> None:
        """One engine would take 1.5 for 2, another find nothing."""
        with pytest.raises(InvalidValueError, match="integer"):
            search(filter={"rid": value})

    def test_an_integer_of_numpy_is_one(self, search: Any, store: Datastore, notes: Notes) -> None:
        notes.fill(store, [{"body": "apple", "embedding": [1, 0, 0, n]} for n in range(3)])
        assert ids(search(filter={"rid": np.int64(2)})) == ["n2"]

    def test_a_filter_by_text_that_no_engine_stores_is_refused(self, search: Any) -> None:
        with pytest.raises(InvalidValueError, match="NUL"):
            search(filter={"kind": "a\x00b"})

    def test_a_table_object_may_stand_for_its_name(
        self, search: Any, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, corpus(4))
        assert ids(search(table=notes.table)) == ids(search())

    def test_scores_are_in_0_to_1_and_fall(
        self, search: Any, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, corpus(60))
        scores = [hit.score for hit in search(60)]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)

    def test_hits_carry_the_row_as_it_is_stored(
        self, search: Any, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, [{"body": "apple", "embedding": [1, 2, 3, 4], "kind": "k"}])
        (hit,) = search()
        row = dict(hit.row)
        assert row.pop("embedding").tolist() == [1, 2, 3, 4]
        assert row == {"rid": 1, "id": "n1", "title": None, "body": "apple", "kind": "k"}


class TestUnknownColumns:
    @pytest.mark.parametrize(
        "columns", ["body", ["title"], ["title", "body", "kind"], [], "nothing"]
    )
    def test_columns_without_a_full_text_index_are_refused(
        self, store: Datastore, columns: Any
    ) -> None:
        with pytest.raises(UnknownNameError, match="note_words"):
            store.full_text_search("notes", columns, "apple")

    def test_a_column_without_a_vector_index_is_refused(self, store: Datastore) -> None:
        with pytest.raises(UnknownNameError, match="note_vectors"):
            store.vector_search("notes", "body", [1, 0, 0, 0])


class TestInStatementsOfTheHost:
    def test_nearest_joins_like_a_table(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(10))
        table = notes.table
        hits = nearest(notes.vectors, [1, 0, 0, 0], 3, filter=table.c.kind == "odd")
        rows = store.query(
            sa.select(table.c.id, hits.c.rank, hits.c.distance)
            .join(hits, hits.c.rid == table.c.rid)
            .order_by(hits.c.distance, table.c.id)
        )
        found = store.vector_search("notes", "embedding", [1, 0, 0, 0], 3, filter={"kind": "odd"})
        assert [(r.id, r.rank, r.distance) for r in rows] == [
            (hit.id, rank, hit.distance) for rank, hit in enumerate(found, 1)
        ]

    def test_two_searches_stand_in_one_statement(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(20))
        near = nearest(notes.vectors, [1, 0, 0, 0], 10).alias("near")
        far = nearest(notes.vectors, [-1, 0, 0, 0], 10).alias("far")
        words = matching(notes.words, "apple", 20).alias("words")
        other = matching(notes.words, "drum", 20).alias("other")
        statement = (
            sa.select(notes.table.c.id)
            .join(near, near.c.rid == notes.table.c.rid)
            .outerjoin(far, far.c.rid == notes.table.c.rid)
            .outerjoin(words, words.c.rid == notes.table.c.rid)
            .outerjoin(other, other.c.rid == notes.table.c.rid)
            .order_by(near.c.rank)
        )
        expected = store.vector_search("notes", "embedding", [1, 0, 0, 0], 10)
        assert [row.id for row in store.query(statement)] == ids(expected)

    def test_a_search_stands_in_a_cte_and_in_a_subquery(
        self, store: Datastore, notes: Notes
    ) -> None:
        notes.fill(store, corpus(20))
        hits = sa.select(matching(notes.words, "apple bolt", 5)).cte("hits")
        table = notes.table
        by_join = sa.select(table.c.id).join(hits, hits.c.rid == table.c.rid).order_by(hits.c.rank)
        rid = sa.select(matching(notes.words, "apple bolt", 5).c.rid)
        by_in = sa.select(table.c.id).where(table.c.rid.in_(rid))
        expected = ids(store.full_text_search("notes", ["title", "body"], "apple bolt", 5))
        assert [row.id for row in store.query(by_join)] == expected
        assert sorted(row.id for row in store.query(by_in)) == sorted(expected)

    def test_hybrid_joins_like_a_table(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(20))
        hits = hybrid(notes.words, notes.vectors, text="apple", vector=[1, 0, 0, 0], k=5)
        statement = (
            sa.select(notes.table.c.id)
            .join(hits, hits.c.rid == notes.table.c.rid)
            .order_by(hits.c.rank)
        )
        found = store.hybrid_search("notes", text="apple", vector=[1, 0, 0, 0], limit=5)
        assert [row.id for row in store.query(statement)] == ids(found)

    def test_values_may_be_parameters(self, store: Datastore, notes: Notes) -> None:
        notes.fill(store, corpus(20))
        table, v, k = notes.table, sa.bindparam("v"), sa.bindparam("k", type_=sa.Integer())
        hits = nearest(notes.vectors, v, k)
        statement = (
            sa.select(table.c.id).join(hits, hits.c.rid == table.c.rid).order_by(hits.c.rank)
        )
        for vector, limit in (([1, 0, 0, 0], 3), ([0, 0, -1, 0], 5)):
            rows = store.query(statement, {"v": vector, "k": limit})
            found = store.vector_search("notes", "embedding", vector, limit)
            assert [row.id for row in rows] == ids(found)

    def test_hybrid_takes_indexes_of_one_table(self) -> None:
        one, other = Notes(), Notes()
        with pytest.raises(InvalidValueError, match="finds rows of"):
            hybrid(one.words, other.vectors, text="a", vector=[1, 0, 0, 0])


class TestDeclaration:
    def test_a_table_without_an_integer_key_is_refused_with_the_reason(self) -> None:
        table = sa.Table(
            "t",
            sa.MetaData(),
            sa.Column("id", Text(), primary_key=True),
            sa.Column("body", Text()),
            sa.Column("embedding", Vector(3)),
        )
        for declare in (
            lambda: FullTextIndex("i", table.c.body),
            lambda: VectorIndex("i", table.c.embedding),
        ):
            with pytest.raises(ConfigurationError, match="one integer primary key"):
                declare()

    @pytest.mark.parametrize(
        ("table_name", "key", "column", "index"),
        [
            ("order", "key", "select", "group"),
            ("Mixed Case", "Row Id", "The Body", "My Index"),
            ('quo"ted', 'k"ey', 'bo"dy', 'in"dex'),
            ("apo'strophe", "ke'y", "bo'dy", "in'dex"),
            ("semi;colon", "a:b", "per%cent", "dash-ed --"),
            ("back\\slash", "ключ", "текст", "/* comment */"),
        ],
    )
    def test_any_names_will_do(
        self, empty_store: Datastore, table_name: str, key: str, column: str, index: str
    ) -> None:
        metadata = sa.MetaData()
        table = sa.Table(
            table_name,
            metadata,
            sa.Column(key, RowKey(), primary_key=True),
            sa.Column(column, Text()),
            sa.Column(f"{column} v", Vector(2)),
        )
        words = FullTextIndex(index, table.c[column])
        near = VectorIndex(f"{index} v", table.c[f"{column} v"])
        with empty_store.engine.begin() as connection:
            metadata.create_all(connection)
        store = Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)
        store.execute(
            sa.insert(table),
            [{key: 1, column: "apple", f"{column} v": [1, 0]}, {key: 2, column: "fig", f"{column} v": [0, 1]}],
        )  # fmt: skip
        store.execute(sa.update(table).where(table.c[key] == 2).values({column: "apple bolt"}))
        assert ids(store.full_text_search(table_name, column, "apple")) == [1, 2]
        assert ids(store.vector_search(table_name, f"{column} v", [0, 1])) == [2, 1]
        assert len(store.hybrid_search(table_name, text="bolt", vector=[1, 0])) == 2
        schema = store.schema()
        assert schema.tables == {table_name: (key, column, f"{column} v")}
        assert set(schema.search_indexes) == {words.definition, near.definition}
        store.optimize()
        with store.engine.begin() as connection:
            metadata.drop_all(connection)
        assert store.schema().tables == {}

    def test_indexes_declared_inside_the_table_are_created_with_it(
        self, empty_store: Datastore
    ) -> None:
        metadata = sa.MetaData()
        sa.Table(
            "inside",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("body", Text()),
            sa.Column("embedding", Vector(2)),
            FullTextIndex("inside_words", "body"),
            VectorIndex("inside_vectors", "embedding"),
        )
        with empty_store.engine.begin() as connection:
            metadata.create_all(connection)
        store = Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)
        store.execute("INSERT INTO inside (id, body) VALUES (7, 'apple')")
        assert ids(store.full_text_search("inside", "body", "apple")) == [7]

    def test_an_index_created_later_covers_the_rows_that_are_there(
        self, empty_store: Datastore
    ) -> None:
        metadata = sa.MetaData()
        table = sa.Table(
            "later",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("body", Text()),
        )
        with empty_store.engine.begin() as connection:
            metadata.create_all(connection)
            connection.execute(sa.insert(table).values(id=1, body="apple"))
            index = FullTextIndex("later_words", table.c.body)
            index.create(connection)
        store = Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)
        assert ids(store.full_text_search("later", "body", "apple")) == [1]
        with store.engine.begin() as connection:
            index.drop(connection)
        assert store.schema().search_indexes == ()
        assert store.query("SELECT body FROM later") == [{"body": "apple"}]


def test_every_backend_finds_the_same_hits_in_the_same_order(
    backend_stores: Sequence[Datastore],
) -> None:
    answers = []
    for empty in backend_stores:
        notes = Notes(weights={"title": 3.0})
        store = notes.over(empty)
        notes.fill(store, corpus(150))
        generator = random.Random(11)
        found = []
        for _ in range(25):
            query = " ".join(generator.choices(WORDS, k=generator.randint(1, 4)))
            vector = [generator.gauss(0, 1) for _ in range(DIMENSIONS)]
            found.append(
                (
                    ids(store.full_text_search("notes", ["title", "body"], query, 30)),
                    ids(store.vector_search("notes", "embedding", vector, 30)),
                    ids(store.hybrid_search("notes", text=query, vector=vector, limit=30)),
                )
            )
        answers.append(found)
    assert all(answer == answers[0] for answer in answers)


class TestAwkwardTables:
    def test_rows_without_an_id_tie_first(self, empty_store: Datastore) -> None:
        metadata = sa.MetaData()
        pages = sa.Table(
            "100% pages",
            metadata,
            sa.Column("rid", sa.Integer, primary_key=True),
            sa.Column("id", sa.String(20)),
            sa.Column("body", Text()),
        )
        FullTextIndex("page%words", pages.c.body)
        metadata.create_all(empty_store.engine)
        rows = [{"rid": n, "id": id, "body": "apple"} for n, id in enumerate(["b", None, "a"], 1)]
        empty_store.execute(pages.insert(), rows)
        found = empty_store.full_text_search(pages, "body", "apple")
        assert ids(found) == [None, "a", "b"]

    def test_a_mapping_does_not_compare_json(self, empty_store: Datastore) -> None:
        metadata = sa.MetaData()
        pages = sa.Table(
            "pages",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("body", Text()),
            sa.Column("extra", JSONDocument()),
        )
        FullTextIndex("page_words", pages.c.body)
        metadata.create_all(empty_store.engine)
        with pytest.raises(InvalidValueError, match="extra"):
            empty_store.full_text_search(pages, "body", "x", filter={"extra": {"a": 1}})
