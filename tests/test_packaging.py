"""What an installed wheel holds: the packages, the command, and the migrations."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from datastore import migrate

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, as an installer lays it out."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_the_migrations_travel_inside_the_package(installed: Path, tmp_path: Path) -> None:
    program = (
        "import datastore\n"
        "from datastore import Datastore, migrate\n"
        "with Datastore.open('sqlite:///wheel.db') as store:\n"
        "    store.migrate()\n"
        "    print(migrate.migrations_directory())\n"
        "    print(store.schema().version)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == [str(installed / "datastore" / "_migrations"), migrate.head()]


def test_the_wheel_installs_no_package_called_migrations_or_tests(installed: Path) -> None:
    packages = {path.name for path in installed.iterdir() if not path.name.endswith("dist-info")}
    assert packages == {"datastore", "datastore_command.py", "repositories"}


def test_the_wheel_is_marked_as_typed_and_licensed(installed: Path) -> None:
    assert (installed / "datastore" / "py.typed").exists()
    assert (installed / "repositories" / "py.typed").exists()
    assert list(installed.glob("*.dist-info/licenses/LICENSE"))
