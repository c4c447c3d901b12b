"""What searches find: quality on Cranfield, and whether both engines find the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Literal, TypeAlias

from benchmarks.case import Bar, Case, Condition, Outcome, Target
from benchmarks.data import cranfield
from benchmarks.metrics import jaccard, ndcg, recall, reciprocal_rank
from benchmarks.workbench import Workbench, settle
from datastore import Datastore
from repositories import Chunk, ChunkRepository

Kind: TypeAlias = Literal["text", "vector", "hybrid"]
Run: TypeAlias = Mapping[str, Sequence[str]]

DEPTH = 100
#: nDCG@10, Recall@100 and MRR@10 of the references that the data's README gives: exact search,
#: bm25s, and their fusion.
REFERENCES: Mapping[Kind, tuple[float, float, float]] = {
    "text": (0.5186, 0.7494, 0.8102),
    "vector": (0.4996, 0.7908, 0.7706),
    "hybrid": (0.5519, 0.8022, 0.8186),
}
ENGINES = ("SQLite", "PostgreSQL")


def repository(bench: Workbench, engine: str) -> ChunkRepository:
    """Return Cranfield in a store, as chunks."""

    def fill(store: Datastore) -> ChunkRepository:
        found = cranfield()
        chunks = ChunkRepository(store)
        chunks.add_many(
            Chunk(id, f"cranfield/{id}", 1, 1, text, vector)
            for id, text, vector in zip(found.ids, found.texts, found.embeddings, strict=True)
        )
        settle(bench, store)
        return chunks

    make = bench.sqlite if engine == "SQLite" else bench.postgresql
    return bench.kept(engine, lambda: fill(make()))


def run(bench: Workbench, engine: str, kind: Kind) -> Run:
    """Return the ranking of every query."""
    return bench.kept((engine, kind), lambda: _run(repository(bench, engine), kind))


def _run(chunks: ChunkRepository, kind: Kind) -> Run:
    found = cranfield()
    return {
        id: [
            hit.id
            for hit in chunks.search(
                None if kind == "vector" else text,
                embedding=None if kind == "text" else vector,
                limit=DEPTH,
            )
        ]
        for id, text, vector in zip(
            found.query_ids, found.queries, found.query_embeddings, strict=True
        )
    }


def scores(found: Run) -> tuple[float, float, float]:
    """Return nDCG@10, Recall@100 and MRR@10, means over the queries."""
    judged = cranfield().judgements.items()
    return (
        mean(ndcg(found[query], grades) for query, grades in judged),
        mean(recall(found[query], grades) for query, grades in judged),
        mean(reciprocal_rank(found[query], grades) for query, grades in judged),
    )


def quality(bench: Workbench, engine: str, kind: Kind) -> Outcome:
    """Score one kind of search on one engine; vectors are scored by their distance to the exact."""
    measured, reference = scores(run(bench, engine, kind)), REFERENCES[kind]
    conditions = []
    if kind == "vector":
        away = Condition("distance to the reference", abs(measured[0] - reference[0]),
                         Target("≤", 0.005))  # fmt: skip
        conditions.append(away)
    told = " and ".join(
        f"{name} {mine:.4f} (reference {its:.4f})"
        for name, mine, its in zip(
            ("Recall@100", "MRR@10"), measured[1:], reference[1:], strict=True
        )
    )
    bars = [Bar(f"datastore, {engine}", measured[0]), Bar("reference", reference[0])]
    return Outcome(measured[0], bars, "nDCG@10", conditions=conditions, notes=[told])


def agreement(bench: Workbench, kind: Kind) -> Outcome:
    """Compare the ten best of both engines."""
    one, other = (run(bench, engine, kind) for engine in ENGINES)
    same = mean(one[query][:10] == other[query][:10] for query in one)
    figure = mean(jaccard(one[query][:10], other[query][:10]) for query in one)
    return Outcome(
        figure,
        [Bar("both engines", figure)],
        "Jaccard",
        notes=[f"the same ten in the same order for {same:.1%} of the queries"],
    )


PLAIN_BM25 = "plain BM25 over stems; bm25s with the same constants finds less still"


def _quality_case(engine: str, kind: Kind, target: Target) -> Case:
    return Case(
        f"cranfield-{kind}-{engine.lower()}",
        f"Cranfield, {kind}, {engine}",
        {"text": "bm25s", "vector": "exact search", "hybrid": "their fusion"}[kind],
        target,
        lambda bench: quality(bench, engine, kind),
        PLAIN_BM25 if kind == "text" else "",
    )


def _agreement_case(kind: Kind, least: float) -> Case:
    return Case(
        f"agreement-{kind}",
        f"Agreement of the ten best, {kind}",
        "the other engine",
        Target("≥", least, "Jaccard"),
        lambda bench: agreement(bench, kind),
    )


CASES = [
    *(_quality_case(engine, "text", Target("≥", 0.54, "nDCG@10")) for engine in ENGINES),
    *(_quality_case(engine, "vector", Target("≥", 0.4946, "nDCG@10")) for engine in ENGINES),
    *(_quality_case(engine, "hybrid", Target("≥", 0.55, "nDCG@10")) for engine in ENGINES),
    _agreement_case("vector", 0.99),
    _agreement_case("text", 0.90),
    _agreement_case("hybrid", 0.90),
]
