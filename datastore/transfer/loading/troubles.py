"""What was wrong with rows on their way: counted by kind, named by key, never shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

#: So many keys are named for each kind of trouble.
EXAMPLES = 5
#: A key is cut after so many characters: it may be any text.
KEY_LENGTH = 80


@dataclass(frozen=True)
class Trouble:
    """Rows of one table that cannot be taken for one reason; `keys` names the first of them.

    `column` is None where the row as a whole is refused, `line` the first line of a file.
    """

    table: str
    column: str | None
    reason: str
    rows: int
    keys: tuple[str, ...]
    line: int | None = None

    def __str__(self) -> str:
        where = f"table {self.table}" + (f", column {self.column}" if self.column else "")
        line = f", line {self.line}" if self.line else ""
        keys = f" ({'; '.join(self.keys)}{'; ...' if self.rows > len(self.keys) else ''})"
        count = f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}"
        return f"{where}{line}: {self.reason}: {count}{keys if self.keys else ''}"


@dataclass
class _Counted:
    rows: int = 0
    keys: list[str] = field(default_factory=list)
    line: int | None = None


class Troubles:
    """Counts troubles as they come."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str | None, str], _Counted] = {}

    def add(
        self, table: str, column: str | None, reason: str, key: str = "", line: int | None = None
    ) -> None:
        """Count one row."""
        counted = self._counted.setdefault((table, column, reason), _Counted(line=line))
        counted.rows += 1
        if key and len(counted.keys) < EXAMPLES:
            counted.keys.append(key)

    def __bool__(self) -> bool:
        return bool(self._counted)

    def __iter__(self) -> Iterator[Trouble]:
        for (table, column, reason), counted in self._counted.items():
            yield Trouble(table, column, reason, counted.rows, tuple(counted.keys), counted.line)


def key_text(columns: Sequence[str], values: Sequence[Any]) -> str:
    """Return the key of a row for people, such as `id=7`."""
    return ", ".join(
        f"{column}={shortened(_written(value))}"
        for column, value in zip(columns, values, strict=True)
    )


def _written(value: Any) -> str:
    return repr(value) if isinstance(value, str | bytes | int | None) else str(value)


def shortened(text: str) -> str:
    """Return text of a bounded length."""
    return text if len(text) <= KEY_LENGTH else f"{text[:KEY_LENGTH]}..."
