"""Rows on their way into a file of JSON lines."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any, Literal, TypeAlias

from datastore.bulk import Values
from datastore.kinds import BytesKind, Kind, VectorKind
from datastore.transfer.jsonl.format import (
    TABLE,
    VALUES,
    Header,
    TableTotals,
    Trailer,
    trailer_line,
)
from datastore.transfer.plan import TableTransfer
from datastore.transfer.verifying.digest import DigestSum

#: Vectors as base64 of their bytes; or as lists of numbers, which people can read, at twice the
#: size and many times the work.
Embedding: TypeAlias = Literal["base64", "array"]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class JSONLWriter:
    """Writes a header, the rows of one table after the other, and a trailer."""

    def __init__(self, stream: IO[bytes], header: Header, embedding: Embedding = "base64") -> None:
        self._stream = stream
        self._embedding: Embedding = embedding
        self.bytes = self.longest_line = 0
        self.tables: dict[str, TableTotals] = {}
        first = header.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._header = hashlib.sha256(first).hexdigest()
        self._write([first])

    def write_table(self, table: TableTransfer, batches: Iterable[Values]) -> None:
        """Write all rows of a table, given in batches."""
        hashed, added = hashlib.sha256(), DigestSum(table.kinds)
        texts = [_text_of(kind, self._embedding) for kind in table.kinds]
        start = f'{{"{TABLE}":{_encode(table.name)},"{VALUES}":['
        for values in batches:
            columns = [
                [text(value) for value in column]
                for text, column in zip(texts, values, strict=True)
            ]
            rows = zip(*columns, strict=True)
            hashed.update(self._write([f"{start}{','.join(row)}]}}\n".encode() for row in rows]))
            added.add(values)
        digest = added.result()
        self.tables[table.name] = TableTotals(
            rows=digest.rows, sha256=hashed.hexdigest(), digest=digest.sha256_sum
        )

    def finish(self) -> None:
        """Write the trailer."""
        self._write([trailer_line(Trailer(header=self._header, tables=self.tables))])

    def _write(self, lines: Sequence[bytes]) -> bytes:
        data = b"".join(lines)
        self._stream.write(data)
        self.bytes += len(data)
        self.longest_line = max(self.longest_line, *map(len, lines))
        return data


def _text_of(kind: Kind[Any], embedding: Embedding) -> Callable[[Any], str]:
    """Return what makes JSON text of a value of a kind."""
    if isinstance(kind, VectorKind) and embedding == "array":
        # The shortest decimals that float32 reads back as the same number.
        return lambda value: "null" if value is None else f"[{','.join(map(str, value))}]"
    if isinstance(kind, VectorKind | BytesKind):
        # Base64 has nothing that JSON escapes, and looking for it would take longer than making it.
        return lambda value: "null" if value is None else f'"{base64.b64encode(value).decode()}"'
    return lambda value: _encode(None if value is None else kind.to_json(value))
