"""An endpoint as an engine: stages ask from their threads, one asyncio loop in a thread of its own does the asking.

    engine = open_endpoint(run, "judge");  engine.identity  ->  "Qwen/Qwen3-8B@2025-07-5f0c1e22ab91"
    for batch in engine.answer(requests, stop): …

A model is probed before it is asked (opening.py): what its servers showed is part of its identity. Where they are is asked for when the
first call is made and when one of them is lost, so that a server that prefloom starts itself is started then.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from prefloom.flows.engines.endpoint import flood, wire
from prefloom.flows.engines.endpoint.ballot import Ballot
from prefloom.flows.engines.endpoint.loop import Job, loop, on_loop
from prefloom.flows.engines.endpoint.pool import Call, Pool, Station
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.vllm.serving import Serving
from prefloom.schemas.errors import InputError
from prefloom.schemas.models import EndpointModel
from prefloom.schemas.probe import Probe
from prefloom.schemas.serving import Server

if TYPE_CHECKING:
    import openai

_AT_ONCE = 64  # answers asked for in one call at most


class Endpoint:
    """A model behind one or several servers."""

    free = False

    def __init__(self, name: str, model: EndpointModel, server: Server, probe: Probe | None, ours: Serving | None) -> None:
        self.name, self.model, self.server, self.probe = name, model, server, probe
        self.ours, self._key = ours, ""
        self._pool: Pool | None = None
        self._guard = threading.Lock()
        self._jobs: set[Job] = set()
        self._session: aiohttp.ClientSession
        self._clients: dict[str, openai.AsyncOpenAI] = {}

    @property
    def identity(self) -> str:
        """<model>@<revision>-<hash of chat template and tokenizer>; what no server tells is called unknown."""
        stated = (self.probe and self.probe.revision) or self.model.revision or "unstated"
        template = "unprobed" if self.probe is None else self.probe.template or "unknown"
        # What votes say is not what log-probabilities say: no table holds both.
        told = ("+thinking" if self.model.thinking else "") + (f"+{self.votes}votes" if self.votes else "")
        return f"{self.model.model}@{stated}-{template}{told}"

    @property
    def in_flight(self) -> int:
        """Each asker's part of what is with the servers."""
        return -(-self._pool.in_flight // max(1, len(self._jobs))) if self._pool else 0

    @property
    def votes(self) -> int:
        """Answers sampled for one reading, if that is how this model is read."""
        read = self.probe.read if self.probe else self.model.read
        return self.model.votes if read == "votes" else 0

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """As `Engine.answer`. Replies come in the order in which servers give them."""
        assert self.probe is not None, "a model is probed before it is asked"
        job = Job(len(requests), self.server.timeout + 5)
        with self._guard:
            pool = self._pool = self._pool or on_loop(self._open())
            self._jobs.add(job)
        try:
            if pool.error:
                raise pool.error
            loop().call_soon_threadsafe(pool.submit, self._calls(job, requests))
            yield from job.batches(stop)
        finally:
            job.closed = job.gone = True
            self._jobs.discard(job)

    def urls(self) -> list[str]:
        """Base URLs of its servers; one of ours runs when this returns."""
        return [self.ours.ensure()] if self.ours else list(self.server.urls)

    def close(self) -> None:
        """Let the connections go."""
        with self._guard:
            if self._pool:
                on_loop(self._close())
                self._pool = None

    async def _open(self) -> Pool:
        self._key = key_of(self.name, self.server) or ""
        pool = Pool(self.name, self.server, self._revive, self._fail)
        pool.stations = [Station(pool, url) for url in await asyncio.to_thread(self.urls)]
        self._session = flood.open_session(pool.stations[0].url, self._key, self.server.timeout)
        return pool

    async def _close(self) -> None:
        assert self._pool is not None
        self._pool.close()
        await self._session.close()
        for one in self._clients.values():
            await one.close()
        self._clients.clear()

    def _fail(self, error: BaseException) -> None:
        for job in list(self._jobs):
            job.fail(error)

    async def _revive(self, station: Station) -> bool:
        """Whether a server that was lost is there again. One of ours is started again, maybe elsewhere."""
        if self.ours:
            if station.answered:
                self.ours.answered()
                station.answered = False
            (station.url,) = await asyncio.to_thread(self.urls)
            return True
        try:
            async with self._session.get(f"{station.url}/models", allow_redirects=False) as response:
                return response.status not in (502, 503, 504)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _calls(self, job: Job, requests: Sequence[Request]) -> list[Call]:
        calls: list[Call] = []
        for places in self._bundles(requests):
            request = requests[places[0]]
            calls += self._vote(job, request, places[0]) if request.votes else [self._call(job, requests, places)]
        return calls

    def _bundles(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Which requests go into one call: samples of one answer, if the server gives several at once."""
        assert self.probe is not None
        run: list[int] = []
        for place, request in enumerate(requests):
            if run and not (self.probe.many and len(run) < _AT_ONCE and _follows(request, requests[run[-1]])):
                yield run
                run = []
            run.append(place)
        if run:
            yield run

    def _call(self, job: Job, requests: Sequence[Request], places: list[int]) -> Call:
        request = requests[places[0]]

        def done(replies: list[Reply]) -> None:
            if len(places) > 1 and replies and replies[0].error is not None:
                replies *= len(places)
            job.deliver(list(zip(places, replies, strict=False)))
            if (short := places[len(replies) :]) and self._pool:  # fewer answers than were asked for: the rest one by one
                self._pool.submit([self._call(job, requests, [place]) for place in short])

        send = partial(self._send, request, len(places), 0)
        return self._made(request, len(places), send, done, lambda: not job.closed, job.move)

    def _vote(self, job: Job, request: Request, place: int) -> Iterator[Call]:
        """The calls of a reading by votes: one, if the server gives many answers to one call."""
        ballot = Ballot(request.votes)
        assert self.probe is not None

        def wanted() -> bool:
            return not (job.gone or ballot.complete) and (ballot.begun or not job.closed)

        def flying(step: int) -> None:
            if step > 0 and not ballot.begun:
                ballot.begun = True
                job.move(1)

        def call(start: int, n: int) -> Call:
            def done(replies: list[Reply]) -> None:
                if ballot.complete:
                    return
                ballot.cast(replies)
                if ballot.complete:
                    job.deliver([(place, ballot.reply(request.letters))])
                    job.move(-1)
                elif (got := len(replies)) < n and self._pool:
                    self._pool.submit([call(start + i, 1) for i in range(got, n)])

            return self._made(request, n, partial(self._send, request, n, start), done, wanted, flying)

        step = request.votes if self.probe.many else 1
        return (call(start, step) for start in range(0, request.votes, step))

    def _made(self, request: Request, n: int, send: Any, done: Any, wanted: Callable[[], bool], flying: Callable[[int], None]) -> Call:
        size = sum(len(content) for _, content in request.messages)
        return Call(send, done, wanted, request.group or str(size), flying, size // 4 + request.max_tokens * n)

    async def _send(self, request: Request, n: int, start: int, station: Station) -> list[Reply]:
        """Ask for n answers; none if the server does not give so many at once."""
        assert self.probe is not None
        body = wire.body(request, self.probe, self.model.thinking, n, single=start)
        try:
            return wire.read(await self._post(station, request, body), request, self.probe, self._key)[:n]
        except wire.Refused:
            if n == 1:
                raise
            return []

    async def _post(self, station: Station, request: Request, body: dict[str, Any]) -> bytes:
        if request.letters:
            ranks = self.server.vllm.data_parallel if self.server.vllm else 1
            headers = {"X-data-parallel-rank": str(hash_of(request.group) % ranks)} if ranks > 1 else None
            return await flood.post(self._session, f"{station.url}/chat/completions", body, headers, self._key)
        from prefloom.flows.engines.endpoint import client  # half a second of imports that a flood does without

        if station.url not in self._clients:
            self._clients[station.url] = client.open_client(station.url, self._key, self.server.timeout)
        return await client.complete(self._clients[station.url], body)


def _follows(request: Request, before: Request) -> bool:
    """Whether a request asks for the next sample of the same answer: vLLM gives the i-th of n answers the seed s + i."""
    if request.letters or request.seed is None or before.seed is None or request.seed != before.seed + 1:
        return False
    return replace(request, seed=None) == replace(before, seed=None)


def key_of(name: str, server: Server) -> str | None:
    """The API key, from the environment variable that the recipe names. InputError if it names one that is not set."""
    if server.key is None:
        return None
    if not (key := os.environ.get(server.key, "").strip()):
        raise InputError(
            "recipe", f"servers.{name}.key", found=f"${server.key}, which is not set", expected="a variable that holds the key"
        )
    if not (key.isascii() and key.isprintable()):
        expected = "the key alone, in plain letters, digits and signs"
        raise InputError("recipe", f"servers.{name}.key", found=f"${server.key}, which no header can carry", expected=expected)
    return key


def hash_of(text: str) -> int:
    """A number that is the same on every machine."""
    return int.from_bytes(text.encode("utf-8", "replace")[-64:], "big") % 1_000_003
