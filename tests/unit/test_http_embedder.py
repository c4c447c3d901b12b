"""HTTPEmbedder against a real server on this machine: batches, retries, secrets, refusals."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from datastore.errors import (
    ConfigurationError,
    EmbeddingError,
    EmbeddingRefusedError,
    InvalidValueError,
)
from repositories import HTTPEmbedder, http_embedder
from repositories.embedders import embed, hurried

KEY = "sk-canary-5ecret"
TEXT = "private-canary"
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """Answers from a list first, then as the interface says; remembers all requests."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        assert path == "/v1/embeddings"
        document = json.loads(body)
        self.requests.append(document)
        self.headers.append(headers)
        if self.answers:
            return self.answers.pop(0)
        rows = [
            {"index": n, "embedding": [len(text), n, 1.5]}
            for n, text in enumerate(document["input"])
        ]
        return 200, {}, json.dumps({"data": rows[::-1]}).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, content = state.answer(self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_port}/v1"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are asked for, and not made."""
    asked: list[float] = []
    monkeypatch.setattr(http_embedder.time, "sleep", asked.append)
    return asked


def connect(server: Server, **options: Any) -> HTTPEmbedder:
    return HTTPEmbedder(server.url, "tiny", api_key=KEY, **options)


def busy(**headers: str) -> Answer:
    return 429, headers, TEXT.encode()


def test_texts_go_in_batches_and_vectors_come_in_their_order(server: Server) -> None:
    vectors = connect(server, batch=2).embed(["a", "bbb", "cc", "dddd", ""])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1, 0, 1.5], [3, 1, 1.5], [2, 0, 1.5], [4, 1, 1.5], [0, 0, 1.5]]
    assert [request["input"] for request in server.requests] == [["a", "bbb"], ["cc", "dddd"], [""]]
    assert {request["model"] for request in server.requests} == {"tiny"}
    assert "dimensions" not in server.requests[0]
    assert connect(server).embed([]).shape == (0, 0)


def test_the_key_is_sent_as_a_bearer_token_and_only_if_there_is_one(server: Server) -> None:
    connect(server).embed(["a"])
    HTTPEmbedder(server.url + "/", "tiny").embed(["a"])
    assert [headers.get("Authorization") for headers in server.headers] == [f"Bearer {KEY}", None]


def test_a_model_that_can_is_asked_for_shorter_vectors(server: Server) -> None:
    connect(server, dimensions=3, shortened=True).embed(["a"])
    assert server.requests[0]["dimensions"] == 3


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_trouble_is_tried_again_with_growing_pauses(
    server: Server, pauses: list[float], status: int
) -> None:
    server.answers = [(status, {}, b"")] * 3
    assert connect(server).embed(["a"]).shape == (1, 3)
    assert len(pauses) == 3
    assert all(0.5 * 0.5 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses))


