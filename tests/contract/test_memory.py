"""MemoryManager on every backend: files in, answers out."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from datastore import Datastore
from datastore.errors import (
    DimensionError,
    EmbeddingMismatchError,
    InvalidValueError,
    NotFoundError,
)
from repositories import (
    Chunk,
    ChunkRepository,
    Entity,
    GraphRepository,
    MemoryManager,
    Relationship,
)
from repositories.indexing import FileReport, IndexReport
from repositories.memory import MemoryStats
from repositories.spaces import EmbeddingSpace
from tests.contract.word_embedder import WordEmbedder


class CountingEmbedder:
    """A plain callable, which names no model, and remembers what it was asked for."""

    def __init__(self, dimensions: int = 16) -> None:
        self._embedder = WordEmbedder(None, dimensions)
        self.texts = self._embedder.texts

    def __call__(self, texts: Sequence[str], /) -> np.ndarray:
        return self._embedder.embed(texts)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of notes; it is also the current one, so that paths are relative."""
    monkeypatch.chdir(tmp_path)
    notes = tmp_path / "notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "fruit.md").write_text("# Apples\n\nApples are red.\n\n# Pears\n\nPears are green.\n")
    (notes / "deep" / "cars.txt").write_text("A car has four wheels.\n")
    (notes / "image.png").write_bytes(b"\x89PNG\x00")
    (notes / ".hidden.md").write_text("secret")
    return notes


@pytest.fixture
def memory(store: Datastore) -> MemoryManager:
    return MemoryManager(store)


real = os.scandir


def denied(path: str) -> NoReturn:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def outcomes(reports: Sequence[FileReport]) -> dict[str, str]:
    return {report.path: report.outcome for report in reports}


def test_a_folder_is_indexed_with_line_ranges(memory: MemoryManager, folder: Path) -> None:
    report = memory.index("notes")
    assert outcomes(report.files) == {"notes/deep/cars.txt": "added", "notes/fruit.md": "added"}
    assert (report.counts["added"], report.chunks) == (2, 3)
    (hit,) = memory.search("pear")
    assert (hit.row.path, hit.row.start_line, hit.row.end_line) == ("notes/fruit.md", 5, 7)
    assert hit.row.content == "# Pears\n\nPears are green."


def test_unchanged_files_are_not_touched(memory: MemoryManager, folder: Path) -> None:
    memory.index("notes")
    before = list(memory.chunks.all())
    report = memory.index("notes")
    assert (
        report.counts["unchanged"],
        report.counts["added"],
        report.counts["changed"],
        report.chunks,
    ) == (2, 0, 0, 3)
    assert list(memory.chunks.all()) == before


def test_a_changed_file_keeps_the_ids_of_its_unchanged_chunks(
    store: Datastore, folder: Path
) -> None:
    embedder = CountingEmbedder()
    memory = MemoryManager(store, embedder)
    memory.index("notes")
    apples, pears = memory.chunks.by_path("notes/fruit.md")
    text = (folder / "fruit.md").read_text()
    (folder / "fruit.md").write_text("# New\n\nPlums.\n\n" + text.replace("red", "yellow"))
    embedder.texts.clear()
    assert memory.index("notes").counts["changed"] == 1
    plums, new_apples, same_pears = memory.chunks.by_path("notes/fruit.md")
    assert same_pears.id == pears.id
    np.testing.assert_array_equal(same_pears.embedding, pears.embedding)
    assert (same_pears.start_line, same_pears.end_line) == (9, 11)
    assert new_apples.id != apples.id
    assert sorted(embedder.texts) == sorted([plums.content, new_apples.content])


def test_a_file_that_has_gone_is_removed(memory: MemoryManager, folder: Path) -> None:
    memory.index("notes")
    (folder / "fruit.md").unlink()
    report = memory.index("notes")
    assert outcomes(report.files) == {
        "notes/deep/cars.txt": "unchanged",
        "notes/fruit.md": "removed",
    }
    assert list(memory.search("pear")) == []


