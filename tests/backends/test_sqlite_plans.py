"""How SQLite carries out searches: by keys rather than scans, and planned once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from datastore import Datastore, FullTextIndex, Settings, Text, Vector, VectorIndex

ROWS, DIMENSIONS = 2000, 64
metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Integer, nullable=False, index=True),
    sa.Column("body", Text(), nullable=False),
)
FullTextIndex("notes_words", notes.c.body)
vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column("note", sa.ForeignKey(notes.c.id), primary_key=True, autoincrement=False),
    sa.Column("embedding", Vector(DIMENSIONS), nullable=False),
)
VectorIndex("notes_by_meaning", vectors.c.embedding, of=notes)
STORED = np.random.default_rng(0).standard_normal((ROWS, DIMENSIONS)).astype("<f4")

SEARCHES: dict[str, Callable[[Any, int, Any], Any]] = {
    "vector": lambda session, number, filter: session.vector_search(
        notes, "embedding", STORED[number], 5 + number, filter=filter, oversample=20
    ),
    "text": lambda session, number, filter: session.full_text_search(
        notes, "body", f"note {number}", 5 + number, filter=filter
    ),
    "hybrid": lambda session, number, filter: session.hybrid_search(
        notes, text=f"note {number}", vector=STORED[number], limit=5 + number, filter=filter
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datastore]:
    path: Path = tmp_path_factory.mktemp("plans") / "notes.db"
    settings = Settings.load(url=f"sqlite:///{path}", search={"exact_floats": 1000})
    with Datastore.open(settings) as store:
        metadata.create_all(store.engine)
        rows = ({"id": n, "kind": n % 7, "body": f"note {n}"} for n in range(ROWS))
        store.insert_many(notes, rows)
        store.insert_many(vectors, ({"note": n, "embedding": v} for n, v in enumerate(STORED)))
        store.optimize()  # with statistics of the values, where this SQLite makes them
        yield store


@pytest.mark.parametrize("filtered", [False, True], ids=["everything", "filtered"])
@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_is_planned_once_for_all_values(
    store: Datastore, search: str, filtered: bool
) -> None:
    with store.transaction(read_only=True) as session, compiled(session) as names:
        for number in range(3):
            SEARCHES[search](session, number, {"kind": number} if filtered else None)
            if number == 0:
                assert "notes" in names  # else nothing would be seen of a second time either
                names.clear()
    assert names == []


@contextmanager
def compiled(session: Any) -> Iterator[list[str]]:
    """Note the tables that SQLite asks leave to read, which it does when it compiles a statement.

    Those of FTS5 are left out, whose own statements are its own affair.
    """
    names: list[str] = []

    def allow(_action: int, name: str | None, *_: Any) -> int:
        names.extend({name or ""} & metadata.tables.keys())
        return 0

    driver_connection = session._connected.connection.dbapi_connection
    driver_connection.set_authorizer(allow)
    try:
        yield names
    finally:
        driver_connection.set_authorizer(None)


@pytest.mark.parametrize("filter", [None, {"kind": 3}], ids=["everything", "filtered"])
def test_hits_and_candidates_are_found_by_key(store: Datastore, filter: Any) -> None:
    plan = _plan_of(store, lambda: SEARCHES["vector"](store, 1, filter))
    assert plan[-2:] == [
        "SEARCH notes USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        "USE TEMP B-TREE FOR ORDER BY",
    ]
    candidates = plan.index("SCAN nearest_candidates")
    assert plan[candidates + 1] == "SEARCH vectors USING INTEGER PRIMARY KEY (rowid=?)"
    assert plan[candidates + 2].startswith("SEARCH notes USING")
    # Where every row is measured.
    assert [step for step in plan if step in ("SCAN vectors", "SCAN notes")] == ["SCAN vectors"]


def _plan_of(store: Datastore, search: Callable[[], Any]) -> list[str]:
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    sa.event.listen(store.engine, "before_cursor_execute", note)
    try:
        search()
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", note)
    with store.engine.connect() as connection:
        statement, parameters = statements[-1]
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [step for *_, step in steps]
