"""Public data sets that may lie beside the project; tests that use them skip without."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1].parent / "shared" / "data"

needs_real_data = pytest.mark.skipif(not DATA.is_dir(), reason="no data sets beside the project")


@cache
def records(name: str) -> list[dict[str, Any]]:
    """Return the objects of a gzipped JSON Lines file."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def judgements() -> Mapping[str, Mapping[str, int]]:
    """Return the grade of each judged document of Cranfield, by query."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for judgement in records("cranfield/qrels.jsonl.gz"):
        grades[judgement["query_id"]][judgement["doc_id"]] = judgement["grade"]
    return grades


def ndcg_at_10(ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """Return nDCG@10 as trec_eval's `ndcg_cut_10` computes it."""

    def gain(values: Sequence[int]) -> float:
        return sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:10]))

    ideal = gain(sorted(grades.values(), reverse=True))
    return gain([grades.get(id, 0) for id in ranking]) / ideal
