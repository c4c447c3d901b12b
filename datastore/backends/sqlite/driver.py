"""Which SQLite module to use: one that can load extensions and has a safe WAL, if there is one.

Distributors often build Python's own `sqlite3` without extension loading. Without it everything
still works: distances are then computed by numpy inside SQLite, a few times slower.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from datastore.errors import CapabilityError

logger = logging.getLogger("datastore")

#: The first of equals is taken. `pysqlite3` stands for `pysqlite3>=0.6.1`; the older distribution
#: `pysqlite3-binary` installs the same module. `sqlean` is the distribution `sqlean.py>=3.49`.
CANDIDATES = ("sqlite3", "pysqlite3.dbapi2", "sqlean.dbapi2")
#: The first release without the bug by which a reset of the WAL can corrupt a database (SQLite
#: release history, 3.51.3).
SAFE_WAL = (3, 51, 3)

REMEDY = (
    "install a driver that can load extensions: pip install 'pysqlite3>=0.6.1' "
    "(Linux x86_64, macOS arm64, Windows x64), or a Python whose sqlite3 has enable_load_extension"
)


@dataclass(frozen=True)
class Driver:
    """A DBAPI module of SQLite."""

    module: ModuleType

    @property
    def name(self) -> str:
        """The name to import it by."""
        return self.module.__name__.partition(".")[0]

    @property
    def version(self) -> str:
        """The version of the SQLite library inside."""
        return str(self.module.sqlite_version)

    @property
    def has_safe_wal(self) -> bool:
        """Whether its SQLite has the fix of the WAL-reset bug."""
        return tuple(self.module.sqlite_version_info) >= SAFE_WAL

    @property
    def merit(self) -> tuple[bool, bool]:
        """What makes it the better one: loading extensions first, then a safe WAL."""
        return can_load_extensions(self.module.Connection), self.has_safe_wal


def can_load_extensions(connection: Any) -> bool:
    """Tell whether a connection, or its class, was built with extension loading."""
    return hasattr(connection, "enable_load_extension")


@cache
def pick_driver(candidates: tuple[str, ...] = CANDIDATES) -> Driver:
    """Import the candidates, and return the best of them, the first of equals.

    Raises `CapabilityError` where there is none at all.
    """
    drivers = [Driver(module) for name in candidates if (module := _imported(name))]
    if not drivers:
        raise CapabilityError(
            "SQLite", found="no driver", needed=f"one of {', '.join(candidates)}", remedy=REMEDY
        )
    best = max(drivers, key=lambda driver: driver.merit)
    if not can_load_extensions(best.module.Connection):
        looked_at = ", ".join(f"{driver.name} {driver.version}" for driver in drivers)
        logger.info("no SQLite driver can load extensions: looked at %s", looked_at)
    return best


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
