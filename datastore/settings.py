"""Settings, and the database URL they stand for.

Sources, each winning over the next: arguments, environment variables, `.env`, YAML, defaults.
A URL replaces what lower sources say of path, host, port, database, user and password; what a
higher source says of these replaces that part of the URL; in one source, both are an error. A
URL among the arguments leaves a password that was set for its host (`settings_password`). So is
a type that disagrees with the URL. Every problem is a `ConfigurationError` that names the key and
where it was set, and shows no value.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy import URL

from datastore.errors import ConfigurationError
from datastore.settings_password import PASSWORD, password_beside
from datastore.settings_sources import (
    Entry,
    at_hosts,
    expand_home,
    read_sources,
    read_url,
    settle_database,
    split_hosts,
    sqlite_location,
    variable_name,
)

_Seconds: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count: TypeAlias = Annotated[int, Field(ge=1)]
_SettingsClass: TypeAlias = type[BaseSettings]  # `type` is a field of Settings
_SECRET_KEYS = {"url", "postgresql.password", "embedding.api_key"}
_SHOWN = {  # what a URL's query may hold that is no secret; everything else is masked
    "application_name", "cache", "connect_timeout", "host", "mode", "port", "sslmode",
    "target_session_attrs", "uri",
}  # fmt: skip


def _checked_hosts(hosts: str) -> str:
    split_hosts(hosts)
    return hosts


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SqliteSettings(_Section):
    """The SQLite file; `:memory:` is a database that ends with the process."""

    path: Annotated[Path, AfterValidator(expand_home)] = Field(
        default=Path("~/.local/share/datastore/memory.db"), validate_default=True
    )
    wal: bool = True
    pool_size: _Count = 5
    busy_timeout: _Seconds = 30
    """Seconds to wait for a lock that another process holds."""


class PostgresqlSettings(_Section):
    """The PostgreSQL server and how long to wait for it."""

    host: Annotated[str, AfterValidator(_checked_hosts)] = "localhost"
    """A name, address or socket directory; several as `h1:5432,h2:5433` or `h1,h2`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    """The port of each host that names none of its own."""
    database: str | None = None
    """Required, unless a URL names it."""
    user: str | None = None
    password: SecretStr | None = None
    pool_size: _Count = 10
    connect_timeout: _Count = 10
    """Seconds per host; libpq takes 1 for 2."""
    statement_timeout: _Seconds = 30
    """Seconds that one statement may run; 0 is no limit, here and below."""
    lock_timeout: _Seconds = 5
    idle_in_transaction_timeout: _Seconds = 60
    pool_timeout: _Seconds = 10
    """Seconds to wait for a connection of the pool."""
    sslmode: str | None = None
    """libpq's: `disable` to `verify-full`; its own default does not verify the server."""
    target_session_attrs: str | None = None
    """libpq's: `read-write`, `prefer-standby`, ...: which of several hosts will do."""


class EmbeddingSettings(_Section):
    """The vector space: vectors of different models, lengths or metrics do not mix."""

    model: str = "default"
    dimensions: Annotated[int, Field(ge=1, le=16000)] | None = None
    metric: Literal["cosine", "l2", "inner_product"] = "cosine"
    normalized: bool | None = None
    """True refuses vectors of another length than one; None records what is found."""
    api_key: SecretStr | None = None
    """What an embedder over HTTP is sent, where it asks for a key."""


class SearchSettings(_Section):
    """When vectors are searched through an approximate index, and what that may cost."""

    exact_floats: Annotated[int, Field(ge=0)] | None = None
    """Up to so many numbers (rows times dimensions) every distance is computed; None leaves the
    number to the backend."""
    memory: _Count = 256
    """MiB that a process may spend on indexes it keeps in memory."""


class Settings(BaseSettings):
    """Everything that can be configured; immutable. Raises `ConfigurationError`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: str = "sqlite"
    """`sqlite`, `postgresql`, or the dialect of another backend, which then needs a URL."""
    url: SecretStr | None = None
    sqlite: SqliteSettings = Field(default_factory=SqliteSettings)
    postgresql: PostgresqlSettings = Field(default_factory=PostgresqlSettings)
    embedding: EmbeddingSettings = Field(default_factory=EmbeddingSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    metadata: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")] = (
        "repositories.tables:metadata"
    )
    """Where the host's tables are: `package.module:attribute`."""
    logging: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
    ] = "WARNING"

    def __init__(self, **arguments: Any) -> None:
        if hidden := [name for name in arguments if name.startswith("_")]:
            raise ConfigurationError(f"datastore.{hidden[0]} (argument) is unknown")
        try:
            super().__init__(**arguments)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
        else:
            self.database_url()  # raises where something is missing
            return
        labels = {k: e.label for k, e in LayeredSource(type(self), arguments).entries().items()}
        raise ConfigurationError("; ".join(_explained(problem, labels) for problem in problems))

    @classmethod
    def load(cls, **arguments: Any) -> Self:
        """Read all sources; the same as `Settings(...)`."""
        return cls(**arguments)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: _SettingsClass,
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours reads them all
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put our one source in the place of pydantic's, whose names are not ours."""
        return (LayeredSource(settings_cls, init_settings()),)

    def database_url(self) -> URL:
        """Return the URL of the database these settings mean, its path absolute.

        Several hosts become `?host=h1:p1&host=h2:p2`, the form that SQLAlchemy reads.
        """
        given = None if self.url is None else read_url(self.url.get_secret_value())
        if self.type == "sqlite":
            return self._sqlite_url(given)
        if self.type == "postgresql":
            return self._postgresql_url(given)
        if given is None:
            raise ConfigurationError(
                "datastore.type (DATASTORE_TYPE) is neither sqlite nor postgresql, so "
                "datastore.url (DATABASE_URL) is needed"
            )
        return given

    def _sqlite_url(self, given: URL | None) -> URL:
        if given is not None and "path" not in self.sqlite.model_fields_set:
            return given
        try:
            location = sqlite_location(str(self.sqlite.path))
        except ValueError as error:
            problem = str(error)
        else:
            return (given or URL.create("sqlite")).set(database=location)
        raise ConfigurationError(f"datastore.sqlite.path (SQLITE_PATH): {problem}")

    def _postgresql_url(self, given: URL | None) -> URL:
        own = self.postgresql
        url = self._at_hosts(given)
        url = url.set(
            username=own.user or url.username,
            password=own.password.get_secret_value() if own.password else url.password,
            database=own.database or url.database,
        )
        if not url.database and not url.query.keys() & {"dbname", "service"}:
            raise ConfigurationError(
                "no PostgreSQL database is named: set datastore.postgresql.database "
                "(PG_DATABASE), or name it in the URL (DATABASE_URL)"
            )
        options = {"sslmode": own.sslmode, "target_session_attrs": own.target_session_attrs}
        return url.update_query_dict({name: text for name, text in options.items() if text})

    def _at_hosts(self, given: URL | None) -> URL:
        own = self.postgresql
        if given is None:
            return at_hosts(URL.create("postgresql+psycopg"), own.host, own.port)
        port = own.port if "port" in own.model_fields_set else given.port
        if "host" in own.model_fields_set:
            return at_hosts(given, own.host, port)
        return given.set(port=port)


