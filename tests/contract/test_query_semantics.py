"""What a query means, against a reference in plain Python: which texts it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from host_tables import Notes
from hypothesis import given
from hypothesis import strategies as st

from datastore import Datastore
from datastore.folding import fold
from datastore.stemming import stemmer
from datastore.textquery import MAX_LENGTH, MAX_WORDS, STOP_WORDS

_VOCABULARY = (
    "apple apples tree trees running runs runner technology technological possible possibly js is "
    "as us use used the of not 3e5a 3e5 generate generations us2 reading"
)
VOCABULARY = _VOCABULARY.split()
BATCH = 20
stem = stemmer("english")
documents = st.lists(
    st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=9).map(" ".join),
    min_size=1,
    max_size=15,
)


@dataclass(frozen=True)
class Part:
    """One term as it is written: a sign, words, and how they stand together."""

    sign: str
    words: tuple[str, ...]
    phrase: bool = False
    prefix: bool = False

    def __str__(self) -> str:
        text = " ".join(self.words)
        return self.sign + (f'"{text}"' if self.phrase else text + "*" * self.prefix)

    def is_in(self, text: str) -> bool:
        held = [stem(word) for word in fold(text).split()]
        *before, last = [stem(word) for word in self.words]
        return any(
            held[at : at + len(before)] == before
            and (word.startswith(last) if self.prefix else word == last)
            for at, word in enumerate(held[len(before) :])
        )


signs = st.sampled_from(["", "", "", "+", "-"])
word = st.sampled_from(VOCABULARY)
beginnings = st.tuples(word, st.integers(2, 6)).map(lambda pair: pair[0][: pair[1]])
parts = st.one_of(
    st.builds(Part, signs, st.tuples(word)),
    st.builds(Part, signs, st.lists(word, min_size=1, max_size=3).map(tuple), st.just(True)),
    st.builds(Part, signs, st.tuples(beginnings), st.just(False), st.just(True)),
)
queries = st.lists(parts, min_size=1, max_size=5)


def found_by(query: Sequence[Part], texts: Sequence[str]) -> set[str]:
    """The ids of the texts that a query finds, by the rules of the query language."""
    stop_words = STOP_WORDS["english"]
    asked = [
        part
        for part in query
        if part.sign or part.phrase or part.prefix or part.words[0] not in stop_words
    ]
    if not any(part.sign != "-" for part in asked):
        asked = list(query)
    scored = [part for part in asked if part.sign != "-"]
    return {
        f"n{n}"
        for n, text in enumerate(texts, 1)
        if any(part.is_in(text) for part in scored)
        and all(part.is_in(text) for part in scored if part.sign == "+")
        and not any(part.is_in(text) for part in asked if part.sign == "-")
    }


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def searched(empty_store: Datastore, notes: Notes) -> Datastore:
    return notes.over(empty_store)


def ids(store: Datastore, text: str) -> set[str]:
    return {hit.id for hit in store.full_text_search("notes", ["title", "body"], text, 100)}


def test_a_query_finds_what_the_reference_finds(searched: Datastore, notes: Notes) -> None:
    @given(documents, st.lists(queries, min_size=1, max_size=BATCH))
    def check(texts: list[str], several: list[list[Part]]) -> None:
        searched.execute(sa.delete(notes.table))
        notes.fill(searched, [{"body": text} for text in texts])
        for query in several:
            text = " ".join(map(str, query))
            assert ids(searched, text) == found_by(query, texts), (text, texts)

    check()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("+apple", {"n1", "n2"}),
        ("-apple", set()),
        ("+apple -tree", {"n1"}),
        ("-apple tree", {"n3"}),
        ("the of", {"n3"}),
        ("the -tree", set()),
        ("+the apple", {"n3"}),
        ("apple apple apple", {"n1", "n2"}),
        ("apple -apple", set()),
        ('"apple tree" -"tree apple"', {"n2"}),
        ("x" * 3_000, set()),
        ("y " * (MAX_LENGTH // 2) + "apple", set()),
        ("y " * MAX_WORDS + "apple", set()),
        ("y " * (MAX_WORDS - 1) + "apple", {"n1", "n2"}),
        ('"' + "tree " * 100 + '"', set()),
    ],
)
def test_what_stands_alone_is_required_excluded_common_or_too_much(
    searched: Datastore, notes: Notes, query: str, expected: set[str]
) -> None:
    texts = ["an apple", "an apple tree", "the tree of"]
    notes.fill(searched, [{"body": text} for text in texts])
    assert ids(searched, query) == expected


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("йод и ёлка", ["йод", "ЙОД", "и\u0306од", "ёлка"]),
        ("ὀδός, Σίσυφος", ["ὀδός", "σίσυφοσ", "ΣΊΣΥΦΟΣ"]),
        ("Hello🤖world 👍🏽", ["hello", "world", '"hello world"']),
        ("हिन्दी", ["हिन्दी", '"हिन्दी"']),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("x² of m²", ["x", "x²"]),
        ("commit 015e82a6 of 3e", ["015e82a6", "015e*", "01*", "3e"]),
        ("js and rust rs", ["js", "js*", "rs", "+js +rs"]),
        ("technology", ["technological", "technolog*", "TECHNOLOGIES"]),
        ("possibly", ["possible", "possibl*"]),
        ("\u2067עברית\u2069", ["עברית"]),
        ("₿ 5₿", ["5"]),
    ],
)
def test_words_of_any_script_are_found(
    searched: Datastore, notes: Notes, text: str, queries: list[str]
) -> None:
    notes.fill(searched, [{"body": text}, {"body": "j o r tech и οδο"}])
    for query in queries:
        assert ids(searched, query) == {"n1"}, query
