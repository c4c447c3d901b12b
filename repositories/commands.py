"""`datastore index` and `search`; the commands of the repositories are registered here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from datastore import Datastore, SearchHit, SearchResult
from datastore.cli import (
    Invocation,
    command,
    console,
    location,
    plain,
    prepare_schema,
    require_schema,
    styled,
)
from datastore.errors import (
    ConfigurationError,
    ConnectionFailedError,
    InvalidValueError,
    NotFoundError,
)
from repositories.base import DEFAULT_NAMESPACE
from repositories.graph_command import graph
from repositories.memory import Embedder, FileReport, IndexReport, MemoryManager
from repositories.records import Chunk

#: Marks of matched words, from the range that no text uses: they are turned into colour.
MARKS = ("\ue000", "\ue001")

EmbedderOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="PACKAGE.MODULE:CALLABLE",
        help="What turns a list of texts into an array of vectors.",
    ),
]
NamespaceOption: TypeAlias = Annotated[
    str, typer.Option("--namespace", metavar="NAME", help="Whose memory it is.")
]


def register(app: typer.Typer) -> None:
    """Add the commands; called by the entry point group `datastore.commands`."""
    command(app, index)
    command(app, search)
    command(app, graph)


# --- index --------------------------------------------------------------------------------------


def index(
    invocation: Invocation,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")],
    embedder: EmbedderOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
) -> None:
    """Index text and Markdown files, so that they can be searched.

    Files that have not changed are left alone, and those that have gone are removed.
    """
    embed = None if embedder is None else load_embedder(embedder)
    with _open(invocation, paths) as store:
        if made := prepare_schema(store):
            invocation.notice("schema: created, since the database was empty")
        memory = MemoryManager(store, embed, namespace=namespace)
        report = _index(invocation, memory, paths)
        document = {"database": location(store), "schema_created": made, **_as_document(report)}
    if invocation.verbose is False and not invocation.json:
        return
    invocation.answer(document, *_index_lines(report))


def _open(invocation: Invocation, paths: Sequence[Path]) -> Datastore:
    # A path that has gone may be known to a store; it is no reason to make a new one.
    missing = [path for path in paths if not path.exists()]
    try:
        return invocation.open(create=not missing)
    except ConnectionFailedError:
        if not missing:
            raise
        raise NotFoundError(f"there is no file or folder {missing[0]}") from None


def _index(invocation: Invocation, memory: MemoryManager, paths: Sequence[Path]) -> IndexReport:
    with _progress(invocation) as progress:
        task = progress.add_task("indexing", total=sum(len(memory.files(path)) for path in paths))

        def advance(report: FileReport) -> None:
            if report.outcome != "removed":  # which was no file to look at
                progress.update(task, advance=1, description=plain(Path(report.path).name))

        reports = [memory.index(path, progress=advance) for path in paths]
    return IndexReport(tuple(file for report in reports for file in report.files))


def _progress(invocation: Invocation) -> Progress:
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


def _as_document(report: IndexReport) -> dict[str, Any]:
    return {
        **{str(outcome): count for outcome, count in report.counts.items()},
        "chunks": report.chunks,
        "files": [asdict(file) for file in report.files],
    }


def _index_lines(report: IndexReport) -> Iterator[RenderableType]:
    for file in report.files:
        if file.outcome == "skipped":
            yield styled(("skipped ", "yellow"), (f"{file.path}: {file.reason}", ""))
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items())
    yield styled(("indexed: ", "green"), (f"{counts}; {report.chunks} chunks", ""))


def load_embedder(name: str) -> Embedder:
    """Import what `package.module:callable` names; raise `ConfigurationError` where that fails."""
    module_name, _, attribute = name.partition(":")
    try:
        function = importlib.import_module(module_name)
        for part in attribute.split("."):
            function = getattr(function, part)
    except Exception as error:  # a module may raise whatever it likes while it is imported
        told = f": {error}" if isinstance(error, ImportError | SyntaxError) else ""
        raise ConfigurationError(
            f"--embedder: {name} cannot be imported ({type(error).__name__}{told}); "
            "expected package.module:callable"
        ) from error
    if not callable(function):
        raise ConfigurationError(f"--embedder: {name} is not callable")
    return _checked(function, name)


def _checked(function: Callable[[list[str]], Any], name: str) -> Embedder:
    """Return an embedder whose failures say whose they are, without the text that they met."""

    def embed(texts: list[str], /) -> Any:
        try:
            vectors = function(texts)
        except Exception as error:
            raise InvalidValueError(
                f"--embedder: {name} raised {type(error).__name__}; --verbose shows where"
            ) from error
        try:
            return np.asarray(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"--embedder: {name} gave no array of numbers") from error

    return embed


# --- search -------------------------------------------------------------------------------------


def search(
    invocation: Invocation,
    query: Annotated[
        list[str], typer.Argument(metavar="QUERY", help="Any words at all, quoted or not.")
    ],
    limit: Annotated[int, typer.Option(min=1, help="How many hits.")] = 10,
    path: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="Only files whose path begins so.")
    ] = None,
    embedder: EmbedderOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
) -> None:
    """Search the indexed files by words; with an embedder, by meaning as well."""
    text = " ".join(query)
    embed = None if embedder is None else load_embedder(embedder)
    with invocation.open(create=False) as store:
        require_schema(store)
        found = MemoryManager(store, embed, namespace=namespace).search(
            text, limit, path=path, marks=MARKS
        )
        document = {"database": location(store), "query": text, **_as_answer(found)}
    invocation.answer(document, *_search_lines(found))


def _as_answer(found: SearchResult[Chunk]) -> dict[str, Any]:
    return {
        "method": found.method,
        "indexes": list(found.indexes),
        "notes": list(found.notes),
        "hits": [_as_hit(hit) for hit in found],
    }


def _as_hit(hit: SearchHit[Chunk]) -> dict[str, Any]:
    chunk = hit.row
    return {
        "id": hit.id,
        "score": hit.score,
        "distance": hit.distance,
        "relevance": hit.relevance,
        "path": chunk.path,
        "start_line": chunk.start_line,
        "end_line": chunk.end_line,
        "content": chunk.content,
        "metadata": dict(chunk.metadata),
    }


def _search_lines(found: SearchResult[Chunk]) -> Iterator[RenderableType]:
    for rank, hit in enumerate(found, start=1):
        chunk = hit.row
        yield styled(
            (f"{rank:>2}  {_score(hit.score)}  ", "dim"),
            (f"{chunk.path}:{chunk.start_line}-{chunk.end_line}", "bold cyan"),
        )
        yield _marked(hit.snippet or "")
    hits = f"{len(found)} {'hit' if len(found) == 1 else 'hits'}" if found else "no hits"
    how = f" ({found.method}, {', '.join(found.indexes)})" if found.indexes else ""
    yield styled((hits + how, "dim"))
    yield from (styled(("note: ", "yellow"), (note, "")) for note in found.notes)


def _score(score: float) -> str:
    # In a few texts every word is common, and BM25 gives next to nothing for it.
    return f"{score:.3f}" if score >= 0.0005 else "<.001"


def _marked(snippet: str) -> Text:
    text, shown = Text("    "), False
    for part in re.split("[" + "".join(MARKS) + "]", snippet):
        text.append(plain(part), style="bold yellow" if shown else "")
        shown = not shown
    return text
