"""The file that rejected rows are written to, one JSON object in each line."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from datastore.errors import TransferError
from datastore.kinds import Kind
from datastore.transfer.plan import TableTransfer


class Rejects:
    """Writes rows with the reason; the file is made (mode 0600) with the first of them.

    One that is there is refused, unless it is that of a load which goes on.
    """

    def __init__(self, path: Path | None, *, goes_on: bool = False) -> None:
        self._path = path
        self._file: IO[str] | None = None
        if path is not None and not goes_on and path.exists():
            raise TransferError(f"the file {path} exists: expected a new one for rejected rows")

    def add(
        self, table: TableTransfer, row: Sequence[Any], column: str | None, reason: str
    ) -> None:
        """Write one row, if rows are to be written at all."""
        if self._path is None:
            return
        values = {
            name: _written(kind, value)
            for name, kind, value in zip(table.columns, table.kinds, row, strict=True)
        }
        document = {"table": table.name, "column": column, "reason": reason, "row": values}
        self._open(self._path).write(json.dumps(document) + "\n")

    def _open(self, path: Path) -> IO[str]:
        if self._file is None:
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            except OSError as error:
                raise TransferError(f"the file {path} cannot be made: {error.strerror}") from error
            self._file = os.fdopen(descriptor, "a", encoding="ascii")
        return self._file

    @property
    def notes(self) -> Sequence[str]:
        """Say where the rows are, if any were written."""
        return () if self._file is None else (f"rows that were not taken are in {self._path}",)

    def flush(self) -> None:
        """See to it that what was written is in the file before anything is committed."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _written(kind: Kind[Any], value: Any) -> Any:
    """Return a value in JSON, whatever it is: those that were found to be wrong are here."""
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    try:
        return kind.to_json(value)
    except Exception:
        return {"text": str(value)}
