"""Copies between databases of either engine: complete, exact, all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datastore import Datastore, migrate
from datastore.transfer import LoadOptions, LoadReport, copy, verify
from repositories import Chunk, ChunkRepository
from tests.moving import DIRECTIONS, MakeURL, both, contents

FilledURL = Callable[[str], str]
directions = pytest.mark.parametrize(
    ("origin", "destination"), DIRECTIONS, ids=["-".join(each) for each in DIRECTIONS]
)


def copied(source: str, target: str, **options: Any) -> LoadReport:
    with both(source, target) as (one, other):
        return copy(one, other, LoadOptions(**options))


#: All that is in a database beside rows, as the database itself writes it.
DEFINITIONS = {
    "sqlite": "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY 1, 2",
    "postgresql": """\
SELECT 'index', i.oid::regclass::text, pg_get_indexdef(i.oid), obj_description(i.oid, 'pg_class')
FROM pg_class AS i WHERE i.relkind = 'i' AND i.relnamespace = 'public'::regnamespace
UNION ALL SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid),
  obj_description(c.oid, 'pg_constraint')
FROM pg_constraint AS c WHERE c.connamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', tgname, tgrelid::regclass::text, NULL FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2, 3""",
}


def definitions_of(store: Datastore) -> list[tuple[Any, ...]]:
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(DEFINITIONS[store.dialect])]


@directions
def test_a_copy_is_the_same_to_a_host_and_by_its_digests(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        report = copy(source, target)
        assert report.is_complete
        assert {table.table for table in report.tables if table.written} == {
            "sources", "chunks", "chunk_embeddings", "kg_entities", "kg_relationships",
            "kg_entity_names", "kg_mentions", "embedding_models",
        }  # fmt: skip
        assert all(table.source == table.target for table in report.tables)
        searched = {each.index for each in report.searches}
        assert searched == {"chunk_text", "chunk_vectors", "kg_name_pieces"}
        assert contents(target) == contents(source)
        assert verify(source, target).is_same


@directions
def test_a_copy_of_a_copy_is_what_it_was(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    there, back = make_url(destination), make_url(origin)
    copied(filled_url(origin), there)
    copied(there, back)
    with both(filled_url(origin), back) as (source, target):
        assert verify(source, target).is_same
        assert contents(target) == contents(source)


@directions
def test_the_next_row_gets_a_key_of_its_own(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        copy(source, target)
        highest = target.query("SELECT max(rid) AS n FROM chunks")[0]["n"]
        ChunkRepository(target).add(Chunk("new", "new.md", 1, 1, "new", [1, 2, 3, 4]))
        assert target.query("SELECT max(rid) AS n FROM chunks")[0]["n"] == highest + 1


@directions
def test_search_indexes_and_schema_are_whole_after_a_copy(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    with both(filled_url(origin), make_url(destination)) as (source, target):
        with Datastore.open(make_url(destination)) as fresh:
            fresh.migrate()
            expected = definitions_of(fresh)
        copy(source, target)
        assert definitions_of(target) == expected
        migrate.check(target.engine, target.metadata)
        found = ChunkRepository(target).search("river", limit=100)
        assert {hit.id for hit in found} == {
            hit.id for hit in ChunkRepository(source).search("river", limit=100)
        }
