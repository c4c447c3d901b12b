"""The texts and vectors that the cases run on: real ones, and synthetic ones that are called so."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.measure import Skipped
from benchmarks.minilm import WIDTH, MiniLM
from repositories.chunking import chunk_text

ROOT = Path(__file__).resolve().parents[1]
#: Public data sets that may lie beside the project.
DATA = ROOT.parent / "shared" / "data"
CACHE = Path(__file__).resolve().parent / ".cache"
#: Texts that are embedded, and kept, at a time: an interrupted run goes on where it was.
SLICE = 500
#: Paragraphs beside the chunks that hold them: other texts of another size, in characters.
PARAGRAPHS, PARAGRAPH_SIZES = 6_500, range(150, 401)
SEED = 1


@dataclass(frozen=True)
class Cranfield:
    """The collection with its embeddings; `judgements` grade documents by query and document."""

    ids: list[str]
    texts: list[str]
    embeddings: np.ndarray
    query_ids: list[str]
    queries: list[str]
    query_embeddings: np.ndarray
    judgements: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Vectors:
    """Unit vectors to be searched, and others to search for; `label` says where they are from.

    `texts` are those of the stored ones, where they are real.
    """

    label: str
    stored: np.ndarray
    queries: np.ndarray
    texts: Sequence[str] = ()


@cache
def records(name: str) -> list[dict[str, Any]]:
    """Return the objects of a gzipped JSON Lines file."""
    if not (DATA / name).is_file():
        raise Skipped(f"no data set {name} beside the project (../shared/data)")
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def cranfield() -> Cranfield:
    """Return Cranfield: 1,400 abstracts and 225 queries."""
    documents, queries = records("cranfield/docs.jsonl.gz"), records("cranfield/queries.jsonl.gz")
    judgements: dict[str, dict[str, int]] = defaultdict(dict)
    for judgement in records("cranfield/qrels.jsonl.gz"):
        judgements[judgement["query_id"]][judgement["doc_id"]] = judgement["grade"]
    return Cranfield(
        ids=[document["id"] for document in documents],
        texts=[document["text"] for document in documents],
        embeddings=np.load(DATA / "cranfield" / "doc_embeddings.f32.npy"),
        query_ids=[query["id"] for query in queries],
        queries=[query["text"] for query in queries],
        query_embeddings=np.load(DATA / "cranfield" / "query_embeddings.f32.npy"),
        judgements=judgements,
    )


@cache
def rfc_chunks() -> list[str]:
    """Return the different chunks of the Rust RFCs, as `datastore index` cuts them."""
    files = records("markdown/rust-rfcs.jsonl.gz")
    chunks = (chunk for file in files for chunk in chunk_text(file["path"], file["content"]))
    return list(dict.fromkeys(chunk.content for chunk in chunks))


@cache
def rfc_paragraphs() -> list[str]:
    """Return some of the RFCs' paragraphs of middling size, chosen at random."""
    paragraphs = {
        paragraph.strip()
        for file in records("markdown/rust-rfcs.jsonl.gz")
        for paragraph in re.split(r"\n\s*\n", file["content"])
    }
    suitable = sorted(text for text in paragraphs if len(text) in PARAGRAPH_SIZES)
    chosen = np.random.default_rng(SEED).permutation(len(suitable))[:PARAGRAPHS]
    return [suitable[position] for position in chosen]


@cache
def real_vectors(size: int, queries: int = 200) -> Vectors:
    """Return embeddings of different texts, in random order."""
    paragraphs = set(rfc_paragraphs())
    texts = [*(text for text in rfc_chunks() if text not in paragraphs), *rfc_paragraphs()]
    everything = np.concatenate([embed(texts), cranfield().embeddings])
    texts += cranfield().texts
    if len(texts) < size + queries:
        raise Skipped(f"{size + queries:,} texts are needed, {len(texts):,} are there")
    order = np.random.default_rng(SEED).permutation(len(texts))[: size + queries]
    chosen, of = everything[order], [texts[position] for position in order]
    return Vectors("real (MiniLM)", chosen[queries:], chosen[:queries], of[queries:])


@cache
def enlarged_vectors(size: int, queries: int = 200) -> Vectors:
    """Return real embeddings, each several times with noise: more than there are real ones.

    The noise has the length of the usual distance to the nearest neighbour, so that the copies of
    one text are no nearer to each other than to other texts.
    """
    base = real_vectors(20_000, queries)
    generator = np.random.default_rng(SEED)
    sample = base.stored[:500]
    likeness = sample @ base.stored.T
    likeness[np.arange(len(sample)), np.arange(len(sample))] = -1
    length = float(np.median(np.sqrt(np.maximum(0, 2 - 2 * likeness.max(axis=1)))))
    copies = np.resize(base.stored, (size, WIDTH))
    noise = generator.standard_normal((size, WIDTH), dtype=np.float32) * (length / WIDTH**0.5)
    noise[: len(base.stored)] = 0
    return Vectors("real plus noise (synthetic)", _unit(copies + noise), base.queries)


@cache
def synthetic_vectors(size: int, dimensions: int, queries: int = 100) -> Vectors:
    """Return vectors in clusters, each of few directions, as embeddings have them."""
    generator = np.random.default_rng(SEED)
    centers = generator.standard_normal((64, dimensions), dtype=np.float32)
    directions = generator.standard_normal((48, dimensions), dtype=np.float32)
    total = size + queries
    spread = generator.standard_normal((total, 48), dtype=np.float32) @ directions / 7
    vectors = _unit(centers[generator.integers(64, size=total)] + spread)
    return Vectors("synthetic", vectors[queries:], vectors[:queries])


def embed(texts: Sequence[str]) -> np.ndarray:
    """Return the embeddings of `texts`; those of earlier runs come from the cache."""
    model: MiniLM | None = None
    parts = []
    for start in range(0, len(texts), SLICE):
        part = texts[start : start + SLICE]
        path = CACHE / f"minilm-{hashlib.sha256(json.dumps(part).encode()).hexdigest()[:16]}.npy"
        if not path.exists():
            model = model or MiniLM()
            sys.stderr.write(f"\rembedding {start:,} of {len(texts):,} texts ")
            sys.stderr.flush()
            with threadpool_limits(os.cpu_count(), "blas"):
                _save(path, model.encode(part))
        parts.append(np.load(path))
    return np.concatenate(parts)


def _save(path: Path, vectors: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npy")
    np.save(unfinished, vectors)
    unfinished.replace(path)


def _unit(vectors: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result.astype(np.float32)
