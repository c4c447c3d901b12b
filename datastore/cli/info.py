"""`datastore info`: which database this is, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from rich.text import Text

from datastore import migrate
from datastore.cli.invocation import Invocation, database_file, location, reading
from datastore.cli.output import grid, plain
from datastore.definitions import IndexDefinition
from datastore.errors import DatabaseError, SchemaMissingError, SchemaTooNewError
from datastore.results import DatabaseSchema
from datastore.schema import VectorIndex, search_indexes
from datastore.settings import EmbeddingSettings
from datastore.store import Datastore

#: The model of settings that name none.
_UNNAMED = EmbeddingSettings().model
_STATES = {
    "missing": "none yet; `datastore upgrade` makes it",
    "older": "{revision}, which is behind {head}; `datastore upgrade` brings it up to date",
    "current": "{revision}, up to date",
    "newer": "{revision}, which this code does not know: it knows {head}; update the code",
}


def info(invocation: Invocation) -> None:
    """Show which database is meant, its schema, its tables and what the server can do."""
    with invocation.open_as_it_is() as store:
        document = describe_store(store)
    title = Text(document["database"]["server"], "bold")
    invocation.answer(document, title, grid(_rows(document)))


def describe_store(store: Datastore) -> dict[str, Any]:
    """Return what `info --json` prints."""
    schema = store.schema()
    file = database_file(store)
    return {
        "database": {
            "engine": store.display_name,
            "server": schema.metadata["server"],
            "url": location(store),
            "bytes": file.stat().st_size if file else None,
        },
        "schema": {
            "revision": schema.version,
            "head": migrate.head(),
            "state": schema_state(store, schema.version),
        },
        "embedding": {
            **store.settings.embedding.model_dump(exclude={"api_key"}),
            "recorded": _recorded_space(store),
        },
        "capabilities": sorted(capability.name.lower() for capability in store.capabilities),
        "other_tables": len(
            schema.tables.keys() - {*_tables(store, schema), migrate.VERSION_TABLE}
        ),
        "tables": {name: _count(store, name) for name in _tables(store, schema)},
        "memory": {
            "needed": sum(_memory(store, definition) for definition in schema.search_indexes),
            "allowed": store.backend.memory_limit,
        },
        "search_indexes": [
            _index(definition)
            for definition in sorted(schema.search_indexes, key=lambda each: each.name)
        ],
    }


def schema_state(store: Datastore, revision: str | None) -> str:
    """Return how a revision stands to this code: missing, older, current or newer."""
    if revision is None:
        return "missing"
    if revision == migrate.head():
        return "current"
    try:
        with reading(store) as connection:
            migrate.refuse_newer_schema(connection)
    except SchemaTooNewError:
        return "newer"
    return "older"


def explain_schema(state: str, revision: str | None) -> str:
    """Return a sentence about the state of the schema."""
    return _STATES[state].format(revision=revision, head=migrate.head())


def _tables(store: Datastore, schema: DatabaseSchema) -> list[str]:
    """Return the tables of the settings' metadata that are there: a host may have many more."""
    declared = {table.name for table in store.metadata.tables.values() if table.schema is None}
    return sorted(declared & schema.tables.keys())


def _count(store: Datastore, table: str) -> int | None:
    """Count the rows; None where that is refused or takes too long."""
    try:
        row = store.query_one(sa.select(sa.func.count().label("rows")).select_from(sa.table(table)))
    except DatabaseError:
        return None
    return int(row["rows"]) if row else None


def _recorded_space(store: Datastore) -> dict[str, Any] | None:
    """Return what the metadata's tables say of the vectors in use; None where they do not."""
    for index in search_indexes(store.metadata):
        if isinstance(index, VectorIndex) and index.space is not None:
            with suppress(DatabaseError, SchemaMissingError):
                row = store.query_one(index.space)
                return None if row is None else dict(row)
    return None


def _memory(store: Datastore, definition: IndexDefinition) -> int:
    """Return the bytes that a process takes for an index; 0 where that cannot be found out."""
    try:
        with reading(store) as connection:
            return store.backend.index_statistics(connection, definition).memory
    except DatabaseError:
        return 0


def _index(definition: IndexDefinition) -> dict[str, Any]:
    return {"kind": definition.kind} | asdict(definition)


def _rows(document: dict[str, Any]) -> Iterator[tuple[str | Text, ...]]:
    database, schema = document["database"], document["schema"]
    yield _row("url", database["url"])
    if database["bytes"] is not None:
        yield _row("file", f"{database['bytes']:,} bytes")
    yield _row("schema", explain_schema(schema["state"], schema["revision"]))
    yield from _space_rows(document["embedding"])
    yield _row("server can", ", ".join(document["capabilities"]).replace("_", " ") or "nothing")
    memory = document["memory"]
    if memory["needed"]:
        yield _row("memory", f"{memory['needed']:,} bytes for vectors' codes, in each process "
                   f"that searches; {memory['allowed']:,} are allowed")  # fmt: skip
    tables = (f"{name}: {_amount(rows)}" for name, rows in document["tables"].items())
    others = f"none of datastore; {document['other_tables']} others"
    yield _row("tables", "\n".join(tables) or (others if document["other_tables"] else "none"))
    indexes = (f"{each['name']}: {_over(each)}" for each in document["search_indexes"])
    yield _row("search indexes", "\n".join(indexes) or "none")


def _space_rows(configured: dict[str, Any]) -> Iterator[tuple[Text, Text]]:
    """Show the space that vectors are in, or else the one that the settings would make."""
    recorded = configured["recorded"]
    if recorded is None:
        yield _row("embedding", f"{_described(configured)} (settings; no vectors yet)")
        return
    unit = ", all of length one" if recorded["normalized"] else ""
    yield _row("embedding", f"{_described(recorded)}{unit}")
    if configured["model"] not in (_UNNAMED, recorded["model"]):
        yield _row("", f"the settings say otherwise: {_described(configured)}")


def _described(space: dict[str, Any]) -> str:
    length = space["dimensions"] or "unset"
    return f"model {space['model']}, dimensions {length}, {space['metric']}"


def _row(label: str, text: str) -> tuple[Text, Text]:
    return Text(label, "cyan"), Text(plain(text))


def _amount(rows: int | None) -> str:
    return "not counted" if rows is None else f"{rows:,} {'row' if rows == 1 else 'rows'}"


def _over(index: dict[str, Any]) -> str:
    columns: tuple[str, ...] = index.get("columns") or (index["column"],)
    return f"{index['kind'].replace('_', ' ')} over {index['table']} ({', '.join(columns)})"
