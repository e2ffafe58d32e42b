"""An OpenAI-compatible chat server of our own that counts what it is asked, with faults on demand. It needs no weights.

    python -m tests.stand_in --port 0 --settings '{"latency": 0.2, "shares": {"429": 0.2}, "draw": "counter"}'
    -> http://127.0.0.1:41237/v1                                      printed when it listens

    with stand_in(latency=0.05) as server:                            the same as a process of its own
        server.url, server.stats()["answered"], server.set(reads="top"), server.clear(), server.kill(), server.start()

POST /v1/chat/completions, /v1/embeddings, /tokenize     GET /v1/models, /version, /health     GET /stats     POST /settings, /clear
`calls` in the statistics count every choice by the content that made it (n=2, seed=7 is seed 7 and seed 8), so repeats are seen however
calls are bundled. With `--log FILE` they also outlive the server: `<received|answered> <judge|write|other> <hash>`, one line a call.
"""

import argparse
import asyncio
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import orjson
from aiohttp import web

from tests import stand_in_answers as answers
from tests.stand_in_faults import BROKEN, POISON, REFUSALS, Faults, Settings

Body = dict[str, Any]
_FEW = 8  # tokens in which nothing but a letter can be said
ROOT = Path(__file__).parents[1]


class Server:
    """One server: its settings, and what it has counted since it was last cleared."""

    def __init__(self, settings: Settings, log: Path | None) -> None:
        self.settings = settings
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if log else None
        self.in_flight = 0
        self.clear()

    def clear(self) -> None:
        """Count from zero."""
        self.faults = Faults(self.settings)
        self.requests = self.answered = self.abandoned = 0
        self.most_in_flight = self.in_flight
        self.first = self.last = 0.0
        self.asked: Counter[str] = Counter()  # requests by content
        self.calls: Counter[str] = Counter()
        self.calls_answered: set[str] = set()
        self.connections: set[Any] = set()
        self.seconds: list[list[int]] = []  # [requests, tokens] in each second since the first request

    def app(self) -> web.Application:
        """All routes."""
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/chat/completions", partial(self.serve, answer=self.chat))
        app.router.add_post("/v1/embeddings", partial(self.serve, answer=self.embed))
        app.router.add_post("/tokenize", self.tokenize)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/version", partial(self.only_vllm, reply={"version": "0.0.0+stand-in"}))
        app.router.add_get("/health", partial(self.only_vllm, reply={}))
        app.router.add_get("/stats", self.stats)
        app.router.add_post("/settings", self.set)
        app.router.add_post("/clear", self.set)
        return app

    async def serve(self, request: web.Request, answer: Any) -> web.StreamResponse:
        """Count the request, let it meet its fault or its answer, and see whether anybody was there to read that."""
        body: Body = orjson.loads(await request.read())
        if not self.settings.many:
            body.pop("n", None)
        calls = unrolled(body)
        content, now = calls[0], time.time()
        self.requests += 1
        self.first = self.first or now
        self.asked[content] += 1
        self.calls.update(calls)
        self.connections.add(request.transport.get_extra_info("peername") if request.transport else None)
        place = int(now - self.first)
        self.seconds += [[0, 0] for _ in range(place + 1 - len(self.seconds))]
        self.seconds[place][0] += 1
        kind = kind_of(body) if self.log else ""
        self.note("received", kind, calls)
        if refused := self.refused(request, body):
            return refused
        attempt = self.asked[content]
        fault = self.faults.draw(content, attempt, bool(body.get("logprobs")))
        if fault in REFUSALS:
            status, message, headers = self.faults.refusal(fault, request.headers.get("Authorization", "").removeprefix("Bearer "))
            return error(status, message, headers)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if wait := self.settings.stall if fault == "stall" else self.faults.delay(content, attempt):
                await asyncio.sleep(wait)
            reply = answer(body, fault)
            # orjson writes NaN as null, the standard library as the token that so many servers send.
            data = json.dumps(reply).encode() if fault == "nan" else orjson.dumps(reply)
            if fault in BROKEN and fault != "stall":
                return await broken(request, fault, data)
            response = web.Response(body=data, content_type="application/json")
            if request.transport is None or request.transport.is_closing():
                self.abandoned += 1
                return response
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            self.abandoned += 1
            raise
        finally:
            self.in_flight -= 1
        self.answered += 1
        self.calls_answered.update(calls)
        self.last = time.time()
        self.seconds[place][1] += reply.get("usage", {}).get("total_tokens", 0)
        self.note("answered", kind, calls)
        return response

    def refused(self, request: web.Request, body: Body) -> web.Response | None:
        """What no second attempt can heal, and a server that has no room."""
        s = self.settings
        if s.key and (given := request.headers.get("Authorization", "").removeprefix("Bearer ")) != s.key:
            return error(401, f"Incorrect API key provided: {given}.")
        if body.get("model") not in s.models:
            return error(404, f"The model `{body.get('model')}` does not exist.")
        if unknown := [name for name in s.refuse if name in body]:
            return error(400, f"Unrecognized request argument supplied: {unknown[0]}")
        if POISON in str(body.get("messages", body.get("input"))):
            return error(400, "This request cannot be processed.")
        if s.capacity is not None and self.in_flight >= s.capacity:
            self.faults.dealt["over capacity"] += 1
            return error(429, "Too many requests in flight", {"Retry-After": f"{s.retry_after:g}"})
        return None

    def chat(self, body: Body, fault: str | None) -> Body:
        """The reply to a chat request; a `fault` twists it."""
        messages, first = body["messages"], body.get("seed") or 0
        choices = [self.choice(i, body, messages, first + i, fault) for i in range(body.get("n") or 1)]
        reply: Body = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": body["model"], "choices": choices}
        if fault == "other-model":
            reply["model"] = "another-model"
        elif fault == "no-choices":
            reply["choices"] = []
        elif fault == "huge":
            choices[0]["message"]["content"] = "huge " * (self.settings.huge * 200_000)
        if self.settings.usage:
            prompt = len(answers.tokens(answers.chat_text(messages)))
            completion = sum(len(answers.tokens(choice["message"]["content"] or "")) for choice in choices)
            details = {"cached_tokens": prompt // 32 * 16}
            reply["usage"] = usage(prompt, completion) | {"prompt_tokens_details": details}
        return reply

    def choice(self, index: int, body: Body, messages: answers.Messages, seed: int, fault: str | None) -> Body:
        """One choice: a letter where a judge is asked, JSON where a schema is given, prose elsewhere."""
        s, temperature, logprobs, reason = self.settings, body.get("temperature", 1.0), None, "stop"
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1000
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
        if schema is not None and s.json != "ignored":
            valid = s.json == "valid" or (s.json == "once" and any(message["role"] == "assistant" for message in messages))
            text = json.dumps(answers.from_schema(schema, str(seed))) if valid else '{"half": '
        elif limit <= _FEW or kind_of(body) == "judge":
            said = {"<think>": -0.01} if self.thinks(body) and limit <= _FEW else answers.letters(messages, s.mass)
            text = answers.letter(said, messages, seed, temperature)
            logprobs = self.logprobs(body, text, said, fault)
        else:
            text, reason = answers.prose(messages, seed, temperature, limit)
        if self.thinks(body) and limit > _FEW:
            text = f"<think>\nThe user wants an answer.\n</think>\n\n{text}"
        if fault == "control":
            text = f"\x1b[31m{text}\x1b[0m\x07\x00\u202e\u200b<script>alert(1)</script>"
        twisted = None if fault == "null-content" else text[: len(text) // 2] if fault == "length" else text
        message = {"role": "assistant", "content": twisted}
        reason = {"length": "length", "content-filter": "content_filter"}.get(fault or "", reason)
        whole = {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}
        return {name: value for name, value in whole.items() if name != "logprobs" or fault != "missing-logprobs"}

    def thinks(self, body: Body) -> bool:
        """Whether the model thinks before this answer: only where its template has a switch that is not off."""
        return self.settings.thinking and bool((body.get("chat_template_kwargs") or {}).get("enable_thinking", True))

    def logprobs(self, body: Body, text: str, said: dict[str, float], fault: str | None) -> Body | None:
        """Those of exactly the wanted tokens and the one that was said, or the likeliest few, as the settings and the request have it."""
        reads, wanted = self.settings.reads, body.get("logprob_token_ids")
        if not body.get("logprobs") or reads == "none" or fault == "null-logprobs":
            return None
        if wanted and reads == "ids":
            chances = {token: said.get(token, -20.0) for token in dict.fromkeys([text, *(chr(i) for i in wanted if i < 0x110000)])}
        else:
            chances = dict(list(said.items())[: body.get("top_logprobs") or 0])
        named = {f"token_id:{answers.token_id(t)}": p for t, p in chances.items()} if body.get("return_tokens_as_token_ids") else chances
        entries = [entry(token, math.nan if fault == "nan" else logprob) for token, logprob in named.items()]
        return {"content": [entry(text, math.nan if fault == "nan" else said.get(text, -20.0)) | {"top_logprobs": entries}]}

    def embed(self, body: Body, _: str | None) -> Body:
        """A vector for every text."""
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [answers.vector(text, body.get("dimensions") or 32) for text in texts]
        data = [answers.encoded(vector) if body.get("encoding_format") == "base64" else vector for vector in vectors]
        rows = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(data)]
        return {"object": "list", "model": body["model"], "data": rows, "usage": usage(sum(len(answers.tokens(t)) for t in texts), 0)}

    async def tokenize(self, request: web.Request) -> web.Response:
        """Ids of a prompt, or of messages with the chat template around them."""
        body = orjson.loads(await request.read())
        text = body["prompt"] if "prompt" in body else answers.chat_text(body["messages"], body.get("add_generation_prompt", True))
        if self.settings.thinking and not self.thinks(body):
            text += "<think>\n\n</think>\n\n"
        strings = answers.tokens(text)
        ids = list(map(answers.token_id, strings))
        reply = {"count": len(ids), "max_model_len": 32768, "tokens": ids}
        return await self.only_vllm(request, reply | ({"token_strs": strings} if body.get("return_token_strs") else {}))

    async def models(self, _: web.Request) -> web.Response:
        """The models that answer here."""
        extra = {"owned_by": "vllm", "max_model_len": 32768} if self.settings.vllm else {"owned_by": "stand-in"}
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} | extra for name in self.settings.models]})

    async def only_vllm(self, _: web.Request, reply: Body) -> web.Response:
        """What only vLLM has."""
        return web.json_response(reply) if self.settings.vllm else error(404, "Not Found")

    async def stats(self, _: web.Request) -> web.Response:
        """Everything that was counted."""
        names = ("requests", "answered", "abandoned", "in_flight", "most_in_flight", "first", "last")
        counts = {name: getattr(self, name) for name in names}
        calls = {"distinct": len(self.calls), "repeated": self.calls.total() - len(self.calls), "answered": len(self.calls_answered)}
        more = {"calls": calls, "faults": self.faults.dealt, "seconds": self.seconds, "most_attempts": max(self.asked.values(), default=0)}
        return web.json_response(counts | more | {"connections": len(self.connections)})

    async def set(self, request: web.Request) -> web.Response:
        """Other settings, all of them, where some are sent; and count from zero."""
        if raw := await request.read():
            self.settings = Settings(**orjson.loads(raw))
        self.clear()
        return web.json_response({})

    def note(self, what: str, kind: str, calls: list[str]) -> None:
        """One line a call in the log: written before anything else happens, so that it is there whatever is killed next."""
        if self.log is not None:
            os.write(self.log, "".join(f"{what} {kind} {call}\n" for call in calls).encode())


