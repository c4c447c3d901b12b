"""Both engines make the same tokens of a text: of every character there is, and of English words."""

from __future__ import annotations

import random
import re
import string
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import pytest
import sqlalchemy as sa

from datastore import Datastore, FullTextIndex, Text
from datastore.backends.postgresql.indexes import MARK, words_of
from datastore.folding import NEW_CAPITALS, code_points, fold
from datastore.stemming import stemmer
from tests.databases import Databases

#: Every character of the first two planes and the tags, and one in 97 of the rest, which is uniform.
CHARACTERS = [
    chr(code)
    for code in range(1, sys.maxunicode + 1)
    if (code < 0x20000 or 0x2F800 <= code < 0x2FA20 or code >> 12 == 0xE0 or code % 97 == 0)
    and not 0xD800 <= code <= 0xDFFF
]
ENDINGS = (
    "s es ies sses ss ed ing eed y ational tional enci anci izer bli bly blies logi logy logies "
    "alli entli eli ousli ization ation ator alism iveness fulness ousness aliti iviti biliti "
    "icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent sion "
    "tion ou ism ate iti ous ive ize e ll e1 e5a2"
)
#: Text -> its tokens, a space between two of them.
Tokens = Callable[[Sequence[str]], list[str]]


def table_of(language: str) -> sa.Table:
    metadata = sa.MetaData()
    table = sa.Table(
        "texts", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("body", Text())
    )
    FullTextIndex("words", table.c.body, language=language)
    return table


@pytest.fixture
def fts5() -> Iterator[Callable[[str], Tokens]]:
    """What FTS5 indexes in a language."""
    with Datastore.open("sqlite:///:memory:") as store:

        def tokens_in(language: str) -> Tokens:
            table = table_of(language)
            table.metadata.create_all(store.engine)
            store.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(words, instance)")

            def tokens(texts: Sequence[str]) -> list[str]:
                rows = [{"id": n, "body": text} for n, text in enumerate(texts)]
                store.execute(table.insert(), rows)
                found: list[list[str]] = [[] for _ in texts]
                for row in store.query("SELECT doc, term FROM terms ORDER BY doc, offset"):
                    found[row["doc"]].append(row["term"])
                return [" ".join(each) for each in found]

            return tokens

        yield tokens_in


@pytest.fixture
def server(postgres_databases: Databases) -> Iterator[Datastore]:
    """A server with the functions that full-text indexes use."""
    name = postgres_databases.create()
    with Datastore.open(postgres_databases.url(name)) as store:
        table_of("english").metadata.create_all(store.engine)
        yield store
    postgres_databases.drop(name)


def answers(store: Datastore, expression: str, texts: Sequence[str]) -> list[str]:
    rows = store.query(
        f"SELECT {expression} AS answer FROM unnest(CAST(:texts AS text[])) "
        "WITH ORDINALITY AS given(text, place) ORDER BY place",
        {"texts": list(texts)},
    )
    return [row["answer"] for row in rows]


def test_every_character_is_folded_as_fts5_does(fts5: Callable[[str], Tokens]) -> None:
    texts = [f"{character} x{character}y" for character in CHARACTERS]
    found = zip(CHARACTERS, texts, fts5("simple")(texts), strict=True)
    assert [hex(ord(c)) for c, text, tokens in found if tokens != fold(text)] == []


# Letters are folded in one way where the text is composed, and in another where it is not.
@pytest.mark.parametrize("beside", ["", " o\u0301"])
def test_every_character_but_new_capitals_is_folded_on_postgresql(
    server: Datastore, beside: str
) -> None:
    texts = [f"{character} x{character}y{beside}" for character in CHARACTERS]
    found = zip(CHARACTERS, texts, answers(server, "datastore_folded(text)", texts), strict=True)
    differing = {c for c, text, words in found if words != fold(text)}
    assert differing <= set(map(chr, code_points(NEW_CAPITALS)))
    assert all(c.lower() != c or not c.isalpha() for c in differing), "only capitals differ"


def english_words() -> list[str]:
    """Words of endings that Porter's algorithm knows, short words, numbers and checksums."""
    chance = random.Random(5)
    letters = string.ascii_lowercase
    short = [a + b for a in ["", *letters, *string.digits] for b in letters + string.digits]
    endings = ENDINGS.split()
    made = [
        "".join(chance.choices("aabcdeeiilmnoorsttuvwxyz", k=chance.randint(1, 6)))
        + chance.choice(endings)
        for _ in range(20_000)
    ]
    hexadecimal = [f"{chance.randrange(16**8):08x}" for _ in range(2_000)]
    # What docs/search.md names: letters that are doubled before these endings for FTS5 alone.
    doubled = re.compile(r"([chjkqvwxy0-9])\1(ed|ing)$|yy")
    silent = [f"{vowel}s{ending}" for vowel in "aeiou" for ending in ("e", "es", "ed", "ing")]
    words = [word for word in short + silent + made + hexadecimal if not doubled.search(word)]
    return sorted({*words} - {*endings, "eeds"})


def test_english_words_are_stemmed_as_fts5_does(fts5: Callable[[str], Tokens]) -> None:
    words = english_words()
    found = zip(words, fts5("english")(words), strict=True)
    assert [(word, stem) for word, stem in found if stem != stemmer("english")(word)] == []


def test_english_words_are_stemmed_on_postgresql_as_on_sqlite(server: Datastore) -> None:
    words = english_words()
    lexemes = f"CAST(to_tsvector('datastore_english', {words_of('text', 'english')}) AS text)"
    found = zip(words, answers(server, lexemes, words), strict=True)
    expected = stemmer("english")
    lexemes_of: dict[str, set[str]] = defaultdict(set)
    for word, vector in found:
        assert vector.replace(MARK, "") == f"'{expected(word)}':1", word
        lexemes_of[expected(word)].add(vector)
    assert {stem for stem, lexemes in lexemes_of.items() if len(lexemes) > 1} == set()
