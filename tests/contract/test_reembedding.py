"""Changing the embedding model on every backend: complete, resumable, and without a gap."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore import Datastore, Settings
from datastore.errors import (
    EmbeddingError,
    EmbeddingMismatchError,
    InvalidValueError,
)
from repositories import (
    Chunk,
    ChunkRepository,
    Entity,
    GraphRepository,
    MemoryManager,
    reembed,
    reembedding,
)
from repositories.reembedding import ReembedProgress, _Reembedding
from repositories.spaces import active_space, recorded_spaces
from tests.contract.word_embedder import WordEmbedder

OLD, NEW = WordEmbedder("old", 8), WordEmbedder("new", 12)


def chunk(number: int, embedder: WordEmbedder | None = OLD) -> Chunk:
    content = f"text number {number} of {number % 7}"
    embedding = None if embedder is None else embedder.embed([content])[0]
    return Chunk(f"c{number:05}", "a.md", number + 1, number + 1, content, embedding)


def fill(store: Datastore, count: int = 150) -> None:
    """Chunks of two namespaces, with and without embeddings, and entities with names."""
    ChunkRepository(store, model="old").add_many(chunk(n) for n in range(count))
    ChunkRepository(store, "mine", model="old").add_many(
        chunk(n, OLD if n % 2 else None) for n in range(10)
    )
    GraphRepository(store).add_entities(Entity(f"e{n}", f"Name {n}", "thing") for n in range(20))


def models(store: Datastore) -> dict[str, tuple[int, int]]:
    """How many vectors of chunks and of names each model has."""
    tables = ("chunk_embeddings", "kg_name_embeddings")
    counts = [
        {row["model"]: row["n"] for row in store.query(f"SELECT model, count(*) AS n FROM {table} GROUP BY model")}
        for table in tables
    ]  # fmt: skip
    return {name: tuple(c.get(name, 0) for c in counts) for name in counts[0] | counts[1]}  # type: ignore[misc]


def in_use(store: Datastore) -> str | None:
    space = active_space(store)
    return None if space is None else space.model


def vectors(store: Datastore) -> dict[tuple[str, str], list[float]]:
    found = {}
    for namespace in ("default", "mine"):
        for each in ChunkRepository(store, namespace).all():
            if each.embedding is not None:
                found[namespace, each.id] = each.embedding.tolist()
    return found


def test_every_chunk_and_name_is_embedded_and_searches_use_the_new_model(store: Datastore) -> None:
    fill(store)
    report = reembed(store, NEW)
    assert (report.model, report.previous, report.dimensions) == ("new", "old", 12)
    assert (report.embedded, report.dropped) == (180, 0)
    assert models(store) == {"new": (160, 20), "old": (155, 0)}
    assert [(s.model, s.dimensions, s.active) for s in recorded_spaces(store)] == [
        ("new", 12, True), ("old", 8, False),
    ]  # fmt: skip
    some = chunk(17, NEW)
    hits = ChunkRepository(store, model="new").search(embedding=some.embedding, limit=1)
    assert hits[0].id == some.id
    np.testing.assert_array_equal(ChunkRepository(store).get(some.id).embedding, some.embedding)


def test_verbs_of_the_store_search_the_model_in_use(store: Datastore) -> None:
    fill(store, 10)
    assert len(store.vector_search("chunks", "embedding", OLD.embed(["text"])[0], 99)) == 15
    reembed(store, NEW)
    assert len(store.vector_search("chunks", "embedding", NEW.embed(["text"])[0], 99)) == 20
    both = store.hybrid_search("chunks", text="number", vector=NEW.embed(["text"])[0], limit=99)
    assert {hit.reasons for hit in both} == {("text", "vector")}
    (named,) = store.vector_search("kg_entity_names", "embedding", NEW.embed(["Name 7"])[0], 1)
    assert named.row["name"] == "Name 7"


def test_searches_go_on_with_the_old_model_until_the_new_one_is_complete(store: Datastore) -> None:
    fill(store)
    memory = MemoryManager(store, OLD)
    heard: list[ReembedProgress] = []

    def search(progress: ReembedProgress) -> None:
        heard.append(progress)
        assert in_use(store) == "old"
        assert set(memory.search("number 17", 1)[0].reasons) == {"text", "vector"}
        with pytest.raises(EmbeddingMismatchError):
            ChunkRepository(store, model="new").search(embedding=NEW.embed(["text"])[0])

    reembed(store, NEW, progress=search)
    assert [progress.done for progress in heard] == [64, 128, 160, 180]
    assert {progress.total for progress in heard} == {180}


def test_a_model_in_use_embeds_what_is_missing(store: Datastore) -> None:
    fill(store)
    assert reembed(store, OLD).embedded == 25
    assert reembed(store, OLD).embedded == 0
    assert models(store) == {"old": (160, 20)}


def test_a_store_without_vectors_begins_with_the_model(store: Datastore) -> None:
    ChunkRepository(store).add_many(chunk(n, None) for n in range(5))
    report = reembed(store, NEW)
    assert (report.previous, report.embedded, in_use(store)) == (None, 5, "new")
    assert reembed(store, WordEmbedder("none", 3)).previous == "new"


@pytest.mark.parametrize("dimensions", [12, None])
def test_an_empty_store_is_of_the_model_from_then_on(
    store: Datastore, dimensions: int | None
) -> None:
    report = reembed(store, WordEmbedder("new", dimensions))
    assert (report.embedded, report.dimensions, in_use(store)) == (0, dimensions or 16, "new")
    with pytest.raises(EmbeddingMismatchError):
        ChunkRepository(store, model="old").add(chunk(1))


def test_drop_old_removes_the_rest_and_only_then(store: Datastore) -> None:
    fill(store)
    MemoryManager(store, OLD)
    reembed(store, WordEmbedder("middle", 4))
    report = reembed(store, NEW, drop_old=True)
    assert report.dropped == 155 + 180
    assert models(store) == {"new": (160, 20)}
    assert [space.model for space in recorded_spaces(store)] == ["new"]
    assert {row["model"] for row in store.query("SELECT model FROM embedding_cache")} == {"new"}


def test_a_model_that_came_into_use_again_is_not_dropped(
    store: Datastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 30)
    drop, returned = _Reembedding._drop, []

    def drop_later(run: _Reembedding, kind: Any, model: str) -> int:
        if not returned:
            returned.append(reembed(store, OLD))
        return drop(run, kind, model)

    monkeypatch.setattr(_Reembedding, "_drop", drop_later)
    report = reembed(store, NEW, drop_old=True)
    assert (report.model, report.dimensions, report.dropped) == ("new", 12, 0)
    assert in_use(store) == "old"
    assert models(store)["old"] == (40, 20)


def test_a_model_may_come_into_use_again_while_it_is_dropped(
    store: Datastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 30)
    monkeypatch.setattr(reembedding, "DROP_BATCH", 10)
    run, pages = store.run, []

    def interrupted(action: Any, *arguments: Any, **options: Any) -> Any:
        result = run(action, *arguments, **options)
        if action is reembedding._drop_page:
            pages.append(result)
            if len(pages) == 1:
                reembed(store, OLD)
        return result

    monkeypatch.setattr(store, "run", interrupted)
    assert reembed(store, NEW, drop_old=True).dropped == 10
    assert in_use(store) == "old"
    assert models(store)["old"] == (40, 20)


def test_one_may_go_back_without_embedding_again(store: Datastore) -> None:
    fill(store)
    reembed(store, NEW)
    report = reembed(store, OLD)
    assert (report.embedded, in_use(store)) == (25, "old")


def test_two_may_begin_with_the_same_model_at_the_same_time(store: Datastore) -> None:
    fill(store, 70)
    together = threading.Barrier(2, timeout=20)

    class Waiting(WordEmbedder):
        begun = False

        def embed(self, texts: Sequence[str], /) -> np.ndarray:
            if not self.begun:
                self.begun = True
                together.wait()
            return super().embed(texts)

    with ThreadPoolExecutor() as threads:
        reports = list(threads.map(lambda _: reembed(store, Waiting("new", 12)), range(2)))
    assert {report.model for report in reports} == {"new"}
    assert (in_use(store), models(store)["new"]) == ("new", (80, 20))


def test_what_is_embedded_already_is_not_made_again(store: Datastore) -> None:
    fill(store)
    embedder = WordEmbedder("new", 12)
    reembed(store, embedder)
    assert len(embedder.texts) == len(set(embedder.texts))
    assert len(embedder.texts) == 150 + 20, "the second namespace has texts of the first"


def test_a_failing_embedder_changes_nothing_for_searches(store: Datastore) -> None:
    fill(store)

    class Failing(WordEmbedder):
        def embed(self, texts: Sequence[str], /) -> np.ndarray:
            if len(self.texts) > 100:
                raise ConnectionError
            return super().embed(texts)

    with pytest.raises(EmbeddingError):
        reembed(store, Failing("new", 12))
    assert in_use(store) == "old"
    assert models(store)["new"] == (128, 0)
    assert reembed(store, NEW).embedded == 52


def test_a_model_has_a_name(store: Datastore) -> None:
    for name in ("", "x" * 501):
        with pytest.raises(InvalidValueError):
            reembed(store, WordEmbedder(name))


def test_a_text_that_the_embedder_refuses_is_left_without_a_vector(store: Datastore) -> None:
    class Choosy(WordEmbedder):
        def embed(self, texts: Sequence[str], /) -> np.ndarray:
            if any(text.endswith(("of 3", "Name 7")) or not text for text in texts):
                raise RuntimeError
            return super().embed(texts)

    fill(store, 20)
    GraphRepository(store).add_entity(Entity("blank", "", "thing"))
    report = reembed(store, Choosy("choosy", 8))
    assert (report.embedded, report.refused) == (45, 4)
    assert (in_use(store), models(store)["choosy"]) == ("choosy", (26, 19))
    assert reembed(store, WordEmbedder("choosy", 8)).embedded == 5
    assert GraphRepository(store, model="choosy").unembedded_names() == []


def test_the_embedder_must_name_a_model_and_be_as_it_was(store: Datastore) -> None:
    fill(store, 5)
    with pytest.raises(InvalidValueError, match="names its model"):
        reembed(store, WordEmbedder(None))
    other = WordEmbedder("old", 9)
    with pytest.raises(EmbeddingMismatchError, match="of 8, the embedder gives 9"):
        reembed(store, other)
    assert other.texts == []


def test_the_metric_stays(migrated_url: str) -> None:
    settings = Settings.load(url=migrated_url, embedding={"model": "old", "metric": "l2"})
    with Datastore.open(settings) as store:
        fill(store, 3)
    with Datastore.open(migrated_url) as store:
        reembed(store, NEW)
        assert {space.metric for space in recorded_spaces(store)} == {"l2"}
        (hit, *_) = ChunkRepository(store, model="new").search(embedding=chunk(1, NEW).embedding)
        assert (hit.id, hit.score) == ("c00001", 1.0)


# --- while others write -------------------------------------------------------------------------


def missing(store: Datastore) -> int:
    statement = """SELECT count(*) AS n FROM chunks WHERE NOT EXISTS (
        SELECT 1 FROM chunk_embeddings WHERE chunk = rid AND model = 'new')"""
    return int(store.query(statement)[0]["n"])


def test_chunks_written_meanwhile_are_in_the_new_space_too(store: Datastore) -> None:
    fill(store)
    numbers = iter(range(1000, 2000))

    def write(_: ReembedProgress) -> None:
        ChunkRepository(store, model="old").add(chunk(next(numbers)))
        ChunkRepository(store).add(chunk(next(numbers), None))

    reembed(store, NEW, progress=write)
    assert missing(store) == 0


def test_a_writer_that_never_rests_is_held_off_at_last(store: Datastore) -> None:
    fill(store, 5)
    numbers = iter(range(1000, 2000))

    class Disturbed(_Reembedding):
        def _fill(self) -> None:
            super()._fill()
            ChunkRepository(store, model="old").add_many(chunk(next(numbers)) for _ in range(70))

    Disturbed(store, NEW, None).run(drop_old=False)
    assert (in_use(store), missing(store)) == ("new", 0)


def test_a_chunk_that_is_not_committed_yet_is_waited_for(store: Datastore) -> None:
    fill(store, 5)
    reembed(store, NEW)
    reembed(store, OLD)  # so that nothing is left to be done before the switch
    with ThreadPoolExecutor(1) as pool:
        with store.transaction() as transaction:
            ChunkRepository(transaction, model="old").add(chunk(99))
            running = pool.submit(reembed, store, NEW)
            assert not running.done()
            threading.Event().wait(0.3)
            assert in_use(store) == "old"
        assert running.result(timeout=30).previous == "old"
    assert (in_use(store), missing(store)) == ("new", 0)


def test_writers_lose_nothing_and_are_told_of_the_change(store: Datastore) -> None:
    fill(store, 40)
    written: list[int] = []

    def write() -> str:
        for number in range(10_000, 20_000):
            try:
                ChunkRepository(store, model="old").add(chunk(number))
            except EmbeddingMismatchError as error:
                return str(error)
            written.append(number)
        return ""

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        while not written:
            threading.Event().wait(0.01)
        reembed(store, NEW)
        told = writer.result(timeout=30)
    assert "'new'" in told
    assert "'old'" in told
    assert ChunkRepository(store).count() == 40 + len(written)
    assert missing(store) == 0


def test_a_program_with_both_embedders_goes_on(store: Datastore, tmp_path: Any) -> None:
    (tmp_path / "a.md").write_text("red apples")
    memory = MemoryManager(store, [OLD, NEW])
    memory.index(tmp_path)
    reembed(store, NEW, drop_old=True)
    (tmp_path / "b.md").write_text("green apples")
    assert memory.index(tmp_path).counts["added"] == 1
    assert missing(store) == 0
    assert {hit.reasons for hit in memory.search("apples")} == {("text", "vector")}
    with pytest.raises(EmbeddingMismatchError):
        MemoryManager(store, OLD).search("apples")


def test_the_model_may_change_between_embedding_and_writing(
    store: Datastore, tmp_path: Any
) -> None:
    class Slow(WordEmbedder):
        def embed(self, texts: Sequence[str], /) -> np.ndarray:
            made = super().embed(texts)
            if in_use(store) == "old":
                reembed(store, NEW)
            return made

    fill(store, 5)
    (tmp_path / "b.md").write_text("green apples")
    memory = MemoryManager(store, [Slow("old", 8), NEW])
    assert memory.index(tmp_path).counts["added"] == 1
    assert (in_use(store), missing(store)) == ("new", 0)


def test_chunks_that_go_meanwhile_are_no_error(store: Datastore) -> None:
    fill(store)

    class Deleting(WordEmbedder):
        def embed(self, texts: Sequence[str], /) -> np.ndarray:
            ChunkRepository(store).delete_path("a.md")
            GraphRepository(store).delete_entity("e3")
            return super().embed(texts)

    reembed(store, Deleting("new", 12))
    assert models(store)["new"] == (10, 19)


# --- after a kill -------------------------------------------------------------------------------


def run_and_die(url: str, moment: int, beginning: str = "") -> None:
    """Reembed in this process, and kill it before its n-th statement that begins so."""
    with Datastore.open(url) as store:
        seen = 0

        @sa.event.listens_for(store.engine, "before_cursor_execute")
        def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            nonlocal seen
            seen += statement.startswith(beginning)
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        reembed(store, NEW, drop_old=True)


@contextmanager
def child(function: Callable[..., None], *arguments: object) -> Iterator[int | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
        process.start()
    process.join(60)
    yield process.exitcode


def test_a_run_that_was_killed_is_taken_up_to_the_same_end(migrated_url: str) -> None:
    with Datastore.open(migrated_url) as store:
        fill(store)
    moments = random.Random(5)
    kills = 0
    for _ in range(8):
        with child(run_and_die, migrated_url, moments.randrange(5, 60)) as code:
            assert code in (0, -signal.SIGKILL)
            kills += code != 0
        with Datastore.open(migrated_url) as store:
            assert len(vectors(store)) == (160 if in_use(store) == "new" else 155)
            model = NEW if in_use(store) == "new" else OLD
            found = MemoryManager(store, model).search("number 17", 1)
            assert found[0].reasons == ("text", "vector")
    assert kills
    with Datastore.open(migrated_url) as store:
        reembed(store, NEW, drop_old=True)
        assert models(store) == {"new": (160, 20)}
        assert [space.model for space in recorded_spaces(store)] == ["new"]
        assert vectors(store) == {
            (namespace, each.id): each.embedding.tolist()
            for namespace, count in (("default", 150), ("mine", 10))
            for each in (chunk(n, NEW) for n in range(count))
        }


def test_the_change_is_made_as_a_whole(migrated_url: str) -> None:
    with Datastore.open(migrated_url) as store:
        fill(store, 5)
    # Of its two updates the first retires the old model, and the second is never made.
    with child(run_and_die, migrated_url, 2, "UPDATE embedding_models SET active") as code:
        assert code == -signal.SIGKILL
    with Datastore.open(migrated_url) as store:
        assert in_use(store) == "old"
        assert reembed(store, NEW).embedded == 0
        assert in_use(store) == "new"


# --- in any order -------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
STEP = st.one_of(
    st.tuples(st.sampled_from(["add", "embed", "delete"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["model", "clean"]), st.sampled_from(NAMES)),
)


def test_any_sequence_gives_the_state_of_a_plain_model(backend_stores: list[Datastore]) -> None:
    embedders = {name: WordEmbedder(name, n + 4) for n, name in enumerate(NAMES)}
    for store in backend_stores:
        store.migrate()
        store.optimize = lambda: None  # type: ignore[method-assign] - of no account here, and slow

    @settings(max_examples=10)
    @given(st.lists(STEP, max_size=8))
    def check(steps: list[tuple[str, Any]]) -> None:
        for store in backend_stores:
            store.batch(["DELETE FROM chunks", "DELETE FROM embedding_models"])
        present: set[str] = set()
        known: dict[str, set[str]] = {}
        active: str | None = None
        for step, value in steps:
            if step in ("model", "clean"):
                known = {value: set()} if step == "clean" else {**known, value: set()}
                known[value] |= present
                active = value
            elif step == "delete":
                present.discard(f"c{value:05}")
                known = {name: ids - {f"c{value:05}"} for name, ids in known.items()}
            elif f"c{value:05}" not in present and (step == "add" or active):
                present.add(f"c{value:05}")
                if step == "embed" and active:
                    known[active].add(f"c{value:05}")
            for store in backend_stores:
                take(store, embedders, step, value)
        for store in backend_stores:
            assert in_use(store) == active
            assert {space.model for space in recorded_spaces(store)} == set(known)
            for each in ChunkRepository(store).all():
                assert (each.embedding is not None) == (each.id in known.get(active or "", ()))
                if each.embedding is not None and active:
                    (expected,) = embedders[active].embed([each.content])
                    np.testing.assert_array_equal(each.embedding, expected)
            assert {each.id for each in ChunkRepository(store).all()} == present
            assert {m: n for m, (n, _) in models(store).items()} == {
                name: len(ids) for name, ids in known.items() if ids
            }

    check()


def take(store: Datastore, embedders: dict[str, WordEmbedder], step: str, value: Any) -> None:
    if step in ("model", "clean"):
        reembed(store, embedders[value], drop_old=step == "clean")
        return
    active = in_use(store)
    repository = ChunkRepository(store, model=active)
    if step == "delete":
        repository.delete(f"c{value:05}")
    elif repository.find(f"c{value:05}") is None and (step == "add" or active):
        repository.add(chunk(value, embedders[active] if step == "embed" and active else None))
