"""Definitions of search indexes, and the fingerprints by which databases remember them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from datastore import FullTextIndex, Text, Vector, VectorIndex
from datastore.definitions import (
    METRICS,
    FullTextIndexDefinition,
    IndexDefinition,
    VectorIndexDefinition,
    from_fingerprint,
)
from datastore.errors import ConfigurationError
from datastore.schema import search_indexes
from datastore.textquery import TOKENIZERS

names = st.text(min_size=1)
schemas = st.none() | names
vectors = st.builds(
    VectorIndexDefinition, names, names, schemas, names, names, st.sampled_from(METRICS),
    st.none() | st.integers(1, 16_000), st.none() | names,
)  # fmt: skip
full_texts = st.builds(
    FullTextIndexDefinition, names, names, schemas, names,
    st.lists(names, min_size=1).map(tuple),
    st.lists(st.floats(0.01, 100), min_size=1).map(tuple), names, st.sampled_from(TOKENIZERS),
)  # fmt: skip


@given(vectors | full_texts)
def test_a_fingerprint_is_read_back(definition: IndexDefinition) -> None:
    found = from_fingerprint(definition.fingerprint())
    assert found == definition
    assert hash(found) == hash(definition)
    assert type(found) is type(definition)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "datastore:", "datastore:{}", 'datastore:{"kind": "other"}',
     'datastore:{"kind": "vector"}', 'datastore:{"kind": "vector", "name": 1, "more": 2}'],
)  # fmt: skip
def test_other_text_is_none(text: str) -> None:
    assert from_fingerprint(text) is None


def table(**columns: Any) -> sa.Table:
    extra = [sa.Column(name, type_) for name, type_ in columns.items()]
    return sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), *extra)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda t: VectorIndex("i", t.c.body), "is no Vector"),
        (lambda t: VectorIndex("i", t.c.v, metric="l9"), "metric"),
        (lambda t: FullTextIndex("i"), "at least one column"),
        (lambda t: FullTextIndex("i", t.c.body, weights={"absent": 1}), "weights"),
        (lambda t: FullTextIndex("i", t.c.body, weights={"body": 0}), "weights"),
        (lambda t: FullTextIndex("i", t.c.body, weights={"body": -1}), "weights"),
        (lambda t: FullTextIndex("i", t.c.body, weights={"body": float("inf")}), "weights"),
        (lambda t: FullTextIndex("i", t.c.body, weights={"body": 1e308}), "weights"),
        (lambda t: FullTextIndex("i", t.c.body, weights={"body": "2"}), "weights"),
        (lambda t: FullTextIndex("i", t.c.body, weights={"body": True}), "weights"),
        (lambda t: FullTextIndex("i", t.c.id), "id is no text"),
        (lambda t: FullTextIndex("i", t.c.v), "v is no text"),
        (lambda t: FullTextIndex("i", t.c.body, t.c.body), "each column once"),
        (lambda t: FullTextIndex("", t.c.body), "1 to 54 bytes"),
        (lambda t: FullTextIndex("ä" * 28, t.c.body), "1 to 54 bytes"),
        (lambda t: VectorIndex("a\0b", t.c.v), "1 to 54 bytes"),
        (lambda t: VectorIndex(5, t.c.v), "1 to 54 bytes"),
        (lambda t: FullTextIndex("i", t.c.body, language="klingon"), "language"),
        (lambda t: FullTextIndex("i", t.c.body, tokenizer="letters"), "words, trigram"),
        (
            lambda t: FullTextIndex("i", t.c.body, tokenizer="trigram", language="english"),
            "no language",
        ),
        (lambda t: FullTextIndex("i", t.c.body, table(body=Text()).c.body), "no column body"),
        (lambda t: VectorIndex("i", t.c.v, of=table(x=Text())), "foreign key"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(declare: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        declare(table(body=Text(), v=Vector(3)))


def test_more_weights_than_an_engine_tells_apart_are_refused() -> None:
    columns = {f"c{n}": Text() for n in range(5)}
    parts = table(**columns)
    with pytest.raises(ConfigurationError, match="at most 4 different weights"):
        FullTextIndex(
            "i", *(parts.c[n] for n in columns), weights={f"c{n}": n + 1 for n in range(5)}
        )


def test_indexes_are_known_by_their_metadata_in_order() -> None:
    one = table(body=Text(), v=Vector(3))
    indexes = (FullTextIndex("a", one.c.body), VectorIndex("b", one.c.v))
    assert search_indexes(one.metadata) == indexes
    assert repr(indexes[0]) == "FullTextIndex('a', t: body)"
