"""The program: its commands, those of other packages among them, and the way it ends.

It ends with 0 when all went well, 1 after an error of ours, 2 for a command line that cannot be
understood, 130 after Ctrl-C and 141 when nobody reads on, as shells report these signals.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Annotated, Any

import typer
from typer.main import get_command

from datastore.cli.doctor import doctor
from datastore.cli.files import export_command, import_command
from datastore.cli.help import Group
from datastore.cli.info import info
from datastore.cli.invocation import Invocation, command, with_invocation
from datastore.cli.migrations import downgrade, upgrade
from datastore.cli.optimize import optimize
from datastore.cli.output import accept_any_text, write, write_error
from datastore.cli.transfer import copy_command, verify_command
from datastore.errors import DatabaseError, DatastoreError

COMMANDS = "datastore.commands"
NAME = "datastore"
FAILED, INTERRUPTED, BROKEN_PIPE = 1, 130, 141

logger = logging.getLogger("datastore")

# The base of a wrong command line, which typer itself does not export.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def build() -> typer.Typer:
    """Make the program, with the commands that installed packages bring."""
    app = typer.Typer(
        name=NAME,
        cls=Group,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(with_invocation(_program))
    for function in (upgrade, downgrade, optimize, info, doctor):
        command(app, function)
    command(app, copy_command, name="copy")
    command(app, verify_command, name="verify")
    command(app, export_command, name="export")
    command(app, import_command, name="import")
    for entry_point in sorted(entry_points(group=COMMANDS)):
        try:
            entry_point.load()(app)
        except Exception as error:  # whatever is wrong with it, the other commands go on
            logger.warning("no commands of %s: %s", entry_point.value, error)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"{NAME} {_version()}")
        raise typer.Exit


def _version() -> str:
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "(not installed)"


def _program(
    invocation: Invocation,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Text, vectors and a knowledge graph on SQLite or PostgreSQL, with the same answers.

    The database is the one of --url, DATABASE_URL (and the other variables),
    .env or config.yaml; without any of them, a SQLite file.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the code to exit with."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    accept_any_text()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    # A connection that is given back after Ctrl-C cannot be reset, which the pool finds alarming.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    if "" not in sys.path and (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - as text
        sys.path.append(here)  # last: nothing here hides an installed package
    try:
        code = _run(given)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return BROKEN_PIPE
    except OSError as error:  # such as a full disk under the file that the output goes to
        _forget_stdout()
        sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
        return FAILED
    return code


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    program = get_command(build())
    try:
        result = program.main(args=arguments or ["--help"], prog_name=NAME, standalone_mode=False)
    except _UsageError as error:
        return _usage(error, as_json)
    except DatastoreError as error:
        logger.debug("the command failed", exc_info=error)
        write_error(type(error).__name__, _told(error), as_json=as_json)
        return FAILED
    return result if isinstance(result, int) else 0


def _told(error: DatastoreError) -> str:
    remedy = error.remedy if isinstance(error, DatabaseError) else ""
    return f"{error}; {remedy}" if remedy else str(error)


def _usage(error: Any, as_json: bool) -> int:
    usage = error.ctx.get_usage() if error.ctx else ""
    write_error("UsageError", error.format_message(), as_json=as_json, usage=usage)
    return int(error.exit_code)


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere, instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
