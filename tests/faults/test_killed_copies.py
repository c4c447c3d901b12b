"""Copies that are killed: nothing half, nothing twice, and what goes on comes to the same end."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from datastore import Datastore
from datastore.errors import DiskFullError
from datastore.transfer import LoadOptions, Progress, copy, verify
from tests.moving import MakeURL, both, contents

FilledURL = Callable[[str], str]
DIRECTIONS = [("sqlite", "postgresql"), ("postgresql", "sqlite")]
#: Kills of resumed copies, over both directions.
KILLS = 20


#: Makes processes from one that has the modules loaded, which takes a second each time otherwise.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["datastore.transfer", "repositories.tables", "psycopg", "alembic"]
)


class Copying:
    """A process that copies, and says how far it has come."""

    def __init__(self, source: str, target: str, **options: Any) -> None:
        self._said, says = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=work, args=(source, target, options, says))
        self._process.start()
        says.close()

    def kill_at(self, wanted: Callable[[str, int], bool], pause: float = 0.0) -> str:
        """Kill it a moment after it says something; return the step that it was at last."""
        step = ""
        with suppress(EOFError):
            while True:
                step, rows = self._said.recv()
                if wanted(step, rows):
                    time.sleep(pause)
                    break
        self._process.kill()
        self._process.join()
        self._said.close()
        assert self._process.exitcode in (-signal.SIGKILL, 0)
        self._process.close()
        return step


def work(source: str, target: str, options: dict[str, Any], says: Any) -> None:
    def tell(progress: Progress) -> None:
        says.send((progress.step, progress.rows))

    with both(source, target) as (one, other):
        copy(one, other, LoadOptions(progress=tell, **options))


def rows(store: Datastore) -> int:
    """Count all rows; those of a load in steps itself too."""
    with store.engine.connect() as connection:
        tables = [name for name in store.schema().tables if not name.startswith("datastore_v")]
        return sum(
            connection.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one()
            for name in tables
        )


@pytest.mark.parametrize(("origin", "destination"), DIRECTIONS)
def test_a_copy_that_is_killed_again_and_again_comes_to_the_same_end(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    chance = random.Random(f"{origin} {destination}")
    source, target = filled_url(origin), make_url(destination)
    at = sorted(chance.sample(range(1, 120), KILLS // 2))
    steps = []
    for goal in at:
        copying = Copying(source, target, resume=True, batch_rows=2)
        pause = chance.choice([0, 0, 0.002, 0.01])
        steps.append(copying.kill_at(lambda step, rows, goal=goal: rows >= goal, pause))
    assert "load" in steps
    with both(source, target) as (one, other):
        assert rows(other) > 0
        report = copy(one, other, LoadOptions(resume=True))
        assert report.is_complete
        assert report.rows == sum(table.read for table in report.tables)
        assert "datastore_transfer" not in other.schema().tables
        assert verify(one, other).is_same
        assert contents(other) == contents(one)


@pytest.mark.parametrize(("origin", "destination"), DIRECTIONS)
@pytest.mark.parametrize("step", ["load", "verify"])
def test_a_killed_copy_leaves_a_fresh_database_empty(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str, step: str
) -> None:
    source, target = filled_url(origin), make_url(destination)
    assert Copying(source, target, batch_rows=20).kill_at(lambda at, _: at == step, 0.001) == step
    with both(source, target) as (one, other):
        wait_for_the_server(other)
        assert other.schema().tables == {}
        assert copy(one, other).is_complete


@pytest.mark.parametrize(("origin", "destination"), DIRECTIONS)
def test_a_killed_copy_leaves_the_rows_that_it_was_to_replace(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str
) -> None:
    source, target = filled_url(origin), make_url(destination)
    with both(source, target) as (one, other):
        copy(one, other)
        other.execute("UPDATE chunks SET content = 'before'")
        before = contents(other)
    for step in ("load", "verify"):
        copying = Copying(source, target, existing="truncate", batch_rows=20)
        assert copying.kill_at(lambda at, _, step=step: at == step) == step
        with Datastore.open(target) as other:
            wait_for_the_server(other)
            assert contents(other) == before
            assert len(other.full_text_search("chunks", "content", "before", limit=50)) == 41


def wait_for_the_server(store: Datastore) -> None:
    """Let a server notice that its client is gone."""
    if store.dialect == "sqlite":
        return
    others = (
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name = 'datastore' AND state <> 'idle'"
    )
    until = time.monotonic() + 10
    while store.query(others)[0]["n"] and time.monotonic() < until:
        time.sleep(0.02)


@pytest.mark.parametrize("resume", [False, True])
def test_ctrl_c_ends_a_copy_with_130(filled_file: Path, tmp_path: Path, resume: bool) -> None:
    target = tmp_path / "made.db"
    arguments = [f"sqlite:///{filled_file}", f"sqlite:///{target}", *(["--resume"] * resume)]
    command = [sys.executable, "-c", INTERRUPTED, "copy", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
    left = "what was committed stays" if resume else "the target is as it was"
    assert f"interrupted; {left}" in ended.stderr
    assert target.exists() is resume  # what is committed stays
    if resume:
        with both(f"sqlite:///{filled_file}", f"sqlite:///{target}") as (one, other):
            assert copy(one, other, LoadOptions(resume=True)).is_complete


#: The command line with a Ctrl-C at the second table.
INTERRUPTED = """
import os, signal, sys
from datastore.transfer.progress import Meter
step = Meter.step
def interrupting(self, name, table=None):
    step(self, name, table)
    if self.rows > 45:
        os.kill(os.getpid(), signal.SIGINT)
Meter.step = interrupting
from datastore.cli import main
sys.exit(main())
"""


def test_sigterm_ends_a_copy_as_ctrl_c_does(filled_file: Path, tmp_path: Path) -> None:
    script = INTERRUPTED.replace("SIGINT", "SIGTERM")
    there = [f"sqlite:///{filled_file}", f"sqlite:///{tmp_path / 'made.db'}"]
    command = [sys.executable, "-c", script, "copy", *there]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.glob("made.db*")) == []


def test_a_full_disk_leaves_the_target_as_it_was(filled_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "big.db"
    shutil.copyfile(filled_file, source)
    with both(f"sqlite:///{source}", f"sqlite:///{tmp_path / 'target.db'}") as (one, other):
        one.execute("UPDATE chunks SET content = content || :more", {"more": "x" * 50_000})
        other.migrate()
        pages = other.query("PRAGMA page_count")[0]["page_count"]

        @sa.event.listens_for(other.engine, "checkout")
        def limit(connection: Any, *_: Any) -> None:
            connection.execute(f"PRAGMA max_page_count={pages + 100}")

        with pytest.raises(DiskFullError):
            copy(one, other)
        assert rows(other) == 0
        sa.event.remove(other.engine, "checkout", limit)
        other.engine.dispose()
        assert copy(one, other).is_complete
