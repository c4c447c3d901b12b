"""Embeddings from any server that speaks the HTTP interface of OpenAI: theirs, or one of many.

It is made of the standard library: one POST per batch needs no connection pool, and an adapter that
few installations use is no reason for a dependency of all of them.
"""

from __future__ import annotations

import email.utils
import http.client
import itertools
import json
import math
import random
import re
import time
import urllib.error
from datetime import UTC, datetime
from email.message import Message
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
from pydantic import SecretStr

from datastore.bulk import batches
from datastore.errors import (
    ConfigurationError,
    EmbeddingError,
    EmbeddingRefusedError,
    InvalidValueError,
)
from repositories.base import text, whole
from repositories.embedders import EMBED_BATCH, numbers
from repositories.http_requests import OversizedError, post

#: Answers after which the same request may succeed: too early, too many, the server's own trouble.
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
#: Seconds: the first pause, which doubles, and the longest one, also where a server asks for more.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
#: Seconds of a request: the least, where a budget is nearly spent, and the most.
LEAST_WAIT, LONGEST_WAIT = 0.01, 86_400
#: Bytes of an answer for each text: a vector of more than 16,000 numbers has less.
MOST_BYTES = 1 << 20

_EXPECTED_URL = "embedder: expected a URL of ASCII that begins with http:// or https://"
_PRINTABLE = re.compile("[!-~]+")


class HTTPEmbedder:
    """The embeddings of one model of a server, by `POST {url}/embeddings`.

    `url` is the base, such as "https://api.openai.com/v1" or "http://localhost:11434/v1".
    `dimensions` is checked where it is given; with `shortened`, the model is also asked to cut its
    vectors to that length, which some can. `timeout` (seconds) is for each of at most `attempts`
    requests; between them it waits as the server asks, or else twice as long each time. For a
    query, for which somebody waits, all of that has ended after `query_timeout`.

    Raises `EmbeddingError`, and `EmbeddingRefusedError` for what it does not take or answers in a
    way that makes no sense; a message holds neither key nor text.
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
        query_timeout: float = 10.0,
    ) -> None:
        parts = _checked(url)
        self.model: str | None = _model(model)
        self.dimensions = None if dimensions is None else whole("dimensions", dimensions, 1)
        self._url = parts._replace(path=parts.path.rstrip("/") + "/embeddings").geturl()
        self._place = parts.netloc
        self._key = _key(api_key)
        self._shortened = shortened
        self._batch, self._attempts = whole("batch", batch, 1), whole("attempts", attempts, 1)
        self._timeout = _seconds("timeout", timeout)
        self._query_timeout = _seconds("query_timeout", query_timeout)

    def __repr__(self) -> str:
        return f"<HTTPEmbedder {self.model} at {self._place}>"

    def embed(self, texts: list[str], /) -> Any:
        """Return a float32 array of shape (texts, dimensions)."""
        return self._embed_until(texts, math.inf)

    def embed_queries(self, texts: list[str], /) -> Any:
        """Do so within `query_timeout`."""
        return self._embed_until(texts, time.monotonic() + self._query_timeout)

    def _embed_until(self, texts: list[str], end: float) -> np.ndarray[Any, Any]:
        parts = [self._embed(batch, end) for batch in batches(texts, self._batch)]
        if len({part.shape[1] for part in parts}) > 1:
            raise self._refusal("gave embeddings of several lengths")
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions or 0), np.float32)

    def _embed(self, texts: list[str], end: float) -> np.ndarray[Any, Any]:
        document: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self._shortened:
            document["dimensions"] = self.dimensions
        answer = self._post(json.dumps(document).encode(), len(texts), end)
        return self._vectors(answer, len(texts))

    def _post(self, body: bytes, count: int, end: float) -> bytes:
        for attempt in itertools.count(1):
            try:
                return self._send(body, count, min(self._timeout, end - time.monotonic()))
            except urllib.error.HTTPError as error:
                error.close()
                if 400 <= error.code < 500 and error.code not in TRANSIENT:
                    raise self._refusal(f"answered {error.code}") from None
                pause = _asked_for(error.headers)
                found, is_last = f"answered {error.code}", error.code not in TRANSIENT
            except (OSError, http.client.HTTPException) as error:
                # No connection, no answer in time, or one that broke off or is no HTTP.
                pause, found, is_last = None, f"failed: {_kind(error)}", False
            pause = min(_backoff(attempt - 1) if pause is None else pause, LONGEST_PAUSE)
            if is_last or attempt >= self._attempts or time.monotonic() + pause >= end:
                raise EmbeddingError(f"embedder {self.model}: {self._place} {found}") from None
            time.sleep(pause)
        raise AssertionError  # never: it counts without end

    def _send(self, body: bytes, count: int, seconds: float) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        try:
            return post(self._url, body, headers, max(seconds, LEAST_WAIT), count * MOST_BYTES)
        except OversizedError:
            raise self._refusal(f"gave more than {MOST_BYTES:,} bytes for a text") from None

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
    try:
        parts = urlsplit(text("url", url))
        is_whole = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # brackets without an end, a port that is no number
        raise ConfigurationError(_EXPECTED_URL) from None
    if parts.scheme not in ("http", "https") or not is_whole or not _PRINTABLE.fullmatch(url):
        raise ConfigurationError(_EXPECTED_URL)
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "embedder: expected a URL without user, password, query and fragment; "
            "a key is given as `api_key`"
        )
    return parts


def _model(model: str) -> str:
    if not text("model", model).strip():
        raise InvalidValueError("model: expected the name of a model, got an empty one")
    return model


def _key(key: SecretStr | str | None) -> SecretStr | None:
    """Return a key, or None for an empty one; an error does not repeat it."""
    value = key.get_secret_value() if isinstance(key, SecretStr) else key
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise ConfigurationError(
            "api_key: expected letters, digits and signs of ASCII without a space or a line end"
        )
    return SecretStr(value)


def _seconds(what: str, value: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= LONGEST_WAIT:
        raise InvalidValueError(f"{what}: expected seconds, more than 0 and at most {LONGEST_WAIT}")
    return float(value)


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
