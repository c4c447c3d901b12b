"""Snippets: the part of a text that answers a query best, with the matched words marked.

They are cut in Python, from the text that was found, so that every backend gives the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from datastore.errors import InvalidValueError
from datastore.folding import WORD, fold
from datastore.stemming import stemmer
from datastore.textquery import TextQuery, Tokenizer, fold_case

#: Characters of a snippet, about two lines.
LENGTH = 160
ELLIPSIS = "…"

Marks: TypeAlias = tuple[str, str]

_TOKEN = re.compile(f"{WORD}+")


@dataclass(frozen=True)
class _Match:
    start: int
    end: int
    stem: str


def checked_marks(marks: Marks | None) -> Marks | None:
    """Return the two marks, or raise `InvalidValueError` for anything else."""
    if marks is None:
        return None
    is_pair = isinstance(marks, Sequence) and len(marks) == 2
    if not is_pair or not all(isinstance(mark, str) for mark in marks):
        raise InvalidValueError("marks: expected two texts")
    return marks


def snippet(
    text: str,
    query: str | TextQuery,
    *,
    language: str = "english",
    tokenizer: Tokenizer = "words",
    marks: Marks = ("**", "**"),
    length: int = LENGTH,
) -> str:
    """Return about `length` characters of `text`, where most of the query's terms stand.

    Each of them stands between the two `marks`; the text itself is not escaped. White space is
    folded. Without any of the terms it is the beginning of the text.
    """
    flat = " ".join(text.split())
    if isinstance(query, TextQuery):
        parsed = query.normalized(tokenizer)
    else:
        parsed = TextQuery.parse(query, language, tokenizer)
    if tokenizer == "trigram":
        matches = list(_joined(_substrings(flat, parsed)))
    else:
        matches = list(_words(flat, parsed, stemmer(language)))
    start, end = _window(flat, matches, length)
    shown = [match for match in matches if start <= match.start and match.end <= end]
    before, after = (ELLIPSIS if start > 0 else ""), (ELLIPSIS if end < len(flat) else "")
    return before + _marked(flat, start, end, shown, marks) + after


def _words(text: str, query: TextQuery, stem: Callable[[str], str]) -> Iterator[_Match]:
    words = {stem(word) for term in query.scored for word in term.words}
    prefixes = tuple(stem(term.words[-1]) for term in query.scored if term.prefix)
    for token in _TOKEN.finditer(text):
        stems = {stem(word) for word in fold(token[0]).split()}
        found = stems & words or {s for s in stems if prefixes and s.startswith(prefixes)}
        if found:
            yield _Match(token.start(), token.end(), min(found))


def _substrings(text: str, query: TextQuery) -> Iterator[_Match]:
    folded = fold_case(text)
    for term in {" ".join(fold_case(" ".join(term.words)).split()) for term in query.scored}:
        at = folded.find(term) if term else -1
        while at >= 0:
            yield _Match(at, at + len(term), term)
            at = folded.find(term, at + 1)


def _joined(matches: Iterator[_Match]) -> Iterator[_Match]:
    """Make one of those that overlap."""
    current: _Match | None = None
    for match in sorted(matches, key=lambda match: (match.start, -match.end)):
        if current is None or match.start >= current.end:
            if current is not None:
                yield current
            current = match
        else:
            current = _Match(current.start, max(current.end, match.end), current.stem)
    if current is not None:
        yield current


def _window(text: str, matches: Sequence[_Match], length: int) -> tuple[int, int]:
    """Choose the window with the most different words, then the most words, then the first."""
    if len(text) <= length:
        return 0, len(text)
    starts = [max(0, match.start - length // 5) for match in matches] or [0]
    best = max(starts, key=lambda start: (*_held(matches, start, length), -start))
    start = max(0, min(best, len(text) - length))
    return _whole_words(text, start, min(start + length, len(text)))


def _held(matches: Sequence[_Match], start: int, length: int) -> tuple[int, int]:
    inside = [m.stem for m in matches if start <= m.start and m.end <= start + length]
    return len(set(inside)), len(inside)


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Move both ends inwards to a space, unless a word is longer than half of the window."""
    half = (end - start) // 2
    if start > 0 and (space := text.find(" ", start, start + half)) >= 0:
        start = space + 1
    if end < len(text) and (space := text.rfind(" ", end - half, end + 1)) >= 0:
        end = space
    return start, end


def _marked(text: str, start: int, end: int, matches: Sequence[_Match], marks: Marks) -> str:
    parts, at = [], start
    for match in matches:
        parts += [text[at : match.start], marks[0], text[match.start : match.end], marks[1]]
        at = match.end
    return "".join([*parts, text[at:end]])
