"""The worst of texts through `datastore search`: an answer, and never a traceback."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from hostile_text import LONG

from datastore import Datastore
from datastore.cli import main, program
from repositories import Chunk, ChunkRepository

ROOT = Path(__file__).parents[2]
WORST = [
    "", " ", '"', "'", "\\", "%", "%s %(name)s", ":name", "$1", "?", ";", "--", "--help", "-x", "--limit",
    "'; DROP TABLE chunks; --", "' OR '1'='1", 'apple" OR "', "NEAR(apple, 2)", "apple AND", "NOT", "^apple",
    "body: apple", "{body}: apple", "apple & | !", "<->", "apple:*", "((((", "))))", "*", "* *", "-" * 3_000,
    "- " * 500, '"' * 999, '{"a": [null, "\\u0000"]}', "[bold]apple[/bold]", "[/]", "\x1b[2J", "\r\n\t\v\f",
    "a\x00b", "\x00", "\ud800", "\udc80\udcff", "\ufeff\uffff\ufffe", "\u202eapple\u2066", "e\u0301\u0301\u0301",
    "👩‍👩‍👧‍👦🏳️‍🌈", "日本語 ภาษาไทย हिन्दी", "한", "İıſßς", "ﬁ Ⅷ x²½", "\u0378\ue000\U0010ffff", "+" * 40 + "apple",
    *(text * 500 for text in LONG[:6]),
]  # fmt: skip
#: Where the bytes of arguments and output matter; the rest is the same within this process.
AS_PROCESS = ["\udc80\udcff apple", "\x1b[2J日本語 🤖"]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands of the source tree, a folder of their own, and log levels that are put back."""
    found = entry_points(group="datastore.commands") or [
        EntryPoint("repositories", "repositories.commands:register", "datastore.commands")
    ]
    monkeypatch.setattr(program, "entry_points", lambda **_: found)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    levels = {name: logging.getLogger(name).level for name in ("datastore", "alembic")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def url(migrated_url: str) -> str:
    with Datastore.open(migrated_url) as store:
        ChunkRepository(store).add(
            Chunk("1", "a.md", 1, 1, "an apple, 日本語, \x1b[2J [bold] \ue000")
        )
    return migrated_url


def test_the_worst_texts_are_answered(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for text in WORST[::2]:
        assert main(["search", "--url", url, "--", text]) == 0, repr(text)
        shown = capsys.readouterr()
        assert "hit" in shown.out, repr(text)
        assert "Traceback" not in shown.err, repr(text)
        assert "\x1b" not in shown.out, repr(text)


def test_the_worst_texts_are_answered_as_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for text in WORST[1::2]:
        assert main(["search", "--json", "--url", url, "--", text]) == 0, repr(text)
        assert json.loads(capsys.readouterr().out)["query"] == text


@pytest.mark.parametrize("text", AS_PROCESS)
def test_a_process_answers_whatever_its_locale(url: str, text: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "datastore.cli", "search", "--quiet", "--url", url, "--", text],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"},
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"hit" in ran.stdout


def test_a_text_that_looks_like_an_option_is_refused_in_one_line(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "--url", url, "--no-such-option"]) == 2
    shown = capsys.readouterr().err
    assert "error: " in shown
    assert "Traceback" not in shown
