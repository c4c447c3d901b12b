"""One reading of a file of JSON lines: its header, its rows in their order, its trailer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from datastore.transfer.jsonl.format import (
    FORMAT,
    LONGEST_LINE,
    TABLE,
    VALUES,
    VERSION,
    Header,
    TableTotals,
    Trailer,
    TrailerLine,
    at_line,
    name_text,
    parsed,
    repeated,
    trailer_sha256,
)
from datastore.transfer.jsonl.lines import Lines, most_values

Part = TypeVar("Part", bound=BaseModel)
_ROW, _END = {TABLE, VALUES}, {"trailer", "sha256"}


@dataclass(frozen=True)
class Row:
    """A row as it stands in the file; `size` is about what it takes in memory."""

    line: int
    table: int
    values: list[Any]
    size: int


@dataclass
class _Sums:
    """What the rows of a table have added up to so far."""

    rows: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)


class JSONLReader:
    """Reads a stream once. Every error is a `TransferError` with the line."""

    def __init__(self, stream: IO[bytes], longest_line: int = LONGEST_LINE) -> None:
        self._lines = Lines(stream, longest_line)
        first = self._lines.next()
        if first is None:
            raise at_line(1, "expected a header, found an empty file")
        self._first_sha256 = hashlib.sha256(first).hexdigest()
        self.header = _header(first)
        self._places = {table.name: place for place, table in enumerate(self.header.tables)}
        self._sums = [_Sums() for _ in self.header.tables]
        self._last = 0  # the place of the table of the last row
        self._next: Row | None = None
        self._trailer: Trailer | None = None
        #: The SHA-256 of the trailer, which speaks of every other line; known once it was read.
        self.identity = ""

    def rows(self, table: int) -> Iterator[Row]:
        """Yield the rows of a table, known by its place; those of tables before it are passed."""
        while (row := self._peek()) is not None and row.table <= table:
            self._next = None
            if row.table == table:
                yield row

    def finish(self) -> Trailer:
        """Read what is left, and raise `TransferError` unless the file is whole."""
        while self._trailer is None:
            self._next = self._read()
        if self._lines.next() is not None:
            raise at_line(self._lines.number, "expected the end of the file behind the trailer")
        return self._trailer

    def _peek(self) -> Row | None:
        """Return the row that comes next, None where the trailer was found right there."""
        if self._next is None and self._trailer is None:
            self._next = self._read()
        return self._next

    def _read(self) -> Row | None:
        line = self._lines.next()
        if line is None:
            message = "the file ends without a trailer: it was cut off"
            raise at_line(self._lines.number + 1, message)
        number = self._lines.number
        document = parsed(line, number)
        if document.keys() == _END:
            self._trailer = self._checked(_part(TrailerLine, document, number), line)
            return None
        row = self._row(document, line, number)
        sums = self._sums[row.table]
        sums.rows += 1
        sums.sha256.update(line)
        self._last = row.table
        return row

    def _row(self, document: dict[str, Any], line: bytes, number: int) -> Row:
        if document.keys() != _ROW:
            message = f'expected a row with the keys "{TABLE}" and "{VALUES}", or the trailer'
            raise at_line(number, message)
        name, values = document[TABLE], document[VALUES]
        place = self._places.get(name) if isinstance(name, str) else None
        if place is None:
            raise at_line(number, f"a row of table {name_text(name)}, which the header has not")
        width = len(self.header.tables[place].columns)
        if not isinstance(values, list) or len(values) != width:
            raise at_line(number, f"expected a list of {width} values for table {name}", table=name)
        if place < self._last:
            later = self.header.tables[self._last].name
            raise at_line(number, f"a row of table {name} behind those of {later}", table=name)
        return Row(number, place, values, len(line) + 32 * most_values(line))

    def _checked(self, end: TrailerLine, line: bytes) -> Trailer:
        """Return the trailer, once it agrees with itself and with what was read."""
        number, trailer = self._lines.number, end.trailer
        if end.sha256 != trailer_sha256(line):
            raise at_line(number, "the trailer was changed: it has another sha256 than it says")
        if trailer.header != self._first_sha256:
            raise at_line(number, "the header was changed: it has another sha256 than here")
        if trailer.tables.keys() != self._places.keys():
            raise at_line(number, "the trailer has other tables than the header")
        for name, place in self._places.items():
            _compare(name, self._sums[place], trailer.tables[name], number)
        self.identity = end.sha256
        return trailer


def _compare(table: str, read: _Sums, expected: TableTotals, line: int) -> None:
    if read.rows != expected.rows:
        message = f"table {table}: expected {expected.rows:,} rows, found {read.rows:,}"
        raise at_line(line, message, table=table)
    if read.sha256.hexdigest() != expected.sha256:
        message = f"table {table}: its rows were changed: they have another sha256 than here"
        raise at_line(line, message, table=table)


def _header(line: bytes) -> Header:
    document = parsed(line, 1)
    if document.get("format") != FORMAT:
        raise at_line(1, f"expected the header of a {FORMAT} file, found something else")
    version = document.get("version")
    if type(version) is int and version > VERSION:
        found = f"found format version {version}, which is later than this code"
        raise at_line(1, f"expected format version {VERSION}, {found}: update the code")
    if type(version) is not int or version != VERSION:
        raise at_line(1, f"expected format version {VERSION}, found another")
    header = _part(Header, document, 1)
    _refuse_repeated("tables", [table.name for table in header.tables])
    for table in header.tables:
        if not table.columns:
            raise at_line(1, f"expected columns of table {name_text(table.name)}, found none")
        _refuse_repeated("columns", [column.name for column in table.columns])
    return header


def _refuse_repeated(what: str, names: Sequence[str]) -> None:
    for name in repeated(names):
        raise at_line(1, f"expected different {what}, found {name_text(name)} twice")


def _part(cls: type[Part], document: dict[str, Any], number: int) -> Part:
    try:
        return cls.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise at_line(number, f"{name_text(place)}: {first['msg']}") from None
