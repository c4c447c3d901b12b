"""The main job on an SQLite file, command by command: what `make demo` runs.

Everything happens in `.demo/`, which is made anew each time.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".demo"
DATABASE = "demo.db"
SETTINGS = ("DATASTORE_", "DATABASE_URL", "PG_", "SQLITE_")

NOTES = {
    "write-ahead-log.md": """\
# The write-ahead log

Readers and one writer work at the same time: a writer appends to the log, and readers keep seeing
the pages as they were when their transaction began.

## Checkpoints

A checkpoint copies pages from the log back into the database file. It can only reach as far as the
oldest reader, so a transaction that is left open lets the log grow.
""",
    "backups.md": """\
# Backups

Copying the file of a database that is in use gives a broken copy. A backup through the database
itself reads one consistent snapshot, page by page.
""",
    "ranking.md": """\
# Ranking

BM25 ranks a text by how often the words of the query stand in it, how rare they are elsewhere, and
how long the text is. Rankings by words and by vectors are fused by reciprocal rank.
""",
}

COMMANDS = (
    "upgrade",
    "index notes",
    "index notes",
    "search why does the log grow",
    "search backup of a database in use --limit 1",
    "info",
)

CLOSING = """
That was everything on one SQLite file, .demo/{database}. The second `index` left every file alone,
because none had changed. What you might try next:

  cd .demo
  ../.venv/bin/datastore --url sqlite:///{database} search rare words
  ../.venv/bin/datastore --url sqlite:///{database} doctor
  ../.venv/bin/datastore --help

The same commands work on PostgreSQL with pgvector: give its URL instead. README.md has the library.
"""


def main() -> int:
    """Run the commands; return the code of the first that fails."""
    _prepare()
    for command in COMMANDS:
        arguments = ["--url", f"sqlite:///{DATABASE}", *command.split()]
        _say(f"\n$ datastore {shlex.join(arguments)}\n")
        code = _run(arguments)
        if code:
            _say(f"\nThe demo failed: that command ended with {code}.\n")
            return code
    _say(CLOSING.format(database=DATABASE))
    return 0


def _prepare() -> None:
    notes = FOLDER / "notes"
    notes.mkdir(parents=True, exist_ok=True)
    for left_over in (*FOLDER.glob(f"{DATABASE}*"), *notes.glob("*.md")):
        left_over.unlink()
    for name, text in NOTES.items():
        (notes / name).write_text(text, encoding="utf-8")


def _run(arguments: list[str]) -> int:
    """Run the command line of this Python, without settings from outside."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(SETTINGS)}
    command = [sys.executable, "-m", "datastore.cli", *arguments]
    return subprocess.run(command, cwd=FOLDER, env=kept, check=False).returncode  # noqa: S603


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
