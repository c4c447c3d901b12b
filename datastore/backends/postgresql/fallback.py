"""Vectors where the server has no pgvector: arrays of `real`, and their distances in SQL.

A domain over `real[]` stands in the place of pgvector's type and takes what that would take;
functions stand in the place of its operators. That the domain exists is what tells such a database
from others, so an engine learns it from each new connection, and keeps it with its dialect for the
compile handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Dialect

from datastore.backends.base import Finding
from datastore.types import MAX_DIMENSIONS

#: The domain.
ARRAY_TYPE = "datastore_vector"
DISTANCES = {
    "cosine": "datastore_cosine_distance",
    "l2": "datastore_l2_distance",
    "inner_product": "datastore_negative_product",
}
_UNEQUAL = "datastore_unequal_dimensions"
_PGVECTOR = "datastore_pgvector"

# What pgvector refuses: an empty array, one of several dimensions, one with NULL, NaN or infinity.
# NaN sorts above infinity; a comparison with NULL is not true.
_DOOR = f"""\
VALUE IS NULL OR coalesce(array_ndims(VALUE), 0) = 1
      AND cardinality(VALUE) <= {MAX_DIMENSIONS}
      AND ('Infinity'::real > ALL (VALUE) AND '-Infinity'::real < ALL (VALUE)) IS TRUE"""

# pgvector clamps the cosine too, and gives NaN where a norm is zero.
_MEASURES = {
    "cosine": "CASE WHEN sum(a * a) * sum(b * b) = 0 THEN 'NaN' ELSE "
    "1 - greatest(-1, least(1, sum(a * b) / sqrt(sum(a * a) * sum(b * b)))) END",
    "l2": "sqrt(sum((a - b) * (a - b)))",
    "inner_product": "-sum(a * b)",
}


def _create_distance(name: str, measure: str) -> str:
    # A function that is bound to the objects it names: no search path changes its meaning.
    # Two unnest() in one SELECT are not materialised, which halves the time of unnest(l, r).
    return f"""\
    CREATE FUNCTION {name}(l real[], r real[]) RETURNS double precision
      LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
      RETURN CASE WHEN cardinality(l) = cardinality(r) THEN (
        SELECT {measure}
        FROM (SELECT unnest(l)::double precision AS a, unnest(r)::double precision AS b) AS pairs
      ) ELSE {_UNEQUAL}(cardinality(l), cardinality(r)) END;
"""


#: Makes domain and functions, unless they are there; the error is pgvector's own.
ENABLE = f"""\
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_type WHERE typname = '{ARRAY_TYPE}'
                 AND typnamespace = current_schema()::regnamespace) THEN
    CREATE DOMAIN {ARRAY_TYPE} AS real[] CONSTRAINT {ARRAY_TYPE} CHECK (
      {_DOOR});
    CREATE FUNCTION {_UNEQUAL}(l integer, r integer) RETURNS double precision
      LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $raise$ BEGIN
        RAISE EXCEPTION 'different vector dimensions % and %', l, r USING ERRCODE = '22000';
      END $raise$;
{"".join(_create_distance(name, _MEASURES[metric]) for metric, name in DISTANCES.items())}\
  END IF;
END $$"""
DISABLE = (
    *(f"DROP FUNCTION {name}(real[], real[])" for name in DISTANCES.values()),
    f"DROP FUNCTION {_UNEQUAL}(integer, integer)",
    f"DROP DOMAIN {ARRAY_TYPE}",
)

_LOOK = f"""\
SELECT current_setting('server_version_num')::integer / 10000, to_regtype('{ARRAY_TYPE}') IS NULL,
  (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
  (SELECT extversion FROM pg_extension WHERE extname = 'vector')"""
# The files of the server are looked through only where nothing else decides.
_USES_PGVECTOR = f"""\
SELECT CASE WHEN to_regtype('{ARRAY_TYPE}') IS NOT NULL THEN false
  WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN true
  ELSE EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') END"""

Execute = Callable[[str], Any]


@dataclass(frozen=True)
class VectorSupport:
    """What was found: the versions of pgvector, and whether this database uses it."""

    server: int
    uses_pgvector: bool
    available: str | None
    installed: str | None

    def finding(self) -> Finding:
        """Say it."""
        if self.uses_pgvector and self.installed:
            return Finding("vectors", f"pgvector {self.installed}")
        if self.uses_pgvector:
            found = f"pgvector {self.available} is available"
            return Finding("vectors", found, remedy="run `datastore upgrade`")
        return Finding("vectors", self.note(), ok=False, remedy=self.remedy())

    def note(self) -> str:
        """Say how vectors are searched without it."""
        if version := self.installed or self.available:
            lacking = f"pgvector {version} is there, and this database was made without it"
        else:
            lacking = "no pgvector on this server"
        return f"{lacking}; SQL functions compute distances, many times slower"

    def remedy(self) -> str:
        """Say how to come by it."""
        upgrade = (
            "run `datastore upgrade`, which converts the vectors, as a role that may create "
            "extensions"
        )
        return (
            upgrade
            if self.installed or self.available
            else f"{install(self.server)}, then {upgrade}"
        )


def install(server: int) -> str:
    """Say how pgvector is installed on a server of this major version."""
    return (
        f"install pgvector on the server (apt install postgresql-{server}-pgvector, from "
        "PostgreSQL's own packages at apt.postgresql.org; for other systems see "
        "https://github.com/pgvector/pgvector#installation)"
    )


def look(execute: Execute) -> VectorSupport:
    """Find out; `execute` runs SQL text on some connection."""
    server, without_domain, available, installed = execute(_LOOK).fetchone()
    return VectorSupport(
        server, without_domain and bool(available or installed), available, installed
    )


def finds_pgvector(execute: Execute) -> bool:
    """Find out whether a database uses pgvector, or will: quickly, for each new connection."""
    (found,) = execute(_USES_PGVECTOR).fetchone()
    return bool(found)


def uses_pgvector(dialect: Dialect) -> bool:
    """Tell what the engine with this very dialect learned; without one, SQL is for pgvector."""
    return bool(getattr(dialect, _PGVECTOR, True))


def set_uses_pgvector(dialect: Dialect, found: bool) -> bool:
    """Keep what was found; tell whether it is another thing than before."""
    changed = uses_pgvector(dialect) is not found
    setattr(dialect, _PGVECTOR, found)
    return changed
