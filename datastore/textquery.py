"""The query language: any text becomes a `TextQuery`, and never an error.

| written          | means                                                                     |
|------------------|---------------------------------------------------------------------------|
| `red apple`      | texts with either word, better ones first: rarer words and more of them   |
| `"red apple"`    | the words next to each other, in this order                               |
| `+apple`         | only texts with it; `+"red apple"` likewise                               |
| `-pear`          | no text with it; `-"green pear"` likewise                                 |
| `appl*`          | words that begin so                                                       |

Everything else that is no letter or digit separates words (see `datastore.folding`). A sign counts
only directly before a word or a quotation mark and after a space, an asterisk only directly after
two or more letters, and a quotation mark only where a second one follows, so that no input has a
syntax to get wrong.

Of a trigram index the terms are substrings: what stands between white space, punctuation included
(`foo.bar(`), or all between two quotation marks, its spaces included. A substring may go on anyway,
so an asterisk behind a letter is dropped.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from datastore.errors import InvalidValueError
from datastore.folding import WORD, fold
from datastore.types import PortableType

#: Longer queries are cut: a query is a question, and its cost grows with every word.
MAX_LENGTH = 2_000
MAX_WORDS = 64
#: Bytes in UTF-8 of the longest word that every engine indexes; longer ones are not asked for.
MAX_WORD_BYTES = 2_046
#: Shorter prefixes are words: too many words begin with one letter.
MIN_PREFIX = 2

#: What an index is made of: whole words, or every three characters in a row.
Tokenizer: TypeAlias = Literal["words", "trigram"]
TOKENIZERS: tuple[Tokenizer, ...] = get_args(Tokenizer)
#: The characters of one entry of a trigram index; shorter substrings are not in it.
TRIGRAM = 3

_TOKEN = re.compile(rf'([+-](?="|_*{WORD}))?(?:"([^"]*)"|([^\s"]+)|")')
_PREFIX = re.compile(rf"{WORD}\*$")
# No engine stores them: see types.check_text.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

_ENGLISH = """
a about above after again against all am an and any are as at be because been before being below
between both but by can did do does doing don down during each few for from further had has have
having he her here hers herself him himself his how i if in into is it its itself just me more
most my myself no nor not now of off on once only or other our ours ourselves out over own s
same she should so some such t than that the their theirs them themselves then there these they
this those through to too under until up very was we were what when where which while who whom
why will with you your yours yourself yourselves
"""
#: Words too common to ask for (Snowball's stop list for English, which PostgreSQL ships too). They
#: are dropped from queries only, never from an index, and kept where a query consists of nothing
#: else, in phrases, and where they are required.
STOP_WORDS: dict[str, frozenset[str]] = {"english": frozenset(_ENGLISH.split())}


#: What FTS5's tokenizers fold and a plain lower() does not, or not into one character: variants of
#: small letters; the capital sigma, which lower() turns into either of two; the dotted capital I,
#: which has no small letter and keeps a place of its own (U+FFFE); and two noncharacters, which
#: FTS5 reads as U+FFFD, so that no folded text holds them.
CASE_VARIANTS = (
    "µſ\u0345ςΣϐϑϕϖϰϱϵẛ\u1fbeİ\ufffe\uffff",
    "μsισσβθφπκρεṡι\ufffe\ufffd\ufffd",
)
_VARIANT = re.compile(f"[{CASE_VARIANTS[0]}]")
_FOLDED_VARIANTS = str.maketrans(*CASE_VARIANTS)


class Occur(enum.Enum):
    """Whether a text that is found holds a term."""

    SHOULD = "should"
    MUST = "must"
    MUST_NOT = "must not"


_OCCUR = {"": Occur.SHOULD, "+": Occur.MUST, "-": Occur.MUST_NOT}


@dataclass(frozen=True)
class Term:
    """Folded words, next to each other; with `prefix`, the last is the beginning of a word.

    Of a trigram index it is one substring as it was written: each engine folds it as its texts.
    """

    words: tuple[str, ...]
    occur: Occur = Occur.SHOULD
    prefix: bool = False


@dataclass(frozen=True)
class TextQuery:
    """The terms of a query in their order, repetitions included."""

    terms: tuple[Term, ...]

    @classmethod
    def parse(
        cls, text: str, language: str = "english", tokenizer: Tokenizer = "words"
    ) -> TextQuery:
        """Read any text at all; at most `MAX_LENGTH` characters and `MAX_WORDS` words of it."""
        return _parse(text[:MAX_LENGTH], language, tokenizer)

    @property
    def scored(self) -> tuple[Term, ...]:
        """The terms that a text is ranked by; without any, a query finds nothing."""
        return tuple(term for term in self.terms if term.occur is not Occur.MUST_NOT)

    @property
    def required(self) -> tuple[Term, ...]:
        """The terms that every text holds."""
        return tuple(term for term in self.terms if term.occur is Occur.MUST)

    @property
    def excluded(self) -> tuple[Term, ...]:
        """The terms that no text holds."""
        return tuple(term for term in self.terms if term.occur is Occur.MUST_NOT)

    def __bool__(self) -> bool:
        return bool(self.scored)

    def normalized(self, tokenizer: Tokenizer = "words") -> TextQuery:
        """Return the query with words as `parse` makes them, which those made by hand may not be.

        Raises `InvalidValueError` for terms that are none.
        """
        if not all(isinstance(term, Term) and _are_texts(term.words) for term in self.terms):
            raise InvalidValueError("text query: expected terms, each of a tuple of texts")
        clean = _stored_words if tokenizer == "words" else _stored_text
        cleaned = (replace(term, words=clean(term.words)) for term in self.terms)
        return TextQuery(tuple(term for term in cleaned if term.words))


@lru_cache(maxsize=256)
def _parse(text: str, language: str, tokenizer: Tokenizer) -> TextQuery:
    if tokenizer == "trigram":
        return TextQuery(tuple(islice(_substrings(text), MAX_WORDS)))
    terms, room = [], MAX_WORDS
    for term in _without_stop_words(list(_terms(text)), language):
        words = term.words[:room]
        room -= len(words)
        # Less than what is to be excluded would exclude more.
        if words and (words == term.words or term.occur is not Occur.MUST_NOT):
            terms.append(Term(words, term.occur, term.prefix and words == term.words))
    return TextQuery(tuple(terms))


def _terms(text: str) -> Iterator[tuple[Term, bool]]:
    """Yield the terms of a text, each with whether it is a bare word."""
    for sign, phrase, bare in _TOKEN.findall(text):
        folded = fold(phrase or bare).split()
        words = tuple(word for word in folded if len(word.encode()) <= MAX_WORD_BYTES)
        is_whole = words[-1:] == tuple(folded[-1:])
        prefix = bool(_PREFIX.search(bare) and words and is_whole and len(words[-1]) >= MIN_PREFIX)
        occur = _OCCUR[sign]
        if words and (phrase or occur is not Occur.SHOULD):
            yield Term(words, occur, prefix), False
        elif words:
            yield from ((Term((word,)), True) for word in words[:-1])
            yield Term(words[-1:], occur, prefix), not prefix


def _are_texts(words: Any) -> bool:
    return isinstance(words, tuple) and all(isinstance(word, str) for word in words)


def _stored_words(words: tuple[str, ...]) -> tuple[str, ...]:
    folded = " ".join(map(fold, words)).split()
    return tuple(word for word in folded if len(word.encode()) <= MAX_WORD_BYTES)


def _stored_text(words: tuple[str, ...]) -> tuple[str, ...]:
    text = " ".join(words)
    return (_UNSTORABLE.sub(" ", text),) if _UNSTORABLE.sub("", text) else ()


def _substrings(text: str) -> Iterator[Term]:
    for sign, phrase, bare in _TOKEN.findall(_UNSTORABLE.sub(" ", text)):
        substring = phrase or (bare[:-1] if _PREFIX.search(bare) else bare)
        if substring and not substring.isspace():
            yield Term((substring,), _OCCUR[sign])


def _without_stop_words(terms: list[tuple[Term, bool]], language: str) -> list[Term]:
    stop_words = STOP_WORDS.get(language, frozenset())
    asked = [t for t, is_bare in terms if not is_bare or t.words[0] not in stop_words]
    if any(term.occur is not Occur.MUST_NOT for term in asked):
        return asked
    return [term for term, _ in terms]


def fold_case(text: str) -> str:
    """Return `text` lower-cased as FTS5's trigram tokenizer does it: one character for each."""
    if not text.isascii() and _VARIANT.search(text):
        text = text.translate(_FOLDED_VARIANTS)
    return text.lower()


class TextQueryType(PortableType[Any]):
    """Binds a text or a `TextQuery` in the form of the dialect at hand."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, language: str = "english", tokenizer: Tokenizer = "words") -> None:
        super().__init__()
        self.language = language
        self.tokenizer: Tokenizer = tokenizer

    def process_bind_param(self, value: Any, dialect: Dialect) -> TextQuery:
        """Parse a text; NULL finds nothing, as an empty text does."""
        if isinstance(value, TextQuery):
            return value.normalized(self.tokenizer)
        if value is None or isinstance(value, str):
            return TextQuery.parse(value or "", self.language, self.tokenizer)
        raise InvalidValueError(f"text query: expected str, got {type(value).__name__}")
