"""One run of the command line: the options that all commands share, and the database they mean."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import RenderableType
from sqlalchemy.engine import Connection

from datastore import migrate
from datastore.backends.base import Access, Capability
from datastore.cli.help import Command
from datastore.cli.output import console, plain, write, write_json
from datastore.engine import access_engine, create_engine, describe
from datastore.errors import ConfigurationError, SchemaMissingError
from datastore.settings import Settings
from datastore.settings_sources import read_url
from datastore.store import Datastore
from datastore.translation import translated

LOGGERS = ("datastore", "alembic")
_PANEL = "Options of every command"


@dataclass(frozen=True)
class Invocation:
    """What every command is given; `verbose` is None unless asked for, False for `--quiet`."""

    url: str | None = None
    json: bool = False
    verbose: bool | None = None
    #: What the URL was given as.
    argument: str = "--url"

    def at(self, url: str | None, argument: str) -> Invocation:
        """Return the same for the database of another argument; None leaves this one."""
        return self if url is None else replace(self, url=url, argument=argument)

    def settings(self) -> Settings:
        """Read the settings, and let the log be as talkative as they say."""
        if self.url is not None:
            _check_url(self.url, self.argument)
        settings = Settings.load() if self.url is None else Settings.load(url=self.url)
        level = {None: settings.logging, True: "DEBUG", False: "ERROR"}[self.verbose]
        for name in LOGGERS:
            logging.getLogger(name).setLevel(level)
        return settings

    def open(self, *, create: bool) -> Datastore:
        """Open the database of the settings, and say which it is."""
        store = Datastore.open(self.settings(), create=create)
        self.aside(f"database: {store.display_name}, {location(store)}")
        return store

    @contextmanager
    def open_as_it_is(self) -> Iterator[Datastore]:
        """Open a database that exists, whatever its schema; `open` refuses one of later code."""
        settings = self.settings()
        engine = create_engine(settings, create=False)
        try:
            yield Datastore(engine, settings=settings)
        finally:
            engine.dispose()

    def notice(self, text: str) -> None:
        """Tell people, unless they want it quiet."""
        if not self.json and self.verbose is not False:
            write(text)

    def aside(self, text: str) -> None:
        """Tell people on standard error, where standard output may be a file."""
        if not self.json and self.verbose is not False:
            console(stderr=True).print(plain(text), soft_wrap=True)

    def answer(self, document: Mapping[str, Any], *lines: RenderableType) -> None:
        """Give the result: the document to programs, the lines to people."""
        if self.json:
            write_json(document)
        else:
            write(*lines)


def _check_url(text: str, argument: str) -> None:
    """Raise `ConfigurationError` for what is no URL; one that may hold a password is not shown."""
    try:
        read_url(text)
    except ValueError as error:
        shown = text and "://" not in text and "@" not in text
        meant = f"; did you mean sqlite:///{text}?" if shown else ""
        problem = f"{argument}: unreadable as the URL of a database: {error}{meant}"
    else:
        return
    raise ConfigurationError(problem)


def location(store: Datastore) -> str:
    """Return the URL of the database, fit to be shown."""
    return describe(store.engine)


@contextmanager
def reading(store: Datastore) -> Iterator[Connection]:
    """Give a connection for what the verbs of a store do not read."""
    engine = access_engine(store.engine, Access.STATEMENT)
    with translated(store.backend), engine.connect() as connection:
        yield connection


def database_file(store: Datastore) -> Path | None:
    """Return the file that the database is; None for one on a server or in memory."""
    path = Path(store.engine.url.database or "")
    return path if Capability.BACKUP in store.capabilities and path.is_file() else None


def require_schema(store: Datastore) -> None:
    """Raise `SchemaMissingError` unless the schema is the one that this code is made for."""
    version, expected = store.schema().version, migrate.head()
    if version != expected:
        found = "has no schema yet" if version is None else f"is at revision {version}"
        raise SchemaMissingError(
            f"the database {location(store)} {found}, and {expected} is expected"
        )


def prepare_schema(store: Datastore) -> bool:
    """Migrate a database file that is still empty; anything else must be ready. Say whether it did.

    A file that holds nothing yet can only have been meant for us; a database on a server may be
    somebody else's, and one with tables in it is.
    """
    schema = store.schema()
    fresh = schema.version is None and not schema.tables and database_file(store) is not None
    if fresh:
        store.migrate()
    else:
        require_schema(store)
    return fresh


# --- commands -----------------------------------------------------------------------------------


def _shared(
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The database, instead of the one of the settings.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="The YAML file of settings, instead of config.yaml.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Answer with one JSON document.", rich_help_panel=_PANEL),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Log everything to standard error.", rich_help_panel=_PANEL
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Say no more than the result.", rich_help_panel=_PANEL),
    ] = False,
) -> None:
    """Have the options that stand before or behind the name of a command."""


def command(app: typer.Typer, function: Callable[..., None], *, name: str | None = None) -> None:
    """Add a command: `function` takes an `Invocation` first, then its own parameters.

    Parameters are declared as typer wants them, the shared options are added to them. The docstring
    is the help.
    """
    app.command(name, cls=Command)(with_invocation(function))


def with_invocation(function: Callable[..., None]) -> Callable[..., None]:
    """Return what typer can call: it gathers the shared options into the invocation.

    The invocation is kept as the context's object, from the program to its command; typer sees the
    parameters of `function` behind it.
    """

    @functools.wraps(function)
    def run(context: typer.Context, **values: Any) -> None:
        shared = {name: values.pop(name) for name in _parameters(_shared)}
        context.obj = _merged(context.obj or Invocation(), **shared)
        function(context.obj, **values)

    seen = dict(list(_parameters(function).items())[1:]) | _parameters(_shared)
    first = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    signature = inspect.Signature([first, *seen.values()])
    run.__doc__ = _reflowed(inspect.getdoc(function) or "")
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return run


def _reflowed(text: str) -> str:
    """Return paragraphs of one line each, which the help breaks where the terminal ends."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _merged(
    invocation: Invocation,
    *,
    url: str | None,
    config: Path | None,
    json: bool,
    verbose: bool,
    quiet: bool,
) -> Invocation:
    """Add what stands behind the command's name to what stands before it."""
    verbose, quiet = verbose or invocation.verbose is True, quiet or invocation.verbose is False
    if verbose and quiet:
        raise typer.BadParameter("--verbose and --quiet exclude each other")
    if config is not None:
        os.environ["DATASTORE_CONFIG"] = str(config)
    return replace(
        invocation,
        url=invocation.url if url is None else url,
        json=invocation.json or json,
        verbose=True if verbose else False if quiet else None,
    )
