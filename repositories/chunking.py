"""Cuts text and Markdown into chunks that know their lines.

Chunks are whole blocks: paragraphs, headings with what follows them, fenced code. Where one ends
depends on the text around it and not on how much came before, so that an edit changes the chunks it
touches, and the cuts behind it fall where they fell before.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from repositories.records import Chunk

#: Characters. A chunk ends before it would grow over the greatest size, and may end from the least
#: size on: about 100 to 300 English words, what embedding models read in one piece.
LEAST_SIZE, GREATEST_SIZE = 500, 1_800
#: One block in so many ends a chunk that has its least size, chosen by the content of the block.
CUT_EVERY = 3

_LINE_END = re.compile(r"\r\n|\n|\r")
_HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True)
class Block:
    """Lines that stay together, `start` counting from 1; or a part of one line that is too long."""

    start: int
    lines: tuple[str, ...]
    partial: bool = False

    @property
    def end(self) -> int:
        """The number of the last line."""
        return self.start + len(self.lines) - 1

    @property
    def size(self) -> int:
        """The number of characters, line ends included."""
        return sum(map(len, self.lines)) + len(self.lines)

    @property
    def is_blank(self) -> bool:
        """Whether it says nothing, such as a gap in code that was too long to stay whole."""
        return not any(line.strip() for line in self.lines)

    @property
    def is_heading(self) -> bool:
        """Whether it begins a section."""
        return _HEADING.match(self.lines[0]) is not None

    @property
    def ends_chunk(self) -> bool:
        """Whether its content chooses it to be the last of a chunk that is large enough."""
        return zlib.crc32("\n".join(self.lines).encode()) % CUT_EVERY == 0


def chunk_text(path: str, text: str) -> list[Chunk]:
    """Cut `text` into chunks; the id of each depends on its path and content alone."""
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    seen: Counter[str] = Counter()
    result = []
    for blocks in _group(block for block in _blocks(lines) if not block.is_blank):
        start, end = blocks[0].start, blocks[-1].end
        partial = blocks[0].partial
        content = "\n".join(blocks[0].lines if partial else lines[start - 1 : end])
        result.append(Chunk(chunk_id(path, content, seen[content]), path, start, end, content))
        seen[content] += 1
    return result


def chunk_id(path: str, content: str, number: int) -> str:
    """Return the id of the chunk with that content, `number` of which stand before it."""
    return hashlib.sha256("\0".join((path, content, str(number))).encode()).hexdigest()[:32]


def _group(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    group: list[Block] = []
    for block in blocks:
        if group and _begins_chunk(block, group):
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _begins_chunk(block: Block, group: Sequence[Block]) -> bool:
    size = sum(member.size for member in group)
    if size + block.size > GREATEST_SIZE or block.partial or group[-1].partial:
        return True
    if block.is_heading:
        return not all(member.is_heading for member in group)
    return size >= LEAST_SIZE and group[-1].ends_chunk


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    """Take lines apart at blank lines and headings, outside of fenced code."""
    start, fence = 0, ""
    for number, line in enumerate(lines):
        if fence:
            fence = "" if line.strip().startswith(fence) else fence
            continue
        if opening := _FENCE.match(line):
            fence = opening[1]
        elif not line.strip() or _HEADING.match(line):
            yield from _split(start, lines[start:number])
            start = number if line.strip() else number + 1
            if line.strip():
                yield Block(number + 1, (line,))
                start = number + 1
    yield from _split(start, lines[start:])


def _split(start: int, lines: Sequence[str]) -> Iterator[Block]:
    """Yield a block, or several where it is too large to be a chunk."""
    lines, held = _without_blank_end(lines), list[str]()
    for number, line in enumerate(lines, start + 1):
        if held and sum(map(len, held)) + len(held) + len(line) > GREATEST_SIZE:
            yield Block(number - len(held), tuple(held))
            held = []
        if len(line) > GREATEST_SIZE:
            yield from (Block(number, (piece,), partial=True) for piece in _pieces(line))
        else:
            held.append(line)
    if held:
        yield Block(start + len(lines) - len(held) + 1, tuple(held))


def _without_blank_end(lines: Sequence[str]) -> Sequence[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def _pieces(line: str) -> list[str]:
    return [line[at : at + GREATEST_SIZE] for at in range(0, len(line), GREATEST_SIZE)]
