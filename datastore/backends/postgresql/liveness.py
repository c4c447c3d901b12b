"""Connections of a pool that are no more: found before a statement is lost to them.

To ask the server whether it is there takes a round trip, half as long as reading a row by its key.
A server that ends, or whatever stands between, says so or at least closes the socket, which is seen
without asking. Only a connection that was idle for a while is asked: a firewall may have
forgotten it and told nobody.
"""

from __future__ import annotations

import select
import sys
import time
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import InvalidatePoolError

#: Seconds for which silence is taken for life.
TRUSTED = 5.0
_IDLE_SINCE = "datastore_idle_since"


def replace_dead_connections(engine: Engine) -> None:
    """Look at each connection before it is handed out; if it is dead, renew the whole pool."""

    @event.listens_for(engine, "checkin")
    def checkin(_connection: Any, record: Any) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def checkout(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get(_IDLE_SINCE)
        if since is None:  # it has only just been opened
            return
        if time.monotonic() - since < TRUSTED and not _has_news(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error


def _has_news(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether there is something to read, or an end, where nothing was asked."""
    if sys.platform == "win32":
        return bool(select.select([connection], [], [], 0)[0])
    # Unlike select(), for any number of open files.
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
