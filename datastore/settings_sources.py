"""Where settings come from: arguments, environment, `.env`, YAML; and what a URL among them says.

A setting is a dotted key (`sqlite.path`) whose entry remembers its source, so that an error can
name the place where the value was set. No error raised here holds a value, nor does its context.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr
from sqlalchemy import URL, make_url
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from datastore.errors import ConfigurationError

_T = TypeVar("_T")

YAML, DOTENV, ENVIRONMENT, ARGUMENTS = range(4)  # a higher rank wins

_PREFIX = "DATASTORE_"
_VARIABLES = {
    "DATABASE_URL": "url",
    "SQLITE_PATH": "sqlite.path",
    "SQLITE_WAL": "sqlite.wal",
    "PG_HOST": "postgresql.host",
    "PG_PORT": "postgresql.port",
    "PG_DATABASE": "postgresql.database",
    "PG_USER": "postgresql.user",
    "PG_PASSWORD": "postgresql.password",
    "PG_POOL_SIZE": "postgresql.pool_size",
    "PG_CONNECT_TIMEOUT": "postgresql.connect_timeout",
}
_SHORT_NAMES = {key: name for name, key in _VARIABLES.items()}
# What a URL always decides, and those of them that tell one database from another.
_PLACE = {
    "sqlite.path",
    "postgresql.host",
    "postgresql.port",
    "postgresql.database",
    "postgresql.user",
}
_TARGET = _PLACE - {"postgresql.port"}
_ENCODE = "@, / and ? in a user name or password must be percent-encoded (@ as %40, / as %2F)"
_HOST = re.compile(
    r"(?:\[(?P<six>[^\[\]]+)\]|(?P<name>/[^:]*|[\da-fA-F]*:[\da-fA-F.]*:[\da-fA-F:.]*|[^:\[\]@/\s]*))"
    r"(?::(?P<port>\d{1,5})?)?"
)


@dataclass(frozen=True)
class Entry:
    """One setting as one source gives it; `label` is how messages name it."""

    key: str
    value: Any = field(repr=False)
    label: str
    rank: int


# --- the sources --------------------------------------------------------------------------------


def variable_name(key: str) -> str:
    """Return the environment variable of a setting."""
    return _SHORT_NAMES.get(key) or _PREFIX + key.upper().replace(".", "__")


def read_sources(arguments: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield what each source sets, known or not; raises where one cannot be read."""
    for key, value in _flatten(arguments):
        yield Entry(key, value, f"datastore.{key} (argument)", ARGUMENTS)
    environment = _without_empty(os.environ)
    dotenv = _read_dotenv(Path(".env"))
    yield from _from_variables(environment, "", ENVIRONMENT)
    yield from _from_variables(dotenv, " in .env", DOTENV)
    yield from _from_yaml(ChainMap(environment, dotenv))


def _flatten(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, BaseModel):
            value = value.model_dump(exclude_unset=True)
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _without_empty(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}


def _from_variables(variables: Mapping[str, str], where: str, rank: int) -> Iterator[Entry]:
    for name, value in variables.items():
        key = _VARIABLES.get(name)
        if key is None and name.startswith(_PREFIX) and name != "DATASTORE_CONFIG":
            key = name.removeprefix(_PREFIX).lower().replace("__", ".")
        if key is not None:
            yield Entry(key, value, f"datastore.{key} ({name}{where})", rank)


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return _without_empty(dotenv_values(stream=StringIO(_read(path))))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise ConfigurationError(f"{path} {problem}")


_TOP_LEVEL_KEY = re.compile(r"""^(?:\{\s*)?["']?(\w+)["']?\s*:""", re.MULTILINE)


def _from_yaml(variables: Mapping[str, str]) -> Iterator[Entry]:
    named = variables.get("DATASTORE_CONFIG")
    path = Path(named or "config.yaml")
    if not path.is_file():
        if named:
            raise ConfigurationError(f"DATASTORE_CONFIG names {named}, which is not a file")
        return
    text = _read(path)
    if not named and not _concerns_us(text):
        return
    for dotted, value in _flatten(_parse_yaml(text, path)):
        key = dotted.removeprefix("datastore").removeprefix(".")
        label = f"{dotted} in {path}"
        if isinstance(value, str):
            value = _substitute(value, variables, label)
        yield Entry(key, value, label, YAML)


def _concerns_us(text: str) -> bool:
    """Tell whether a top-level key is `datastore`, or meant to be: else the file is the host's."""
    return bool(difflib.get_close_matches("datastore", _TOP_LEVEL_KEY.findall(text), cutoff=0.8))


