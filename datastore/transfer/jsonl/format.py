"""The JSONL format, as docs/export-format.md describes it: a header, rows, and a trailer."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from datastore.errors import InvalidValueError, TransferError
from datastore.kinds import ArrayKind, Kind
from datastore.reading import strict_json
from datastore.transfer.loading.troubles import shortened

FORMAT = "datastore-export"
#: Raised by whatever would make a reader of today misunderstand a file.
VERSION = 1
#: The keys of a row: the name of its table, and its values in the order of the header's columns.
TABLE, VALUES = "t", "v"
#: What stands before and behind the trailer's text in the last line.
_BEFORE, _BEHIND = b'{"trailer":', b',"sha256":"'
#: The most bytes of a line, unless more are allowed; JSON in Python takes several times as many.
LONGEST_LINE = 8 * 2**20


class _Part(BaseModel):
    """A part of header or trailer; keys that a later writer may add are no concern of ours."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class ColumnHeader(_Part):
    """A column; `dimensions` are the lengths of the vectors in it."""

    name: StrictStr
    kind: StrictStr
    dimensions: list[StrictInt] | None = None


class TableHeader(_Part):
    """A table; `key` names the columns of its primary key."""

    name: StrictStr
    columns: list[ColumnHeader]
    key: list[StrictStr]


class Header(_Part):
    """The first line."""

    format: StrictStr
    version: StrictInt
    schema_revision: StrictStr | None
    created_at: StrictStr
    tables: list[TableHeader]


class TableTotals(_Part):
    """What the rows of a table add up to.

    `sha256` is that of their lines, `digest` the sum of hashes that does not depend on their order
    or on how they are written.
    """

    rows: StrictInt
    sha256: StrictStr
    digest: StrictStr


class Trailer(_Part):
    """The last line; `header` is the SHA-256 of the first."""

    header: StrictStr
    tables: dict[StrictStr, TableTotals]


class TrailerLine(_Part):
    """The last line as it stands there; `sha256` is that of the trailer's own text."""

    trailer: Trailer
    sha256: StrictStr


def trailer_line(trailer: Trailer) -> bytes:
    """Return the last line of a file."""
    text = trailer.model_dump_json().encode()
    return b"".join([_BEFORE, text, _BEHIND, hashlib.sha256(text).hexdigest().encode(), b'"}\n'])


def trailer_sha256(line: bytes) -> str:
    """Return the SHA-256 of the trailer's text in the last line of a file."""
    text = line.removeprefix(_BEFORE).rpartition(_BEHIND)[0]
    return hashlib.sha256(text).hexdigest()


def kind_name(kind: Kind[Any]) -> str:
    """Return what a file calls a kind."""
    return f"{kind_name(kind.item)}[]" if isinstance(kind, ArrayKind) else kind.name


def at_line(line: int, message: str, *, table: str | None = None) -> TransferError:
    """Return the error of something that is wrong with a line."""
    return TransferError(f"line {line}: {message}", line=line, table=table)


def name_text(name: Any) -> str:
    """Return a name from a file, fit to be shown."""
    return shortened(repr(name))


def parsed(line: bytes, number: int) -> dict[str, Any]:
    """Read a line as one JSON object, strictly."""
    try:
        document = strict_json(line.decode())
    except (UnicodeDecodeError, InvalidValueError) as error:
        raise at_line(number, _reason(line, error)) from error
    if not isinstance(document, dict):
        raise at_line(number, "expected a JSON object, found another value")
    return document


def _reason(line: bytes, error: ValueError) -> str:
    if not line.endswith(b"\n"):
        return "the file ends within this line: it was cut off"
    return str(error) if isinstance(error, InvalidValueError) else "expected UTF-8"


def repeated(names: Sequence[str]) -> set[str]:
    """Return the names that stand in a sequence more than once."""
    return {name for name, count in Counter(names).items() if count > 1}
