"""Which SQLite module to use: the first that can load extensions, else the standard library's.

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

logger = logging.getLogger("datastore")

#: In the order of preference. `pysqlite3` stands for `pysqlite3>=0.6.1`; the older distribution
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
    """A DBAPI module of SQLite, and why others were not taken."""

    module: ModuleType
    passed_over: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name to import it by."""
        return self.module.__name__.partition(".")[0]

    @property
    def version(self) -> str:
        """The version of the SQLite library inside."""
        return str(self.module.sqlite_version)

    @property
    def loads_extensions(self) -> bool:
        """Whether its connections can load extensions."""
        return can_load_extensions(self.module.Connection)

    @property
    def has_safe_wal(self) -> bool:
        """Whether its SQLite has the fix of the WAL-reset bug."""
        return tuple(self.module.sqlite_version_info) >= SAFE_WAL


def can_load_extensions(connection: Any) -> bool:
    """Tell whether a connection, or its class, was built with extension loading."""
    return hasattr(connection, "enable_load_extension")


@cache
def pick_driver(candidates: tuple[str, ...] = CANDIDATES) -> Driver:
    """Import the first candidate that can load extensions; the first importable one without."""
    passed_over: list[str] = []
    usable: list[ModuleType] = []
    for name in candidates:
        try:
            module = importlib.import_module(name)
        except ImportError:
            passed_over.append(f"{name}: not installed")
            continue
        if can_load_extensions(module.Connection):
            return Driver(module, tuple(passed_over))
        usable.append(module)
        passed_over.append(f"{name} {module.sqlite_version}: built without extension loading")
    logger.info("no SQLite driver can load extensions (%s)", "; ".join(passed_over))
    return Driver(usable[0], tuple(passed_over))
