"""One POST that has ended after so many seconds, whatever the server does.

A timeout of a socket is that of one wait: a server that sends a byte now and then is waited for
without end. So the connection is shut down at the deadline, which wakes whoever waits for it.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: Bytes that are read at a time.
PIECE = 1 << 16


class OversizedError(Exception):
    """An answer of more bytes than were asked for."""


class _Deadline:
    """Shuts a connection down when it is time."""

    def __init__(self) -> None:
        self.passed = False
        self._socket: socket.socket | None = None

    def opened(self, connection: socket.socket) -> None:
        """Hear of a connection."""
        self._socket = connection
        if self.passed:
            raise TimeoutError

    def pass_(self) -> None:
        """End it."""
        self.passed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)


class _Request(urllib.request.Request):
    deadline: _Deadline


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirection an error: the key, and the texts, go nowhere else."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> None:
        """Make no second request."""


class _Watched(urllib.request.AbstractHTTPHandler):
    """Tells the deadline of a request which connection it is made by."""

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        """Open it as ever."""

        def made(host: str, **more: Any) -> http.client.HTTPConnection:
            connection: http.client.HTTPConnection = http_class(host, **more)
            connect = connection.connect

            def connect_and_tell() -> None:
                connect()
                req.deadline.opened(connection.sock)

            connection.connect = connect_and_tell  # type: ignore[method-assign]
            return connection

        return super().do_open(made, req, **options)


class _HTTP(_Watched, urllib.request.HTTPHandler):
    pass


class _HTTPS(_Watched, urllib.request.HTTPSHandler):
    pass


_open = urllib.request.build_opener(_NoRedirect, _HTTP, _HTTPS).open


def post(url: str, body: bytes, headers: Mapping[str, str], seconds: float, most: int) -> bytes:
    """Return the body of the answer.

    Raises what urllib raises, `TimeoutError` after so many seconds, `OversizedError` for more than
    `most` bytes.
    """
    request = _Request(url, body, dict(headers))
    with _ended_after(seconds) as request.deadline, _open(request, timeout=seconds) as answer:
        return _read(answer, most)


@contextmanager
def _ended_after(seconds: float) -> Iterator[_Deadline]:
    deadline = _Deadline()
    timer = threading.Timer(seconds, deadline.pass_)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
        if deadline.passed:  # what came until then may look like an answer
            raise TimeoutError
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        # What a connection that was shut down leads to has many names.
        if deadline.passed:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def _read(answer: http.client.HTTPResponse, most: int) -> bytes:
    pieces, size = [], 0
    while piece := answer.read1(PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise OversizedError
    if answer.length:  # bytes that were announced and did not come
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(pieces)
