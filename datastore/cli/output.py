"""What the command line says: to people on a terminal or in a pipe, to programs as JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

#: Off a terminal nothing is wrapped: who reads there is a program, or a pager that wraps by itself.
UNWRAPPED = 10_000

# Control characters would act on the terminal, and so would those that turn the direction of text.
_ACTING = (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HARMLESS = {code: "\ufffd" for code in _ACTING if chr(code) not in "\n\t"}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave the closed pipe to `main`, which ends quietly."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console with colour on a terminal alone, that takes every text as it is."""
    made = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = UNWRAPPED
    return made


def plain(text: str) -> str:
    """Return `text` without what a terminal would obey instead of show."""
    return text.translate(_HARMLESS)


def styled(*parts: tuple[str, str]) -> Text:
    """Return pairs of text and style as one text, made harmless."""
    return Text.assemble(*((plain(text), style) for text, style in parts))


def grid(rows: Iterable[tuple[str | Text, ...]]) -> Table:
    """Return rows in columns of even width, without lines."""
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*(Text(plain(cell)) if isinstance(cell, str) else cell for cell in row))
    return table


def write_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document, readable in whatever encoding standard output has."""
    _send(json.dumps(document, indent=2, default=str) + "\n")


def write(*lines: RenderableType) -> None:
    """Write lines for people to standard output."""
    out = console()
    for line in lines:
        shown = Text(plain(line)) if isinstance(line, str) else line
        if out.is_terminal:
            out.print(shown)
        else:
            _write_unpadded(out, shown)


def _write_unpadded(out: Console, shown: RenderableType) -> None:
    """Write without the blanks that fill the last column of a table."""
    with out.capture() as captured:
        out.print(shown)
    lines = captured.get().splitlines(keepends=True)
    _send("".join(line.rstrip(" \n") + "\n" for line in lines))


def _send(text: str) -> None:
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise BrokenPipeError from None  # one with a number would end typer with 1


def write_error(error_class: str, message: str, *, as_json: bool, usage: str = "") -> None:
    """Write one error: a JSON document to standard output, or a line to standard error."""
    if as_json:
        write_json({"error": {"class": error_class, "message": message}})
        return
    err = console(stderr=True)
    if usage:
        err.print(plain(usage), soft_wrap=True)
    # Off a terminal an error is one line; on one, a list stays a list.
    text = message if err.is_terminal else " ".join(map(str.strip, message.splitlines()))
    err.print(styled(("error: ", "bold red"), (text, "")), soft_wrap=True)


def accept_any_text() -> None:
    """Let the standard streams write what their encoding lacks as an escape, and never fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
