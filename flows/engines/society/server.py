"""The simulated society behind an OpenAI-compatible server: what talks to vLLM can be tried out with no weights and no GPU.

    prefloom simulate --port 8000 --rate-429 0.1 --latency 0.2
    -> simulated society on http://127.0.0.1:8000/v1: models terse, friendly, scholar, …

POST /v1/chat/completions, /v1/completions, /v1/embeddings     what the models answer; nothing else meets the faults
POST /tokenize, /detokenize     GET /v1/models, /health, /version, /metrics     what the server says of itself, as vLLM does

server_asked.py    requests, checked      server_tokens.py   the tokenizer              server_faults.py  what goes wrong on demand
server_replies.py  replies and streams    server_cache.py    prefix cache, counters

Answers are worked out where they are asked for, without a thread: one takes less time than handing it over.
"""

import asyncio
import errno
import gc
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import orjson
from aiohttp import web

from prefloom.flows.engines.society import Society, characters
from prefloom.flows.engines.society import server_replies as replies
from prefloom.flows.engines.society.server_asked import (
    MAX_MODEL_LEN,
    Asked,
    Body,
    Refusal,
    flag,
    model_of,
    read_chat,
    read_completion,
    read_json,
    read_messages,
    texts,
    token_ids,
)
from prefloom.flows.engines.society.server_cache import prometheus
from prefloom.flows.engines.society.server_faults import RETRY_AFTER, Faults
from prefloom.flows.engines.society.server_tokens import encode, pieces
from prefloom.schemas.errors import InputError

LARGEST = 64 * 2**20  # bytes of a request
_DRIPPED = 256  # bytes of a piece, where answers drip
_JSON = "application/json"

Reader = Callable[[Body, int], tuple[bytes, list[bytes] | None]]  # the answer, or its events where it is streamed


@dataclass(frozen=True)
class Settings:
    """Where the server listens and how it behaves."""

    host: str = "127.0.0.1"
    port: int = 8000
    cache_blocks: int = 65_536  # of 16 tokens, for each model
    faults: Faults = field(default_factory=Faults)


