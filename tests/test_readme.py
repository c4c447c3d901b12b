"""README.md and the pages beside it say what is true: their commands and Python blocks are run.

A block marked `no-run` behind its language is left out; on a page the mark cannot be seen.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PAGES = ("README.md", "CONTRIBUTING.md", "docs/graph.md")
LANGUAGES = ("bash", "python")
#: The SQLite files of the examples; on a server, the URL of a database there is put in their place.
FILE = re.compile(r"sqlite:///\w+\.db")
FENCE = re.compile(r"^```(?P<info>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
#: What cannot be run here: it takes minutes, makes environments, is a part of a host's file, or needs a second server.
NOT_RUN = (
    "make ",
    ". .venv/bin/activate",
    "pip install ",
    "from datastore import operations",
    "datastore copy ",
)


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    info: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield Block(page, line, match["info"], match["text"])


def runnable(language: str) -> list[Block]:
    return [block for block in blocks() if block.info == language]


@pytest.fixture
def surroundings(tmp_path: Path, database_url: str) -> dict[str, str]:
    """What a reader has: the source tree, a folder of documents, a database named in a variable."""
    folder = tmp_path / "checkout"
    for name in ("migrations", "alembic.ini", "docs"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        folder.mkdir(exist_ok=True)
        copy(source, folder / name)
    return {
        **os.environ,
        "HOME": str(folder),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "PWD": str(folder),
    }


def on_the_database(text: str, surroundings: dict[str, str]) -> str:
    """Return a block as a reader changes it who has a server."""
    url = surroundings["DATABASE_URL"]
    return text if url.startswith("sqlite") else FILE.sub(url, text)


def run(command: list[str], surroundings: dict[str, str]) -> str:
    process = subprocess.run(
        command,
        cwd=surroundings["PWD"],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.parametrize("block", runnable("python"), ids=lambda block: block.id)
def test_python_blocks_run_as_they_stand_and_again(
    block: Block, surroundings: dict[str, str]
) -> None:
    twice = "import sys\nfor _ in range(2):\n    exec(sys.argv[1], {'__name__': '__main__'})"
    text = on_the_database(block.text, surroundings)
    shown = run([sys.executable, "-W", "error", "-c", twice, text], surroundings)
    assert len(shown.splitlines()) > 1, "an example shows something"


@pytest.mark.parametrize("block", runnable("bash"), ids=lambda block: block.id)
def test_commands_run_as_they_stand(block: Block, surroundings: dict[str, str]) -> None:
    if not (BIN / "datastore").exists():
        pytest.skip("the command `datastore` is not installed")
    text = on_the_database(block.text, surroundings)
    run(["bash", "-euo", "pipefail", "-c", text], surroundings)


def test_every_block_is_run_or_says_that_it_is_not() -> None:
    known = {info for language in LANGUAGES for info in (language, f"{language} no-run")}
    unknown = [block.id for block in blocks() if block.info not in known | {""}]
    assert not unknown
    assert runnable("python")
    assert runnable("bash")


def test_a_block_without_language_holds_no_command() -> None:
    words = {"datastore", "alembic", "make", "pip", "python"}
    for block in blocks():
        if not block.info:
            assert not {line.split(" ", 1)[0] for line in block.text.splitlines()} & words, block.id


def test_what_is_not_run_cannot_be() -> None:
    skipped = [block for block in blocks() if block.info.endswith(" no-run")]
    assert skipped
    for block in skipped:
        assert block.text.startswith(NOT_RUN), block.id


def test_no_python_block_uses_the_database_of_the_reader() -> None:
    for block in runnable("python"):
        assert "Datastore.open()" not in block.text, block.id


def test_the_readme_opens_with_two_commands() -> None:
    first = next(blocks())
    commands = [line.split("  ")[0].strip() for line in first.text.splitlines()]
    assert commands == ["make demo", "make test"]


def test_the_library_is_shown_in_about_twenty_lines() -> None:
    first = runnable("python")[0]
    assert len([line for line in first.text.splitlines() if line.strip()]) <= 20
