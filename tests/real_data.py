"""Public data sets that may lie beside the project; tests that use them skip without."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping
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