def _parse_yaml(text: str, path: Path) -> dict[str, Any]:
    try:
        _refuse_aliases(text)
        document = yaml.safe_load(text)
    except Exception as error:  # constructors raise KeyError, ValueError, RecursionError ...
        where = _line_of(error, "problem_mark")
        if isinstance(error, ScannerError | ParserError):
            began = _line_of(error, "context_mark")
            problem = f"a syntax error{f' in what begins in{began[1:]}' if began else ''}"
        else:
            problem = "not plain YAML (which has no aliases and no tags)"
    else:
        return _only_datastore({} if document is None else document, path)
    raise ConfigurationError(f"{path}{where}: {problem}")


def _line_of(error: Exception, name: str) -> str:
    mark = getattr(error, name, None)
    return f", line {mark.line + 1}" if mark else ""


def _refuse_aliases(text: str) -> None:
    """Raise at the first alias: a few lines of them can stand for gigabytes."""
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            mark: Any = event.start_mark  # of PyYAML's or of libyaml's class
            raise yaml.MarkedYAMLError(problem_mark=mark)


def _only_datastore(document: Any, path: Path) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}, line 1: a mapping with the key `datastore` is expected")
    if foreign := [str(key) for key in document if key != "datastore"]:
        raise ConfigurationError(
            f"{', '.join(foreign)} in {path}: unknown, `datastore` is the one top-level key "
            "(DATASTORE_CONFIG names another file)"
        )
    return document


def _substitute(text: str, variables: Mapping[str, str], label: str) -> str:
    """Replace `${NAME}` by that variable; `$${` stands for `${`."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match["name"] is None:  # what stands there may be a default, or half a password
            raise ConfigurationError(f"{label}: ${{ without a variable's name ($${{ escapes it)")
        if match["name"] not in variables:
            raise ConfigurationError(f"{label}: the variable {match['name']} is not set")
        return variables[match["name"]]

    return re.sub(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_]\w*)\})?", replace, text)


# --- the database, said by a URL or by its parts ------------------------------------------------


def settle_database(merged: dict[str, Entry]) -> None:
    """Leave one answer to "which database", or raise naming both keys."""
    if "url" in merged:
        _settle_url(merged, merged["url"])
    if "url" in merged or "type" in merged:
        return
    for key in sorted(_TARGET - {"sqlite.path"}):
        if key in merged:
            raise ConfigurationError(
                f"{merged[key].label} is set, but not which kind of database is meant: "
                "DATASTORE_TYPE (datastore.type) is needed"
            )


def _settle_url(merged: dict[str, Entry], entry: Entry) -> None:
    """Drop what the URL replaces, or the URL where a higher source names another kind.

    A type beside the URL must agree with it, whichever comes first; only a URL among the
    arguments overrules the types of other sources.
    """
    url = entry_url(entry)
    dialect = url.get_backend_name()
    if "type" in merged and merged["type"].rank < entry.rank == ARGUMENTS:
        del merged["type"]  # who opens a URL in code means it
    _drop_replaced(merged, entry, url)
    if _is_outranked(merged, entry, dialect):
        del merged["url"]
    elif "type" in merged and merged["type"].value != dialect:
        raise _contradiction(merged["type"], entry)
    else:
        merged["type"] = Entry("type", dialect, entry.label, entry.rank)


def _drop_replaced(merged: dict[str, Entry], entry: Entry, url: URL) -> None:
    """Drop what lower sources say of the place or the password; the same source may not."""
    decided = _PLACE | {f"postgresql.{name}" for name in url.query}
    if url.password is not None:
        decided.add("postgresql.password")
    for other in list(merged.values()):
        if other.rank == entry.rank and other.key in decided:
            raise _contradiction(other, entry)
        if other.rank < entry.rank and other.key in decided | {"postgresql.password"}:
            del merged[other.key]


def _is_outranked(merged: Mapping[str, Entry], entry: Entry, dialect: str) -> bool:
    """Whether a higher source names a database of another kind, and the type allows it."""
    kind = merged["type"].value if "type" in merged else None
    sections = {
        other.key.partition(".")[0]
        for other in merged.values()
        if other.key in _TARGET and other.rank > entry.rank
    }
    return any(section != dialect and kind in (None, section) for section in sections)


def _contradiction(one: Entry, other: Entry) -> ConfigurationError:
    return ConfigurationError(f"{one.label} contradicts {other.label}: keep one of them")


def entry_url(entry: Entry) -> URL:
    """Return the URL of an entry that is one."""
    try:
        return read_url(_url_text(entry.value))
    except ValueError as error:
        problem = str(error)
    raise ConfigurationError(f"{entry.label}: unreadable as a DATABASE_URL: {problem}")


def _url_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, str):
        return value
    raise ValueError("it must be text")


# --- reading a URL ------------------------------------------------------------------------------


def read_url(text: str) -> URL:
    """Return the URL that SQLAlchemy needs: `postgres://` and several hosts are translated.

    Raises `ValueError`, whose message shows nothing of the text.
    """
    scheme, separator, _ = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        raise ValueError("it does not begin with a dialect and ://")
    dialect, _, driver = scheme.lower().partition("+")
    if dialect in _DRIVERS and driver not in ("", _DRIVERS[dialect]):
        raise ValueError(f"the driver is {driver}, expected {dialect}:// or +{_DRIVERS[dialect]}")
    return _READERS.get(dialect, _read_other)(text)


def _read_other(text: str) -> URL:
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
    if authority.count("@") > 1:
        raise ValueError(_ENCODE)
    return _quietly(make_url, text)


def _quietly(parse: Callable[[str], _T], text: str) -> _T:
    """Call a parser whose own error would quote the text."""
    with suppress(Exception):
        return parse(text)
    raise ValueError(_ENCODE)


def _read_sqlite(text: str) -> URL:
    url = _read_other(text)
    if url.host or url.username or url.port:
        raise ValueError("a path follows three slashes, an absolute one four")
    return URL.create("sqlite", database=sqlite_location(url.database), query=url.query)


def sqlite_location(path: str | None) -> str:
    """Return the absolute path; `:memory:` (also for none) and `file:` URIs stay as they are.

    Raises `ValueError` where `~` cannot be resolved.
    """
    if not path or path == ":memory:" or path.startswith("file:"):
        return path or ":memory:"
    expanded = expand_home(Path(path))
    if str(expanded).startswith("~"):
        raise ValueError("the home directory is unknown, so the path must not begin with ~")
    return str(expanded.absolute())


def expand_home(path: Path) -> Path:
    """Expand a leading `~`, or leave it where the home directory is unknown."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _read_postgresql(text: str) -> URL:
    head, _, query = text.partition("://")[2].partition("?")
    authority, _, database = head.partition("/")
    login, _, hosts = authority.rpartition("@")
    if "@" in login + database:
        raise ValueError(_ENCODE)
    user, _, password = login.partition(":")
    options = _read_query(query)
    secret = options.pop("password", None) or unquote(password) or None
    url = URL.create(
        "postgresql+psycopg",
        username=unquote(user) or None,
        password=secret,
        database=unquote(database) or None,
        query=options,
    )
    return at_hosts(url, unquote(hosts), None) if hosts else url


