"""Candidates of approximate vector search, chosen in memory within the statement that searches.

Each process keeps an image of a vector space as it was committed: the codes of `codes.py`, and the
number up to which the log of the index was read. The log is a table that triggers write, so that
any client of SQLite keeps it. A search asks the function registered here for candidates, then reads
from the log, in its own snapshot, which rows the image cannot know, and computes the distances of
both from the stored vectors. So a stale image costs time and never an answer:

- `newest`, the log's last number as the caller sees it, lies past the image: the statement adds
  what was logged since, the caller's own uncommitted rows included.
- It lies before the image: the caller reads an older snapshot, and `late` knows what has changed
  since then.
- The log no longer reaches back to the image, or `late` not to the snapshot: every row is measured.

The image is read by a connection of its own, which sees committed rows only and waits for nobody.
"""

from __future__ import annotations

import json
import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import quote

import numpy as np

from datastore.backends.base import Backend
from datastore.backends.sqlite.codes import POOL, Keys, Matrix, SignCodes, build
from datastore.backends.sqlite.indexes import log_table
from datastore.definitions import VectorIndexDefinition, from_fingerprint

logger = logging.getLogger("datastore")

#: The SQL function, and the number of its arguments.
FUNCTION, ARGUMENTS = "datastore_candidates", 10
#: So many logged changes are searched as they are before they are taken into the image.
TAIL = 512
#: How many changes are remembered for readers of older snapshots.
LATE = 8192
#: Rows that are read at a time, and drawn for the codes' center and calibration.
BLOCK, SAMPLE = 4096, 1024
#: With a filter, so many times the candidates are chosen, of which those that fulfil it are taken,
#: the nearest first; where fewer than one in `SPREAD / ENOUGH` does, the filter goes first.
SPREAD, ENOUGH = 3, 0.75
#: Past every number of a log.
NEVER = 2**62

# Closing a connection that the parent uses, which collecting it would do, disturbs the parent.
_inherited: list[Any] = []

Space: TypeAlias = tuple[str, str | None, int]


@dataclass(frozen=True)
class Image:
    """The codes of the rows committed up to number `seq` of the log; None where they are few.

    `late` holds the last changes, as pairs of number and key in their order, from `since` on.
    `rows` is how many there were when the codes were made.
    """

    seq: int
    rows: int
    codes: SignCodes | None
    late: tuple[tuple[int, int], ...] = ()
    since: int = 0

    @property
    def size(self) -> int:
        """The bytes that it takes in memory, near enough."""
        return 0 if self.codes is None else self.codes.size

    def serves(self, newest: int, oldest: int) -> bool:
        """Tell whether a snapshot with these ends of the log can be searched by it."""
        return oldest <= self.seq + 1 if newest >= self.seq else newest >= self.since

    def changed_since(self, newest: int) -> list[int]:
        """Return the keys of rows that an older snapshot has and the image may not."""
        return [key for seq, key in self.late if seq > newest]


@dataclass(frozen=True)
class Request:
    """What a statement asks for: `newest` and `oldest` are the ends of its log.

    `spread` times the candidates are given back, for the statement to choose from by its filter.
    """

    definition: VectorIndexDefinition
    metric: str
    model: str | None
    query: Any
    limit: int
    oversample: int | None
    newest: int
    oldest: int
    spread: int
    filter: str | None

    def among(self) -> Keys | None:
        """Return the keys of the rows that fulfil the filter, where it was carried out first."""
        return None if self.filter is None else np.array(json.loads(self.filter), dtype=np.int64)

    @property
    def space(self) -> Space:
        """What vectors it is compared with."""
        return self.definition.name, self.model, self.query.size


