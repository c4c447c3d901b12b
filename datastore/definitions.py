"""What a database needs to know of a search index: frozen, hashable, and written as JSON.

A definition is part of a statement's cache key, and the fingerprint by which a database says which
indexes it holds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from datastore.textquery import Tokenizer

Metric: TypeAlias = Literal["cosine", "l2", "inner_product"]
METRICS: tuple[Metric, ...] = get_args(Metric)

#: The language of an index that names none; a trigram index has no other.
DEFAULT_LANGUAGES: dict[Tokenizer, str] = {"words": "english", "trigram": "simple"}

FINGERPRINT = "datastore:"

#: Weights outside are mistakes, and products with them leave what a float can hold.
LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6


def is_weight(value: Any) -> bool:
    """Tell whether a value is a number that something may be weighted by."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    number: Any = value  # numbers.Real has the operators, which type checkers do not know
    return bool(LEAST_WEIGHT <= number <= MOST_WEIGHT)


@dataclass(frozen=True)
class IndexDefinition:
    """What the database needs to know of a search index."""

    name: str
    table: str
    schema: str | None

    kind: ClassVar[str]

    def fingerprint(self) -> str:
        """Return the text that is stored with the index; `from_fingerprint` reads it."""
        return FINGERPRINT + json.dumps({"kind": self.kind, **asdict(self)}, sort_keys=True)


@dataclass(frozen=True)
class VectorIndexDefinition(IndexDefinition):
    """`key` is the column that names the row found, `model` the one that names a vector's model.

    `dimensions` is None where the column takes vectors of any length.
    """

    column: str
    key: str
    metric: Metric
    dimensions: int | None
    model: str | None

    kind: ClassVar[str] = "vector"


@dataclass(frozen=True)
class FullTextIndexDefinition(IndexDefinition):
    """`key` is the integer primary key; `weights` has one number per column."""

    key: str
    columns: tuple[str, ...]
    weights: tuple[float, ...]
    language: str
    tokenizer: Tokenizer = "words"

    kind: ClassVar[str] = "full_text"


def from_fingerprint(text: str | None) -> IndexDefinition | None:
    """Read what `IndexDefinition.fingerprint` wrote; None for anything else."""
    if text is None or not text.startswith(FINGERPRINT):
        return None
    classes = {cls.kind: cls for cls in (VectorIndexDefinition, FullTextIndexDefinition)}
    try:
        fields = json.loads(text.removeprefix(FINGERPRINT))
        cls = classes[fields.pop("kind")]
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
