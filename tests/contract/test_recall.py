"""A store examines its own searches: `measure_recall`, `datastore doctor --recall`, `optimize`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from datastore import Datastore, Settings
from datastore.cli import main
from datastore.recall import QUERIES, measure_recall
from datastore.schema import VectorIndex, search_indexes
from repositories import Chunk, ChunkRepository
from repositories.tables import chunk_vectors, metadata

ROWS, DIMENSIONS = 1500, 64
Program = Callable[..., tuple[int, dict[str, Any]]]


def vectors(count: int) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(1)
    centers = random.standard_normal((20, DIMENSIONS))
    return centers[random.integers(0, 20, count)] + random.standard_normal((count, DIMENSIONS))


@pytest.fixture
def full_store(migrated_url: str) -> Iterator[Datastore]:
    """Enough vectors for an approximate index, by a limit that is lower than the usual one."""
    settings = Settings.load(url=migrated_url, search={"exact_floats": 1000})
    with Datastore.open(settings) as store:
        ChunkRepository(store).add_many(
            Chunk(f"c{n}", "a.md", n + 1, n + 1, "text", embedding=vector)
            for n, vector in enumerate(vectors(ROWS))
        )
        yield store


@pytest.fixture
def program(
    migrated_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setenv("DATASTORE_SEARCH__EXACT_FLOATS", "1000")

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main([*arguments, "--json", "--url", migrated_url])
        return code, json.loads(capsys.readouterr().out)

    return run


def found(document: dict[str, Any], check: str) -> list[str]:
    return [f["found"] for f in document["findings"] if f["check"] == check]


def test_recall_compares_approximate_searches_with_exact_ones(full_store: Datastore) -> None:
    full_store.optimize()
    recall = measure_recall(full_store, chunk_vectors)
    assert recall is not None
    assert (recall.index, recall.method, recall.queries) == (
        "chunk_vectors",
        "approximate",
        QUERIES,
    )
    assert 0.9 <= recall.share <= 1


def test_searches_that_find_nothing_right_have_no_recall(
    full_store: Datastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = full_store.vector_search

    def worse(*arguments: Any, exact: bool, **options: Any) -> Any:
        table, column, query, limit = arguments
        return search(table, column, query if exact else -query, limit, exact=True, **options)

    monkeypatch.setattr(full_store, "vector_search", worse)
    recall = measure_recall(full_store, chunk_vectors)
    assert recall is not None
    assert recall.share < 0.1
    assert not recall.is_good


def test_without_vectors_there_is_nothing_to_measure(store: Datastore) -> None:
    assert measure_recall(store, chunk_vectors) is None


def test_doctor_prints_recall_sizes_and_what_is_not_coded(
    full_store: Datastore, program: Program
) -> None:
    assert program("optimize")[1]["optimized"] is True
    _, document = program("doctor", "--recall")
    (recall,) = found(document, "recall")
    assert recall.startswith("chunk_vectors: recall@10 ")
    assert "approximate" in recall
    indexes = found(document, "index")
    names = sorted(index.name for index in search_indexes(metadata))
    assert [text.partition(":")[0] for text in indexes] == names
    assert all("bytes" in text for text in indexes if text.startswith("chunk_"))
    (of_chunks,) = [text for text in indexes if text.startswith("chunk_vectors")]
    assert " 0 rows uncoded" in of_chunks


def test_doctor_measures_only_when_asked(full_store: Datastore, program: Program) -> None:
    _, document = program("doctor")
    assert found(document, "recall") == found(document, "index") == []


def test_info_tells_the_memory_that_searches_take(full_store: Datastore, program: Program) -> None:
    memory = program("info")[1]["memory"]
    assert memory["allowed"] == 256 * 2**20
    index = next(index for index in search_indexes(metadata) if isinstance(index, VectorIndex))
    with full_store.engine.connect() as connection:
        statistics = full_store.backend.index_statistics(connection, index.definition)
    assert memory["needed"] == statistics.memory
