"""No text whatever raises in search, and every backend finds the same with it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from host_tables import Notes
from hostile_text import hostile_texts, is_agreed, is_stemmed_alike, storable

from datastore import Datastore, Transaction, matching
from repositories import Chunk, ChunkRepository
from tests.real_data import DATA, needs_real_data

COUNT = 10_000  # of all entry points together
MARKS = ("\ufdd0", "\ufdd1")  # which are in none of the texts
LIMIT = 5
VECTOR = [1.0, 0.0, 0.0, 1.0]
#: id -> measure, in the order of the hits.
Found: TypeAlias = list[tuple[Any, float]]
Session: TypeAlias = Datastore | Transaction
EntryPoint: TypeAlias = Callable[[Session, Notes], Callable[[str], Found]]


def by_matching(store: Session, notes: Notes) -> Callable[[str], Found]:
    hits = matching(notes.words, sa.bindparam("text"))
    statement = sa.select(notes.table.c.id, hits.c.relevance).join(
        hits, hits.c.rid == notes.table.c.rid
    ).order_by(hits.c.rank)  # fmt: skip
    return lambda text: [(r["id"], r["relevance"]) for r in store.query(statement, {"text": text})]


def by_full_text_search(store: Session, notes: Notes) -> Callable[[str], Found]:
    def search(text: str) -> Found:
        found = store.full_text_search("notes", ["title", "body"], text, LIMIT, marks=MARKS)
        for hit in found:
            check_snippet(hit.snippet or "", hit.row)
        return [(hit.id, hit.relevance or 0.0) for hit in found]

    return search


def by_hybrid_search(store: Session, notes: Notes) -> Callable[[str], Found]:
    def search(text: str) -> Found:
        found = store.hybrid_search("notes", text=text, vector=VECTOR, limit=LIMIT)
        return [(hit.id, hit.score) for hit in found]

    return search


def by_chunk_repository(store: Session, notes: Notes) -> Callable[[str], Found]:
    chunks = ChunkRepository(store)

    def search(text: str) -> Found:
        return [(hit.id, hit.relevance or 0.0) for hit in chunks.search(text, limit=LIMIT)]

    return search


ENTRY_POINTS = (by_matching, by_full_text_search, by_hybrid_search, by_chunk_repository)


def check_snippet(snippet: str, row: Any) -> None:
    inside = "".join(c for c in snippet if c in MARKS)
    assert inside == "".join(MARKS) * (len(inside) // 2)
    shown = re.sub("[" + "".join(MARKS) + "]", "", snippet)
    text = " ".join(f"{row['title'] or ''} {row['body'] or ''}".split())
    assert shown.removeprefix("…").removesuffix("…") in text


@pytest.fixture
def stores(backend_stores: Sequence[Datastore]) -> list[tuple[Datastore, Notes]]:
    """The same texts in a table of a host, not stemmed, and among the chunks, which are."""
    texts = [storable(text)[:2_000] for text in hostile_texts(80, seed=1)]
    filled = []
    for empty in backend_stores:
        empty.migrate()
        notes = Notes(weights={"title": 2.0}, language="simple")
        store = notes.over(empty)
        vectors = [[1.0, 0.0, float(n), 1.0] for n in range(len(texts))]
        notes.fill(
            store,
            [
                {"title": text[:40], "body": text, "embedding": vector}
                for text, vector in zip(texts, vectors, strict=True)
            ],
        )
        ChunkRepository(store).add_many(
            Chunk(f"c{n}", "a.md", 1, 1, text) for n, text in enumerate(texts)
        )
        filled.append((store, notes))
    return filled


def answers(store: Datastore, notes: Notes, entry: EntryPoint, texts: list[str]) -> list[Found]:
    with store.transaction(read_only=True) as transaction:
        return [*map(entry(transaction, notes), texts)]


def check(stores: Sequence[tuple[Datastore, Notes]], entry: EntryPoint, texts: list[str]) -> int:
    """Search on every backend, compare where tokenizers agree, and count what was found."""
    with ThreadPoolExecutor() as threads:  # a server computes beside us
        found = [*threads.map(lambda each: answers(*each, entry, texts), stores)]
    compared = 0
    for text, *each in zip(texts, *found, strict=True):
        if all(map(is_agreed, text)) and (
            entry is not by_chunk_repository or is_stemmed_alike(text)
        ):
            compared += bool(each[0])
            for one, other in itertools.pairwise(each):
                assert [id for id, _ in one] == [id for id, _ in other], repr(text)
                assert [m for _, m in one] == pytest.approx([m for _, m in other], rel=1e-6)
    return compared


@pytest.mark.timeout(600)
@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_any_text_finds_the_same_on_every_backend(
    stores: Sequence[tuple[Datastore, Notes]], entry: EntryPoint
) -> None:
    texts = list(hostile_texts(COUNT // len(ENTRY_POINTS), seed=2 + ENTRY_POINTS.index(entry)))
    assert check(stores, entry, texts) > len(texts) / 3, "too few of the texts find anything"


@needs_real_data
@pytest.mark.optional
@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_naughty_strings_find_the_same_on_every_backend(
    stores: Sequence[tuple[Datastore, Notes]], entry: EntryPoint
) -> None:
    naughty: list[str] = json.loads((DATA / "strings" / "blns.json").read_text())
    check(stores, entry, [*naughty, *(f'+"{text}" -{text}*' for text in naughty)])