class Candidates:
    """The images of one database, within the limits that its backend has at the time."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._images: OrderedDict[Space, Image] = OrderedDict()
        self._source: _Source | None = None
        self._folding = threading.Lock()

    def register(self, connection: Any, module: Any, *, native: bool) -> None:
        """Add the SQL function to a connection of the driver `module`.

        Without native distances every row is measured, as a fallback should be: simple and right.
        """
        if not native:
            connection.create_function(FUNCTION, ARGUMENTS, _exactly)
            return
        if self._source is None:
            path = connection.execute("PRAGMA database_list").fetchone()[2]
            self._source = _Source(module, path) if path else None
        # Weak, since nobody collects a cycle that leads through a connection of the driver. Not
        # deterministic: it is called once for each search all the same, by a MATERIALIZED part.
        answer = weakref.WeakMethod(self._answer)
        connection.create_function(
            FUNCTION, ARGUMENTS, lambda *arguments: (answer() or _exactly)(*arguments)
        )

    def prepare(self, definition: VectorIndexDefinition, model: str | None, length: int) -> None:
        """Make the image of a vector space anew, before the first search needs it."""
        query = np.zeros(length, dtype="<f4")
        self._refreshed(Request(definition, "", model, query, 0, None, NEVER, 0, 1, None), None)

    def clear(self) -> None:
        """Forget the images, as after a change of the schema."""
        self._images.clear()

    def close(self) -> None:
        """Close the connection that reads, and forget the images."""
        self.disconnect()
        self.clear()

    def disconnect(self) -> None:
        """Close the connection that reads; the next search opens another."""
        with self._folding:
            if self._source is not None:
                self._source.close()

    def forked(self) -> None:
        """Make anew, in the child, what it cannot share with its parent; images are kept."""
        self._folding = threading.Lock()
        if self._source is not None:
            self._source = self._source.inherited()

    def image(self, index: str, model: str | None, length: int) -> Image | None:
        """Return the image of a vector space as it is now."""
        return self._images.get((index, model, length))

    def used(self) -> int:
        """Return the bytes that the images take."""
        return sum(image.size for image in list(self._images.values()))

    def _answer(self, *arguments: Any) -> str:
        # An exception would lose its message on its way through SQLite, and an exact search is
        # right at all times.
        try:
            return self._choose(_request(*arguments))
        except Exception:
            logger.warning("vector codes cannot be used, every row is measured", exc_info=True)
            return _everything(arguments[-1])

    def _choose(self, request: Request) -> str:
        image = self._image(request)
        if image is None or image.codes is None or not _fits(image.codes, request):
            return _everything(request.filter)
        wanted = image.codes.wanted(request.limit, request.oversample)
        among = request.among()
        if (image.codes.keys if among is None else among).size <= 2 * wanted:
            return _everything(request.filter)
        spread = request.spread * wanted
        keys = image.codes.nearest(request.query, spread, among, pool=POOL * wanted).tolist()
        late = image.changed_since(request.newest)
        return json.dumps(
            {
                "seq": image.seq,
                "exact": 0,
                "wanted": len(late) + wanted,
                "enough": len(late) + int(ENOUGH * wanted),
                "keys": late + keys,
            }
        )

    def _image(self, request: Request) -> Image | None:
        """Return an image that serves the caller's snapshot, refreshed where it is time."""
        image = self._images.get(request.space)
        if image is None or request.newest - image.seq > TAIL:
            image = self._refreshed(request, image)
        if image is None or not image.serves(request.newest, request.oldest):
            return None
        return image

    def _refreshed(self, request: Request, image: Image | None) -> Image | None:
        # Another thread may be at it: then the old image does once more.
        if self._source is None:
            return None
        if not self._folding.acquire(blocking=False):
            return image
        try:
            backend = self._backend
            fresh = self._source.refreshed(
                image, request, backend.exact_limit, backend.memory_limit
            )
            self._keep(request.space, fresh)
        finally:
            self._folding.release()
        return fresh

    def _keep(self, space: Space, image: Image) -> None:
        self._images[space] = image
        self._images.move_to_end(space)
        while self.used() > self._backend.memory_limit and len(self._images) > 1:
            self._images.popitem(last=False)


class _Source:
    """Reads vectors and the log of one database file, by a connection of its own."""

    def __init__(self, module: Any, path: str) -> None:
        self._module = module
        self._path = path
        self._connection: Any = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def inherited(self) -> _Source:
        """Return the same without the parent's connection, which is kept from being closed."""
        _inherited.append(self._connection)
        return _Source(self._module, self._path)

    def refreshed(self, image: Image | None, request: Request, exact: int, memory: int) -> Image:
        """Return an image of what is committed now."""
        connection = self._opened()
        connection.execute("BEGIN")
        try:
            reader = _Reader(connection, request)
            return reader.folded(image, exact, memory) or reader.built(exact, memory)
        finally:
            connection.execute("ROLLBACK")

    def _opened(self) -> Any:
        if self._connection is None:
            # No waiting: it runs within a statement that may itself hold what it would wait for.
            self._connection = self._module.connect(
                _uri(self._path), uri=True, timeout=0, check_same_thread=False, isolation_level=None
            )
        return self._connection


