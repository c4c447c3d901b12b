"""The lines of a file that may be anybody's, each of bounded size, in the file and in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from datastore.transfer.jsonl.compression import damage, decompressing
from datastore.transfer.jsonl.format import at_line

#: The most values in one line: some take two bytes there, and a few hundred in memory.
MOST_VALUES = 250_000
#: A shorter line has not so many values that it matters.
_SHORT = 2**19
#: A character beyond the first 65,536 or 256, as it is or escaped: with but one of them in a text,
#: Python takes four or two bytes for each of its characters.
_FOUR_BYTES = re.compile(rb"[\xf0-\xff]|\\u[dD][89abAB]")
_TWO_BYTES = re.compile(rb"[\xc4-\xff]|\\u")
_CONTINUATIONS = bytes(range(0x80, 0xC0))
#: A string, to its end or to that of the line.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class Lines:
    """The lines of a stream, plain or compressed; `number` is that of the last one, from 1."""

    def __init__(self, stream: IO[bytes], longest: int) -> None:
        self.number = 0
        self._longest = longest
        with self._undamaged():
            self._stream = decompressing(stream)

    def next(self) -> bytes | None:
        """Return the next line, None at the end; raise `TransferError` for one that is too long."""
        with self._undamaged():
            line = self._stream.readline(self._longest + 1)
        if not line:
            return None
        self.number += 1
        if len(line) > min(_SHORT, self._longest):
            self._check_size(line)
        return line

    def _check_size(self, line: bytes) -> None:
        if len(line) > self._longest or _size_as_text(line) > 2 * self._longest:
            message = f"expected at most {self._longest:,} bytes, or twice as many in memory"
            raise at_line(self.number, f"{message}; --max-line allows more")
        if _has_too_many_values(line):
            raise at_line(self.number, f"expected at most {MOST_VALUES:,} values in a line")

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        try:
            yield
        except damage() as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            message = f"the file cannot be read on, it is cut off or damaged: {reason}"
            raise at_line(self.number + 1, message) from error


def most_values(line: bytes, start: int = 0, end: int | None = None) -> int:
    """Return a number that the values in a line, or in a part of it, do not exceed."""
    return 1 + sum(line.count(mark, start, end) for mark in (b",", b":", b"["))


def _size_as_text(line: bytes) -> int:
    width = 4 if _FOUR_BYTES.search(line) else 2 if _TWO_BYTES.search(line) else 1
    return width * len(line.translate(None, _CONTINUATIONS))


def _has_too_many_values(line: bytes) -> bool:
    if most_values(line) <= MOST_VALUES:
        return False
    values = end = 0
    for string in _STRING.finditer(line):  # what stands in strings is no value
        values += most_values(line, end, string.start()) - 1
        if values > MOST_VALUES:
            return True
        end = string.end()
    return values + most_values(line, end) > MOST_VALUES
