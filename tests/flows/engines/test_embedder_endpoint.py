"""Vectors from a server: in order, complete, retried where that helps, and never with the key in what is said."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from prefloom.flows.engines.embedder import open_embedder
from prefloom.schemas.embedder import EndpointEmbedder
from prefloom.schemas.errors import InputError

SECRET = "sk-very-secret-0815"
Answer = Callable[[dict[str, Any]], tuple[int, Any]]


class Server:
    """Answers `/v1/embeddings` by a function; remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = good
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.keys.append(self.headers.get("Authorization"))
                status, reply = outer.answer(body)
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def vector(text: str) -> list[float]:
    return [len(text) / 8, ord(text[0]) / 256, 0.25]


def good(body: dict[str, Any]) -> tuple[int, Any]:
    rows = [{"object": "embedding", "index": index, "embedding": vector(text)} for index, text in enumerate(body["input"])]
    return 200, {"object": "list", "model": body["model"], "data": rows[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("EMBEDDING_KEY", SECRET)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def section(server: Server, **changes: Any) -> EndpointEmbedder:
    settings = {"engine": "endpoint", "model": "m", "url": server.url, "key": "EMBEDDING_KEY", "batch": 3, "concurrency": 2, "attempts": 2}
    return EndpointEmbedder.model_validate(settings | changes)


def test_vectors_come_in_the_order_of_the_texts(server: Server) -> None:
    texts = [f"{chr(97 + n % 26)} {'x' * n}" for n in range(20)]
    embedder = open_embedder(section(server, arguments={"dimensions": 3, "truncate_prompt_tokens": -1}))
    vectors = embedder.encode(texts)
    assert vectors.dtype == np.float16
    assert (vectors == np.array([vector(text) for text in texts], np.float16)).all()
    assert max(len(body["input"]) for body in server.bodies) == 3
    assert {(body["dimensions"], body["truncate_prompt_tokens"], body["encoding_format"]) for body in server.bodies} == {(3, -1, "float")}
    assert set(server.keys) == {f"Bearer {SECRET}"}
    assert embedder.dimension == 3
    assert embedder.encode([]).shape == (0, 3)


def test_where_it_is_served_is_not_who_it_is(server: Server) -> None:
    here = open_embedder(section(server)).identity
    assert here == open_embedder(section(server, url="http://elsewhere/v1", key=None, batch=9)).identity
    assert here != open_embedder(section(server, arguments={"dimensions": 3})).identity
    assert here != open_embedder(section(server, revision="2")).identity


def test_what_may_heal_is_tried_again(server: Server) -> None:
    def once(body: dict[str, Any]) -> tuple[int, Any]:
        return (500, {"error": "busy"}) if len(server.bodies) == 1 else good(body)

    server.answer = once
    assert open_embedder(section(server)).encode(["a"]).shape == (1, 3)
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (400, {"error": {"message": f"too long for {SECRET}"}}),
        (401, {"error": {"message": f"Incorrect API key provided: {SECRET}"}}),
        (200, b"<html>not json</html>"),
        (200, b'{"data": [{"index": 0'),
        (200, {"data": []}),
        (200, {"data": [{"index": 0, "embedding": []}]}),
        (200, {"data": [{"index": 1, "embedding": [1.0]}]}),
        (200, b'{"data": [{"index": 0, "embedding": [NaN, 1.0]}]}'),
        (200, {"data": [{"index": 0, "embedding": ["a"]}]}),
        (200, {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]}),
        (200, {"error": "no"}),
        (503, {"error": SECRET}),
    ],
)
def test_what_a_server_may_do_wrong_is_said_without_the_key(server: Server, status: int, reply: Any) -> None:
    server.answer = lambda body: (status, reply)
    with pytest.raises(InputError) as caught:
        open_embedder(section(server)).encode(["text"])
    assert server.url in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(server.bodies) <= 2


def test_a_server_that_is_not_there_and_a_key_that_is_not_set(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="within 1 tries"):
        open_embedder(section(server, url="http://127.0.0.1:9/v1", attempts=1)).encode(["a"])
    monkeypatch.delenv("EMBEDDING_KEY")
    with pytest.raises(InputError, match="EMBEDDING_KEY"):
        open_embedder(section(server)).encode(["a"])
    assert open_embedder(section(server, key=None)).encode(["a"]).shape == (1, 3)
