"""An embedder of tests: hashes words into a few dimensions, and remembers what it was asked."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False)
class WordEmbedder:
    model: str | None = "words"
    dimensions: int | None = 16
    texts: list[str] = field(default_factory=list)
    fails: bool = False

    def embed(self, texts: Sequence[str], /) -> np.ndarray:
        if self.fails:
            raise TimeoutError(f"no answer about {texts[0]}")
        self.texts.extend(texts)
        length = self.dimensions or 16
        vectors = np.full((len(texts), length), 0.01, dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % length] += 1
        return vectors
