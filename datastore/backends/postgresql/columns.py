"""Column types and defaults for tables that were found elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from datastore.inspection import LongDecimal, Moment
from datastore.types import JSONDocument

_UTC = "timezone('UTC', CURRENT_TIMESTAMP)"
#: The moment of an insert for columns of these kinds; as text, in SQLite's form.
MOMENTS: Mapping[tuple[Moment, str], str] = {
    (Moment.INSTANT, "instant"): "CURRENT_TIMESTAMP",
    (Moment.INSTANT, "timestamp"): f"({_UTC})",
    (Moment.INSTANT, "date"): f"(({_UTC})::date)",
    (Moment.INSTANT, "text"): f"(to_char({_UTC}, 'YYYY-MM-DD HH24:MI:SS'))",
    (Moment.DAY, "date"): f"(({_UTC})::date)",
    (Moment.DAY, "timestamp"): f"(({_UTC})::date)",
    (Moment.DAY, "text"): f"(to_char({_UTC}, 'YYYY-MM-DD'))",
    (Moment.CLOCK, "time"): f"(({_UTC})::time)",
    (Moment.CLOCK, "text"): f"(to_char({_UTC}, 'HH24:MI:SS'))",
    (Moment.EPOCH, "integer"): "(floor(EXTRACT(epoch FROM CURRENT_TIMESTAMP))::bigint)",
}

#: The columns that every table has (PostgreSQL's documentation, 5.6).
SYSTEM_COLUMNS = frozenset(("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))


def column_type(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type by which a column of a portable type is created."""
    if isinstance(type_, LongDecimal):
        return sa.Numeric(type_.precision, type_.scale)
    if type(type_) is sa.String:
        return sa.String(type_.length, collation="C")
    if isinstance(type_, JSONDocument):
        return postgresql.JSONB(none_as_null=True)  # which knows JSON's own null
    return type_
