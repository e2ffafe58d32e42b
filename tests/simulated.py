"""The simulated society's server in a thread of this process, and plain requests to it.

with served(faults=Faults(drop=0.1)) as url:
    status, headers, body = chat(url, temperature=0)
"""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefloom.flows.engines.society.server import Settings, start
from prefloom.prompts import Messages


def wire(messages: Messages) -> Any:
    """Messages as they go over the wire."""
    return [{"role": role, "content": content} for role, content in messages]


@contextmanager
def served(**changes: Any) -> Iterator[str]:
    """The base URL of a server in a thread of its own."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def begin() -> None:
        found.extend(await start(Settings(port=0, **changes)))
        ready.set()

    def work() -> None:
        loop.run_until_complete(begin())
        loop.run_forever()
        loop.run_until_complete(found[0].cleanup())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield found[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


def send(url: str, path: str, body: bytes | Any = None, method: str = "POST", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body); http.client hides nothing."""
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, headers)
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def chat(url: str, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    said = {"model": "good", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4}
    return send(url, "/v1/chat/completions", said | fields)
