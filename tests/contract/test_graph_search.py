"""Search over the graph on every backend: the chunks that speak of what a query is about."""

from __future__ import annotations

import pytest

from datastore import Datastore
from repositories import (
    Chunk,
    ChunkRepository,
    Entity,
    GraphRepository,
    MemoryManager,
    Relationship,
)
from repositories.graph_search import _names
from tests.contract.word_embedder import WordEmbedder

TEXTS = {
    "ada": "Ada Lovelace wrote the first program.",
    "engine": "The analytical engine had a mill and a store.",
    "babbage": "He tried to fund his machine for decades.",
    "bernoulli": "A table of numbers, computed by steps.",
    "tea": "Boil water, then wait for the leaves.",
}
MENTIONS = {
    "lovelace": ["ada"],
    "engine": ["engine"],
    "babbage": ["babbage"],
    "numbers": ["bernoulli"],
}
EDGES = [("lovelace", "engine"), ("babbage", "engine"), ("lovelace", "numbers")]


@pytest.fixture
def memory(store: Datastore) -> MemoryManager:
    embedder = WordEmbedder()
    memory = MemoryManager(store, embedder)
    ChunkRepository(store, model="words").add_many(
        Chunk(id, f"{id}.md", 1, 1, text, embedder.embed([text])[0]) for id, text in TEXTS.items()
    )
    graph = GraphRepository(store)
    graph.add_entities(
        Entity(id, name, "thing")
        for id, name in (
            ("lovelace", "Ada Lovelace"), ("engine", "Analytical Engine"),
            ("babbage", "Charles Babbage"), ("numbers", "Bernoulli Numbers"),
        )
    )  # fmt: skip
    graph.add_relationships(Relationship(a, b, "relates") for a, b in EDGES)
    for entity, chunks in MENTIONS.items():
        graph.link(entity, chunks)
    return memory


@pytest.fixture
def by_words(memory: MemoryManager) -> MemoryManager:
    """The same memory without an embedder, whose vectors would find everything."""
    return MemoryManager(memory.store)


def reasons(memory: MemoryManager, query: str, **options: int) -> dict[str, tuple[str, ...]]:
    found = memory.search(query, use_graph=True, **options)
    return {hit.id: hit.reasons for hit in found}


def test_a_name_in_the_query_brings_what_is_around_it(by_words: MemoryManager) -> None:
    query = "what do we know of ADA LOVELÁCE?"
    assert [hit.id for hit in by_words.search(query)] == ["ada"]
    assert reasons(by_words, query) == {
        "ada": ("text", "graph"),
        "engine": ("graph",),
        "bernoulli": ("graph",),
        "babbage": ("graph",),
    }


def test_a_chunk_brings_what_its_entities_are_near_to(by_words: MemoryManager) -> None:
    found = reasons(by_words, "mill")
    assert found["engine"] == ("text",), "a chunk does not speak for itself"
    assert found == {
        "engine": ("text",), "ada": ("graph",), "babbage": ("graph",), "bernoulli": ("graph",),
    }  # fmt: skip


def test_the_graph_has_its_say_in_the_order(by_words: MemoryManager) -> None:
    query = "Charles Babbage: water, program"
    plain = by_words.search(query)
    assert {hit.id for hit in plain} == {"ada", "tea"}
    found = by_words.search(query, use_graph=True)
    assert found[0].id == "ada", "found by a word and near to what is named"
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert all(0 < hit.score <= 1 for hit in found)


def test_near_neighbours_come_before_far_ones(by_words: MemoryManager) -> None:
    found = by_words.search("Ada Lovelace", use_graph=True)
    assert [hit.id for hit in found][-1] == "babbage"


def test_so_many_chunks_of_the_graph_take_part(by_words: MemoryManager) -> None:
    assert list(reasons(by_words, "Ada Lovelace", graph_max_chunks=2)) == ["ada", "bernoulli"]
    assert reasons(by_words, "Ada Lovelace", graph_max_chunks=0) == {"ada": ("text",)}
    assert len(by_words.search("Ada Lovelace", 2, use_graph=True)) == 2


def test_words_vectors_and_graph_are_fused(memory: MemoryManager) -> None:
    found = reasons(memory, "Ada Lovelace")
    assert found["ada"] == ("text", "vector", "graph")
    assert found["engine"] == ("vector", "graph")
    assert found["tea"] == ("vector",)
    best = memory.search("Ada Lovelace", use_graph=True)[0]
    assert (best.id, best.score) == ("ada", pytest.approx(1.0))


def test_a_path_narrows_the_graph_too(by_words: MemoryManager) -> None:
    found = by_words.search("Ada Lovelace", use_graph=True, path="eng")
    assert [hit.id for hit in found] == ["engine"]


def test_hits_of_the_graph_have_snippets_and_rows(by_words: MemoryManager) -> None:
    found = by_words.search("Ada Lovelace store", use_graph=True, marks=("[", "]"))
    engine = next(hit for hit in found if hit.id == "engine")
    assert engine.row.path == "engine.md"
    assert engine.snippet == "The analytical engine had a mill and a [store]."


def test_a_query_without_words_or_entities_finds_nothing(by_words: MemoryManager) -> None:
    for query in ("", "?!", "no such thing", "\x00", "\ud800"):
        assert list(by_words.search(query, use_graph=True)) == []


def test_a_graph_that_leads_nowhere_changes_nothing_and_says_so(by_words: MemoryManager) -> None:
    plain, found = by_words.search("leaves"), by_words.search("leaves", use_graph=True)
    assert found.hits == plain.hits
    assert found.notes == ("the graph led to no chunk",)


def test_namespaces_are_apart(memory: MemoryManager) -> None:
    other = MemoryManager(memory.store, namespace="other")
    assert list(other.search("Ada Lovelace", use_graph=True)) == []


def test_a_name_is_a_run_of_words_that_is_no_stop_word() -> None:
    assert list(_names(["the", "who"])) == ["the who"]
    assert "a b c d e f" in list(_names(["a", "b", "c", "d", "e", "f", "g"]))
    assert list(_names(["k", "l", "m", "n", "o", "p", "q", "r"]))[-1] == "k l m n o p q r"


def test_both_engines_give_one_ranking(backend_stores: list[Datastore]) -> None:
    rankings = []
    for store in backend_stores:
        store.migrate()
        graph = GraphRepository(store)
        ChunkRepository(store).add_many(
            Chunk(f"c{n}", "a.md", n + 1, n + 1, f"entity {n % 7} and word {n % 5}")
            for n in range(60)
        )
        graph.add_entities(Entity(f"e{n}", f"Entity {n}", "thing") for n in range(30))
        graph.add_relationships(
            Relationship(f"e{n}", f"e{(n * 7 + 3) % 30}", "near") for n in range(30)
        )
        for n in range(30):
            graph.link(f"e{n}", [f"c{(n * k) % 60}" for k in range(1, 5)])
        memory = MemoryManager(store)
        rankings.append(
            [
                [(hit.id, hit.reasons, round(hit.score, 9)) for hit in found]
                for n in range(7)
                for found in [memory.search(f"entity {n}", use_graph=True, graph_max_chunks=20)]
            ]
        )
    assert rankings[0] == rankings[1]
    assert any("graph" in reasons for _, reasons, _ in rankings[0][0])
