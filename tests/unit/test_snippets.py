"""Snippets: the part of a text that answers a query, its words marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.snippets import LENGTH, snippet
from datastore.textquery import TOKENIZERS, Tokenizer

FILLER = "nothing to see here " * 20


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Foxes were running", "run fox", "**Foxes** were **running**"),
        ("Crème brûlée", "creme", "**Crème** brûlée"),
        ("an apple\n\n  a day", "apple", "an **apple** a day"),
        ("generators generate", "gener*", "**generators** **generate**"),
        ("red apple, green pear", '+"red apple" -pear', "**red** **apple**, green pear"),
        ("nothing of it", "apple", "nothing of it"),
        ("", "apple", ""),
        ("apple", "", "apple"),
    ],
)
def test_matched_words_stand_between_the_marks(text: str, query: str, expected: str) -> None:
    assert snippet(text, query) == expected


def test_the_part_with_most_of_the_words_is_shown() -> None:
    text = f"apple {FILLER} apple and bolt {FILLER} bolt"
    shown = snippet(text, "apple bolt")
    assert "**apple** and **bolt**" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")


def test_without_a_match_the_beginning_is_shown() -> None:
    assert snippet("begin " + FILLER, "apple").startswith("begin nothing")


def test_words_are_not_cut() -> None:
    shown = snippet(FILLER + "apple " + FILLER, "apple", marks=("", ""))
    assert set(shown.strip("…").split()) <= set(FILLER.split()) | {"apple"}


def test_marks_are_the_callers() -> None:
    assert snippet("an apple", "apple", marks=("<b>", "</b>")) == "an <b>apple</b>"


def test_another_language_marks_the_very_word() -> None:
    assert snippet("run running", "run", language="simple") == "**run** running"


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("全文検索エンジン", "検索", "全文**検索**エンジン"),
        ("call foo.bar(x) or FOO.BAR(y)", "o.bar(", "call fo**o.bar(**x) or FO**O.BAR(**y)"),
        ("banana", "ana", "b**anana**"),
        ("abcdef", "abcd cdef", "**abcdef**"),
        ("İstanbul, ΟΔΟΣ", "stan οδος", "İ**stan**bul, **ΟΔΟΣ**"),
        ("two  words\nhere", '"words here"', "two **words here**"),
        ("apple -pie", "+apple -pie", "**apple** -pie"),
        ("nothing of it", "apple", "nothing of it"),
    ],
)
def test_matched_substrings_stand_between_the_marks(text: str, query: str, expected: str) -> None:
    assert snippet(text, query, tokenizer="trigram") == expected


def test_text_without_spaces_is_cut_around_the_match() -> None:
    shown = snippet("日" * 500 + "検索" + "月" * 500, "検索", tokenizer="trigram")
    assert "日**検索**月" in shown
    assert len(shown) <= LENGTH + len("**" * 2 + "…" * 2)


@given(st.text(), st.text(), st.integers(10, 200), st.sampled_from(TOKENIZERS))
def test_any_text_and_query_give_a_part_of_the_text(
    text: str, query: str, length: int, tokenizer: Tokenizer
) -> None:
    shown = snippet(text, query, tokenizer=tokenizer, marks=("", ""), length=length)
    assert len(shown) <= length + 2
    assert shown.strip("…").strip() in " ".join(text.split())


def test_a_snippet_is_about_two_lines_long() -> None:
    shown = snippet(FILLER, "see", marks=("", ""))
    assert LENGTH - 20 <= len(shown) <= LENGTH + 2
