"""What the command line says to somebody who mistyped, forgot or broke off something."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datastore import Datastore
from datastore.cli import main
from datastore.cli.migrations import doomed_tables
from datastore.cli.output import write_error
from datastore.errors import BackendNotFoundError

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        return code, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASTORE_CONFIG", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return run


@pytest.fixture
def here(tmp_path: Path) -> str:
    """A SQLite database with our tables and nothing in them."""
    url = f"sqlite:///{tmp_path / 'here.db'}"
    with Datastore.open(url) as store:
        store.migrate()
    return url


# --- which database is meant --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgress://h/d", "did you mean postgresql?"),
        ("potsgresql://h/d", "did you mean postgresql?"),
        ("http://x/y", "found postgresql, sqlite"),
        ("redis://x", "found postgresql, sqlite"),
    ],
)
def test_a_scheme_that_nobody_knows(run: Run, here: str, url: str, meant: str) -> None:
    scheme = url.partition(":")[0]
    for command in (["info", "--url", url], ["copy", here, url], ["verify", here, url]):
        code, out, _ = run(*command, "--json")
        error = json.loads(out)["error"]
        assert (code, error["class"]) == (1, "BackendNotFoundError")
        assert f"{scheme!r}" in error["message"]
        assert meant in error["message"]
    with pytest.raises(BackendNotFoundError):
        Datastore.open(url)


def test_a_path_is_no_url(run: Run, here: str) -> None:
    code, _, err = run("--url", "notes.db", "info")
    assert (code, "--url: " in err, "sqlite:///notes.db" in err) == (1, True, True)
    assert "SOURCE_URL: " in run("copy", "small.db", here)[2]
    assert "TARGET_URL: " in run("copy", here, "new.db")[2]
    assert "the second URL: " in run("verify", here, "new.db")[2]
    assert "5ecret" not in run("--url", "user:5ecret@host", "info")[2]


def test_a_folder_is_no_database(run: Run, tmp_path: Path) -> None:
    assert "is a folder" in run("--url", f"sqlite:///{tmp_path}", "info")[2]


def test_a_missing_file_names_the_remedy_of_its_command(run: Run, here: str) -> None:
    for command in ("info", "search x", "doctor"):
        _, out, err = run("--url", "sqlite:///none.db", *command.split())
        assert "`datastore index FOLDER` or `datastore upgrade` makes one" in out + err
        assert "CREATE DATABASE" not in out + err
    assert "datastore index" not in run("copy", "sqlite:///none.db", here)[2]


def test_an_option_that_the_server_does_not_know(run: Run) -> None:
    code, _, err = run("--url", "postgresql://127.0.0.1:1/d?sslmod=5ecret", "info")
    assert (code, "unknown option sslmod" in err, "5ecret" in err) == (1, True, False)


# --- what was asked for -------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["-q -v info", "info -q -v", "-q info -v"])
def test_quiet_and_verbose_exclude_each_other(run: Run, given: str) -> None:
    code, _, err = run(*given.split())
    assert (code, "exclude each other" in err) == (2, True)


def test_standard_output_is_the_answer_alone(run: Run, here: str) -> None:
    _, out, err = run("--url", here, "search", "x")
    assert out.startswith("no hits")
    assert err.startswith("database: ")


def test_lines_end_where_their_text_ends(run: Run, here: str) -> None:
    for command in ("info", "doctor"):
        lines = run("--url", here, command)[1].splitlines()
        assert [line for line in lines if line != line.rstrip()] == []


def test_verify_says_on_which_side_a_table_is_missing(run: Run, here: str) -> None:
    with Datastore.open(here) as store:
        store.execute("CREATE TABLE more AS SELECT 1 AS a")
    Datastore.open("sqlite:///bare.db").close()
    _, out, _ = run("verify", "--reflect", here, "sqlite:///bare.db")
    assert "table more: not there in the second, and not empty in the first" in out
    _, out, _ = run("verify", "--reflect", "sqlite:///bare.db", here)
    assert "table more: not there in the first, and not empty in the second" in out
    assert not out.startswith("\n")


def test_rows_that_stand_in_the_way_name_the_options(run: Run, here: str) -> None:
    with Datastore.open(here) as store:
        store.execute("CREATE TABLE more AS SELECT 1 AS a")
    assert run("copy", "--reflect", here, "sqlite:///there.db")[0] == 0
    _, _, err = run("copy", "--reflect", here, "sqlite:///there.db")
    assert "--upsert" in err
    assert "--truncate" in err


def test_an_unknown_revision_names_those_that_are_known(run: Run, here: str) -> None:
    for command in (["upgrade", "0099"], ["downgrade", "0099", "--yes"]):
        _, _, err = run("--url", here, *command)
        assert "there is no revision 0099: found 0001, 0002" in err


def test_info_counts_the_tables_of_others(run: Run) -> None:
    with Datastore.open("sqlite:///others.db") as store:
        store.execute("CREATE TABLE one (a INTEGER)")
        store.execute("CREATE TABLE two (a INTEGER)")
    assert "none of datastore; 2 others" in run("--url", "sqlite:///others.db", "info")[1]
    assert "sqlite:///:memory:" in run("--url", "sqlite:///:memory:", "info")[1]


def test_an_ending_of_another_compression_is_refused(run: Run, here: str) -> None:
    code, _, err = run("--url", here, "export", "rows.XZ")
    assert (code, "expected .gz, .zst" in err, Path("rows.XZ").exists()) == (1, True, False)
    assert run("--url", here, "export", "rows.xz", "--compress", "none")[0] == 0


def test_a_downgrade_names_the_tables_that_go(here: str) -> None:
    with Datastore.open(here) as store:
        assert doomed_tables(store, "0004") == ["embedding_cache"]
        assert {"chunks", "kg_entities"} <= set(doomed_tables(store, "base"))
        store.execute("DROP TABLE embedding_cache")
        assert doomed_tables(store, "0004") == []


def test_the_help_shows_no_type_of_a_flag(run: Run) -> None:
    for command in ([], ["copy"]):
        out = run(*command, "--help")[1]
        assert "--json" in out
        assert "bool" not in out


def test_a_list_in_an_error_stays_one_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_error("TransferError", "two:\n  one\n  two", as_json=False)
    assert capsys.readouterr().err == "error: two: one two\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    write_error("TransferError", "two:\n  one\n  two", as_json=False)
    assert ":\n  one\n  two\n" in capsys.readouterr().err


# --- Ctrl-C -------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_server_for_agents(here: str) -> None:
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "datastore.cli", "--url", here, "mcp"],
        stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        os.close(inner)
        errors: Any = process.stderr
        assert errors.readline() == "waiting for an MCP client on standard input; Ctrl-C ends\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert errors.read() == ""
    os.close(outer)


def test_ctrl_c_before_the_program_has_begun(tmp_path: Path) -> None:
    (tmp_path / "datastore").mkdir()
    (tmp_path / "datastore" / "__init__.py").write_text("raise KeyboardInterrupt")
    shutil.copy(ROOT / "datastore_command.py", tmp_path)
    command = [sys.executable, str(tmp_path / "datastore_command.py")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
