"""`datastore doctor`: what is wrong, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from datastore.backends.base import Finding, IndexStatistics
from datastore.cli.info import explain_schema, schema_state
from datastore.cli.invocation import Invocation, location, reading
from datastore.cli.output import grid, plain
from datastore.errors import (
    ConfigurationError,
    ConnectionFailedError,
    CorruptDatabaseError,
    DatastoreError,
)
from datastore.recall import DEPTH, measure_recall
from datastore.results import DatabaseSchema
from datastore.schema import VectorIndex, search_indexes
from datastore.store import Datastore

_UPGRADE = "run `datastore upgrade`"
_REMEDIES: dict[type[DatastoreError], str] = {
    ConfigurationError: "mend the setting that is named",
    ConnectionFailedError: "check the URL and what it names",
    CorruptDatabaseError: "restore the file from a backup, or name another one",
}


def doctor(
    invocation: Invocation,
    recall: Annotated[
        bool,
        typer.Option(
            "--recall", help="Compare approximate searches with exact ones, and measure indexes."
        ),
    ] = False,
) -> None:
    """Look for what is wrong with settings, server and schema, and say how to mend it.

    Exits with 1 where something is.
    """
    findings = examine(invocation, recall=recall)
    ok = all(finding.ok for finding in findings)
    document = {"ok": ok, "findings": [asdict(finding) for finding in findings]}
    invocation.answer(document, *_lines(findings))
    if not ok:
        raise typer.Exit(1)


def examine(invocation: Invocation, *, recall: bool = False) -> list[Finding]:
    """Return all that was looked at; an error that stops the examination is a finding too."""
    findings: list[Finding] = []
    try:
        with invocation.open_as_it_is() as store:
            findings.extend(_examine(store, recall))
    except DatastoreError as error:
        findings.append(_failure(error))
    return findings


def _failure(error: DatastoreError) -> Finding:
    known = next((text for cls, text in _REMEDIES.items() if isinstance(error, cls)), "")
    remedy = getattr(error, "remedy", "") or known
    check = "settings" if isinstance(error, ConfigurationError) else "database"
    return Finding(check, str(error), ok=False, remedy=remedy)


def _examine(store: Datastore, recall: bool) -> Iterator[Finding]:
    schema = store.schema()
    yield Finding("database", f"{schema.metadata['server']}, {location(store)}")
    yield from store.backend.report.findings
    state = schema_state(store, schema.version)
    found = explain_schema(state, schema.version).partition(";")[0]
    yield Finding("schema", found, ok=state == "current", remedy=_schema_remedy(state))
    if state == "current":
        yield _check_tables(store, schema)
        yield _check_indexes(store, schema)
        if recall:
            yield from _check_recall(store)
            yield from _measure_indexes(store, schema)


def _schema_remedy(state: str) -> str:
    return {"current": "", "newer": "update the code"}.get(state, _UPGRADE)


def _check_tables(store: Datastore, schema: DatabaseSchema) -> Finding:
    declared = {table.name for table in store.metadata.tables.values() if table.schema is None}
    missing = sorted(declared - schema.tables.keys())
    if not missing:
        return Finding("tables", f"all {len(declared)} are there")
    remedy = "restore them from a backup, or downgrade and upgrade again"
    return Finding("tables", f"missing: {', '.join(missing)}", ok=False, remedy=remedy)


def _check_indexes(store: Datastore, schema: DatabaseSchema) -> Finding:
    with reading(store) as connection:
        damaged = set(store.backend.search_objects(connection).damaged)
    declared = {index.name for index in search_indexes(store.metadata)}
    found = {definition.name for definition in schema.search_indexes} - damaged
    broken = sorted((declared - found) | damaged)
    if not broken:
        return Finding("search indexes", f"all {len(declared)} are there")
    remedy = "downgrade and upgrade again, or create the index anew with its `create()`"
    return Finding("search indexes", f"missing or damaged: {', '.join(broken)}", False, remedy)


def _check_recall(store: Datastore) -> Iterator[Finding]:
    for index in search_indexes(store.metadata):
        recall = measure_recall(store, index) if isinstance(index, VectorIndex) else None
        if recall is not None:
            found = (
                f"{index.name}: recall@{DEPTH} {recall.share:.3f}, "
                f"{recall.method}, {recall.queries} queries"
            )
            remedy = "" if recall.is_good else "search with a larger `oversample`, or `exact=True`"
            yield Finding("recall", found, ok=recall.is_good, remedy=remedy)


def _measure_indexes(store: Datastore, schema: DatabaseSchema) -> Iterator[Finding]:
    memory = 0
    for definition in sorted(schema.search_indexes, key=lambda each: each.name):
        with reading(store) as connection:
            statistics = store.backend.index_statistics(connection, definition)
        memory += statistics.memory
        yield Finding("index", f"{definition.name}: {_amounts(statistics)}")
    allowed = store.backend.memory_limit
    if memory > allowed:
        found = f"indexes take {memory:,} bytes, and {allowed:,} are allowed"
        yield Finding("memory", found, ok=False, remedy="allow more: the setting `search.memory`")


def _amounts(statistics: IndexStatistics) -> str:
    size = () if statistics.size is None else (f"{statistics.size:,} bytes",)
    memory = (f"{statistics.memory:,} bytes of memory",) if statistics.memory else ()
    rest = (f"{statistics.uncoded:,} rows uncoded", f"{statistics.dead:,} entries dead")
    return ", ".join((*size, *memory, *rest))


def _lines(findings: list[Finding]) -> Iterator[RenderableType]:
    yield grid(_row(finding) for finding in findings)
    wrong = sum(not finding.ok for finding in findings)
    yield Text(f"{wrong} wrong" if wrong else "nothing is wrong", "red" if wrong else "green")


def _row(finding: Finding) -> tuple[Text, ...]:
    mark = Text("ok", "green") if finding.ok else Text("wrong", "bold red")
    text = Text(plain(finding.found))
    if finding.remedy:
        text.append(f"\nremedy: {plain(finding.remedy)}", "yellow")
    return mark, Text(plain(finding.check)), text
