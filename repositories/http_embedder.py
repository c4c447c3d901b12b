"""Embeddings from any server that speaks the HTTP interface of OpenAI: theirs, or one of many.

It is made of the standard library: one POST per batch needs no connection pool, and an adapter that
few installations use is no reason for a dependency of all of them.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.message import Message
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
from pydantic import SecretStr

from datastore.bulk import batches
from datastore.errors import ConfigurationError, EmbeddingError, EmbeddingRefusedError
from repositories.embedders import EMBED_BATCH, numbers

#: Answers after which the same request may succeed: too early, too many, the server's own trouble.
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
#: Seconds: the first pause, which doubles, and the longest one, also where a server asks for more.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirection an error: the key, and the texts, go nowhere else."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> None:
        """Make no second request."""


class HTTPEmbedder:
    """The embeddings of one model of a server, by `POST {url}/embeddings`.

    `url` is the base, such as "https://api.openai.com/v1" or "http://localhost:11434/v1".
    `dimensions` is checked where it is given; with `shortened`, the model is also asked to cut its
    vectors to that length, which some can. `timeout` (seconds) is for each of at most `attempts`
    requests; between them it waits as the server asks, or else twice as long each time. Raises
    `EmbeddingError`, and `EmbeddingRefusedError` for what it does not take or answers in a way that
    makes no sense; a message holds neither key nor text.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: SecretStr | str | None = None,
        dimensions: int | None = None,
        shortened: bool = False,
        batch: int = EMBED_BATCH,
        timeout: float = 30.0,
        attempts: int = 4,
    ) -> None:
        parts = _checked(url)
        self.model: str | None = model
        self.dimensions: int | None = dimensions
        self._url = parts._replace(path=parts.path.rstrip("/") + "/embeddings").geturl()
        self._place = parts.netloc
        self._key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        self._shortened = shortened
        self._batch, self._timeout, self._attempts = batch, timeout, attempts
        self._open = urllib.request.build_opener(_NoRedirect).open

    def __repr__(self) -> str:
        return f"<HTTPEmbedder {self.model} at {self._place}>"

    def embed(self, texts: list[str], /) -> Any:
        """Return a float32 array of shape (texts, dimensions)."""
        parts = [self._embed(batch) for batch in batches(texts, self._batch)]
        if len({part.shape[1] for part in parts}) > 1:
            raise self._refusal("gave embeddings of several lengths")
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions or 0), np.float32)

    def _embed(self, texts: list[str]) -> np.ndarray[Any, Any]:
        document: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self._shortened:
            document["dimensions"] = self.dimensions
        return self._vectors(self._post(json.dumps(document).encode()), len(texts))

    def _post(self, body: bytes) -> bytes:
        for attempt in range(self._attempts):
            try:
                return self._send(body)
            except urllib.error.HTTPError as error:
                error.close()
                if 400 <= error.code < 500 and error.code not in TRANSIENT:
                    raise self._refusal(f"answered {error.code}") from error
                pause = _asked_for(error.headers)
                found, is_last = f"answered {error.code}", error.code not in TRANSIENT
                cause: Exception = error
            except (OSError, http.client.HTTPException) as error:
                # No connection, no answer in time, or one that broke off or is no HTTP.
                pause, found, is_last, cause = None, f"failed: {_kind(error)}", False, error
            if is_last or attempt + 1 == self._attempts:
                raise EmbeddingError(f"embedder {self.model}: {self._place} {found}") from cause
            time.sleep(min(_backoff(attempt) if pause is None else pause, LONGEST_PAUSE))
        raise EmbeddingError(f"embedder {self.model}: expected at least one attempt")

    def _send(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310 - checked
        with self._open(request, timeout=self._timeout) as answer:
            content: bytes = answer.read()
            return content

    def _vectors(self, answer: bytes, count: int) -> np.ndarray[Any, Any]:
        vectors = numbers(_embeddings(answer, count))
        if vectors is not None and vectors.ndim == 2 and len(vectors) == count:
            return vectors.astype(np.float32)
        # Nothing of the answer is told, which may quote a text.
        raise self._refusal(f"gave no answer with {count} embeddings")

    def _refusal(self, told: str) -> EmbeddingRefusedError:
        return EmbeddingRefusedError(f"embedder {self.model}: {self._place} {told}")


def _embeddings(answer: bytes, count: int) -> list[Any] | None:
    """Return what an answer holds for each text, in their order; None where it does not."""
    try:
        rows = sorted(json.loads(answer)["data"], key=lambda row: int(row["index"]))
        in_order = [row["index"] for row in rows] == list(range(count))
        return [row["embedding"] for row in rows] if in_order else None
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("embedder: expected a URL that begins with http:// or https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "embedder: expected a URL without user, password, query and fragment; "
            "a key is given as `api_key`"
        )
    return parts


def _kind(error: Exception) -> str:
    """Name what went wrong below HTTP; urllib wraps it."""
    reason = getattr(error, "reason", error)
    return type(reason if isinstance(reason, Exception) else error).__name__


def _backoff(attempt: int) -> float:
    """Return seconds: doubling, and scattered, lest all who failed together come back together."""
    return FIRST_PAUSE * 2.0**attempt * random.uniform(0.5, 1.0)  # noqa: S311


def _asked_for(headers: Message) -> float | None:
    """Return the seconds of `Retry-After`: a number or a date (RFC 9110, 10.2.3)."""
    given = headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        until = email.utils.parsedate_to_datetime(given)
    except ValueError:
        return None
    until = until.replace(tzinfo=until.tzinfo or UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
