"""Where a run took place."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psycopg
import sqlite_vec

from benchmarks.workbench import SERVER_SETTINGS
from datastore.backends.sqlite.driver import pick_driver
from datastore.testing.postgres import PostgresServer

PACKAGES = (
    "sqlalchemy",
    "psycopg",
    "pgvector",
    "sqlite-vec",
    "numpy",
    "hnswlib",
    "igraph",
    "networkx",
    "bm25s",
    "PyStemmer",
    "tokenizers",
)


def describe(server: PostgresServer) -> dict[str, str]:
    """Return facts by their names; a fact that cannot be had here is left out."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": _first_value(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": str(_cores()),
        "memory": _memory(),
        "load before the run": _load(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": _sqlite(),
        "PostgreSQL": _postgresql(server),
        "its settings": ", ".join(f"{name}={text}" for name, text in SERVER_SETTINGS.items()),
        "packages": ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))),
    }
    return {name: text for name, text in facts.items() if text}


def _cores() -> int | None:
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count()


def _memory() -> str:
    kilobytes = _first_value(Path("/proc/meminfo"), "MemTotal").removesuffix(" kB")
    return f"{int(kilobytes) / 2**20:.0f} GiB" if kilobytes else ""


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""


def _first_value(path: Path, name: str) -> str:
    if not path.exists():
        return ""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")


def _commit() -> str:
    """Return the commit, marked where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _sqlite() -> str:
    driver = pick_driver()
    with_extension = getattr(sqlite_vec, "__version__", "")
    return f"{driver.version} ({driver.name}), sqlite-vec {with_extension}"


def _postgresql(server: PostgresServer) -> str:
    with psycopg.connect(
        host=server.host, port=server.port, user=server.user, password=server.password
    ) as connection:
        found = connection.execute(
            "SELECT current_setting('server_version'), default_version "
            "FROM pg_available_extensions WHERE name = 'vector'"
        ).fetchone()
    return f"{found[0]}, pgvector {found[1]}, over TCP" if found else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
