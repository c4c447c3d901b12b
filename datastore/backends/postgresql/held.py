"""What the values of a column say that its type does not: some have other types elsewhere."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql import quoted_name
from sqlalchemy.types import TypeEngine

from datastore.inspection import LongDecimal
from datastore.types import Text

#: Up to so many digits a double gives every decimal back (DBL_DIG of C).
DOUBLE_DIGITS = 15


def as_held(
    connection: Connection, table: str, row: Any, type_: TypeEngine[Any], note: str | None
) -> tuple[TypeEngine[Any], str | None]:
    """Look at the values of a column; return its type, and what is to be said about it."""
    column: sa.ColumnElement[Any] = sa.column(quoted_name(row.name, True))
    rows = sa.select(sa.literal(1)).select_from(sa.table(quoted_name(table, True))).limit(1)

    def any_row(condition: sa.ColumnElement[bool]) -> bool:
        return connection.execute(rows.where(condition)).first() is not None

    if isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float):
        short = type_.precision is not None and type_.precision <= DOUBLE_DIGITS
        if not short and any_row(sa.not_(_is_kept(column))):
            return LongDecimal(type_.precision, type_.scale), note
    if isinstance(type_, sa.ARRAY) and any_row(_is_shaped(column)):
        message = "holds arrays of several dimensions, or that begin elsewhere than at 1"
        return Text(), f"{row.written} {message}: it becomes text, as PostgreSQL writes it"
    return type_, note


def _is_shaped(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Tell whether an array is more than a list."""
    return sa.or_(sa.func.array_ndims(column) > 1, sa.func.array_lower(column, 1) != 1)


def _is_kept(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Tell whether a decimal is a whole number of 64 bits, or what a double is written as."""
    size = sa.func.abs(column)
    whole = sa.and_(
        column == sa.func.trunc(column), size < sa.literal_column("9223372036854775808")
    )
    as_double = sa.cast(sa.cast(sa.cast(column, sa.Double()), sa.Text()), sa.Numeric())
    # NaN is larger than all, and a cast beyond the range of doubles fails.
    return sa.or_(
        whole, sa.case((size < sa.literal_column("1e308"), as_double == column)).is_(sa.true())
    )
