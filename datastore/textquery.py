"""The query language: any text becomes a `TextQuery`, and never an error.

A query is a bag of words, OR-ed and ranked: the more of them a text holds, and the rarer they are,
the better it matches. Everything that is not a letter or a digit separates words, so no input has a
syntax to get wrong. Each backend renders the words in the form its full-text engine cannot refuse.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from datastore.errors import InvalidValueError
from datastore.types import PortableType

#: Longer queries are cut: a query is a question, and its cost grows with every word.
MAX_LENGTH = 2_000
MAX_WORDS = 64

_WORD = re.compile(r"[^\W_]+")
# The accents that FTS5's unicode61 folds away when it is told `remove_diacritics 2`.
_COMBINING = re.compile("[\u0300-\u036f]")

#: Words too common to ask for (the short English list of Apache Lucene's StandardAnalyzer). They
#: are dropped from queries only, never from an index, and kept where a query consists of nothing
#: else.
STOP_WORDS: dict[str, frozenset[str]] = {
    "english": frozenset(
        "a an and are as at be but by for if in into is it no not of on or such that the their "  # noqa: SIM905
        "then there these they this to was will with".split()
    )
}


@dataclass(frozen=True)
class TextQuery:
    """The words of a query, lower-cased, without accents, in their order, repetitions included."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, language: str = "english") -> TextQuery:
        """Read any text at all; at most `MAX_LENGTH` characters and `MAX_WORDS` words of it."""
        return _parse(text[:MAX_LENGTH], language)

    def __bool__(self) -> bool:
        return bool(self.words)


@lru_cache(maxsize=256)
def _parse(text: str, language: str) -> TextQuery:
    words = fold(text).split()
    stop_words = STOP_WORDS.get(language, frozenset())
    asked = [word for word in words if word not in stop_words] or words
    return TextQuery(tuple(asked[:MAX_WORDS]))


def fold(text: str) -> str:
    """Return the words of `text`, lower-cased and without accents, a space between two of them."""
    # Composed again, or the letters of some scripts (Hangul, Kana) would stay in pieces.
    plain = unicodedata.normalize("NFC", _COMBINING.sub("", unicodedata.normalize("NFD", text)))
    # The sigma at the end of a Greek word is the same letter to FTS5.
    return " ".join(_WORD.findall(plain)).lower().replace("ς", "σ")


class TextQueryType(PortableType[Any]):
    """Binds a text or a `TextQuery` in the form of the dialect at hand."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, language: str = "english") -> None:
        super().__init__()
        self.language = language

    def process_bind_param(self, value: Any, dialect: Dialect) -> TextQuery:
        """Parse a text; NULL finds nothing, as an empty text does."""
        if isinstance(value, TextQuery):
            return value
        if value is None or isinstance(value, str):
            return TextQuery.parse(value or "", self.language)
        raise InvalidValueError(f"text query: expected str, got {type(value).__name__}")
