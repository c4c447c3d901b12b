"""`datastore upgrade` and `datastore downgrade`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from datastore.cli.invocation import Invocation, location
from datastore.store import Datastore


def upgrade(
    invocation: Invocation,
    revision: Annotated[str, typer.Argument(help="How far; `head` is all the way.")] = "head",
) -> None:
    """Create the tables and search indexes, or bring them up to date."""
    with invocation.open(create=True) as store:
        _change(invocation, store, lambda: store.migrate(revision))


def downgrade(
    invocation: Invocation,
    revision: Annotated[
        str, typer.Argument(help="The revision to go back to; `base` takes everything away.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take back what later revisions made. Deletes the data in it."""
    with invocation.open(create=False) as store:
        if yes or _confirmed(invocation, store, revision):
            _change(invocation, store, lambda: store.downgrade(revision))
        else:
            invocation.notice("nothing was changed")
            raise typer.Exit(1)


def _confirmed(invocation: Invocation, store: Datastore, revision: str) -> bool:
    if invocation.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter(
            f"going back to {revision} deletes data, and nobody can be asked: add --yes to do it"
        )
    where = f"{store.display_name}, {location(store)}"
    tables = ", ".join(doomed_tables(store, revision)) or "none"
    return typer.confirm(
        f"Go back to {revision} in {where}? The data made since are deleted. "
        f"Tables that go: {tables}."
    )


def doomed_tables(store: Datastore, revision: str) -> list[str]:
    """Return the tables that a downgrade takes away, as the same in memory shows."""
    schema = store.schema()
    with Datastore.open("sqlite://") as stand_in:
        if schema.version is not None:
            stand_in.migrate(schema.version)
        before = stand_in.schema().tables.keys()
        stand_in.downgrade(revision)
        return sorted((before - stand_in.schema().tables.keys()) & schema.tables.keys())


def _change(invocation: Invocation, store: Datastore, run: Callable[[], None]) -> None:
    before = store.schema().version
    run()
    after = store.schema().version
    document: dict[str, Any] = {
        "database": location(store),
        "before": before,
        "after": after,
    }
    if before == after:
        line = f"schema: unchanged at {after or 'nothing'}"
    else:
        line = f"schema: {before or 'nothing'} -> {after or 'nothing'}"
    invocation.answer(document, line)
