"""ChunkRepository on every backend."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import pytest

from datastore import Datastore, Settings
from datastore.errors import (
    ConfigurationError,
    DimensionError,
    EmbeddingMismatchError,
    InvalidValueError,
    NotFoundError,
    SchemaMissingError,
    UniqueViolation,
    UnknownNameError,
)
from repositories import Chunk, ChunkRepository, spaces
from repositories.tables import chunks as chunks_table
from repositories.tables import embedding_models


def chunk(id: str, content: str = "text", **fields: object) -> Chunk:
    return Chunk(
        id, **{"path": "a.md", "start_line": 1, "end_line": 1, "content": content, **fields}
    )  # type: ignore[arg-type]


@pytest.fixture
def chunks(store: Datastore) -> ChunkRepository:
    return ChunkRepository(store)


def test_a_chunk_comes_back_as_it_was_added(chunks: ChunkRepository) -> None:
    added = Chunk(
        "id-1",
        "docs/ünï.md",
        3,
        9,
        "línea 1\nline 2 🙂",
        embedding=[1.0, 2.0, 3.0],
        metadata={"lang": "de", "nested": {"n": [1, 2.5, None, True]}},
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    )
    chunks.add(added)
    got = chunks.get("id-1")
    assert got == added
    np.testing.assert_array_equal(got.embedding, np.array([1, 2, 3], dtype=np.float32))


def test_the_time_of_adding_is_recorded(chunks: ChunkRepository) -> None:
    chunks.add(chunk("a"))
    created = chunks.get("a").created_at
    assert created is not None
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60


def test_get_of_an_absent_chunk_raises_and_find_gives_none(chunks: ChunkRepository) -> None:
    assert chunks.find("nobody") is None
    with pytest.raises(NotFoundError):
        chunks.get("nobody")


def test_add_many_streams_an_iterator_and_counts(chunks: ChunkRepository) -> None:
    assert chunks.add_many(chunk(f"c{n:04}", embedding=[n + 1, 1]) for n in range(1201)) == 1201
    assert chunks.count() == 1201
    assert [c.id for c in chunks.all()] == [f"c{n:04}" for n in range(1201)]
    assert chunks.get("c1200").embedding.tolist() == [1201, 1]


def test_add_many_adds_all_or_none(chunks: ChunkRepository) -> None:
    def failing() -> Iterator[Chunk]:
        yield from (chunk(f"c{n}") for n in range(600))
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        chunks.add_many(failing())
    assert chunks.count() == 0


def test_add_many_holds_a_batch_at_a_time(chunks: ChunkRepository) -> None:
    def endless(size: int) -> Iterator[Chunk]:
        for number in itertools.count():
            if number == size:
                raise LookupError("the source has dried up")
            yield chunk(f"id-{number}", f"text {number}", embedding=[1.0 + number] * 256)

    tracemalloc.start()
    try:
        with pytest.raises(LookupError):
            chunks.add_many(endless(10_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20  # together they take more than 20 MiB
    assert chunks.count() == 0


def test_an_id_is_added_once(chunks: ChunkRepository) -> None:
    chunks.add(chunk("a"))
    with pytest.raises(UniqueViolation):
        chunks.add_many([chunk("b"), chunk("a")])
    assert chunks.count() == 1


def test_namespaces_are_strictly_apart(store: Datastore) -> None:
    mine, yours = ChunkRepository(store, "mine"), ChunkRepository(store, namespace="yours")
    mine.add(chunk("a", "apple", embedding=[1, 0]))
    yours.add(chunk("a", "apple pie", embedding=[0, 1]))
    assert mine.get("a").content == "apple"
    assert [hit.row.content for hit in yours.search("apple")] == ["apple pie"]
    assert [hit.row.content for hit in mine.search(embedding=[0, 1])] == ["apple"]
    assert [hit.row.content for hit in mine.search("apple", embedding=[0, 1])] == ["apple"]
    assert mine.delete("a")
    assert mine.delete_path("a.md") == 0
    assert mine.count() == 0
    assert yours.count() == 1
    assert list(mine.all()) == mine.by_path("a.md") == []


def test_by_path_gives_the_chunks_of_a_file_in_order(chunks: ChunkRepository) -> None:
    chunks.add_many(
        [
            chunk("z", start_line=1, end_line=2),
            chunk("a", start_line=10, end_line=12),
            chunk("m", start_line=3, end_line=9),
            chunk("other", path="b.md"),
        ]
    )
    assert [c.id for c in chunks.by_path("a.md")] == ["z", "m", "a"]


def test_deleting_takes_the_search_entries_along(chunks: ChunkRepository) -> None:
    chunks.add_many([chunk("a", "apple", embedding=[1, 2]), chunk("b", "banana", embedding=[2, 1])])
    assert chunks.delete("a")
    assert not chunks.delete("a")
    assert list(chunks.search("apple")) == []
    assert [hit.id for hit in chunks.search(embedding=[1, 2])] == ["b"]
    assert chunks.delete_path("a.md") == 1


def test_replace_keeps_the_id_and_embedding_of_unchanged_content(chunks: ChunkRepository) -> None:
    chunks.add_many(
        [
            chunk("one", "first", embedding=[1, 0]),
            chunk("two", "second", start_line=2, end_line=2, embedding=[0, 1]),
        ]
    )
    result = chunks.replace_path(
        "a.md",
        [
            chunk("new", "inserted", embedding=[1, 1]),
            chunk("x", "second", start_line=5, end_line=6, metadata={"moved": True}),
        ],
    )
    assert (result.kept, result.added, result.removed) == (1, 1, 1)
    inserted, second = chunks.by_path("a.md")
    assert inserted.id == "new"
    assert (second.id, second.start_line, second.end_line) == ("two", 5, 6)
    assert second.metadata == {"moved": True}
    assert second.embedding.tolist() == [0, 1]
    assert chunks.find("one") is None


def test_replace_pairs_repeated_content_once_each(chunks: ChunkRepository) -> None:
    chunks.replace_path("a.md", [chunk(f"c{n}", "same", start_line=n, end_line=n) for n in (1, 2)])
    result = chunks.replace_path(
        "a.md", [chunk(f"d{n}", "same", start_line=n, end_line=n) for n in (1, 2, 3)]
    )
    assert (result.kept, result.added, result.removed) == (2, 1, 0)
    assert {c.id for c in chunks.by_path("a.md")} == {"c1", "c2", "d3"}


def test_replace_gives_another_id_where_a_kept_chunk_has_it(chunks: ChunkRepository) -> None:
    def numbered(*contents: str) -> list[Chunk]:
        return [
            chunk(f"f#{n}", content, start_line=n + 1, end_line=n + 1)
            for n, content in enumerate(contents)
        ]

    chunks.replace_path("a.md", numbered("X", "Y"))
    result = chunks.replace_path("a.md", numbered("N", "X", "Y", "N"))
    assert (result.kept, result.added, result.removed) == (2, 2, 0)
    first, x, y, last = chunks.by_path("a.md")
    assert [c.content for c in (first, x, y, last)] == ["N", "X", "Y", "N"]
    assert (x.id, y.id, last.id) == ("f#0", "f#1", "f#3")
    assert first.id not in {"f#0", "f#1", "f#2", "f#3"}
    again = chunks.replace_path("a.md", numbered("N", "X", "Y", "N"))
    assert (again.kept, again.added, again.removed) == (4, 0, 0)
    chunks.replace_path("a.md", numbered("M", "M", "X", "Y"))
    assert [c.content for c in chunks.by_path("a.md")] == ["M", "M", "X", "Y"]
    with pytest.raises(UniqueViolation):
        chunks.replace_path("a.md", [chunk("twice", "one"), chunk("twice", "two")])


def test_replace_gives_a_kept_chunk_the_new_embedding(chunks: ChunkRepository) -> None:
    chunks.add(chunk("a", embedding=[1, 0]))
    chunks.replace_path("a.md", [chunk("a", embedding=[3, 4])])
    assert chunks.get("a").embedding.tolist() == [3, 4]


def test_replace_leaves_other_files_alone(chunks: ChunkRepository) -> None:
    chunks.add(chunk("other", "same", path="b.md"))
    chunks.replace_path("a.md", [chunk("mine", "same")])
    chunks.replace_path("a.md", [])
    assert [c.id for c in chunks.all()] == ["other"]


def test_a_repository_joins_the_callers_transaction(store: Datastore) -> None:
    with store.transaction() as transaction:
        repository = ChunkRepository(transaction)
        repository.add(chunk("a", embedding=[1, 2]))
        with pytest.raises(UniqueViolation):
            repository.add(chunk("a"))
        repository.add(chunk("b"))
        assert [hit.id for hit in repository.search("text")] == ["a", "b"]
        transaction.rollback()
    assert ChunkRepository(store).count() == 0


def test_search_by_text_by_vector_and_by_both(chunks: ChunkRepository) -> None:
    chunks.add_many(
        [
            chunk("a", "red apples grow on trees", embedding=[1, 0, 0]),
            chunk("b", "green pears", embedding=[0.9, 0.1, 0]),
            chunk("c", "a red car", embedding=[0, 0, 1]),
        ]
    )
    assert [hit.id for hit in chunks.search("red apple")] == ["a", "c"]
    assert [hit.id for hit in chunks.search(embedding=[1, 0, 0])] == ["a", "b", "c"]
    both = chunks.search("red", embedding=[1, 0, 0])
    assert both[0].id == "a"
    assert {hit.id for hit in both} == {"a", "b", "c"}
    assert set(both.indexes) == {"chunk_text", "chunk_vectors"}
    assert isinstance(both[0].row, Chunk)


def test_a_filter_narrows_the_search_itself(chunks: ChunkRepository) -> None:
    chunks.add_many(
        chunk(
            f"c{n:03}",
            "word",
            path=f"p{n % 10}/x_y.md",
            embedding=[1, n + 1],
            metadata={"n": n % 3},
        )
        for n in range(300)
    )
    path = chunks_table.c.path
    for condition in ({"path": "p3/x_y.md"}, path.startswith("p3/x_", autoescape=True)):
        for query in ({"text": "word"}, {"embedding": [1, 0.5]}):
            hits = chunks.search(**query, limit=30, filter=condition)  # type: ignore[arg-type]
            assert len(hits) == 30
            assert {hit.row.path for hit in hits} == {"p3/x_y.md"}
    by_metadata = chunks.search(
        "word", limit=300, filter=chunks_table.c.metadata["n"].as_integer() == 2
    )
    assert len(by_metadata) == 100


def test_min_score_drops_what_scores_less(chunks: ChunkRepository) -> None:
    chunks.add_many([chunk("near", embedding=[1, 0]), chunk("far", embedding=[-1, 0.1])])
    assert [hit.id for hit in chunks.search(embedding=[1, 0], min_score=0.5)] == ["near"]


def test_search_needs_a_text_or_an_embedding(chunks: ChunkRepository) -> None:
    with pytest.raises(InvalidValueError):
        chunks.search()
    with pytest.raises(InvalidValueError):
        chunks.search("x", limit=-1)
    with pytest.raises(UnknownNameError):
        chunks.search("x", filter={"nope": 1})


@pytest.mark.parametrize(
    "bad",
    [
        {"content": "a\x00b"},
        {"content": "\ud800"},
        {"path": "a\x00"},
        {"metadata": {"key": "a\x00"}},
        {"metadata": {"key": float("nan")}},
        {"start_line": 0},
        {"start_line": 3, "end_line": 2},
        {"start_line": 1.0},
        {"start_line": "1"},
        {"start_line": True},
        {"start_line": None},
        {"end_line": 2**31},
        {"end_line": 1.5},
        {"content": None},
        {"content": b"bytes"},
        {"id": 7},
        {"path": None},
        {"metadata": None},
        {"metadata": [1]},
        {"metadata": {1: 2}},
        {"metadata": {"key": {1, 2}}},
        {"embedding": [0.0, 0.0]},
        {"embedding": [float("nan"), 1.0]},
        {"embedding": [float("inf"), 1.0]},
        {"embedding": [1e39, 1.0]},
        {"embedding": "ab"},
        {"embedding": [[1.0], [2.0]]},
    ],
)
def test_what_an_engine_cannot_store_is_refused_and_nothing_is_written(
    chunks: ChunkRepository, bad: dict[str, object]
) -> None:
    wrong = replace(chunk("bad"), **bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError):
        chunks.add_many([chunk("good", embedding=[1.0, 2.0]), wrong])
    if "path" not in bad:
        with pytest.raises(InvalidValueError):
            chunks.replace_path("a.md", [chunk("good", embedding=[1.0, 2.0]), wrong])
    assert chunks.count() == 0


def test_any_integer_and_any_mapping_will_do(store: Datastore, chunks: ChunkRepository) -> None:
    metadata = MappingProxyType({"n": 1})
    added = chunk("a", start_line=np.int64(2), end_line=np.uint8(3), metadata=metadata)
    chunks.add(added)
    assert (chunks.get("a").start_line, chunks.get("a").end_line) == (2, 3)
    assert chunks.get("a").metadata == {"n": 1}
    assert store.query("SELECT id FROM chunks WHERE start_line = 2 AND end_line = 3")
    chunks.replace_path("a.md", [replace(added, start_line=np.int32(1))])  # type: ignore[arg-type]
    assert store.query("SELECT id FROM chunks WHERE start_line = 1 AND end_line = 3")


def test_the_first_embedding_founds_the_space_and_others_must_fit(
    store: Datastore, chunks: ChunkRepository
) -> None:
    chunks.add(chunk("a", embedding=[3, 4]))
    (space,) = store.query(embedding_models.select())
    assert dict(space) == {
        "model": "default",
        "dimensions": 2,
        "metric": "cosine",
        "normalized": False,
        "active": True,
    }
    with pytest.raises(DimensionError) as caught:
        chunks.add(chunk("b", embedding=[1, 2, 3]))
    assert (caught.value.expected, caught.value.got) == (2, 3)
    with pytest.raises(DimensionError):
        chunks.search(embedding=[1, 2, 3])
    assert chunks.count() == 1


@pytest.mark.parametrize(
    ("embedding", "both"),
    [
        ({"model": "other"}, ("default", "other")),
        ({"dimensions": 3}, ("2", "3")),
        ({"metric": "l2"}, ("cosine", "l2")),
    ],
)
def test_settings_of_another_space_are_refused_with_both_sides_named(
    store: Datastore, migrated_url: str, embedding: dict[str, object], both: tuple[str, str]
) -> None:
    ChunkRepository(store).add(chunk("a", embedding=[1, 2]))
    settings = Settings.load(url=migrated_url, embedding=embedding)
    with Datastore.open(settings) as other:
        repository = ChunkRepository(other)
        for attempt in (
            lambda: repository.search(embedding=[1, 2]),
            lambda: repository.add(chunk("b", embedding=[1, 2])),
        ):
            with pytest.raises(ConfigurationError) as caught:
                attempt()
            assert all(side in str(caught.value) for side in both)
        assert repository.count() == 1


def test_a_repository_of_a_model_is_refused_where_another_is_in_use(store: Datastore) -> None:
    mine = ChunkRepository(store, model="mine")
    mine.add(chunk("a", embedding=[1, 2]))
    for other in (ChunkRepository(store), ChunkRepository(store, model="yours")):
        for attempt in (
            lambda other=other: other.search(embedding=[1, 2]),
            lambda other=other: other.replace_path("a.md", [chunk("b", embedding=[1, 2])]),
        ):
            with pytest.raises(EmbeddingMismatchError, match="of 'mine'") as caught:
                attempt()  # type: ignore[no-untyped-call]
            assert (caught.value.aspect, caught.value.found) == ("model", "mine")
        assert other.get("a").embedding.tolist() == [1, 2]
        assert [hit.id for hit in other.search("text")] == ["a"]
    assert mine.count() == 1


def test_the_first_model_is_the_one_that_the_settings_name(migrated_url: str) -> None:
    settings = Settings.load(url=migrated_url, embedding={"model": "mine", "dimensions": 2})
    with Datastore.open(settings) as store:
        with pytest.raises(ConfigurationError, match=r"'mine'.*'yours'"):
            ChunkRepository(store, model="yours").add(chunk("a", embedding=[1, 2]))
        ChunkRepository(store, model="mine").add(chunk("a", embedding=[1, 2]))


def test_settings_may_insist_on_vectors_of_length_one(migrated_url: str) -> None:
    def settings(normalized: bool | None) -> Settings:
        return Settings.load(url=migrated_url, embedding={"normalized": normalized})

    with Datastore.open(settings(True)) as store:
        repository = ChunkRepository(store)
        repository.add(chunk("a", embedding=[0.6, 0.8]))
        for attempt in (
            lambda: repository.add(chunk("b", embedding=[3, 4])),
            lambda: repository.search(embedding=[3, 4]),
        ):
            with pytest.raises(InvalidValueError, match=r"embedding\.normalized"):
                attempt()
        assert repository.search(embedding=[1, 0])[0].id == "a"
    with Datastore.open(settings(None)) as store:
        ChunkRepository(store).add(chunk("b", embedding=[3, 4]))
    with Datastore.open(settings(True)) as store:
        with pytest.raises(EmbeddingMismatchError, match="of False, the settings say True"):
            ChunkRepository(store).search(embedding=[1, 0])
    with Datastore.open(settings(False)) as store:
        assert len(ChunkRepository(store).search(embedding=[1, 0])) == 2


def test_hits_say_which_search_found_them(chunks: ChunkRepository) -> None:
    chunks.add_many([chunk("a", "apple", embedding=[1, 0]), chunk("b", "pear", embedding=[0, 1])])
    chunks.add(chunk("c", "apple"))
    assert {hit.reasons for hit in chunks.search("apple")} == {("text",)}
    assert {hit.reasons for hit in chunks.search(embedding=[1, 0])} == {("vector",)}
    assert {hit.id: hit.reasons for hit in chunks.search("apple", embedding=[1, 0])} == {
        "a": ("text", "vector"),
        "b": ("vector",),
        "c": ("text",),
    }


def test_of_two_spaces_founded_at_once_one_is_refused(migrated_url: str) -> None:
    barrier = threading.Barrier(2)

    def found(model: str) -> str:
        settings = Settings.load(url=migrated_url, embedding={"model": model})
        with Datastore.open(settings) as store:
            barrier.wait()
            try:
                ChunkRepository(store).add(chunk(model, embedding=[1, 2]))
            except ConfigurationError as error:
                return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        messages = sorted(pool.map(found, ("one", "two")))
    assert messages[0] == ""
    assert all(f"'{model}'" in messages[1] for model in ("one", "two"))


def test_the_winner_of_a_race_rules_the_loser(store: Datastore, migrated_url: str) -> None:
    """The loser has looked before the winner wrote, and writes after the winner committed."""
    with Datastore.open(Settings.load(url=migrated_url, embedding={"model": "two"})) as other:
        ChunkRepository(store).add(chunk("a", embedding=[1, 2]))
        with other.transaction() as transaction, pytest.raises(ConfigurationError) as caught:
            claim = spaces.claim_of(other.settings)
            spaces._found(transaction, claim, [np.array([1, 2], dtype=np.float32)])
    assert all(side in str(caught.value) for side in ("'default'", "'two'"))
    assert [row["model"] for row in store.query(embedding_models.select())] == ["default"]


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_the_metric_of_the_settings_rules_the_search(migrated_url: str, metric: str) -> None:
    settings = Settings.load(url=migrated_url, embedding={"model": "m", "metric": metric})
    vectors = {"a": [1.0, 0.0], "b": [5.0, 1.0], "c": [0.6, 0.8]}
    with Datastore.open(settings) as store:
        repository = ChunkRepository(store)
        repository.add_many(chunk(id, embedding=vector) for id, vector in vectors.items())
        order = [hit.id for hit in repository.search(embedding=[1.0, 0.0])]
    assert (
        order
        == {
            "cosine": ["a", "b", "c"],
            "l2": ["a", "c", "b"],
            "inner_product": ["b", "a", "c"],
        }[metric]
    )


def test_a_store_without_tables_names_the_command(empty_store: Datastore) -> None:
    with pytest.raises(SchemaMissingError, match="datastore upgrade"):
        ChunkRepository(empty_store).count()


def test_no_text_that_is_searched_for_raises(chunks: ChunkRepository) -> None:
    chunks.add(chunk("a", "plain words"))
    for text in ("", " ", '"', "AND", "a AND", "NEAR(", "*", "-x", "'; --", "\x00", "\ud800", "🙂"):
        assert isinstance(chunks.search(text).hits, tuple)


def test_a_changed_copy_is_another_chunk() -> None:
    assert replace(chunk("a"), content="other") != chunk("a")
