"""The file behind a SQLite URL: which it is, how it is made, and what stands for one in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from datastore.errors import ConfigurationError, ConnectionFailedError, PermissionDeniedError

#: What `?mode=` may be: read, read and write, and the same while making the file.
MODES = ("ro", "rw", "rwc")

_MAKE = "`datastore index FOLDER` or `datastore upgrade` makes one"


def check_url(url: sa.URL) -> None:
    """Raise `ConfigurationError` for a URL that says what would not be done."""
    if str(url.database).startswith("file:"):
        raise ConfigurationError(
            "the SQLite database is a file: URI, expected a path (with ?mode=ro to only read)"
        )
    unknown = sorted(set(url.query) - {"mode"})
    if unknown:
        raise ConfigurationError(
            f"the SQLite URL has the unknown option {', '.join(unknown)}; there is only mode"
        )
    if url.query.get("mode", "rw") not in MODES:
        raise ConfigurationError(f"the option mode of a SQLite URL is one of {', '.join(MODES)}")


def is_in_memory(url: sa.URL) -> bool:
    """Tell whether the URL names no file."""
    return url.database in (None, "", ":memory:")


def database_path(url: sa.URL) -> Path:
    """Return the file of a URL that names one."""
    return Path(str(url.database)).expanduser().absolute()


def remove_file(path: Path) -> None:
    """Remove a database file, with its write-ahead log and that log's index."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def file_uri(url: sa.URL, *, create: bool) -> str:
    """Return the URI to open, having made the file where it is missing and may be made."""
    path = database_path(url)
    mode = str(url.query.get("mode", "rwc"))
    if path.is_dir():
        raise ConnectionFailedError(f"{path} is a folder, expected a database file")
    if not path.exists():
        if not create or mode != "rwc":
            raise ConnectionFailedError(f"there is no database file {path}", remedy=_MAKE)
        _make_file(path)
    return f"file:{quote(str(path))}?mode={'ro' if mode == 'ro' else 'rw'}"


def _make_file(path: Path) -> None:
    # For the owner alone: SQLite would make it readable for everyone, and gives -wal and -shm the
    # mode of the main file.
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except PermissionError as error:
        raise PermissionDeniedError(f"no permission to make the database file {path}") from error
    except OSError as error:
        message = f"the database file {path} cannot be made: {error.strerror}"
        raise ConnectionFailedError(message) from error


class PrivateDirectory:
    """A new directory (mode 0700) that is removed with this object, or else at exit."""

    def __init__(self) -> None:
        path = tempfile.mkdtemp(prefix="datastore-")
        self.file = str(Path(path, "memory.db"))
        self._finalizer = weakref.finalize(self, _remove, path, os.getpid())

    def remove(self) -> None:
        """Remove it now."""
        self._finalizer()


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves it to its parent
        shutil.rmtree(path, ignore_errors=True)