def _read_query(query: str) -> dict[str, Any]:
    parse = partial(parse_qs, keep_blank_values=True, strict_parsing=True)
    options = _quietly(parse, query) if query else {}
    return {name: found[0] if len(found) == 1 else tuple(found) for name, found in options.items()}


def at_hosts(url: URL, hosts: str, port: int | None) -> URL:
    """Return the URL with these hosts: `name`, `name:port`, or several separated by commas.

    `port` stands for those without one of their own. Raises `ValueError` when unreadable.
    """
    places = [(name, own or port) for name, own in split_hosts(hosts)]
    url = url.difference_update_query(["host", "port"]).set(host=None, port=None)
    name, own = places[0]
    if len(places) == 1 and not name.startswith("/"):
        return url.set(host=name or None, port=own)
    return url.update_query_dict(_host_query(places))


def _host_query(places: list[tuple[str, int | None]]) -> dict[str, Any]:
    """Return the form that SQLAlchemy documents, or its other one for addresses with colons."""
    if not any(":" in name or "/" in name for name, _ in places):
        return {"host": tuple(f"{name}:{port}" if port else name for name, port in places)}
    query = {"host": ",".join(name for name, _ in places)}
    if any(port for _, port in places):
        query["port"] = ",".join(str(port or "") for _, port in places)
    return query


def split_hosts(hosts: str) -> list[tuple[str, int | None]]:
    """Return `(name, port)` for each; raises `ValueError`, without a value, when unreadable."""
    matches = [_HOST.fullmatch(host.strip()) for host in hosts.split(",")]
    places = [(m["six"] or m["name"], int(m["port"] or 0) or None) for m in matches if m]
    if len(places) < len(matches) or any((port or 1) > 65535 for _, port in places):
        raise ValueError(f"a host is `name` or `name:port`; {_ENCODE}")
    if len(places) > 1 and not all(name for name, _ in places):
        raise ValueError("a host in the list has no name")
    return places


_DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg", "postgres": "psycopg"}
_READERS = {"sqlite": _read_sqlite, "postgresql": _read_postgresql, "postgres": _read_postgresql}