def test_what_lies_outside_the_folder_is_not_removed(memory: MemoryManager, folder: Path) -> None:
    (folder.parent / "notes2").mkdir()
    (folder.parent / "notes2" / "x.md").write_text("other notes")
    memory.index("notes2")
    memory.index("notes")
    memory.index("notes/deep")
    assert memory.chunks.count() == 4


@pytest.mark.parametrize("first", ["../docs", "code.py", "link", ".hidden.md", "../docs/../docs"])
def test_a_file_that_is_still_there_is_not_removed(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    (folder.parent / "docs").mkdir()
    (folder.parent / "docs" / "x.md").write_text("a document")
    (folder / "code.py").write_text("def answer(): ...\n")
    (folder / "link").symlink_to(folder.parent / "docs")
    monkeypatch.chdir(folder)
    assert memory.index(first).counts["added"] == 1
    report = memory.index(".")
    assert (report.counts["removed"], report.counts["added"]) == (0, 2)
    assert memory.index(first).counts["unchanged"] == 1


def test_relative_paths_are_those_of_their_folder(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("p1", "p2"):
        (folder / name).mkdir()
        (folder / name / f"{name}.md").write_text(name)
        monkeypatch.chdir(folder / name)
        assert memory.index(".").counts["removed"] == 0
    assert memory.chunks.count() == 2
    (folder / "p2" / "p2.md").unlink()
    assert outcomes(memory.index(".").files) == {"p2.md": "removed"}


def test_a_folder_that_has_moved_is_known_by_its_new_place(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    memory.index(".")
    moved = folder.rename(folder.parent / "moved")
    monkeypatch.chdir(moved)
    assert memory.index(".").counts["unchanged"] == 2
    (moved / "fruit.md").unlink()
    assert memory.index(".").counts["removed"] == 1


def test_a_file_goes_by_one_path(memory: MemoryManager, folder: Path) -> None:
    memory.index("notes")
    for name in ("./notes", "notes/", "notes/../notes", "notes/deep/.."):
        assert memory.index(name).counts["unchanged"] == 2
    assert memory.index(folder).counts["added"] == 2
    (folder / "fruit.md").unlink()
    assert outcomes(memory.index("./notes/.").files)["notes/fruit.md"] == "removed"
    assert memory.index(folder).counts["removed"] == 1


def test_what_lies_above_the_current_folder_can_go(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "deep")
    memory.index("..")
    (folder / "fruit.md").unlink()
    assert memory.index(".").counts["removed"] == 0
    assert outcomes(memory.index("..").files)["../fruit.md"] == "removed"


def test_a_folder_that_cannot_be_read_is_skipped_and_keeps_its_files(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.index("notes")
    (folder / "deep" / "cars.txt").unlink()
    monkeypatch.setattr(os, "scandir", lambda path: denied(path) if "deep" in path else real(path))
    report = memory.index("notes")
    assert outcomes(report.files) == {"notes/fruit.md": "unchanged", "notes/deep": "skipped"}
    assert report.files[-1].reason == os.strerror(errno.EACCES)
    assert memory.chunks.count() == 3


def test_a_single_file_of_any_suffix_is_indexed(memory: MemoryManager, folder: Path) -> None:
    (folder / "code.py").write_text("def answer(): ...\n")
    assert memory.index(folder / "code.py").counts["added"] == 1
    assert [hit.row.path for hit in memory.search("answer")] == [(folder / "code.py").as_posix()]


def test_what_is_no_text_is_skipped_with_a_reason(memory: MemoryManager, folder: Path) -> None:
    (folder / "latin.txt").write_bytes("naïve".encode("latin-1"))
    (folder / "nul.txt").write_bytes(b"a\x00b")
    report = memory.index("notes")
    reasons = {file.path: file.reason for file in report.files if file.outcome == "skipped"}
    assert reasons == {
        "notes/latin.txt": "no UTF-8 text",
        "notes/nul.txt": "binary: it holds a NUL character",
    }


def test_no_file_of_a_folder_stops_the_others(memory: MemoryManager, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.md")).write_text("some words")
    os.mkfifo(folder / "pipe.md")
    (folder / "regular.md").symlink_to(folder / "fruit.md")
    (folder / "pointless.md").symlink_to(folder / "nothing")
    (folder / "\\xff.md").write_text("a name that looks like the other")
    memory.index("notes")
    report = memory.index("notes")
    reasons = {file.path: file.reason for file in report.files if file.outcome == "skipped"}
    assert reasons == {
        "notes/\\xff.md": "its name is no UTF-8 text",
        "notes/pipe.md": "no regular file",
        "notes/pointless.md": os.strerror(errno.ENOENT),
    }
    assert report.counts["unchanged"] == 4


def test_a_folder_whose_name_is_no_text_is_skipped(memory: MemoryManager, folder: Path) -> None:
    odd = Path(os.fsdecode(b"\xff"))
    odd.mkdir()
    (odd / "x.md").write_text("some words")
    assert outcomes(memory.index(odd).files) == {"\\xff/x.md": "skipped"}
    assert memory.index(".").counts["skipped"] == 1
    os.chdir(odd)
    assert memory.index(".").counts["added"] == 1


def test_deleted_chunks_come_back(memory: MemoryManager, folder: Path) -> None:
    memory.index("notes")
    memory.chunks.delete_path("notes/deep/cars.txt")
    memory.chunks.delete(memory.chunks.by_path("notes/fruit.md")[0].id)
    assert memory.chunks.delete("nobody") is False
    assert outcomes(memory.index("notes").files) == {
        "notes/deep/cars.txt": "added",
        "notes/fruit.md": "changed",
    }
    assert memory.chunks.count() == 3
    assert memory.index("notes").counts["unchanged"] == 2


def test_what_is_left_of_a_file_goes_with_it(memory: MemoryManager, folder: Path) -> None:
    memory.index("notes")
    memory.chunks.delete(memory.chunks.by_path("notes/fruit.md")[0].id)
    (folder / "fruit.md").unlink()
    memory.index("notes")
    assert memory.chunks.by_path("notes/fruit.md") == []


def test_a_deletion_that_is_undone_changes_no_file(store: Datastore, folder: Path) -> None:
    memory = MemoryManager(store)
    memory.index("notes")
    with store.transaction() as transaction:
        ChunkRepository(transaction).delete_path("notes/fruit.md")
        transaction.rollback()
    assert memory.index("notes").counts["unchanged"] == 2


@pytest.mark.parametrize("embedded", [False, True])
def test_many_may_index_the_same_new_files(store: Datastore, folder: Path, embedded: bool) -> None:
    for n in range(20):
        (folder / f"{n}.md").write_text(f"# One\n\nnote {n}\n\n# Two\n\nmore {n}\n")
    barrier = threading.Barrier(4)

    def index(_: int) -> IndexReport:
        barrier.wait()
        return MemoryManager(store, CountingEmbedder() if embedded else None).index("notes")

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(index, range(4)))
    assert {report.chunks for report in reports} == {43}
    assert MemoryManager(store).chunks.count() == 43
    assert MemoryManager(store, CountingEmbedder()).index("notes").counts["skipped"] == 0


@pytest.mark.parametrize("data", [b"na\xefve", b"a\x00b"])
def test_a_file_that_is_no_text_any_more_is_not_found(
    memory: MemoryManager, folder: Path, data: bytes
) -> None:
    memory.index("notes")
    (folder / "fruit.md").write_bytes(data)
    report = memory.index("notes")
    assert outcomes(report.files)["notes/fruit.md"] == "skipped"
    assert "chunks were removed" in str(report.files[0].reason)
    assert list(memory.search("pear")) == []
    assert "removed" not in str(memory.index("notes").files[0].reason)
    (folder / "fruit.md").write_text("pears")
    assert memory.index("notes").counts["added"] == 1


def test_a_file_that_cannot_be_read_keeps_its_chunks(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.index("notes")
    monkeypatch.setattr(Path, "read_bytes", lambda path: denied(str(path)))
    report = memory.index("notes")
    assert report.counts["skipped"] == 2
    assert {file.reason for file in report.files} == {os.strerror(errno.EACCES)}
    assert memory.chunks.count() == 3


def test_an_empty_file_is_known_and_has_no_chunks(memory: MemoryManager, folder: Path) -> None:
    (folder / "empty.md").write_text("")
    memory.index("notes")
    assert outcomes(memory.index("notes").files)["notes/empty.md"] == "unchanged"


def test_a_path_that_is_not_there_raises(memory: MemoryManager, folder: Path) -> None:
    for path in ("nowhere", "no\x00where", "\udcff"):
        with pytest.raises(NotFoundError):
            memory.index(path)


@pytest.mark.parametrize("path", ["", None, 5, b"notes"])
def test_a_path_is_not_empty(memory: MemoryManager, folder: Path, path: Any) -> None:
    memory.index(".")
    for use in (memory.index, memory.forget, memory.files):
        with pytest.raises(InvalidValueError, match="path: expected"):
            use(path)
    assert memory.chunks.count() == 3


def test_a_path_that_no_file_can_have_is_named_so_that_it_can_be_printed(
    memory: MemoryManager,
) -> None:
    for use in (memory.index, memory.forget):
        with pytest.raises(NotFoundError) as caught:
            use("\ud800")
        assert str(caught.value).encode()


@pytest.mark.parametrize("use_graph", [False, True])
@pytest.mark.parametrize("limit", [-1, True, 2.5, None, "3"])
def test_a_limit_is_a_whole_number(store: Datastore, use_graph: bool, limit: Any) -> None:
    for memory in (MemoryManager(store), MemoryManager(store, WordEmbedder())):
        with pytest.raises(InvalidValueError, match="limit"):
            memory.search("tea", limit, use_graph=use_graph)


@pytest.mark.parametrize("arguments", [{"query": None}, {"query": 5}, {"query": "x", "path": 5}])
def test_a_query_and_a_path_to_search_below_are_texts(
    store: Datastore, arguments: dict[str, Any]
) -> None:
    for memory in (MemoryManager(store), MemoryManager(store, WordEmbedder())):
        with pytest.raises(InvalidValueError, match="expected a text"):
            memory.search(**arguments)


def test_a_path_that_is_too_long_to_be_a_key_is_skipped(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repositories.files.MOST_PATH", len("notes/fruit.md"))
    report = memory.index("notes")
    assert outcomes(report.files) == {"notes/deep/cars.txt": "skipped", "notes/fruit.md": "added"}
    assert "longer than" in str({file.path: file.reason for file in report.files})


def test_a_known_path_that_has_gone_is_removed(memory: MemoryManager, folder: Path) -> None:
    memory.index("notes")
    (folder / "fruit.md").unlink()
    assert outcomes(memory.index("notes/fruit.md").files) == {"notes/fruit.md": "removed"}
    with pytest.raises(NotFoundError):
        memory.index("notes/fruit.md")
    shutil.rmtree(folder)
    assert outcomes(memory.index("notes").files) == {"notes/deep/cars.txt": "removed"}
    with pytest.raises(NotFoundError):
        memory.index("notes")
    assert memory.chunks.count() == 0


def test_progress_hears_of_every_file(memory: MemoryManager, folder: Path) -> None:
    heard: list[FileReport] = []
    report = memory.index("notes", progress=heard.append)
    assert tuple(heard) == report.files
    assert [file.as_posix() for file in memory.files("notes")] == [file.path for file in heard]


def test_search_below_a_path_takes_the_prefix_literally(
    memory: MemoryManager, folder: Path
) -> None:
    for name in ("a_b", "axb", "A_b"):
        (folder / name).mkdir()
        (folder / name / "n.md").write_text("common word")
    memory.index("notes")
    hits = memory.search("common", path="notes/a_b")
    assert [hit.row.path for hit in hits] == ["notes/a_b/n.md"]


def test_with_an_embedder_search_is_hybrid(store: Datastore, folder: Path) -> None:
    memory = MemoryManager(store, CountingEmbedder())
    memory.index("notes")
    result = memory.search("four wheels")
    assert set(result.indexes) == {"chunk_text", "chunk_vectors"}
    assert result[0].row.path == "notes/deep/cars.txt"
    assert len(result) == 3


def test_an_embedder_that_comes_later_embeds_what_is_there(store: Datastore, folder: Path) -> None:
    MemoryManager(store).index("notes")
    memory = MemoryManager(store, CountingEmbedder())
    assert memory.index("notes").counts["unchanged"] == 2, "as the files are"
    assert all(chunk.embedding is not None for chunk in memory.chunks.all())
    assert memory.index("notes").counts["unchanged"] == 2


@pytest.mark.parametrize(
    "answer",
    [[1.0, 2.0], None, "text", 3, [], [[1.0], [1.0, 2.0]], [["1", "2"]], [[float("nan")] * 16],
     [[0.0] * 16], [[1.0] * 8], [[None] * 16]],
    ids=repr,
)  # fmt: skip
def test_an_answer_of_no_use_leaves_the_search_by_text(
    store: Datastore, folder: Path, answer: Any
) -> None:
    MemoryManager(store, CountingEmbedder(16)).index("notes/fruit.md")
    memory = MemoryManager(store, lambda _texts: answer)
    report = memory.index("notes")
    assert (report.counts["added"], report.counts["unchanged"], len(report.notes)) == (1, 1, 1)
    found = memory.search("wheels")
    assert [hit.row.path for hit in found] == ["notes/deep/cars.txt"]
    assert len(found.notes) == 1


def test_a_text_that_the_embedder_refuses_stands_in_the_way_of_no_other(
    store: Datastore, folder: Path
) -> None:
    class Choosy(WordEmbedder):
        def embed(self, texts: Sequence[str], /) -> np.ndarray:
            if any("red" in text for text in texts):
                raise RuntimeError
            return super().embed(texts)

    (folder / "a.md").write_text("All red.\n")
    for _ in range(2):
        report = MemoryManager(store, Choosy()).index("notes")
        assert (len(report.notes), MemoryManager(store).stats().embedded) == (1, 2)
    reasons = {file.path: file.reason for file in report.files}
    assert [path for path in reasons if reasons[path]] == ["notes/a.md", "notes/fruit.md"]
    assert MemoryManager(store, WordEmbedder()).index("notes").notes == ()
    assert MemoryManager(store).stats().embedded == 4


def test_an_embedder_that_refuses_everything_is_given_up(store: Datastore, folder: Path) -> None:
    asked: list[list[str]] = []

    def refusing(texts: list[str]) -> NoReturn:
        asked.append(texts)
        raise RuntimeError

    for number in range(20):
        (folder / f"{number}.md").write_text(f"text {number}")
    report = MemoryManager(store, refusing).index("notes")
    assert (report.counts["added"], len(report.notes)) == (22, 1)
    assert len(asked) < 5


def test_namespaces_index_apart(store: Datastore, folder: Path) -> None:
    mine, yours = MemoryManager(store, namespace="mine"), MemoryManager(store, namespace="yours")
    mine.index("notes")
    assert list(yours.search("pear")) == []
    assert yours.index("notes").counts["added"] == 2


# --- embedders that name their model, and those that fail ------------------------------------------


def test_nothing_is_embedded_twice(store: Datastore, folder: Path) -> None:
    embedder = WordEmbedder()
    memory = MemoryManager(store, embedder)
    memory.index("notes")
    (folder / "copy.md").write_text((folder / "fruit.md").read_text())
    MemoryManager(store, embedder, namespace="other").index("notes")
    (folder / "fruit.md").unlink()
    memory.index("notes")
    (folder / "fruit.md").write_text((folder / "copy.md").read_text())
    assert memory.index("notes").counts["added"] == 1
    for _ in range(2):
        memory.search("four wheels")
    assert sorted(embedder.texts) == sorted(
        {chunk.content for chunk in memory.chunks.all()} | {"four wheels"}
    )


def test_one_wrong_answer_is_not_remembered(store: Datastore, folder: Path) -> None:
    right, wrong = WordEmbedder(dimensions=None), WordEmbedder(dimensions=8)
    wrong.model = right.model
    MemoryManager(store, right).index("notes/fruit.md")
    assert len(MemoryManager(store, wrong).index("notes").notes) == 1
    for _ in range(2):
        assert MemoryManager(store, right).index("notes").notes == ()
    assert MemoryManager(store).stats().embedded == 3


def test_without_the_cache_nothing_is_kept_beside_the_embeddings(
    store: Datastore, folder: Path
) -> None:
    MemoryManager(store, WordEmbedder(), cache=False).index("notes")
    assert store.query("SELECT * FROM embedding_cache") == []
    assert MemoryManager(store).stats().embedded == 3


def test_an_embedder_that_fails_leaves_the_search_by_text(store: Datastore, folder: Path) -> None:
    embedder = WordEmbedder()
    memory = MemoryManager(store, embedder)
    memory.index("notes")
    embedder.fails = True
    result = memory.search("wheels")
    assert [hit.row.path for hit in result] == ["notes/deep/cars.txt"]
    assert result.notes == (
        "the embedder 'words' raised TimeoutError (--verbose tells why); only text was searched",
    )
    embedder.fails = False
    assert len(memory.search("wheels")) == 3
    assert memory.search("wheels").notes == ()


def test_an_embedder_that_fails_leaves_the_texts_to_be_embedded_later(
    store: Datastore, folder: Path
) -> None:
    embedder = WordEmbedder()
    memory = MemoryManager(store, embedder)
    memory.index("notes/fruit.md")
    (folder / "fruit.md").write_text("# Plums\n\nNew.\n\n" + (folder / "fruit.md").read_text())
    embedder.fails = True
    report = memory.index("notes")
    assert outcomes(report.files) == {"notes/deep/cars.txt": "added", "notes/fruit.md": "changed"}
    assert {file.reason for file in report.files} == {
        "not embedded: the embedder 'words' raised TimeoutError (--verbose tells why)"
    }
    assert len(report.notes) == 1
    assert (memory.stats().chunks, memory.stats().embedded) == (4, 2)
    again = memory.index("notes")
    assert set(outcomes(again.files).values()) == {"unchanged"}
    assert again.notes == report.notes
    embedder.fails = False
    last = memory.index("notes")
    assert (last.counts["unchanged"], last.notes) == (2, ())
    assert memory.stats().embedded == 4


def test_an_embedder_that_fails_is_not_asked_for_every_file(store: Datastore, folder: Path) -> None:
    asked: list[list[str]] = []

    def failing(texts: list[str]) -> NoReturn:
        asked.append(texts)
        raise ConnectionError

    assert MemoryManager(store, failing).index("notes").counts["added"] == 2
    assert len(asked) == 1


def test_an_embedder_of_another_model_is_refused_with_both_sides_named(
    store: Datastore, folder: Path
) -> None:
    MemoryManager(store, WordEmbedder("one")).index("notes")
    other = MemoryManager(store, WordEmbedder("two"))
    (folder / "fruit.md").write_text("Plums.")
    for attempt in (lambda: other.search("wheels"), lambda: other.index("notes")):
        with pytest.raises(EmbeddingMismatchError, match=r"of 'one'.* 'two'"):
            attempt()
    assert [hit.row.path for hit in MemoryManager(store).search("pear")] == ["notes/fruit.md"]


def test_the_embedder_of_the_settings_may_stand_in_any_place(
    store: Datastore, folder: Path
) -> None:
    MemoryManager(store, CountingEmbedder()).index("notes")
    memory = MemoryManager(store, [WordEmbedder("new"), CountingEmbedder()])
    assert memory.search("wheels").notes == ()
    assert len(memory.search("wheels")) == 3


def test_a_vector_may_take_the_place_of_the_embedder(store: Datastore, folder: Path) -> None:
    embedder = WordEmbedder()
    memory = MemoryManager(store, embedder)
    memory.index("notes")
    (vector,) = embedder.embed(["a car has four wheels."])
    embedder.texts.clear()
    result = memory.search("", 1, query_embedding=vector)
    assert (result[0].row.path, result[0].reasons) == ("notes/deep/cars.txt", ("vector",))
    assert embedder.texts == []
    with pytest.raises(DimensionError):
        memory.search("", query_embedding=[1.0, 2.0])


# --- forget, stats --------------------------------------------------------------------------------


def test_what_is_forgotten_is_gone_from_everywhere_but_the_disk(
    store: Datastore, folder: Path
) -> None:
    memory = MemoryManager(store, WordEmbedder())
    memory.index("notes")
    graph = GraphRepository(store)
    graph.add_entities([Entity("car", "Car", "thing")])
    graph.link("car", [chunk.id for chunk in memory.chunks.by_path("notes/deep/cars.txt")])
    report = memory.forget("./notes/deep")
    assert outcomes(report.files) == {"notes/deep/cars.txt": "removed"}
    assert report.chunks == 1
    assert graph.chunks_of(["car"]) == []
    assert [hit.row.path for hit in memory.search("car wheels", path="notes/deep")] == []
    assert len(store.query("SELECT * FROM embedding_cache")) == 2
    assert (folder / "deep" / "cars.txt").exists()
    assert memory.index("notes").counts["added"] == 1


def test_chunks_that_no_file_stands_for_are_forgotten_by_their_path(memory: MemoryManager) -> None:
    for number, path in enumerate(("talk/1", "talk/2", "talkative")):
        memory.chunks.add(Chunk(f"c{number}", path, 1, 1, "words"))
    assert [file.path for file in memory.forget("talk").files] == ["talk/1", "talk/2"]
    assert memory.chunks.count() == 1


def test_what_was_indexed_from_another_folder_is_not_forgotten(
    memory: MemoryManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.index("notes")
    monkeypatch.chdir(folder)
    for path in ("notes", ".", "no\x00where", "nowhere"):
        with pytest.raises(NotFoundError):
            memory.forget(path)
    assert memory.chunks.count() == 3


def test_namespaces_forget_apart(store: Datastore, folder: Path) -> None:
    mine, yours = MemoryManager(store, namespace="mine"), MemoryManager(store, namespace="yours")
    mine.index("notes")
    yours.index("notes")
    mine.forget("notes")
    assert (mine.stats().files, yours.stats().files) == (0, 2)


def test_stats_count_a_namespace(store: Datastore, folder: Path) -> None:
    memory = MemoryManager(store, WordEmbedder())
    assert memory.stats() == MemoryStats(0, 0, 0, 0, 0, 0, None)
    memory.index("notes")
    memory.chunks.add(Chunk("c", "talk", 1, 1, "words"))
    graph = GraphRepository(store)
    graph.add_entities([Entity("a", "A", "thing"), Entity("b", "B", "thing")])
    graph.add_relationships([Relationship("a", "b", "knows")])
    graph.link("a", ["c"])
    space = EmbeddingSpace("words", 16, "cosine", normalized=False, active=True)
    assert memory.stats() == MemoryStats(2, 4, 3, 2, 1, 1, space)
    assert MemoryManager(store, namespace="other").stats().chunks == 0
