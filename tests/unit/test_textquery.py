"""The query language: any text becomes terms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.folding import fold
from datastore.textquery import MAX_LENGTH, MAX_WORDS, Occur, Term, TextQuery, fold_case

anything = st.text(st.characters())
MUST, MUST_NOT = Occur.MUST, Occur.MUST_NOT


def words(text: str, language: str = "english") -> list[str]:
    return [word for term in TextQuery.parse(text, language).terms for word in term.words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("?! -- \x00", []),
        ("apple bolt", ["apple", "bolt"]),
        ("Apple, BOLT!", ["apple", "bolt"]),
        ("apple apple", ["apple", "apple"]),
        ("the apple of the tree", ["apple", "tree"]),
        ("to be or not to be", ["to", "be", "or", "not", "to", "be"]),
        ("Crème BRÛLÉE", ["creme", "brulee"]),
        ("cre\u0300me", ["creme"]),
        ("snake_case foo-bar.baz", ["snake", "case", "foo", "bar", "baz"]),
        ("ΟΔΟΣ οδος", ["οδοσ", "οδοσ"]),
        ("한국어", ["한국어"]),
        ("がっこう", ["がっこう"]),
        ("a\ud800b", ["b"]),
        ("don't", ["don", "t"]),
        ("--help - x c++ 1+1", ["help", "x", "c", "1", "1"]),
        ('an unclosed "quotation mark', ["unclosed", "quotation", "mark"]),
        ("* a* ** x*y", ["x", "y"]),
        ("apple AND bolt OR drum NEAR(elk)", ["apple", "bolt", "drum", "near", "elk"]),
    ],
)
def test_plain_text_is_words(text: str, expected: list[str]) -> None:
    assert TextQuery.parse(text).terms == tuple(Term((word,)) for word in expected)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ('"Red Apple"', [Term(("red", "apple"))]),
        ('"the who"', [Term(("the", "who"))]),
        ('apple "is"', [Term(("apple",)), Term(("is",))]),
        ('"apple"', [Term(("apple",))]),
        ('"" "?!"', []),
        ("+apple -bolt", [Term(("apple",), MUST), Term(("bolt",), MUST_NOT)]),
        ("+the apple", [Term(("the",), MUST), Term(("apple",))]),
        ('+"red apple" -"green pear"', [
            Term(("red", "apple"), MUST),
            Term(("green", "pear"), MUST_NOT),
        ]),
        ("-foo-bar", [Term(("foo", "bar"), MUST_NOT)]),
        ("appl* +bol* -dru*", [
            Term(("appl",), prefix=True),
            Term(("bol",), MUST, prefix=True),
            Term(("dru",), MUST_NOT, prefix=True),
        ]),
        ("foo.ba*", [Term(("foo",)), Term(("ba",), prefix=True)]),
        ('apple"red pear"bolt', [Term(("apple",)), Term(("red", "pear")), Term(("bolt",))]),
        ("the -apple", [Term(("the",)), Term(("apple",), MUST_NOT)]),
    ],
)  # fmt: skip
def test_signs_quotation_marks_and_asterisks_mean_something(text: str, terms: list[Term]) -> None:
    assert TextQuery.parse(text).terms == tuple(terms)


def test_a_query_of_exclusions_alone_finds_nothing() -> None:
    assert not TextQuery.parse("-apple")
    assert TextQuery.parse("-apple bolt")


@given(anything)
def test_any_text_is_a_query(text: str) -> None:
    for word in words(text):
        assert word
        assert word.replace(" ", "") == word
        word.encode()


@given(anything)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_a_long_query_is_cut() -> None:
    assert len(words("apple " * 10_000)) == MAX_WORDS
    assert len(words('"' + "apple " * 200 + '"')) == MAX_WORDS
    assert words("x" * 10**6) == ["x" * MAX_LENGTH]


def test_a_phrase_that_is_cut_excludes_nothing() -> None:
    filler = "apple " * (MAX_WORDS - 1)
    assert TextQuery.parse(filler + '-"green pear"').excluded == ()
    assert TextQuery.parse(filler + '-"pear"').excluded == (Term(("pear",), MUST_NOT),)


def test_words_that_no_engine_indexes_are_left_out() -> None:
    assert words("日" * 683 + "* apple") == ["apple"]
    assert words("日" * 682) == ["日" * 682]


def test_accents_and_private_characters_alone_are_no_prefix() -> None:
    assert words("\u0301* +\u0301 -\ue000*") == []


def test_other_languages_have_no_stop_words() -> None:
    assert words("the apple", "simple") == ["the", "apple"]


def substrings(text: str) -> tuple[Term, ...]:
    return TextQuery.parse(text, "simple", "trigram").terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        (" \t\u3000", []),
        ("検索 foo.bar( C++", [Term(("検索",)), Term(("foo.bar(",)), Term(("C++",))]),
        ("the Apple", [Term(("the",)), Term(("Apple",))]),
        ('"a  b " " "', [Term(("a  b ",))]),
        ('+foo -bar +"x y" -"z"', [
            Term(("foo",), MUST),
            Term(("bar",), MUST_NOT),
            Term(("x y",), MUST),
            Term(("z",), MUST_NOT),
        ]),
        ("--help a-b -> *p", [Term(("--help",)), Term(("a-b",)), Term(("->",)), Term(("*p",))]),
        ("appl* +検索* **", [Term(("appl",)), Term(("検索",), MUST), Term(("**",))]),
        ('print("hi")', [Term(("print(",)), Term(("hi",)), Term((")",))]),
        ("a\0b \ud800", [Term(("a",)), Term(("b",))]),
    ],
)  # fmt: skip
def test_terms_of_a_trigram_index_are_substrings(text: str, terms: list[Term]) -> None:
    assert substrings(text) == tuple(terms)


@given(anything, st.sampled_from(["words", "trigram"]))
def test_what_was_parsed_is_normalized(text: str, tokenizer: Any) -> None:
    query = TextQuery.parse(text, "english", tokenizer)
    assert query.normalized(tokenizer) == query


def test_a_query_made_by_hand_is_folded_as_a_text_is() -> None:
    made = TextQuery(
        (
            Term(("Crème", "a\0b")),
            Term(("-",), MUST),
            Term(("x" * 3000,)),
            Term(("Apple",), MUST_NOT),
        )
    )
    assert made.normalized().terms == (Term(("creme", "a", "b")), Term(("apple",), MUST_NOT))
    assert made.normalized("trigram").terms[0] == Term(("Crème a b",))


@given(anything)
def test_any_text_is_a_query_for_substrings(text: str) -> None:
    for term in substrings(text):
        (substring,) = term.words
        assert substring.strip()
        substring.encode()


def test_a_long_query_for_substrings_is_cut() -> None:
    assert len(substrings("apple " * 10_000)) == MAX_WORDS
    assert substrings("x" * 10**6) == (Term(("x" * MAX_LENGTH,)),)


@given(anything)
def test_folding_by_case_keeps_every_place(text: str) -> None:
    folded = fold_case(text)
    assert len(folded) == len(text)
    assert fold_case(folded.replace("\ufffe", "")) == folded.replace("\ufffe", "")
    assert [fold_case(character) for character in text] == list(folded)
