"""The files that are indexed: which ones there are, by what path they go, and what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from datastore.errors import InvalidValueError, NotFoundError
from repositories.base import MOST_PATH, is_text

#: The files of a folder that are indexed; a file named by itself may have any suffix.
SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text", ".rst"})


def normalized(path: str | Path) -> Path:
    """Return the one path by which "docs", "./docs" and "docs/../docs" are known.

    Raises `InvalidValueError` for an empty one: a variable that is not set means no folder.
    """
    if not isinstance(path, str | Path) or path == "":
        found = "an empty one" if path == "" else type(path).__name__
        raise InvalidValueError(f"path: expected that of a file or a folder, got {found}")
    return Path(os.path.normpath(path))


def normalized_prefix(prefix: str) -> str:
    """Return what normalised paths begin with: "./docs/" as "docs/", "." as nothing at all."""
    if not prefix:
        return prefix
    path = Path(os.path.normpath(prefix))
    return prefix_of(path) if path == Path() or prefix.endswith("/") else path.as_posix()


def root_of(path: Path) -> str:
    """Return the folder that a relative path is relative to; "" for an absolute one."""
    return "" if path.is_absolute() else shown(Path.cwd())


def shown(path: Path) -> str:
    """Return a path as text, bytes that are no UTF-8 as escapes such as `\\xff`."""
    try:
        return os.fsencode(path.as_posix()).decode(errors="backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte: no file is called so
        return path.as_posix().encode(errors="backslashreplace").decode()


def is_below(path: str, folder: Path) -> bool:
    """Tell whether a normalised path lies in `folder`, or below it, and is stated from there."""
    prefix = prefix_of(folder)
    outside = path.removeprefix(prefix).startswith(("../", "/"))
    return path.startswith(prefix) and not outside


def prefix_of(folder: Path) -> str:
    """Return what the paths of all files of a folder begin with."""
    return "" if folder == Path() else folder.as_posix().rstrip("/") + "/"


def has_gone(path: str | Path) -> bool:
    """Tell whether there is surely no such file; what cannot be looked at may be there."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:
        return False


def find_files(start: Path) -> tuple[list[Path], list[OSError]]:
    """Return the files that `start` stands for, and why folders among them cannot be read.

    Raises `NotFoundError` where nothing is there.
    """
    failures: list[OSError] = []
    if os.path.isdir(start):  # noqa: PTH112 - Path.is_dir raises where it may not look
        return list(_walk(start, failures.append)), failures
    if has_gone(start):
        raise NotFoundError(f"there is no file or folder '{shown(start)}'")
    return [start], failures


def _walk(folder: Path, failed: Callable[[OSError], None]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def read_text(file: Path) -> str:
    """Read UTF-8; raise `ValueError` with the reason for what is no text, or `OSError`.

    No text is also what cannot be stored under its name, or never ends, such as a pipe.
    """
    if not is_text(file.as_posix()):
        raise ValueError("its name is no UTF-8 text")
    if len(file.as_posix().encode()) > MOST_PATH:
        raise ValueError(f"its path is longer than {MOST_PATH:,} bytes")
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("no regular file")
    data = file.read_bytes()
    if b"\x00" in data:
        raise ValueError("binary: it holds a NUL character")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("no UTF-8 text") from None
