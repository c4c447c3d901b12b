"""Fixtures: every contract test runs on each backend, on a real and fresh database.

`--datastore-url` points the suite at a PostgreSQL server of yours (it makes and drops databases of
its own there) instead of those that it starts itself; `--require-all` turns skips into failures.
Folders are run by a process for each core, each with a server of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datastore import Datastore
from datastore.testing.postgres import PostgresServer
from tests.databases import Databases
from tests.moving import MakeURL, fill
from tests.without_extensions import ServerWithoutPgvector

BACKENDS = ("sqlite", "postgresql")
SETTINGS_PREFIXES = ("DATASTORE_", "PG_", "SQLITE_", "DATABASE_URL")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--datastore-url", help="a PostgreSQL server to test on, as a URL")
    parser.addoption("--require-all", action="store_true", help="a skipped test is a failure")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run files that are named one by one in this process, which is ready at once."""
    files = [Path(argument.partition("::")[0]).is_file() for argument in config.args]
    return 0 if files and all(files) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    optional = item.get_closest_marker("optional") is not None
    if skipped and not optional and item.config.getoption("--require-all"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --require-all is given: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No variable, `.env` or `config.yaml` of the developer's has a say in a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SETTINGS_PREFIXES):
                patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a real server with pgvector, stopped at the end where we started it."""
    given = request.config.getoption("--datastore-url")
    if given:
        yield given
        return
    with PostgresServer() as server:
        yield server.url()


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: str) -> Iterator[Databases]:
    databases = Databases(postgres_server)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def server_without_pgvector(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServerWithoutPgvector]:
    with ServerWithoutPgvector(tmp_path_factory.mktemp("without_pgvector")) as server:
        yield server


@pytest.fixture(scope="session")
def databases_without_pgvector(
    server_without_pgvector: ServerWithoutPgvector,
) -> Iterator[Databases]:
    databases = Databases(server_without_pgvector.url())
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def debian_databases() -> Iterator[Databases]:
    """Databases on the server that a distribution installed, if it has no pgvector."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or list(Path("/usr/share/postgresql").glob("*/extension/vector.control")):
        pytest.skip("no PostgreSQL of a distribution without pgvector")
    with PostgresServer(found[-1].parent) as server:
        databases = Databases(server.url())
        yield databases
        databases.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all migrations, to be copied rather than used."""
    path = tmp_path_factory.mktemp("migrated") / "template.db"
    with Datastore.open(f"sqlite:///{path}") as store:
        store.migrate()
    return path


@pytest.fixture
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeURL]:
    """Makes empty databases, as many as are asked for."""
    made: list[str] = []

    def make(engine: str) -> str:
        if engine == "sqlite":
            made.append("")
            return f"sqlite:///{tmp_path / f'made{len(made)}.db'}"
        databases: Databases = request.getfixturevalue("postgres_databases")
        made.append(databases.create())
        return databases.url(made[-1])

    yield make
    for name in filter(None, made):
        request.getfixturevalue("postgres_databases").drop(name)


@pytest.fixture(scope="session")
def filled_file(migrated_file: Path) -> Path:
    """A SQLite file with rows in every table, to be copied or read, never to be changed."""
    path = migrated_file.with_name("filled.db")
    shutil.copyfile(migrated_file, path)
    with Datastore.open(f"sqlite:///{path}") as store:
        fill(store)
    return path


@pytest.fixture(scope="session")
def filled_postgresql(postgres_databases: Databases) -> Iterator[str]:
    """The URL of a PostgreSQL database with the same rows, never to be changed."""
    name = postgres_databases.create()
    with Datastore.open(postgres_databases.url(name)) as store:
        store.migrate()
        fill(store)
    yield postgres_databases.url(name)
    postgres_databases.drop(name)


@pytest.fixture
def filled_url(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Names a database of either engine that has rows in every table and is never changed."""

    def find(engine: str) -> str:
        if engine == "sqlite":
            return f"sqlite:///{request.getfixturevalue('filled_file')}"
        return str(request.getfixturevalue("filled_postgresql"))

    return find


@pytest.fixture(params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(
    backend_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """The URL of an empty database."""
    if backend_name == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    databases: Databases = request.getfixturevalue("postgres_databases")
    name = databases.create()
    yield databases.url(name)
    databases.drop(name)


@pytest.fixture
def empty_store(database_url: str) -> Iterator[Datastore]:
    """A store over an empty database."""
    with Datastore.open(database_url) as store:
        yield store


@pytest.fixture
def migrated_url(
    backend_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """The URL of a database with all migrations and no rows."""
    if backend_name == "sqlite":
        path = tmp_path / "store.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    databases: Databases = request.getfixturevalue("postgres_databases")
    name = databases.create_migrated()
    yield databases.url(name)
    databases.drop_migrated(name)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Datastore]:
    """A store over a database with all migrations and no rows."""
    with Datastore.open(migrated_url) as store:
        yield store
