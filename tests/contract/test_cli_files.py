"""`datastore export` and `datastore import`: files, standard streams, reports and exit codes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from datastore import Datastore
from datastore.cli import main
from repositories import ChunkRepository
from tests.contract.exported import File, exported, fill, rows_of


@dataclass
class Ran:
    code: int
    out: bytes
    err: str


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


Run = Callable[..., Ran]


@pytest.fixture
def run(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    def run(*arguments: str, given: bytes = b"", stdin: io.TextIOWrapper | None = None) -> Ran:
        monkeypatch.setattr("sys.stdin", stdin or io.TextIOWrapper(io.BytesIO(given)))
        capsysbinary.readouterr()
        code = main(arguments)
        out, err = capsysbinary.readouterr()
        return Ran(code, out, err.decode())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASTORE_CONFIG", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return run


@pytest.fixture
def url(store: Datastore) -> str:
    """The URL of a database with a few rows."""
    fill(store)
    return store.engine.url.render_as_string(hide_password=False)


def test_standard_output_is_the_file_and_nothing_else(run: Run, url: str, store: Datastore) -> None:
    ran = run("--url", url, "export")
    assert ran.code == 0
    assert rows_of(ran.out) == rows_of(exported(store))
    assert "14 rows written" in ran.err


def test_standard_input_is_imported(run: Run, url: str, store: Datastore) -> None:
    data = exported(store)
    ran = run("--url", url, "import", "--truncate", given=data)
    assert (ran.code, "all values are the same" in ran.out.decode()) == (0, True)
    assert rows_of(exported(store)) == rows_of(data)


def test_a_shell_may_redirect_both(url: str, store: Datastore, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "datastore.cli", "--url"]
    with (tmp_path / "backup.jsonl").open("wb") as backup:
        subprocess.run([*program, url, "export"], stdout=backup, check=True, cwd=tmp_path)
    with (tmp_path / "backup.jsonl").open("rb") as backup:
        target = [*program, "sqlite:///new.db", "import"]
        subprocess.run(target, stdin=backup, check=True, cwd=tmp_path)
    with Datastore.open(f"sqlite:///{tmp_path / 'new.db'}") as new:
        assert rows_of(exported(new)) == rows_of(exported(store))


def test_the_report_of_an_export_is_json_where_that_is_asked_for(run: Run, url: str) -> None:
    to_file = json.loads(run("--url", url, "export", "backup.jsonl", "--json").out)
    to_stream = json.loads(run("--url", url, "export", "--json").err.splitlines()[-1])
    assert to_file["rows"] == to_stream["rows"] == 14
    assert to_file["tables"] == to_stream["tables"]
    assert (to_file["target"], to_stream["target"]) == ("backup.jsonl", "standard output")


def test_options_of_an_export(run: Run, url: str) -> None:
    ran = run("--url", url, "export", "--embedding", "array", "--compress", "none", "rows.gz")
    assert ran.code == 0
    assert b"[1.0,0.5,-0.1,3e-45]" in Path("rows.gz").read_bytes()


def test_lines_longer_than_allowed_are_refused(run: Run, url: str, store: Datastore) -> None:
    store.execute("UPDATE chunks SET content = :text", {"text": "x" * 2**20})
    run("--url", url, "export", "long.jsonl")
    ran = run("--url", url, "import", "--truncate", "--max-line", "1", "long.jsonl")
    assert (ran.code, "line 2" in ran.err) == (1, True)
    assert run("--url", url, "import", "--truncate", "long.jsonl").code == 0


def test_a_damaged_file_makes_no_database(run: Run, url: str) -> None:
    data = run("--url", url, "export").out
    ran = run("--url", "sqlite:///new.db", "import", given=data[:-100])
    assert (ran.code, "cut off" in ran.err) == (1, True)
    assert not Path("new.db").exists()


def test_a_dry_run_makes_no_database(run: Run, url: str) -> None:
    data = run("--url", url, "export").out
    ran = run("--url", "sqlite:///new.db", "import", "--dry-run", "--json", given=data)
    report = json.loads(ran.out)
    assert (ran.code, report["complete"], report["target"]) == (0, True, "a new file")
    assert not Path("new.db").exists()


def test_rows_that_were_left_out_are_an_error_and_the_rest_stays(run: Run, url: str) -> None:
    file = File.of(run("--url", url, "export").out)
    line = file.set("kg_relationships", "strength", "strong")
    ran = run("--url", "sqlite:///new.db", "import", "--on-error", "skip", given=file.data())
    assert ran.code == 1
    assert f"table kg_relationships, column strength, line {line}" in ran.out.decode()
    with Datastore.open("sqlite:///new.db") as new:
        assert ChunkRepository(new).count() == 3


def test_a_terminal_is_not_read_from(run: Run, url: str) -> None:
    ran = run("--url", url, "import", stdin=Terminal(io.BytesIO()))
    assert (ran.code, "name a file" in ran.err) == (2, True)
