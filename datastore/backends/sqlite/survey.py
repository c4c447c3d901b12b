"""What the columns of a table hold, counted by SQLite in one scan of the table.

SQLite stores any value in (nearly) any column, so that the declared type is a hope. Comparisons
are of what functions return: a column has an affinity, which would make a number of a text, and
perhaps a collation that only its application knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.sqlite.declared import Declared

#: Columns that are looked at by one statement: SQLite allows 2,000 in a result.
COLUMNS = 50

_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_OFFSET = "[+-][0-9][0-9]:[0-9][0-9]"
# SQLite normalises what is no date of the calendar, or says NULL.
_IS_DATE = (
    f"({{c}} GLOB '{_DATE}' AND date({{c}}) = substr({{c}}, 1) AND substr({{c}}, 1, 4) >= '0001')"
)
_DAY = "substr({c}, 1, 10)"
_REST = "substr({c}, 12)"
_ZONED = f"({_REST} GLOB '*[Zz]' OR {_REST} GLOB '*{_OFFSET}')"
_CLOCK = f"(CASE WHEN {_REST} GLOB '*[Zz]' THEN substr({{c}}, 12, length({{c}}) - 12) WHEN " + (
    f"{_REST} GLOB '*{_OFFSET}' THEN substr({{c}}, 12, length({{c}}) - 17) ELSE {_REST} END)"
)


def _is_clock(c: str) -> str:
    seconds = f"{c} GLOB '[0-2][0-9]:[0-5][0-9]:[0-5][0-9]'"
    minutes = f"{c} GLOB '[0-2][0-9]:[0-5][0-9]'"
    fraction = (
        f"({c} GLOB '[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9]*' AND length({c}) <= 15 "
        f"AND substr({c}, 10) NOT GLOB '*[^0-9]*')"
    )
    return f"({seconds} OR {minutes} OR {fraction}) AND substr({c}, 1, 2) < '24'"


_IS_STAMP = (
    "(length({c}) > 10 AND substr({c}, 11, 1) IN (' ', 'T', 't') AND "
    + _IS_DATE.replace("{c}", _DAY)
    + " AND "
    + _is_clock(_CLOCK)
    + ")"
)
_HEX = "[0-9a-fA-F]"
_IS_UUID = (
    f"({{c}} GLOB '{_HEX * 8}-{_HEX * 4}-{_HEX * 4}-{_HEX * 4}-{_HEX * 12}' "
    f"OR {{c}} GLOB '{_HEX * 32}')"
)
_IS_NUMBER = (
    "({c} GLOB '*[0-9]*' AND {c} NOT GLOB '*[^0-9.+-]*' AND substr({c}, 2) NOT GLOB '*[+-]*' "
    "AND {c} NOT GLOB '*.*.*')"
)
#: What is counted of every column, and what of those with some meaning.
_COUNTS = {
    "integers": "typeof({c}) = 'integer'",
    "reals": "typeof({c}) = 'real'",
    "texts": "typeof({c}) = 'text'",
    "blobs": "typeof({c}) = 'blob'",
    "nulls": "{c} IS NULL",
    # Integers that no double equals: the largest one is where a cast of larger doubles ends.
    "long": "typeof({c}) = 'integer' AND (CAST(CAST({c} AS REAL) AS INTEGER) <> {c} "
    "OR {c} = 9223372036854775807)",
}
_TEXT = "typeof({c}) = 'text' AND "
# Of other text json_type() raises an error.
_JSON_TYPE = "CASE WHEN typeof({c}) = 'text' AND json_valid({c}) THEN json_type({c}) END"
_COUNTS_OF = {
    "boolean": {"fitting": "typeof({c}) = 'integer' AND {c} IN (0, 1)"},
    "integer": {"fitting": "typeof({c}) = 'integer' AND {c} BETWEEN -32768 AND 32767"},
    "date": {"fitting": _TEXT + _IS_DATE, "stamps": _TEXT + _IS_STAMP},
    "timestamp": {
        "fitting": f"{_TEXT} ({_IS_DATE} OR {_IS_STAMP})",
        "zoned": f"{_TEXT} {_IS_STAMP} AND {_ZONED}",
    },
    "instant": {"fitting": f"{_TEXT} ({_IS_DATE} OR {_IS_STAMP})"},
    "time": {"fitting": _TEXT + _is_clock("{c}")},
    "uuid": {"fitting": _TEXT + _IS_UUID},
    "json": {"fitting": "typeof({c}) <> 'blob' AND json_valid({c})"},
    "array": {
        "fitting": f"{_JSON_TYPE} = 'array'",
    },
    "decimal": {
        "fitting": _TEXT + _IS_NUMBER,
        "infinite": "typeof({c}) = 'real' AND {c} NOT BETWEEN -1.7976931348623157e308 "
        "AND 1.7976931348623157e308",
    },
}
# More digits than a decimal has behind the point, or before it.
_BEYOND = (
    "(typeof({{c}}) = 'real' AND round({{c}}, {scale}) <> {{c}}) OR (typeof({{c}}) IN "
    "('integer', 'real') AND ({{c}} >= 1e{digits} OR {{c}} <= -1e{digits}))"
)
_WRONG_LENGTH = "typeof({{c}}) = 'blob' AND length({{c}}) <> {bytes}"


@dataclass(frozen=True)
class Survey:
    """What a column holds. `fitting` values are as the column's meaning asks, `beyond` its size."""

    integers: int = 0
    reals: int = 0
    texts: int = 0
    blobs: int = 0
    nulls: int = 0
    long: int = 0
    fitting: int = 0
    zoned: int = 0
    stamps: int = 0
    infinite: int = 0
    beyond: int = 0
    longest: int = 0

    @property
    def classes(self) -> Mapping[str, int]:
        """The counts by storage class, of those that are there."""
        counts = {
            "integer": self.integers, "real": self.reals, "text": self.texts, "blob": self.blobs
        }  # fmt: skip
        return {name: count for name, count in counts.items() if count}


