"""The SQL of every construct and DDL element, per dialect, asserted without a server."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from datastore import (
    FullTextIndex,
    JSONDocument,
    RowKey,
    Text,
    TextArray,
    UTCDateTime,
    Vector,
    VectorIndex,
    each,
    hybrid,
    matching,
    nearest,
    one_of,
    upsert,
)
from datastore.backends import _BUILT_IN, backend_class
from datastore.ddl import EnableVectors, create_element, drop_element
from datastore.errors import BackendNotFoundError, CapabilityError
from datastore.sql import binary_order, distance, excluded

DIALECTS: dict[str, Any] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="named"),
}

metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("rid", RowKey(), primary_key=True),
    sa.Column("id", Text()),
    sa.Column("body", Text()),
    sa.Column("embedding", Vector(3)),
)
words = FullTextIndex("note_words", notes.c.body)
substrings = FullTextIndex("note_substrings", notes.c.body, tokenizer="trigram")
vectors = VectorIndex("note_vectors", notes.c.embedding)
spaces = sa.Table(
    "spaces",
    metadata,
    sa.Column("note", sa.ForeignKey(notes.c.rid), primary_key=True),
    sa.Column("embedding", Vector(3), nullable=False),
)
apart = VectorIndex("notes_apart", spaces.c.embedding, of=notes)


def query(element: Any) -> Any:
    return sa.select(element)


#: A construct, and for each dialect what stands in its SQL, in this order.
CASES: dict[str, tuple[Any, dict[str, list[str]]]] = {
    "cosine": (
        query(distance(notes.c.embedding, notes.c.embedding)),
        {
            "sqlite": ["vec_distance_cosine(notes.embedding, notes.embedding)"],
            "postgresql": ["((notes.embedding <=> notes.embedding) + 0.0::double precision)"],
        },
    ),
    "l2": (
        query(distance(notes.c.embedding, notes.c.embedding, "l2")),
        {"sqlite": ["vec_distance_l2("], "postgresql": ["<->"]},
    ),
    "inner product": (
        query(distance(notes.c.embedding, notes.c.embedding, "inner_product")),
        {"sqlite": ["datastore_negative_product("], "postgresql": ["<#>"]},
    ),
    "binary order": (
        query(binary_order(notes.c.id)),
        {"sqlite": ["notes.id COLLATE BINARY"], "postgresql": ['CAST(notes.id AS TEXT) COLLATE "C"']},
    ),
    "binary order of numbers": (
        query(binary_order(notes.c.rid)),
        {"sqlite": ["SELECT notes.rid AS"], "postgresql": ["SELECT notes.rid AS"]},
    ),
    "nearest": (
        query(nearest(vectors, [1, 2, 3], 5, filter=notes.c.id == "a")),
        {
            "sqlite": ["datastore_candidates", "notes.id =", "vec_distance_cosine", "row_number()", "LIMIT (SELECT :"],
            "postgresql": ["graph", "vector(3) <=>", "notes.id =", "row_number()", 'COLLATE "C"', "LIMIT"],
        },
    ),
    "nearest, filtered by a bound value": (
        query(nearest(vectors, [1, 2, 3], 5, filter={"id": sa.bindparam("wanted")})),
        {
            "sqlite": ["notes.id = (SELECT :wanted)", "notes.id = (SELECT :wanted)"],
            "postgresql": ["notes.id = :wanted"],
        },
    ),
    "nearest, exactly": (
        query(nearest(vectors, [1, 2, 3], 5, filter=notes.c.id == "a", exact=True)),
        {
            "sqlite": ["row_number()", "vec_distance_cosine", "notes.id =", "COLLATE BINARY", "LIMIT (SELECT :"],
            "postgresql": ["row_number()", "<=>", "notes.id =", 'COLLATE "C"', "LIMIT"],
        },
    ),
    "nearest, exactly, of vectors apart": (
        query(nearest(apart, [1, 2, 3], 5, exact=True)),
        {
            "sqlite": ["row_number()", "vec_distance_cosine", "JOIN spaces", "COLLATE BINARY", "LIMIT"],
            "postgresql": ["nearest_closest", "<=>", "FROM spaces", "ORDER BY distance", "LIMIT", "nearest_closest JOIN notes", "nearest_complete", "row_number()", "notes JOIN spaces", 'COLLATE "C"', "LIMIT"],
        },
    ),
    "matching": (
        query(matching(words, "apple", 5, filter=notes.c.id == "a")),
        {
            "sqlite": ["-bm25(note_words, 1.0)", "note_words MATCH", "notes.id =", "LIMIT (SELECT :"],
            "postgresql": ["bm25_terms", "note_words_length", "note_words_lexemes @@", "notes.id =", "LIMIT"],
        },
    ),
    "matching substrings": (
        query(matching(substrings, "apple", 5, filter=notes.c.id == "a")),
        {
            "sqlite": ["json_each(", "CROSS JOIN notes", "datastore_places(notes.body, substring_terms.term)", "-bm25(note_substrings, 1.0)", "note_substrings MATCH", "notes.id =", "LIMIT"],
            "postgresql": ["substring_terms", "note_substrings_length", "notes.id =", "notes.note_substrings_folded LIKE substring_terms.pattern", "strpos(", "LIMIT"],
        },
    ),
    "hybrid": (
        query(hybrid(words, vectors, text="apple", vector=[1, 2, 3])),
        {
            "sqlite": ["sum(votes.vote)", "bm25", "UNION ALL", "vec_distance_cosine", "GROUP BY"],
            "postgresql": ["sum(votes.vote)", "bm25_best", "UNION ALL", "<=>", "GROUP BY"],
        },
    ),
    "each": (
        query(each(["a"]).c.value),
        {"sqlite": ["FROM json_each(:param_1)"], "postgresql": ["unnest(:param_1::TEXT[])"]},
    ),
    "one of": (
        sa.select(notes.c.rid).where(one_of(notes.c.id, sa.select(each(["a"]).c.value))),
        {
            "sqlite": ["WHERE (notes.id IN (SELECT", "FROM json_each(:param_1) AS anon_1))"],
            "postgresql": ["WHERE (notes.id = ANY (ARRAY(SELECT", "unnest(:param_1::TEXT[])"],
        },
    ),
    "upsert": (
        upsert(notes, update={notes.c.body: notes.c.body + excluded(notes).body}),
        {
            "sqlite": ["ON CONFLICT (rid) DO UPDATE SET body = (notes.body || excluded.body)"],
            "postgresql": ["ON CONFLICT (rid) DO UPDATE SET body = (notes.body || excluded.body)"],
        },
    ),
    "upsert of nothing": (
        upsert(notes, key=[notes.c.id]),
        {"sqlite": ["ON CONFLICT (id) DO NOTHING"], "postgresql": ["ON CONFLICT (id) DO NOTHING"]},
    ),
    "enable vectors": (
        EnableVectors(),
        {"sqlite": [], "postgresql": ["CREATE EXTENSION IF NOT EXISTS vector"]},
    ),
    "create vector index": (
        create_element(vectors.definition),
        {
            "sqlite": ["CREATE TRIGGER note_vectors_insert BEFORE INSERT", "<> 12", "/* datastore:", "_update"],
            "postgresql": ["ADD CONSTRAINT note_vectors CHECK (vector_norm(embedding) > 0)", "IS 'datastore:"],
        },
    ),
    "drop vector index": (
        drop_element(vectors.definition),
        {
            "sqlite": ["DROP TRIGGER IF EXISTS note_vectors_insert", "note_vectors_update"],
            "postgresql": ["DROP CONSTRAINT IF EXISTS note_vectors"],
        },
    ),
    "create full-text index": (
        create_element(words.definition),
        {
            "sqlite": ["USING fts5(body, content='notes', content_rowid='rid'", "porter unicode61 remove_diacritics 2", "AFTER INSERT", "AFTER DELETE", "AFTER UPDATE OF rid, body", "VALUES ('rebuild')"],
            "postgresql": ["CREATE TEXT SEARCH CONFIGURATION", "note_words_lexemes tsvector GENERATED ALWAYS AS", "note_words_length integer", "USING gin (note_words_lexemes)", "IS 'datastore:"],
        },
    ),
    "create trigram index": (
        create_element(substrings.definition),
        {
            "sqlite": ["USING fts5(body, content='notes', content_rowid='rid'", "tokenize='trigram')", "AFTER INSERT", "VALUES ('rebuild')"],
            "postgresql": ["CREATE COLLATION", "CREATE EXTENSION IF NOT EXISTS pg_trgm", 'note_substrings_folded text COLLATE "C" GENERATED ALWAYS AS', "note_substrings_length integer", "extname", ".gin_trgm_ops", "IS 'datastore:"],
        },
    ),
    "drop trigram index": (
        drop_element(substrings.definition),
        {
            "sqlite": ["DROP TRIGGER IF EXISTS note_substrings_insert", "DROP TABLE IF EXISTS note_substrings"],
            "postgresql": ["DROP COLUMN IF EXISTS note_substrings_folded", "DROP COLUMN IF EXISTS note_substrings_length"],
        },
    ),
    "drop full-text index": (
        drop_element(words.definition),
        {
            "sqlite": ["DROP TRIGGER IF EXISTS note_words_insert", "DROP TABLE IF EXISTS note_words"],
            "postgresql": ["DROP COLUMN IF EXISTS note_words_lexemes", "DROP COLUMN IF EXISTS note_words_length"],
        },
    ),
}  # fmt: skip

TYPES: dict[str, tuple[Any, dict[str, str]]] = {
    "vector": (Vector(3), {"sqlite": "BLOB", "postgresql": "VECTOR(3)"}),
    "open vector": (Vector(), {"sqlite": "BLOB", "postgresql": "VECTOR"}),
    "instant": (UTCDateTime(), {"sqlite": "BIGINT", "postgresql": "TIMESTAMP WITH TIME ZONE"}),
    "texts": (TextArray(), {"sqlite": "JSON", "postgresql": "TEXT[]"}),
    "document": (JSONDocument(), {"sqlite": "JSON", "postgresql": "JSONB"}),
    "text": (Text(), {"sqlite": "TEXT", "postgresql": 'TEXT COLLATE "C"'}),
    "row key": (RowKey(), {"sqlite": "INTEGER", "postgresql": "BIGINT"}),
}


def test_every_built_in_dialect_is_asserted() -> None:
    assert set(DIALECTS) == set(_BUILT_IN)


@pytest.mark.parametrize("case", [*CASES, *TYPES])
def test_no_case_omits_a_dialect(case: str) -> None:
    _, expected = {**CASES, **TYPES}[case]
    assert set(expected) == set(_BUILT_IN)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES)
def test_a_construct_is_written_as_expected(case: str, dialect: str) -> None:
    element, expected = CASES[case]
    text = re.sub(r"\s+", " ", element.compile(dialect=DIALECTS[dialect]).string)
    position = 0
    for part in expected[dialect]:
        assert part in text[position:], text
        position = text.index(part, position)
    if not expected[dialect]:
        assert text == ""


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", TYPES)
def test_a_type_is_named_as_expected(case: str, dialect: str) -> None:
    type_, expected = TYPES[case]
    column = sa.Column("c", type_, nullable=True)
    ddl = sa.schema.CreateTable(sa.Table("t", sa.MetaData(), column)).compile(
        dialect=DIALECTS[dialect]
    )
    assert f"c {expected[dialect]}" in re.sub(r"\s+", " ", str(ddl)).replace(" )", "")


@pytest.mark.parametrize("case", CASES)
def test_a_dialect_without_a_backend_is_refused_with_the_reason(case: str) -> None:
    with pytest.raises(CapabilityError, match=r"dialect mysql.*datastore\.backends"):
        CASES[case][0].compile(dialect=mysql.dialect())


def test_create_all_is_refused_there_too() -> None:
    engine = sa.create_mock_engine("mysql://", lambda *_: None)  # type: ignore[arg-type]
    with pytest.raises((CapabilityError, BackendNotFoundError, ModuleNotFoundError)):
        metadata.create_all(engine, checkfirst=False)


def test_an_unknown_backend_names_those_that_are_known() -> None:
    with pytest.raises(BackendNotFoundError, match=r"'nosuch'.*postgresql, sqlite"):
        backend_class("nosuch")
