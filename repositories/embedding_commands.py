"""`datastore reembed`, and what the commands with an `--embedder` share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from datastore import Settings
from datastore.cli import Invocation, console, location, plain, require_schema, styled
from repositories import reembedding
from repositories.embedder_loading import load_embedder
from repositories.embedders import Embedder
from repositories.reembedding import ReembedProgress, ReembedReport
from repositories.spaces import UNNAMED

EMBEDDER = typer.Option(
    "--embedder",
    metavar="NAME",
    help="What turns texts into vectors: package.module:callable, URL#MODEL of a server with the "
    "interface of OpenAI, or sentence-transformers:MODEL.",
)


def embedder_of(invocation: Invocation, name: str | None) -> Embedder | None:
    """Return what `--embedder` names."""
    if name is None:
        return None
    return load_embedder(name, invocation.settings().embedding.api_key)


def progress_bar(invocation: Invocation) -> Progress:
    """Make a bar for people on a terminal."""
    err = console(stderr=True)
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=err,
        transient=True,
        disable=invocation.json or invocation.verbose is False or not err.is_terminal,
    )


def reembed(
    invocation: Invocation,
    embedder: Annotated[str, EMBEDDER],
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Remove the vectors of all other models afterwards.")
    ] = False,
) -> None:
    """Embed everything again under another model, while searches go on using the old one.

    Once nothing is missing, searches use the new model. A run that was broken off is taken up where
    it ended by the same command. The embedder must name its model: `...#MODEL` does.
    """
    settings = invocation.settings()
    chosen = load_embedder(embedder, settings.embedding.api_key)
    with invocation.open(create=False) as store, progress_bar(invocation) as bar:
        require_schema(store)
        task = bar.add_task(plain(chosen.model or ""), total=None)  # until it has been counted

        def advance(progress: ReembedProgress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        report = reembedding.reembed(store, chosen, drop_old=drop_old, progress=advance)
        document = {"database": location(store), **asdict(report)}
    invocation.answer(document, *_lines(report, settings))


def _lines(report: ReembedReport, settings: Settings) -> Iterator[RenderableType]:
    change = report.model
    if report.previous not in (None, report.model):
        change = f"{report.previous} -> {report.model}"
    dropped = f", {report.dropped:,} of other models removed" if report.dropped else ""
    yield styled(("model: ", "green"), (f"{change}; {report.embedded:,} vectors made{dropped}", ""))
    if report.refused:
        note = f"the embedder refused {report.refused:,} texts, which have no vector"
        yield styled(("note: ", "yellow"), (note, ""))
    if settings.embedding.model not in (UNNAMED, report.model):
        note = f"the settings still say embedding.model: {settings.embedding.model}"
        yield styled(("note: ", "yellow"), (note, ""))