class Simulator:
    """All routes, over the members of the society."""

    def __init__(self, settings: Settings) -> None:
        self.faults, self.created = settings.faults, time.time()
        self.voices = {name: replies.Voice(Society(name), settings.cache_blocks) for name in characters()}
        self.arrived = self.running = 0
        self._answers: dict[str, Reader] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/embeddings": self._embeddings,
        }
        self._posts: dict[str, Callable[[Body], Any]] = {"/tokenize": self._tokenize, "/detokenize": self._detokenize}
        self._gets: dict[str, Callable[[], web.Response]] = {
            "/v1/models": lambda: _json({"object": "list", "data": self._models()}),
            "/health": web.Response,
            "/version": lambda: _json({"version": version("prefloom")}),
            "/metrics": lambda: web.Response(text=prometheus(self._counts(), self.created, self.running)),
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, or say why not."""
        try:
            return await self._route(request)
        except Refusal as refusal:
            headers = {"Retry-After": str(RETRY_AFTER)} if refusal.status == 429 else None
            return web.Response(body=refusal.body(), status=refusal.status, headers=headers, content_type=_JSON)
        except ConnectionError:
            return web.Response()  # nobody is there any more

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if (reader := self._answers.get(path)) is not None:
            _only(request, "POST")
            return await self._answer(request, reader)
        if (post := self._posts.get(path)) is not None:
            _only(request, "POST")
            return _json(post(read_json(await _body(request))))
        if (get := self._gets.get(path)) is not None:
            _only(request, "GET", "HEAD")
            return get()
        if path.startswith("/v1/models/"):
            _only(request, "GET", "HEAD")
            model = model_of({"model": path.removeprefix("/v1/models/")}, self.voices)
            return _json(next(entry for entry in self._models() if entry["id"] == model))
        raise Refusal(404, f"There is nothing at {path[:200]}.")

    async def _answer(self, request: web.BaseRequest, reader: Reader) -> web.StreamResponse:
        faults, number = self.faults, self.arrived
        self.arrived += 1
        fault = faults.draw(number)
        raw = await _body(request)
        if fault == "429":
            raise Refusal(429, "Simulated fault: too many requests.", code="rate_limit_exceeded")
        if fault == "500":
            raise Refusal(500, "Simulated fault: the server failed.")
        self.running += 1
        try:
            if faults.latency:
                await asyncio.sleep(faults.latency)
            if fault == "drop":
                if request.transport is not None:
                    request.transport.close()
                return web.Response()
            body, stream = reader(read_json(raw), number)
            return await self._send(request, body, stream, fault == "torn")
        finally:
            self.running -= 1

    async def _send(self, request: web.BaseRequest, body: bytes, stream: list[bytes] | None, torn: bool) -> web.StreamResponse:
        drip = self.faults.drip
        if stream is None and not drip:
            return web.Response(body=body[: len(body) // 2] if torn else body, content_type=_JSON)
        if torn:
            body, stream = body[: len(body) // 2], None if stream is None else _half(stream)
        if stream is None:
            stream = [body[start : start + _DRIPPED] for start in range(0, len(body), _DRIPPED)]
            response = web.StreamResponse(headers={"Content-Type": _JSON, "Content-Length": str(len(body))})
        else:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for piece in stream if drip else [b"".join(stream)]:
            if drip:
                await asyncio.sleep(drip)
            await response.write(piece)
        await response.write_eof()
        return response

    def _chat(self, body: Body, number: int) -> tuple[bytes, list[bytes] | None]:
        asked = read_chat(body, self.voices)
        return _said(asked, self.voices[asked.model].chat(asked, number))

    def _completion(self, body: Body, number: int) -> tuple[bytes, list[bytes] | None]:
        asked = read_completion(body, self.voices)
        return _said(asked, self.voices[asked.model].completion(asked, number))

    def _embeddings(self, body: Body, _: int) -> tuple[bytes, None]:
        model, given, form = model_of(body, self.voices), texts(body, "input"), body.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise Refusal(400, "'encoding_format' has to be float or base64.", "encoding_format")
        return replies.embeddings(model, given, form == "base64"), None

    def _tokenize(self, body: Body) -> dict[str, Any]:
        voice = self.voices[model_of(body, self.voices)] if body.get("model") is not None else next(iter(self.voices.values()))
        if "messages" in body:
            text = replies.template(voice.identity, read_messages(body), flag(body, "add_generation_prompt", default=True))
        elif len(given := texts(body, "prompt")) == 1:
            text = given[0]
        else:
            raise Refusal(400, "'prompt' has to be one string.", "prompt")
        strings = pieces(text)
        named = strings if flag(body, "return_token_strs") else None
        return {"count": len(strings), "max_model_len": MAX_MODEL_LEN, "tokens": list(map(encode, strings)), "token_strs": named}

    def _detokenize(self, body: Body) -> dict[str, Any]:
        if body.get("model") is not None:
            model_of(body, self.voices)
        return {"prompt": "".join(token_ids(body, "tokens", 4 * MAX_MODEL_LEN))}

    def _models(self) -> list[dict[str, Any]]:
        return replies.models(self.voices, int(self.created), MAX_MODEL_LEN)

    def _counts(self) -> dict[str, Any]:
        return {name: voice.counts for name, voice in self.voices.items()}


def _said(asked: Asked, reply: dict[str, Any]) -> tuple[bytes, list[bytes] | None]:
    return (b"", replies.events(reply, asked)) if asked.stream else (orjson.dumps(reply), None)


def _half(stream: Sequence[bytes]) -> list[bytes]:
    """The events up to the middle of their bytes."""
    left, kept = sum(map(len, stream)) // 2, []
    for piece in stream:
        kept.append(piece[:left])
        left -= len(kept[-1])
    return [piece for piece in kept if piece]


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type=_JSON)


def _only(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, f"{request.path[:200]} takes {methods[0]}.", code="method_not_allowed")


async def _body(request: web.BaseRequest) -> bytes:
    """What was sent. 413 beyond the limit, 400 for what cannot be unpacked."""
    if (request.content_length or 0) > LARGEST:
        raise Refusal(413, f"The body may have {LARGEST:,} bytes at most.")
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(413, f"The body may have {LARGEST:,} bytes at most.") from None
    except web.RequestPayloadError:
        raise Refusal(400, "The body is not what its headers say.") from None


async def start(settings: Settings) -> tuple[web.ServerRunner, str, Simulator]:
    """Listen; (what to clean up, the base URL, the server). InputError if it cannot listen there."""
    simulator = Simulator(settings)

    def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=LARGEST)

    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = simulator.handle
    runner = web.ServerRunner(web.Server(handler, request_factory=request, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=4096).start()
    except (OSError, UnicodeError) as error:
        await runner.cleanup()
        raise _unheard(settings, error) from None
    host, port = runner.addresses[0][:2]
    return runner, f"http://{f'[{host}]' if ':' in host else host}:{port}/v1", simulator


def _unheard(settings: Settings, error: OSError | UnicodeError) -> Exception:
    if isinstance(error, UnicodeError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return InputError("--host", found=f"'{settings.host}'", expected="an address or a name of this machine, such as 127.0.0.1")
    if error.errno == errno.EADDRINUSE:
        return InputError("--port", found=f"{settings.port}, which is in use", expected="a free port; 0 takes any")
    if error.errno == errno.EACCES:
        return InputError("--port", found=f"{settings.port}, which is not yours to open", expected="a port from 1024 on")
    return error


def serve(settings: Settings) -> None:
    """Listen until Ctrl-C."""
    asyncio.run(_until_told(settings))


async def _until_told(settings: Settings) -> None:
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    runner, url, simulator = await start(settings)
    gc.freeze()  # what is loaded now stays: no need to search it again and again
    sys.stdout.write(f"simulated society on {url}: models {', '.join(simulator.voices)}\n")
    sys.stdout.flush()
    await told.wait()
    await runner.cleanup()
