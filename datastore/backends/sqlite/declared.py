"""What the declared type of a column asks for: by well-known names, else by SQLite's own rules.

SQLite takes any words for a type, and keeps to five affinities (https://sqlite.org/datatype3.html,
section 3.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: What values a column is meant for. `any` is said of a column that tells nothing.
Meaning = Literal[
    "any", "integer", "float", "decimal", "text", "bytes", "boolean", "date", "time", "timestamp",
    "instant", "uuid", "json", "vector", "array",
]  # fmt: skip

_NAMES: dict[str, Meaning] = {
    **dict.fromkeys(("BOOL", "BOOLEAN"), "boolean"),
    "DATE": "date",
    **dict.fromkeys(("DATETIME", "TIMESTAMP", "SMALLDATETIME", "DATETIME2"), "timestamp"),
    **dict.fromkeys(
        ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "DATETIMEOFFSET", "DATETIMETZ"), "instant"
    ),
    "TIMESTAMP WITHOUT TIME ZONE": "timestamp",
    "TIME": "time",
    **dict.fromkeys(("UUID", "GUID", "UNIQUEIDENTIFIER"), "uuid"),
    **dict.fromkeys(("JSON", "JSONB"), "json"),
    **dict.fromkeys(("NUMERIC", "DECIMAL", "DEC", "NUMBER", "MONEY", "DECIMAL_TEXT"), "decimal"),
    **dict.fromkeys(("F32_BLOB", "FLOAT32_BLOB"), "vector"),
    **dict.fromkeys(("", "ANY", "BLOB"), "any"),
}
#: By words that the type contains; the first that is found counts.
_AFFINITIES: tuple[tuple[str, Meaning], ...] = (
    ("INT", "integer"),
    ("CHAR", "text"),
    ("CLOB", "text"),
    ("TEXT", "text"),
    ("BLOB", "bytes"),
    ("REAL", "float"),
    ("FLOA", "float"),
    ("DOUB", "float"),
)
_BITS = {"SMALLINT": 16, "TINYINT": 16, "INT2": 16}
_DECLARED = re.compile(r"\s*(.*?)\s*(?:\(\s*([+-]?\d+)\s*(?:,\s*([+-]?\d+)\s*)?\))?\s*", re.DOTALL)


@dataclass(frozen=True)
class Declared:
    """A declared type: `size` is a length, a precision or the dimensions, as the meaning has it.

    `item` is what the elements of an array are.
    """

    text: str
    meaning: Meaning
    size: int | None = None
    scale: int | None = None
    bits: int = 64
    item: Declared | None = None

    @property
    def is_blob(self) -> bool:
        """Whether an empty column is best taken for one of bytes."""
        return "BLOB" in self.text.upper()


def read_declared(text: str) -> Declared:
    """Read a declared type."""
    found = _DECLARED.fullmatch(text)
    name = " ".join(found[1].upper().split()) if found else text.upper()
    if text.endswith("[]"):
        return Declared(text, "array", item=read_declared(text[:-2]))
    meaning = _NAMES.get(name) or _by_affinity(name)
    numbers = [int(n) if n else None for n in (found.groups()[1:] if found else (None, None))]
    size, scale = (n if n is not None and n >= 0 else None for n in numbers)
    if meaning == "text" and "CHAR" not in name:
        size = None
    return Declared(text, meaning, size or None, scale, _BITS.get(name, 64))


def _by_affinity(name: str) -> Meaning:
    for word, meaning in _AFFINITIES:
        if word in name:
            return meaning
    return "any"