def unrolled(body: Body) -> list[str]:
    """The content of every choice that is asked for: n choices from seed s are one choice each from s, s + 1, …"""
    rest, seed = {name: value for name, value in body.items() if name not in ("n", "seed")}, body.get("seed") or 0
    base = hashlib.blake2b(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS), digest_size=12)
    contents = []
    for i in range(body.get("n") or 1):
        one = base.copy()
        one.update(b"%d" % (seed + i))
        contents.append(one.hexdigest())
    return contents


def kind_of(body: Body) -> str:
    """Whether a judge is asked, a writer, or somebody who tries the server out."""
    parts = answers.passages(body.get("messages", [])).keys()
    return "judge" if {"first", "second"} <= parts else "write" if "task" in parts else "other"


def usage(prompt: int, completion: int) -> Body:
    """The tokens of a reply."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def entry(token: str, logprob: float) -> Body:
    """A token as log-probabilities name it."""
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error as vLLM and OpenAI put it."""
    fault = {"message": message, "type": "error", "param": None, "code": status}
    return web.json_response({"error": fault}, status=status, headers=headers)


async def broken(request: web.Request, fault: str, data: bytes) -> web.StreamResponse:
    """An answer that does not arrive whole, or is none."""
    if fault == "html":
        return web.Response(text="<!doctype html><title>Bad gateway</title><h1>Try again later</h1>", content_type="text/html")
    if fault == "torn":
        return web.Response(body=data[: len(data) * 2 // 3], content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
    transport = cast(asyncio.Transport, request.transport)
    if transport is not None and fault == "drop-body":
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        transport.close()
    elif transport is not None:
        transport.abort()
    return response


class StandIn:
    """The server as a process of its own, seen from a test. `port` and `log` stay when it is killed and started again."""

    def __init__(self, log: Path | None = None, **settings: Any) -> None:
        self.log, self.settings, self.port = log, settings, 0

    def start(self) -> None:
        """Start it on its port, or on any that is free; returns when it listens."""
        options = ["--port", str(self.port), "--settings", json.dumps(self.settings), *(["--log", str(self.log)] if self.log else [])]
        command = [sys.executable, "-m", "tests.stand_in", *options, "--with-parent"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.root = self.url.removesuffix("/v1")
        self.port = int(self.root.rpartition(":")[2])

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def stats(self) -> Body:
        """What it has counted."""
        return self._call("/stats")

    def set(self, **settings: Any) -> None:
        """Other settings (what is not named is as by default), and count from zero."""
        self.settings = settings
        self._call("/settings", settings)

    def clear(self) -> None:
        """Count from zero."""
        self._call("/clear", None, "POST")

    def _call(self, path: str, body: Body | None = None, method: str | None = None) -> Body:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.root + path, data, method=method), timeout=30) as reply:
            return cast(Body, json.load(reply))


@contextmanager
def stand_in(log: Path | None = None, **settings: Any) -> Iterator[StandIn]:
    """A running stand-in, gone at the end of the block."""
    server = StandIn(log, **settings)
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def main(options: argparse.Namespace) -> None:
    runner = web.AppRunner(Server(Settings(**json.loads(options.settings)), options.log).app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port, backlog=4096, reuse_address=True)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--settings", default="{}", help="JSON of tests/stand_in_faults.py: Settings")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    given = parser.parse_args()
    if given.with_parent:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    asyncio.run(main(given))