def _explained(problem: ErrorDetails, labels: Mapping[str, str]) -> str:
    """Name the setting and its source; pydantic's message shows no input."""
    key = ".".join(str(part) for part in problem["loc"][:2])
    label = labels.get(key, f"datastore.{key}")
    return f"{label}: {_in_our_words(problem['msg'])}"


def _in_our_words(message: str) -> str:
    expected, separator, what = message.partition("Input should be ")
    if separator and not expected:
        return f"expected {what.partition(', unable to')[0]}"
    return message.removeprefix("Value error, ")


class LayeredSource(PydanticBaseSettingsSource):
    """All sources as one, because a URL and the parts it stands for are settled across them."""

    def __init__(self, settings_cls: type[BaseSettings], arguments: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._arguments = arguments

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: the fields are settled together."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        """Return the settings by field name, sections as mappings."""
        state: dict[str, Any] = {}
        for key, entry in self.entries().items():
            section, _, name = key.rpartition(".")
            values = state.setdefault(section, {}) if section else state
            values[name] = SecretStr(entry.value) if _is_open_secret(entry) else entry.value
        return state

    def entries(self) -> dict[str, Entry]:
        """Return the entry that won, for each key that was set."""
        entries = _checked(read_sources(self._arguments), _known_keys(self.settings_cls))
        merged = _merge(entries)
        password = password_beside(entries, merged)
        settle_database(merged)
        return merged if password is None else {**merged, PASSWORD: password}


def _is_open_secret(entry: Entry) -> bool:
    return entry.key in _SECRET_KEYS and isinstance(entry.value, str)


def _known_keys(settings_cls: type[BaseModel]) -> dict[str, bool]:
    """Return every dotted key, and whether it names a section."""
    known = {"": True} | dict.fromkeys(settings_cls.model_fields, False)
    for name, info in settings_cls.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            known[name] = True
            known |= {f"{name}.{key}": False for key in section.model_fields}
    return known


def _checked(entries: Iterable[Entry], known: Mapping[str, bool]) -> list[Entry]:
    """Return the entries that set something: neither None nor an empty section."""
    entries = list(entries)
    if problems := [text for entry in entries if (text := _problem(entry, known))]:
        raise ConfigurationError("; ".join(problems))
    return [entry for entry in entries if entry.value is not None and entry.value != {}]


def _problem(entry: Entry, known: Mapping[str, bool]) -> str | None:
    if entry.key not in known:
        return f"{entry.label} is unknown{_suggestion(entry.key, known)}"
    if known[entry.key] and entry.value is not None and entry.value != {}:
        return f"{entry.label} is a section of settings, not a single value"
    return None


def _suggestion(key: str, known: Mapping[str, bool]) -> str:
    names = [name for name, is_section in known.items() if not is_section]
    for name in difflib.get_close_matches(key.lower(), names, n=1):
        return f"; did you mean datastore.{name} ({variable_name(name)})?"
    return ""


def _merge(entries: Iterable[Entry]) -> dict[str, Entry]:
    merged: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.rank):
        other = merged.get(entry.key)
        if other is not None and other.rank == entry.rank:
            raise ConfigurationError(f"{other.label} and {entry.label} are the same setting")
        merged[entry.key] = entry
    return merged


def display_url(url: URL | str) -> str:
    """Return the URL for messages: password and unfamiliar query values are `***`.

    A text that is no URL shows nothing of itself.
    """
    if isinstance(url, str):
        try:
            url = read_url(url)
        except ValueError:
            return "***"
    shown = url.set(query={}).render_as_string(hide_password=True)
    shown = shown.replace("%3Amemory%3A", ":memory:")
    options = "&".join(_masked(url.normalized_query))
    return f"{shown}?{options}" if options else shown


def _masked(query: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, values in query.items():
        for value in values:
            yield f"{name}={value if name in _SHOWN else '***'}"