def survey(
    connection: Connection, table: str, columns: Sequence[tuple[str, Declared]]
) -> dict[str, Survey]:
    """Look at all values of a table."""
    found: dict[str, Survey] = {}
    for start in range(0, len(columns), COLUMNS):
        part = columns[start : start + COLUMNS]
        found.update(_surveyed(connection, table, part))
    return found


def _surveyed(
    connection: Connection, table: str, columns: Sequence[tuple[str, Declared]]
) -> dict[str, Survey]:
    quote = connection.dialect.identifier_preparer.quote_identifier
    selected: list[str] = []
    places: list[tuple[str, str]] = []
    for name, declared in columns:
        for what, expression in _expressions(declared).items():
            places.append((name, what))
            selected.append(expression.replace("{c}", quote(name)))
    sql = f"SELECT {', '.join(selected)} FROM {quote(table)}"
    row = connection.exec_driver_sql(sql).one()
    values: dict[str, dict[str, Any]] = {name: {} for name, _ in columns}
    for (name, what), value in zip(places, row, strict=True):
        values[name][what] = value or 0
    return {name: Survey(**counted) for name, counted in values.items()}


def _expressions(declared: Declared) -> dict[str, str]:
    conditions = {**_COUNTS, **_COUNTS_OF.get(declared.meaning, {})}
    if declared.meaning == "decimal" and declared.size is not None:
        scale = declared.scale or 0
        conditions["beyond"] = _BEYOND.format(scale=scale, digits=declared.size - scale)
    if declared.meaning == "vector" and declared.size is not None:
        conditions["beyond"] = _WRONG_LENGTH.format(bytes=4 * declared.size)
    counted = {name: f"sum({condition})" for name, condition in conditions.items()}
    if declared.meaning == "text" and declared.size is not None:
        counted["longest"] = "max(CASE WHEN typeof({c}) = 'text' THEN length({c}) END)"
    return counted


def null_keys(connection: Connection, table: str, columns: Sequence[str]) -> int:
    """Count the rows that have NULL in their primary key."""
    conditions = sa.or_(*(sa.column(name).is_(None) for name in columns))
    counted = sa.select(sa.func.count()).select_from(sa.table(table)).where(conditions)
    return int(connection.execute(counted).scalar_one())
