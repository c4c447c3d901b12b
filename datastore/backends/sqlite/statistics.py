"""How a vector index on SQLite is doing: its codes in memory, and the log behind them."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from datastore.backends.base import IndexStatistics
from datastore.backends.sqlite.candidates import Candidates, size_of
from datastore.backends.sqlite.indexes import logged, vector_spaces
from datastore.definitions import VectorIndexDefinition


def vector_statistics(
    connection: Connection,
    definition: VectorIndexDefinition,
    candidates: Candidates,
    exact_limit: int,
) -> IndexStatistics:
    """Count the rows and changes that are in no code of this process, and all that is logged.

    The memory is what the codes take once they are made, in each process that searches.
    """
    memory, uncoded, known = 0, 0, []
    for model, dimensions, rows in vector_spaces(connection, definition):
        image = candidates.image(definition.name, model, dimensions)
        if rows * dimensions > exact_limit:
            memory += size_of(rows, dimensions)
        if image is None or image.codes is None:
            uncoded += rows
        else:
            known.append(image.seq)
    if known:
        uncoded += logged(connection, definition, min(known))
    return IndexStatistics(memory=memory, uncoded=uncoded, dead=logged(connection, definition, 0))
