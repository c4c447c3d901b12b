"""The `datastore` command.

Another package adds commands through the entry point group `datastore.commands`: a function that
takes the `typer.Typer` and calls `command(app, function)`.
"""

from datastore.cli.invocation import (
    Invocation,
    command,
    location,
    prepare_schema,
    require_schema,
)
from datastore.cli.output import console, plain, styled
from datastore.cli.program import main

__all__ = [
    "Invocation",
    "command",
    "console",
    "location",
    "main",
    "plain",
    "prepare_schema",
    "require_schema",
    "styled",
]
