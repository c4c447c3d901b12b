"""`datastore index`, `search` and `forget`: files in, answers out, on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import RenderableType
from rich.text import Text

from datastore import Datastore, SearchHit, SearchResult
from datastore.cli import (
    Invocation,
    command,
    location,
    plain,
    prepare_schema,
    require_schema,
    styled,
)
from datastore.errors import ConnectionFailedError, NotFoundError
from repositories.base import DEFAULT_NAMESPACE
from repositories.embedding_commands import EMBEDDER, embedder_of, progress_bar, reembed
from repositories.files import SUFFIXES, normalized, shown
from repositories.graph_command import graph
from repositories.indexing import FileReport, IndexReport
from repositories.mcp_server import build_server, output_elsewhere, serve
from repositories.memory import MemoryManager
from repositories.records import Chunk
from repositories.tools import tools

#: Marks of matched words, from the range that no text uses: they are turned into colour.
MARKS = ("\ue000", "\ue001")

EmbedderOption: TypeAlias = Annotated[str | None, EMBEDDER]
NamespaceOption: TypeAlias = Annotated[
    str, typer.Option("--namespace", metavar="NAME", help="Whose memory it is.")
]


def register(app: typer.Typer) -> None:
    """Add the commands; called by the entry point group `datastore.commands`."""
    command(app, index)
    command(app, search)
    command(app, graph)
    command(app, forget)
    command(app, reembed)
    command(app, mcp)


# --- index --------------------------------------------------------------------------------------


def index(
    invocation: Invocation,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files and folders.")],
    embedder: EmbedderOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
) -> None:
    """Index text and Markdown files, so that they can be searched.

    Files that have not changed are left alone, and those that have gone are removed.
    """
    embed = embedder_of(invocation, embedder)
    with _open(invocation, paths) as store:
        if made := prepare_schema(store):
            invocation.notice("schema: created, since the database was empty")
        memory = MemoryManager(store, embed, namespace=namespace)
        files = {path: memory.files(path) for path in paths}
        report = _index(invocation, memory, files)
        missing = 0 if embed else _without_vector(memory)
        document = {
            "database": location(store),
            "schema_created": made,
            **_as_document(report),
            "without_vector": missing,
        }
        hints = [*_nothing_found(files, report), *_vectors_missing(missing)]
    if invocation.verbose is not False or invocation.json:
        invocation.answer(document, *_index_lines(report), *_notes(hints))
    if report.notes:  # what was asked for was done in part
        raise typer.Exit(1)


def _open(invocation: Invocation, paths: Sequence[str]) -> Datastore:
    # A path that has gone may be known to a store; it is no reason to make a new one.
    missing = [path for path in map(normalized, paths) if not path.exists()]
    try:
        return invocation.open(create=not missing)
    except ConnectionFailedError:
        if not missing:
            raise
        raise NotFoundError(f"there is no file or folder '{shown(missing[0])}'") from None


def _without_vector(memory: MemoryManager) -> int:
    """Count the chunks that a search by meaning misses, in a store that has vectors."""
    stats = memory.stats()
    return 0 if stats.space is None else stats.chunks - stats.embedded


def _vectors_missing(count: int) -> Iterator[str]:
    if count:
        what = "1 chunk has" if count == 1 else f"{count:,} chunks have"
        remedy = "index with --embedder, or run `datastore reembed`"
        yield f"{what} no vector, and a search by meaning misses what has none: {remedy}"


def _nothing_found(files: Mapping[str, Sequence[Path]], report: IndexReport) -> Iterator[str]:
    """Name the folders that hold nothing to index."""
    told = {file.path for file in report.files}
    for path, found in files.items():
        folder = normalized(path)
        if not found and folder.is_dir() and shown(folder) not in told:
            yield f"there is no {', '.join(sorted(SUFFIXES))} file in '{shown(folder)}'"


def _index(
    invocation: Invocation, memory: MemoryManager, files: Mapping[str, Sequence[Path]]
) -> IndexReport:
    with progress_bar(invocation) as progress:
        total = len({file for found in files.values() for file in found})
        task = progress.add_task("indexing", total=total)

        def advance(report: FileReport) -> None:
            if report.outcome != "removed":  # which was no file to look at
                progress.update(task, advance=1, description=plain(Path(report.path).name))

        reports = [memory.index(path, progress=advance) for path in files]
    first: dict[str, FileReport] = {}  # a file may be named, and stand in a folder that is
    for file in (file for report in reports for file in report.files):
        first.setdefault(file.path, file)
    notes = dict.fromkeys(note for report in reports for note in report.notes)
    return IndexReport(tuple(first.values()), tuple(notes))


def _as_document(report: IndexReport) -> dict[str, Any]:
    return {
        **{str(outcome): count for outcome, count in report.counts.items()},
        "chunks": report.chunks,
        "notes": list(report.notes),
        "files": [asdict(file) for file in report.files],
    }


def _index_lines(report: IndexReport) -> Iterator[RenderableType]:
    for file in report.files:
        if file.outcome == "skipped":
            yield styled(("skipped ", "yellow"), (f"{file.path}: {file.reason}", ""))
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items())
    yield styled(("indexed: ", "green"), (f"{counts}; {_number(report.chunks, 'chunk')}", ""))
    yield from _notes(report.notes)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _notes(notes: Iterable[str]) -> Iterator[RenderableType]:
    return (styled(("note: ", "yellow"), (note, "")) for note in notes)


# --- forget -------------------------------------------------------------------------------------


def forget(
    invocation: Invocation,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, or all below a folder.")],
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
) -> None:
    """Remove a file, or all below a folder, from the memory; the files themselves stay."""
    with invocation.open(create=False) as store:
        require_schema(store)
        report = MemoryManager(store, namespace=namespace).forget(path)
        paths = [file.path for file in report.files]
        document = {"database": location(store), "chunks": report.chunks, "forgotten": paths}
    told = f"{_number(len(paths), 'file')}, {_number(report.chunks, 'chunk')}"
    invocation.answer(document, styled(("forgotten: ", "green"), (told, "")))


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
    graph: Annotated[
        bool, typer.Option("--graph", help="Follow the knowledge graph to more chunks.")
    ] = False,
    embedder: EmbedderOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
) -> None:
    """Search the indexed files by words; with an embedder, by meaning as well."""
    text = " ".join(query)
    embed = embedder_of(invocation, embedder)
    with invocation.open(create=False) as store:
        require_schema(store)
        memory = MemoryManager(store, embed, namespace=namespace)
        found = memory.search(text, limit, use_graph=graph, path=path, marks=MARKS)
        document = {"database": location(store), "query": text, **_as_answer(found)}
        why = () if found else _why_nothing(memory, text, path)
        lines = (*_search_lines(found, graph), *_summary(found, invocation), *_notes(why))
    invocation.answer(document, *lines)


def _why_nothing(memory: MemoryManager, query: str, path: str | None) -> Iterator[str]:
    """Say why a search could find nothing, where that is plain."""
    if not query.strip():
        yield "the query is empty"
    elif not memory.holds_path(""):
        yield f"the namespace {memory.namespace!r} is empty: `datastore index` fills it"
    elif path is not None and not memory.holds_path(path):
        yield f"no path in the memory begins with {path!r}"


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
        "reasons": list(hit.reasons),
        "path": chunk.path,
        "start_line": chunk.start_line,
        "end_line": chunk.end_line,
        "content": chunk.content,
        "metadata": dict(chunk.metadata),
    }


def _search_lines(found: SearchResult[Chunk], graph: bool) -> Iterator[RenderableType]:
    for rank, hit in enumerate(found, start=1):
        chunk = hit.row
        yield styled(
            (f"{rank:>2}  {_score(hit.score)}  ", "dim"),
            (f"{chunk.path}:{chunk.start_line}-{chunk.end_line}", "bold cyan"),
            (f"  {' + '.join(hit.reasons)}" if found.indexes[1:] or graph else "", "dim"),
        )
        yield _marked(hit.snippet or "")


def _summary(found: SearchResult[Chunk], invocation: Invocation) -> Iterator[RenderableType]:
    hits = _number(len(found), "hit") if found else "no hits"
    how = f" ({found.method}, {', '.join(found.indexes)})"
    yield styled((hits + (how if found.indexes and invocation.verbose else ""), "dim"))
    yield from _notes(found.notes)


def _score(score: float) -> str:
    # In a few texts every word is common, and BM25 gives next to nothing for it.
    return f"{score:.3f}" if score >= 0.0005 else "<.001"


def _marked(snippet: str) -> Text:
    text, shown = Text("    "), False
    for part in re.split("[" + "".join(MARKS) + "]", snippet):
        text.append(plain(part), style="bold yellow" if shown else "")
        shown = not shown
    return text


# --- mcp ----------------------------------------------------------------------------------------


def mcp(
    invocation: Invocation,
    embedder: EmbedderOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
) -> None:
    """Serve search and graph to agents, by the Model Context Protocol on standard streams.

    Nothing is written to the database.
    """
    with output_elsewhere():
        embed = embedder_of(invocation, embedder)
    with Datastore.open(invocation.settings(), create=False) as store:  # silent: stdout is taken
        require_schema(store)
        serve(build_server(tools(store, embed, namespace=namespace)))
