"""What is taken for an embedder, and how its answers are checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from datastore.errors import (
    CapabilityError,
    ConfigurationError,
    EmbeddingError,
    EmbeddingRefusedError,
    InvalidValueError,
)
from datastore.types import FloatVector
from repositories import Embedder, SentenceTransformerEmbedder
from repositories.embedder_loading import load_embedder
from repositories.embedders import EMBED_BATCH, CallableEmbedder, as_embedder, embed
from repositories.embedding import MOST_REFUSALS, Refusals
from repositories.http_embedder import HTTPEmbedder
from tests.contract.word_embedder import WordEmbedder


def ones(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), 3))


def test_a_callable_is_an_embedder_of_the_model_it_names() -> None:
    class Named:
        model, dimensions = "mine", 3

        def __call__(self, texts: list[str]) -> np.ndarray:
            return ones(texts)

    found = as_embedder(Named())
    assert (found.model, found.dimensions) == ("mine", 3)
    assert as_embedder(ones).model is None
    assert CallableEmbedder(ones, "other").model == "other"
    own = WordEmbedder()
    assert as_embedder(own) is own
    with pytest.raises(InvalidValueError, match="expected an Embedder, got int"):
        as_embedder(3)  # type: ignore[arg-type]


def test_a_class_is_no_embedder() -> None:
    with pytest.raises(InvalidValueError, match="got the class WordEmbedder"):
        as_embedder(WordEmbedder)


def test_texts_are_given_in_batches() -> None:
    sizes: list[int] = []

    def function(texts: list[str]) -> np.ndarray:
        sizes.append(len(texts))
        return np.array([[len(text), 1] for text in texts])

    texts = ["x" * n for n in range(2 * EMBED_BATCH + 1)]
    vectors = embed(as_embedder(function), texts)
    assert sizes == [EMBED_BATCH, EMBED_BATCH, 1]
    assert [vector[0] for vector in vectors] == [len(text) for text in texts]
    assert {vector.dtype for vector in vectors} == {np.dtype(np.float32)}
    assert embed(as_embedder(function), []) == []


@pytest.mark.parametrize(
    "answer",
    [None, "text", [1.0, 2.0], [[1.0], [1.0, 2.0]], np.ones((2, 3)), [["a", "b"]],
     [["1", "2"]], [[True, False]], [[None, 1.0]], [[10**400, 1]], 3.0, [], np.ones((1, 1, 2)),
     [[float("nan"), 1]], [[1e39, 1]], [[0.0, 0.0]], np.empty((1, 0))],
    ids=repr,
)  # fmt: skip
def test_an_answer_that_is_no_array_of_vectors_is_refused(answer: Any) -> None:
    with pytest.raises(EmbeddingRefusedError):
        embed(as_embedder(lambda _: answer), ["text"])


def test_vectors_of_another_length_than_promised_are_refused() -> None:
    for promised, recorded in ((4, None), (None, 4), (3, 4), (4, 3)):
        with pytest.raises(
            EmbeddingRefusedError, match="'mine': vector: expected 4 dimensions, got 3"
        ):
            embed(CallableEmbedder(ones, "mine", promised), ["text"], recorded)


def test_all_vectors_of_a_call_have_one_length() -> None:
    sizes = iter((3, 2))
    with pytest.raises(EmbeddingRefusedError, match="expected 3 dimensions, got 2"):
        embed(as_embedder(lambda texts: np.ones((len(texts), next(sizes)))), ["x"] * 100)


def test_what_an_embedder_raises_is_named_and_quoted_in_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failing(texts: list[str]) -> None:
        raise RuntimeError(f"cannot embed {texts}")

    with caplog.at_level("DEBUG", "datastore"):
        with pytest.raises(EmbeddingRefusedError) as caught:
            embed(CallableEmbedder(failing, "mine"), ["canary"])
    assert str(caught.value) == "the embedder 'mine' raised RuntimeError (--verbose tells why)"
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "cannot embed ['canary']" in caplog.text


@pytest.mark.parametrize("error", [ConnectionError, TimeoutError])
def test_an_embedder_that_cannot_be_reached_has_refused_nothing(error: type[Exception]) -> None:
    def failing(_: list[str]) -> None:
        raise error

    with pytest.raises(EmbeddingError) as caught:
        embed(as_embedder(failing), ["text"])
    assert type(caught.value) is EmbeddingError


def test_what_is_refused_is_set_aside_until_it_is_not_the_texts() -> None:
    def taking(texts: Sequence[str]) -> list[FloatVector]:
        if any(text.startswith("bad") for text in texts):
            raise EmbeddingRefusedError("no")
        return [np.ones(2, np.float32) for _ in texts]

    refusals = Refusals()
    some = [f"good {n}" for n in range(40)]
    assert list(refusals.embed(taking, [*some, "bad 0"])) == some
    assert list(refusals.embed(taking, ["bad 1", "good", "bad 0", "good"])) == ["good"]
    assert refusals.texts == {"bad 0", "bad 1"}
    assert refusals.embed(taking, ["bad 0"]) == {}
    with pytest.raises(EmbeddingRefusedError):
        refusals.embed(taking, [f"bad {n}" for n in range(2, 2 + MOST_REFUSALS)])


# --- by name ------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Embedder]:
    (tmp_path / "some_embedders.py").write_text(
        "import numpy as np\n"
        "def plain(texts): return np.ones((len(texts), 2))\n"
        "class Own:\n    model, dimensions = 'own', 2\n    embed = staticmethod(plain)\n"
        "own = Own()\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: load_embedder(f"some_embedders:{name}")


def test_an_import_may_be_an_embedder_its_class_or_a_callable(
    named: Callable[[str], Embedder],
) -> None:
    assert [named(name).model for name in ("own", "Own", "plain", "plain#p", "own.embed#o")] == [
        "own", "own", None, "p", "o",
    ]  # fmt: skip
    assert len(embed(named("Own"), ["a", "b"])) == 2
    with pytest.raises(ConfigurationError, match="neither an Embedder nor callable"):
        named("number")


def test_a_url_names_a_server_and_its_model() -> None:
    found = load_embedder("http://localhost:11434/v1#nomic-embed-text")
    assert isinstance(found, HTTPEmbedder)
    assert found.model == "nomic-embed-text"
    with pytest.raises(ConfigurationError, match="URL#MODEL"):
        load_embedder("http://localhost:11434/v1")


# --- sentence-transformers ----------------------------------------------------------------------


def test_sentence_transformers_that_are_missing_name_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(CapabilityError, match="pip install sentence-transformers"):
        load_embedder("sentence-transformers:all-MiniLM-L6-v2")


def test_sentence_transformers_are_called_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the interface of the package in its place: it brings two gigabytes of others."""

    class SentenceTransformer:
        def __init__(self, name: str, device: str | None = None) -> None:
            self.name, self.device = name, device

        def encode(
            self, sentences: list[str], *, convert_to_numpy: bool, show_progress_bar: bool
        ) -> np.ndarray:
            assert convert_to_numpy
            assert not show_progress_bar
            return ones(sentences).astype(np.float32)

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    embedder = SentenceTransformerEmbedder("all-MiniLM-L6-v2", device="cpu")
    assert (embedder.model, embedder.dimensions) == ("all-MiniLM-L6-v2", 3)
    assert len(embed(embedder, ["a", "b"])) == 2
