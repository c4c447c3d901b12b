"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from datastore.errors import DatastoreError, DiskFullError, PermissionDeniedError, TransferError


@contextmanager
def appearing(path: Path) -> Iterator[IO[bytes]]:
    """Give a stream to a new file (mode 0600) that takes the name `path` once it is on disk.

    It replaces a file of that name. A device or a pipe is written to as it is.
    """
    try:
        place = path.expanduser().resolve()
        if place.exists() and not place.is_file():
            with place.open("wb") as stream:
                yield stream
            return
        with _unnamed(place) as stream:
            yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def _unnamed(place: Path) -> Iterator[IO[bytes]]:
    descriptor, name = tempfile.mkstemp(".tmp", f".{place.name}.", place.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(place)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    _synchronize(place.parent)


def _synchronize(directory: Path) -> None:
    """Let the new name outlast a loss of power, where directories can be opened."""
    with suppress(PermissionError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> DatastoreError:
    message = f"the file {path} cannot be written: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(message)
    if isinstance(error, PermissionError):
        return PermissionDeniedError(message)
    return TransferError(message)
