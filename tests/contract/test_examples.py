"""The examples run as they are, on either engine, and again on what they left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(url: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments", [[str(ROOT / "examples/agent_memory.py")], ["-m", "examples.host_application"]]
)
def test_without_a_url_an_example_keeps_to_a_file_of_its_own(
    tmp_path: Path, arguments: list[str]
) -> None:
    subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    (made,) = tmp_path.rglob("*.db")
    assert made == tmp_path / f"{arguments[-1].split('examples')[1][1:].removesuffix('.py')}.db"


@pytest.mark.parametrize("times", [1, 2])
def test_an_agent_remembers(migrated_url: str, times: int) -> None:
    for _ in range(times):
        output = run(migrated_url, "examples/agent_memory.py")
    first, second = output.split("where is")
    assert "Green tea wants water of 80 degrees." in first.splitlines()[1]
    assert "The kettle stands on the left shelf.  (vector, graph)" in second


def test_a_host_has_its_tables_and_history_beside_ours(migrated_url: str) -> None:
    outputs = [run(migrated_url, "-m", "examples.host_application") for _ in range(2)]
    assert outputs[0] == outputs[1]
    assert "nearest note 'Tea'" in outputs[0]
    assert "chunk notes/tea" in outputs[0]
    settings = "examples/host_application/alembic.ini"
    run(migrated_url, "-m", "alembic", "-c", settings, "check")
    run(migrated_url, "-m", "alembic", "check")