class _Reader:
    """Reads one vector space within one snapshot."""

    def __init__(self, connection: Any, request: Request) -> None:
        definition = request.definition
        self._connection = connection
        self._dimensions = request.query.size
        table, column, self._key, log = map(
            quoted,
            (definition.table, definition.column, definition.key, log_table(definition)),
        )
        of_model = "" if definition.model is None else f" AND {quoted(definition.model)} = ?"
        self._vectors = (
            f"FROM {table} WHERE {column} IS NOT NULL AND {self._key} IS NOT NULL{of_model}"
        )
        self._select = f"SELECT {self._key}, {column} {self._vectors}"
        self._model = () if definition.model is None else (request.model,)
        self._log = log
        ends = connection.execute(f"SELECT min(seq), max(seq) FROM {log}").fetchone()
        self._oldest, self._newest = ends

    def folded(self, image: Image | None, exact: int, memory: int) -> Image | None:
        """Return `image` with what was logged since; None where it has to be built anew."""
        if image is None or image.codes is None or not image.serves(self._newest, self._oldest):
            return None
        changes = self._connection.execute(
            f"SELECT seq, key FROM {self._log} WHERE seq > ? AND key IS NOT NULL ORDER BY seq",
            (image.seq,),
        ).fetchall()
        if not changes:
            return image
        gone = np.unique(np.array([key for _, key in changes], dtype=np.int64))
        keys, vectors = self._matrix(self._rows_of(gone))
        codes = image.codes.changed(gone, keys, vectors)
        # By then the center and the calibration are those of other vectors.
        is_like = image.rows / 2 <= codes.keys.size <= image.rows * 2
        if not is_like or codes.keys.size * self._dimensions <= exact or codes.size > memory:
            return None
        late = (image.late + tuple(changes))[-LATE:]
        kept_all = len(late) == len(image.late) + len(changes)
        since = image.since if kept_all else late[0][0] - 1
        return replace(image, seq=self._newest, codes=codes, late=late, since=since)

    def built(self, exact: int, memory: int) -> Image:
        """Return an image made from the vectors; without codes where none are needed."""
        keys = self._keys()
        codes = None
        wanted = keys.size * self._dimensions > exact
        if wanted and size_of(keys.size, self._dimensions) <= memory:
            drawn = np.random.default_rng(0).choice(keys, min(SAMPLE, keys.size), replace=False)
            codes = build(self._blocks(), self._matrix(self._rows_of(drawn))[1])
        return Image(self._newest, keys.size, codes, since=self._newest)

    def _keys(self) -> Keys:
        rows = self._connection.execute(f"SELECT {self._key} {self._vectors}", self._model)
        return np.fromiter((key for (key,) in rows), dtype=np.int64)

    def _blocks(self) -> Iterator[tuple[Keys, Matrix]]:
        rows = self._connection.execute(self._select, self._model)
        while block := rows.fetchmany(BLOCK):
            yield self._matrix(block)

    def _rows_of(self, keys: Keys) -> list[tuple[int, bytes]]:
        found = f"{self._select} AND {self._key} IN (SELECT value FROM json_each(?))"
        listed = json.dumps(keys.tolist())
        rows: list[tuple[int, bytes]] = self._connection.execute(found, (*self._model, listed))
        return list(rows)

    def _matrix(self, rows: list[tuple[int, bytes]]) -> tuple[Keys, Matrix]:
        if any(len(vector) != 4 * self._dimensions for _, vector in rows):
            # Computing every distance raises the error that this is.
            raise ValueError("vectors of different lengths stand side by side")
        vectors = np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f4")
        keys = np.array([key for key, _ in rows], dtype=np.int64)
        return keys, vectors.reshape(-1, self._dimensions)


def size_of(rows: int, dimensions: int) -> int:
    """Return the bytes that codes take in memory: bits, key and offset of each vector."""
    return rows * (8 * -(-dimensions // 64) + 8 + 4)


def quoted(name: str) -> str:
    """Return an identifier as SQLite writes it."""
    return '"' + name.replace('"', '""') + '"'


def _uri(path: str) -> str:
    return f"file:{quote(path)}?mode=ro"


def _fits(codes: SignCodes, request: Request) -> bool:
    """Tell whether the codes order vectors as the metric does, for vectors of length one or all."""
    if codes.needed is None and request.oversample is None:
        return False
    return request.metric == "cosine" or codes.is_unit


def _exactly(*arguments: Any) -> str:
    return _everything(arguments[-1])


def _everything(filter: str | None) -> str:
    """Answer that every row is to be measured: those of the filter, or all."""
    keys = [] if filter is None else json.loads(filter)
    return json.dumps({"seq": NEVER, "exact": 1, "wanted": 0, "enough": 0, "keys": keys})


def _request(
    definition: str,
    metric: str,
    model: str | None,
    vector: bytes,
    limit: int,
    oversample: int | None,
    newest: int,
    oldest: int,
    spread: int,
    filter: str | None,
) -> Request:
    query = np.frombuffer(vector, dtype="<f4")
    index = _definition(definition)
    return Request(index, metric, model, query, limit, oversample, newest, oldest, spread, filter)


@lru_cache
def _definition(fingerprint: str) -> VectorIndexDefinition:
    definition = from_fingerprint(fingerprint)
    if not isinstance(definition, VectorIndexDefinition):
        raise TypeError("expected the fingerprint of a vector index")
    return definition