def test_a_server_says_how_long_to_wait(server: Server, pauses: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    given = ("7", date, "86400", "soon", "-1")
    server.answers = [busy(**{"Retry-After": value}) for value in given]
    connect(server, attempts=6).embed(["a"])
    assert pauses[0] == 7
    assert 25 < pauses[1] <= 30
    assert pauses[2] == 60, "nobody waits for a day"
    assert all(pause <= 0.5 * 2**n for n, pause in enumerate(pauses) if n > 2), "its own pauses"


def test_it_gives_up_after_so_many_attempts(server: Server, pauses: list[float]) -> None:
    server.answers = [busy()] * 9
    with pytest.raises(EmbeddingError, match=r"tiny: 127\.0\.0\.1:\d+ answered 429"):
        connect(server, attempts=3).embed(["a"])
    assert (len(server.requests), len(pauses)) == (3, 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_will_not_pass_is_not_tried_again(
    server: Server, pauses: list[float], status: int
) -> None:
    server.answers = [(status, {}, f"wrong key {KEY} for {TEXT}".encode())]
    with pytest.raises(EmbeddingRefusedError, match=f"answered {status}"):
        connect(server).embed([TEXT])
    assert pauses == []


def test_a_redirection_is_no_answer(server: Server) -> None:
    server.answers = [(307, {"Location": "http://127.0.0.1:1/elsewhere"}, b"")]
    with pytest.raises(EmbeddingError, match="answered 307"):
        connect(server).embed(["a"])


@pytest.mark.parametrize(
    "content",
    [
        b"<html>", b"[]", b"{}", b'{"data": []}', b'{"data": [{"index": 1, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": ["x"]}]}', b'{"data": [{"index": 0}]}', b"\xff",
        b'{"data": [{"index": 0, "embedding": ["1", "2"]}]}', b"[" * 100_000, b"1e999",
        b'{"data": [{"index": 0, "embedding": 1}]}', b'{"data": [{"index": 1e999}]}',
        b'{"data": [{"index": 0, "embedding": [null, 1]}]}', b'{"data": null}',
    ],
)  # fmt: skip
def test_an_answer_without_the_embeddings_is_an_error(server: Server, content: bytes) -> None:
    server.answers = [(200, {}, content)]
    with pytest.raises(EmbeddingRefusedError, match="no answer with 1 embeddings"):
        connect(server).embed([TEXT])


@pytest.mark.parametrize("vector", ["[NaN, 1]", "[1e999, 1]", "[0, 0]", "[]", "[1]", "[1, 2, 3]"])
def test_an_answer_that_is_no_such_vector_is_a_refusal(server: Server, vector: str) -> None:
    server.answers = [(200, {}, b'{"data": [{"index": 0, "embedding": %s}]}' % vector.encode())]
    with pytest.raises(EmbeddingRefusedError):
        embed(connect(server), [TEXT], 2)


def test_batches_of_several_lengths_are_no_answer(server: Server) -> None:
    server.answers = [(200, {}, b'{"data": [{"index": 0, "embedding": [1]}]}')]
    with pytest.raises(EmbeddingRefusedError, match="several lengths"):
        connect(server, batch=1).embed(["a", "b"])


def unreachable(_: Server) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def broken_off(server: Server) -> str:
    server.answers = [(200, {"Content-Length": "1000"}, b"{")] * 2
    return server.url


def silent(_: Server) -> str:
    silent.listener = socket.create_server(("127.0.0.1", 0))  # type: ignore[attr-defined]
    return f"http://127.0.0.1:{silent.listener.getsockname()[1]}/v1"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("place", "reason"),
    [(unreachable, "ConnectionRefusedError"), (broken_off, "IncompleteRead"), (silent, "Timeout")],
)
def test_a_connection_that_fails_is_tried_again(
    server: Server, pauses: list[float], place: Callable[[Server], str], reason: str
) -> None:
    before = time.monotonic()
    with pytest.raises(EmbeddingError, match=reason):
        HTTPEmbedder(place(server), "tiny", timeout=0.2, attempts=2).embed([TEXT])
    assert len(pauses) == 1
    assert time.monotonic() - before < 5
    if place is silent:
        silent.listener.close()  # type: ignore[attr-defined]


@contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """A server that sends a byte now and then, and never all of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            while not done.is_set():
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65_536)
                    connection.sendall(head)
                    while not done.wait(0.02):
                        connection.sendall(b" ")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"",
    ],
    ids=["body", "chunk", "header", "status"],
)
def test_a_server_that_drips_is_waited_for_no_longer(head: bytes) -> None:
    before = time.monotonic()
    with dripping(head) as url:
        with pytest.raises(EmbeddingError, match="failed: Timeout"):
            HTTPEmbedder(url, "tiny", timeout=0.3, attempts=1).embed([TEXT])
        with pytest.raises(EmbeddingError, match="failed: Timeout"):
            HTTPEmbedder(url, "tiny", query_timeout=0.3).embed_queries([TEXT])
    assert time.monotonic() - before < 5


def test_for_a_query_nobody_waits_as_long_as_a_server_asks(
    server: Server, pauses: list[float]
) -> None:
    server.answers = [busy(**{"Retry-After": "1"}), busy(**{"Retry-After": "30"})]
    with pytest.raises(EmbeddingError, match="answered 429"):
        embed(hurried(connect(server)), [TEXT])
    assert (pauses, len(server.requests)) == ([1.0], 2)
    assert len(embed(hurried(connect(server)), [TEXT])) == 1


def test_an_answer_without_end_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_embedder, "MOST_BYTES", 1_000)
    server.answers = [(200, {}, b" " * 1_001)]
    with pytest.raises(EmbeddingRefusedError, match="more than 1,000 bytes"):
        connect(server).embed([TEXT])


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nX: y", f"a {KEY}", f"{KEY}é", 5, b"x"])
def test_a_key_that_is_none_is_refused_without_being_repeated(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="api_key: expected") as caught:
        HTTPEmbedder("http://localhost", "tiny", api_key=key)
    assert KEY not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


@pytest.mark.parametrize(
    "options",
    [{"attempts": 0}, {"attempts": "3"}, {"batch": 0}, {"dimensions": 0}, {"dimensions": 1.5},
     {"timeout": 0}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"timeout": None},
     {"query_timeout": -1}, {"model": ""}, {"model": None}],
    ids=str,
)  # fmt: skip
def test_options_are_checked_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=f"^{next(iter(options))}: expected"):
        HTTPEmbedder(**{"url": "http://localhost", "model": "tiny"} | options)


def test_neither_key_nor_text_is_in_a_message(server: Server, pauses: list[float]) -> None:
    embedder = connect(server, attempts=1)
    messages = [repr(embedder), str(vars(embedder))]
    for answer in (busy(), (401, {}, KEY.encode()), (200, {}, TEXT.encode())):
        server.answers = [answer]
        with pytest.raises(EmbeddingError) as caught:
            embedder.embed([TEXT])
        messages.append(f"{caught.value} {caught.value.__cause__}")
    assert not [message for message in messages if KEY in message or TEXT in message]


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "file:///etc/passwd", "ftp://host/v1", "http:///v1",
            "http://[::1", "http://h:port/v1", "http://h/ä", "http://h/a b", "http://h\n",
            "https://user:pass@host/v1", "https://host/v1?key=1", "https://host/v1#x"],
)  # fmt: skip
def test_a_url_is_one_of_http_without_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a URL") as caught:
        HTTPEmbedder(url, "tiny")
    assert "pass@" not in str(caught.value)
