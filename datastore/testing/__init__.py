"""Helpers for tests: a real PostgreSQL server that needs no installation."""

from datastore.testing.postgres import PostgresServer

__all__ = ["PostgresServer"]
