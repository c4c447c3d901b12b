"""How a vector index on SQLite is doing: its codes in memory, and the log behind them."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from datastore.backends.base import IndexStatistics
from datastore.backends.sqlite.candidates import Candidates, size_of
from datastore.backends.sqlite.indexes import logged, vector_spaces
from datastore.definitions import IndexDefinition, VectorIndexDefinition


def vector_statistics(
    connection: Connection, definition: IndexDefinition, candidates: Candidates, exact_limit: int
) -> IndexStatistics:
    """Count what is in no code yet, and what the log keeps of changes that every process knows.

    The memory is what the codes take once they are made, in each process that searches.
    """
    if not isinstance(definition, VectorIndexDefinition):
        return IndexStatistics()
    memory = uncoded = 0
    for model, dimensions, rows in vector_spaces(connection, definition):
        image = candidates.image(definition.name, model, dimensions)
        if rows * dimensions > exact_limit:
            memory += size_of(rows, dimensions)
        if image is None or image.codes is None:
            uncoded += rows
        else:
            uncoded += logged(connection, definition, image.seq)
    return IndexStatistics(memory=memory, uncoded=uncoded, dead=logged(connection, definition, 0))
