"""The words of SQL text that a database keeps of itself: what a CREATE TABLE or an expression says.

Both engines' spellings are read: names in double quotes, backticks or brackets, texts with doubled
quotes or (`E'...'`) with backslashes, blobs as `X'...'`. Comments and blanks are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

#: A `word` is a name without quotes, or a keyword; a `quoted` one is always a name (or, where
#: SQLite knows no such name, a text).
TokenKind = Literal["word", "quoted", "text", "blob", "number", "symbol"]

_TOKEN = re.compile(
    r"""
    (?P<blank> \s+ | --[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<escaped> [eE]'(?:[^'\\]|\\.|'')*' )
  | (?P<blob> [xX]'[0-9a-fA-F]*' )
  | (?P<text> '(?:[^']|'')*' )
  | (?P<quoted> "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
  | (?P<number> 0[xX][0-9a-fA-F]+ | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? )
  | (?P<word> [^\W\d][\w$]* )
  | (?P<symbol> :: | \|\| | == | <> | != | <= | >= | ~~\*? | !~~\*? | ->> | -> | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True)
class Token:
    """One of them: `value` is the name or text itself, without quotes; `at` is where it begins."""

    kind: TokenKind
    value: str
    at: int
    end: int

    def __call__(self, *words: str) -> bool:
        """Tell whether it is one of these keywords or symbols, given in upper case."""
        return self.kind in ("word", "symbol") and self.value.upper() in words


def tokens(sql: str, *, brackets: bool = True) -> Iterator[Token]:
    """Read SQL text; without `brackets`, `[` begins a subscript and no name."""
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        if found is None:  # a quote that is never closed
            yield Token("symbol", sql[at], at, at + 1)
            at += 1
            continue
        kind, value = found.lastgroup or "symbol", found.group()
        if kind == "quoted" and value[0] == "[" and not brackets:
            kind, value = "symbol", "["
        if kind != "blank":
            yield _token(kind, value, at)
        at += len(value)


def _token(kind: str, value: str, at: int) -> Token:
    end = at + len(value)
    if kind == "escaped":
        unescaped = _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), value[2:-1])
        return Token("text", unescaped.replace("''", "'"), at, end)
    if kind == "text":
        return Token("text", value[1:-1].replace("''", "'"), at, end)
    if kind == "blob":
        return Token("blob", value[2:-1], at, end)
    if kind == "quoted":
        quote = value[0]
        inner = value[1:-1]
        return Token("quoted", inner if quote == "[" else inner.replace(quote * 2, quote), at, end)
    return Token(kind, value, at, end)  # type: ignore[arg-type]


def closing(found: Sequence[Token], opening: int) -> int:
    """Return the position of the parenthesis that closes the one at `opening`."""
    depth = 0
    for position in range(opening, len(found)):
        if found[position]("("):
            depth += 1
        elif found[position](")"):
            depth -= 1
            if depth == 0:
                return position
    return len(found) - 1
