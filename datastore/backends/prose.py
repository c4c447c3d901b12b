"""A server's own words, without the values in them."""

from __future__ import annotations

import re
from typing import Any

#: What stands in quotes.
QUOTED = re.compile(r'(?<=").+(?=")', re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_STATEMENT = "datastore_statement"


def note_statement(error: Any, statement: str | None) -> None:
    """Keep with a driver's error the statement that raised it, for `stands_in_statement`."""
    setattr(error, _STATEMENT, _LITERAL.sub("''", statement or ""))


def stands_in_statement(error: Any, name: str) -> bool:
    """Tell whether the statement itself holds a name, which otherwise came in as a value."""
    return bool(name) and name.lower() in getattr(error, _STATEMENT, "").lower()


def without_values(error: Any, prose: str, values: re.Pattern[str] = QUOTED) -> str:
    """Leave out what `values` finds, unless it stands in the statement."""

    def shown(found: re.Match[str]) -> str:
        return found[0] if stands_in_statement(error, found[0]) else "..."

    return values.sub(shown, prose)
