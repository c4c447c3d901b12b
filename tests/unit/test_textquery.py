"""The query language: any text becomes words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.textquery import MAX_LENGTH, MAX_WORDS, STOP_WORDS, TextQuery, fold

anything = st.text(st.characters())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("?! -- \x00", ()),
        ("apple bolt", ("apple", "bolt")),
        ("Apple, BOLT!", ("apple", "bolt")),
        ("apple apple", ("apple", "apple")),
        ("the apple of the tree", ("apple", "tree")),
        ("to be or not to be", ("to", "be", "or", "not", "to", "be")),
        ("Crème BRÛLÉE", ("creme", "brulee")),
        ("cre\u0300me", ("creme",)),
        ("snake_case foo-bar.baz", ("snake", "case", "foo", "bar", "baz")),
        ('"apple" OR +bolt -drum elk*', ("apple", "bolt", "drum", "elk")),
        ("ΟΔΟΣ οδος", ("οδοσ", "οδοσ")),
        ("한국어", ("한국어",)),
        ("がっこう", ("がっこう",)),
        ("a\ud800b", ("b",)),
        ("don't", ("don", "t")),
    ],
)
def test_words_are_what_stands_between_other_characters(text: str, words: tuple[str, ...]) -> None:
    assert TextQuery.parse(text).words == words


@given(anything)
def test_any_text_is_a_query(text: str) -> None:
    for word in TextQuery.parse(text).words:
        assert word
        assert word.replace(" ", "") == word
        word.encode()


@given(anything)
def test_folding_twice_changes_nothing(text: str) -> None:
    once = fold(text)
    assert fold(once).split() == [w for part in once.split() for w in fold(part).split()]


def test_a_long_query_is_cut() -> None:
    assert len(TextQuery.parse("apple " * 10_000).words) == MAX_WORDS
    assert TextQuery.parse("x" * 10**6).words == ("x" * MAX_LENGTH,)


def test_other_languages_have_no_stop_words() -> None:
    assert TextQuery.parse("the apple", "simple").words == ("the", "apple")


def test_stop_words_are_folded_themselves() -> None:
    assert all(fold(word) == word for words in STOP_WORDS.values() for word in words)


def test_a_query_without_words_is_false() -> None:
    assert not TextQuery.parse("?!")
    assert TextQuery.parse("apple")
