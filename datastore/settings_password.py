"""The password of the settings, for a URL among the arguments that has none.

It goes to no host but the one it was set for: where the other sources name a host, to that one
alone; where they hold nothing but a password, to whatever the URL names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from sqlalchemy import URL

from datastore.errors import ConfigurationError
from datastore.settings_sources import ARGUMENTS, Entry, at_hosts, entry_url

PASSWORD = "postgresql.password"  # noqa: S105 - the key of a setting
_LOCAL = {"127.0.0.1", "::1"}
#: Where a host may stand in a URL's query; what `service` leads to is not known here.
_NAMING = ("host", "hostaddr", "service")


def password_beside(entries: Iterable[Entry], merged: Mapping[str, Entry]) -> Entry | None:
    """Return the setting of a password that goes with the URL among the arguments, if any."""
    url, password = merged.get("url"), merged.get(PASSWORD)
    if url is None or password is None or url.rank != ARGUMENTS:
        return None
    given = entry_url(url)
    if given.get_backend_name() != "postgresql" or given.password is not None:
        return None
    known = set(_known_hosts([entry for entry in entries if entry.rank < ARGUMENTS]))
    return password if not known or set(_hosts(given)) <= known else None


def _known_hosts(entries: list[Entry]) -> Iterator[str]:
    """Yield the hosts that sources name; the one of a server that is meant without a host."""
    keys = {entry.key for entry in entries}
    for entry in entries:
        with suppress(ConfigurationError, ValueError):  # a source that the URL overrules
            if entry.key == "url":
                yield from _hosts(entry_url(entry))
            elif entry.key == "postgresql.host":
                yield from _hosts(at_hosts(URL.create("postgresql"), str(entry.value), None))
    if not keys & {"url", "postgresql.host"} and "postgresql.database" in keys:
        yield "localhost"


def _hosts(url: URL) -> Iterator[str]:
    query = url.normalized_query
    named = [
        each for option in _NAMING for text in query.get(option, ()) for each in text.split(",")
    ]
    for host in [url.host, *named] if url.host or not named else named:
        yield _alike(host or "")


def _alike(host: str) -> str:
    """Return one name for all names of this machine, and a host without its port."""
    name, separator, port = host.rpartition(":")
    host = name if separator and port.isdecimal() and ":" not in name else host
    return "localhost" if host in _LOCAL else host.lower()
