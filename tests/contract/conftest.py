"""What the contract tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from datastore import Datastore
from tests.conftest import Databases

# The first example of a process pays for what is made once, so no deadline. The functions given to
# hypothesis stand inside tests, each on a database of its own.
settings.register_profile(
    "contract", deadline=None, max_examples=25, suppress_health_check=list(HealthCheck)
)
settings.load_profile("contract")


@pytest.fixture
def backend_stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Datastore]]:
    """A store over an empty database of every backend at once, to compare their answers."""
    databases = request.getfixturevalue("postgres_databases")
    name = databases.create()
    with ExitStack() as stack:
        stack.callback(databases.drop, name)
        yield [
            stack.enter_context(Datastore.open(url))
            for url in (f"sqlite:///{tmp_path / 'both.db'}", databases.url(name))
        ]


@pytest.fixture
def migrated_stores(backend_stores: list[Datastore]) -> list[Datastore]:
    """The same with all migrations."""
    for store in backend_stores:
        store.migrate()
    return backend_stores


@pytest.fixture
def postgres(postgres_databases: Databases) -> Iterator[str]:
    """Give the URL of an empty PostgreSQL database."""
    name = postgres_databases.create()
    yield postgres_databases.url(name)
    postgres_databases.drop(name)


@pytest.fixture
def back(tmp_path: Path) -> str:
    """Return the URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'back.db'}"
