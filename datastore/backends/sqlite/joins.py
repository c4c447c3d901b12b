"""Joins in a fixed order, for statements whose author knows better than the planner."""

from __future__ import annotations

from itertools import product
from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.selectable import Join


class OrderedJoin(Join):
    """A join whose left side SQLite reads first (SQLite manual, "Query Planning")."""

    inherit_cache = True


@compiles(OrderedJoin, "sqlite")
def _ordered_join(join: OrderedJoin, compiler: Any, from_linter: Any = None, **kw: Any) -> str:
    if from_linter is not None:  # else SQLAlchemy warns of a cartesian product
        from_linter.edges.update(product(join.left._from_objects, join.right._from_objects))
    options = {**kw, "asfrom": True, "from_linter": from_linter}
    left, right = (compiler.process(side, **options) for side in (join.left, join.right))
    return f"{left} CROSS JOIN {right} ON {compiler.process(join.onclause, **kw)}"
