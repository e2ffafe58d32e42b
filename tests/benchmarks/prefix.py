"""What prefix sharing is worth, on a real vLLM server's own counters. Prints Markdown.

    python -m tests.benchmarks.prefix --url http://127.0.0.1:8000/v1
    python -m tests.benchmarks.prefix --vllm "vllm serve ./tiny --max-model-len 4096 --block-size 32"       starts it and stops it

1. Computed prompt tokens per judgement: our order (pair first, persona last: prompts/judge/pairwise.md) beside the usual one (persona in
   the system prompt), over personas per comparison and length of the pair. `serial` is by arithmetic: one request after another.
2. Whether the first request of a (comparison, order) has to go ahead for the others to find its prefix.
3. The same requests alone and in a batch, with a cold and a warm cache: differences of the log-odds.

Nobody else may use the server meanwhile: its counters do not tell whose tokens they count. `cache_salt` gives a request a cold cache.
"""

import argparse
import asyncio
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import aiohttp

from prefloom.flows.engines.endpoint.metrics import difference, metrics_url, scrape
from prefloom.prompts import load
from prefloom.schemas.usage import Prefill

Message = dict[str, str]
Group = list[list[Message]]  # the requests of one (comparison, order), one per persona
PAIRS, PEOPLE = (200, 660, 1600), (1, 10, 100)  # tokens; personas per comparison
POOL, PERSONA = 100, 80  # personas in all; tokens of each
WORDS = re.findall(r"[a-z]{3,}", Path(__file__).parents[2].joinpath("README.md").read_text())
fresh = count()


@dataclass
class Server:
    """A vLLM server, and what it calls things."""

    session: aiohttp.ClientSession
    base: str
    model: str = ""
    letters: list[int] = field(default_factory=list)
    block: int = 0
    tokens_per_word: float = 0.0
    draw: random.Random = field(default_factory=random.Random)  # never seeded: a second run finds no prefix of the first

    async def meet(self) -> None:
        async with self.session.get(f"{self.base}/models") as response:
            self.model = (await response.json())["data"][0]["id"]
        async with self.session.get(metrics_url(self.base)) as response:
            found = re.search(r'cache_config_info\{.*?[{,]block_size="(\d+)"', await response.text())
            self.block = int(found[1]) if found else 16
        self.letters = [(await self.tokens(letter))[0] for letter in "AB"]
        self.tokens_per_word = len(await self.tokens(" ".join(self.draw.choices(WORDS, k=2000)))) / 2000
        await self.ask(ours(*(self.words(20) for _ in range(4))))  # the first call of a server takes long

    async def tokens(self, said: str | list[Message]) -> list[int]:
        body = {"prompt": said, "add_special_tokens": False} if isinstance(said, str) else {"messages": said}
        async with self.session.post(self.base.removesuffix("/v1") + "/tokenize", json={"model": self.model, **body}) as response:
            return list((await response.json())["tokens"])

    def pool(self) -> list[str]:
        return [self.words(PERSONA) for _ in range(POOL)]

    def words(self, tokens: int) -> str:
        return " ".join(
            self.draw.choices(WORDS, k=max(1, round(tokens / self.tokens_per_word))) if self.tokens_per_word else WORDS[:tokens]
        )

    async def ask(self, messages: list[Message], salt: str | None = None) -> float:
        """The log-odds of A."""
        body: dict[str, Any] = {"model": self.model, "messages": messages, "max_tokens": 1, "temperature": 0}
        body |= {"logprobs": True, "logprob_token_ids": self.letters, "return_tokens_as_token_ids": True}
        body |= {"cache_salt": salt} if salt else {}
        async with self.session.post(f"{self.base}/chat/completions", json=body) as response:
            reply = await response.json()
            assert response.status == 200, reply
        read = {top["token"]: top["logprob"] for top in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}
        first, second = (read[f"token_id:{letter}"] for letter in self.letters)
        return float(first - second)


def ours(persona: str, prompt: str, first: str, second: str) -> list[Message]:
    """Pair first, persona last."""
    rendered = load("judge/pairwise").render(persona=persona, prompt=prompt, first=first, second=second)
    return [{"role": role, "content": content} for role, content in rendered]


def usual(persona: str, prompt: str, first: str, second: str) -> list[Message]:
    """The same words with the persona in the system prompt."""
    system, user = (message["content"] for message in ours(persona, prompt, first, second))
    head, middle, rest = user.partition("The person:\n")
    passage, _, tail = rest.partition("\n\nWhich answer")
    assert passage, "the template is another one now"
    assert tail, "the template is another one now"
    return [{"role": "system", "content": f"{system}\n\n{middle}{passage}"}, {"role": "user", "content": f"{head}Which answer{tail}"}]


ORDERS = {"pair first": ours, "usual": usual}


def groups(server: Server, order: str, pair: int, pool: list[str], people: int, comparisons: int) -> list[Group]:
    """Requests grouped by (comparison, order); each comparison is put to `people` of the pool. A tenth of the pair is the task."""
    made: list[Group] = []
    for _ in range(comparisons):
        task, one, two = server.words(pair // 10), server.words(pair * 9 // 20), server.words(pair * 9 // 20)
        asked = server.draw.sample(pool, people)
        made += [[ORDERS[order](persona, task, *shown) for persona in asked] for shown in ((one, two), (two, one))]
    return made


async def gather(
    server: Server, requests: Sequence[list[Message]], slots: asyncio.Semaphore, salts: Sequence[str] | None = None
) -> list[float]:
    async def one(messages: list[Message], salt: str | None) -> float:
        async with slots:
            return await server.ask(messages, salt)

    return list(await asyncio.gather(*(one(m, salt) for m, salt in zip(requests, salts or [None] * len(requests), strict=True))))


async def flood(server: Server, asked: list[Group], in_flight: int, ahead: bool = False) -> tuple[Prefill, float]:
    """Ask everything in order; `ahead`: the first of a group is answered before the others of its group are asked."""
    slots = asyncio.Semaphore(in_flight)
    before, began = await scrape(server.session, [server.base]), time.perf_counter()
    if ahead:
        for group in asked:
            await gather(server, group[:1], slots)
            await gather(server, group[1:], slots)
    else:
        await gather(server, [messages for group in asked for messages in group], slots)
    seconds = time.perf_counter() - began
    used = difference(before, await scrape(server.session, [server.base]))
    assert used is not None, "the server has no counters"
    return used, seconds


def serial(prompts: list[list[int]], block: int) -> int:
    """Tokens that a server computes which answers one request after another and never forgets a full block."""
    seen: set[int] = set()
    computed = 0
    for ids in prompts:
        names, name = [], 0
        for start in range(0, len(ids) - block + 1, block):
            names.append(name := hash((name, *ids[start : start + block])))
        hits = 0
        while hits < min(len(names), (len(ids) - 1) // block) and names[hits] in seen:  # the last token is always computed
            hits += 1
        computed += len(ids) - hits * block
        seen.update(names)
    return computed


async def tokenized(server: Server, asked: list[Group]) -> list[list[int]]:
    slots = asyncio.Semaphore(16)

    async def one(messages: list[Message]) -> list[int]:
        async with slots:
            return await server.tokens(messages)

    return list(await asyncio.gather(*(one(messages) for group in asked for messages in group)))


async def sharing(server: Server, judgements: int, in_flight: int) -> None:
    print(f"\n## Prompt tokens per judgement ({in_flight} in flight, blocks of {server.block})\n")
    print("| order | personas | pair | judgements | prompt | computed | serial | serial, blocks of 16 | reused | judgements/s | limit |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    pool = server.pool()
    for pair in PAIRS:
        for people in PEOPLE:
            for order in ORDERS:
                if order == "usual":  # at its best: every persona is in the cache already
                    await flood(server, groups(server, order, 1, pool, len(pool), 1)[:1], in_flight)
                asked = groups(server, order, pair, pool, people, max(1, judgements // (2 * people)))
                ids = await tokenized(server, asked)
                used, seconds = await flood(server, asked, in_flight)
                n, limit = len(ids), ""
                if people == max(PEOPLE) and order == "pair first":
                    limit = within(ids, people, used.computed_tokens / n, pair, server.block)
                each = [used.prompt_tokens / n, used.computed_tokens / n]
                each += [serial(ids, size) / n for size in (server.block, 16)] if order == "pair first" else []
                tokens = " | ".join([f"{value:.0f}" for value in each] + [""] * (4 - len(each)))
                print(
                    f"| {order} | {people} | {pair} | {n} | {tokens} | {used.reused or 0:.0%} | {n / seconds:.0f} | {limit} |", flush=True
                )
                assert used.preemptions == 0, "computed again after a preemption: the counters do not tell how much"


def within(prompts: list[list[int]], people: int, computed: float, pair: int, block: int) -> str:
    """Persona and fixed tail (all from the first token that differs between personas) + 16 + pair / people; whether it was kept."""
    own = [len(one) - same(prompts[at : at + people]) for at in range(0, len(prompts), people) for one in prompts[at : at + people]]
    says = []
    for size, tokens in {16: serial(prompts, 16) / len(prompts), block: computed}.items():
        bound = fmean(own) + size + pair / people
        says.append(f"{fmean(own):.0f} + {size} + {pair / people:.0f} = {bound:.0f} {'≥' if tokens <= bound else 'NOT ≥'} {tokens:.0f}")
    return ", ".join(says)


def same(prompts: list[list[int]]) -> int:
    """Tokens at the beginning that all have in common."""
    return next((at for at, ids in enumerate(zip(*prompts, strict=False)) if len(set(ids)) > 1), min(map(len, prompts)))


async def going_ahead(server: Server, judgements: int) -> None:
    print("\n## Must the first of a (comparison, order) go ahead? (100 personas, pairs of 660 tokens; tokens of the whole run)\n")
    print("| in flight | first goes ahead | judgements | computed | serial | over serial | judgements/s |\n|---|---|---|---|---|---|---|")
    for in_flight in (1, 32, 100, judgements):
        for ahead in (False, True) if in_flight > 1 else (False,):
            asked = groups(server, "pair first", 660, server.pool(), POOL, max(1, judgements // (200 if in_flight > 1 else 800)))
            ids = await tokenized(server, asked)
            used, seconds = await flood(server, asked, in_flight, ahead)
            ideal, n = serial(ids, server.block), len(ids)
            row = f"{used.computed_tokens} | {ideal} | {used.computed_tokens - ideal:+d} | {n / seconds:.0f}"
            print(f"| {in_flight} | {'yes' if ahead else 'no'} | {n} | {row} |", flush=True)
    print("\n(A little under serial: the system prompt was in the cache before.)")


async def agreement(server: Server) -> None:
    """Every request is first asked alone with a cache of its own that is empty."""
    people = 25
    asked = [messages for group in groups(server, "pair first", 660, server.pool(), people, 4) for messages in group]
    one, all_at_once = asyncio.Semaphore(1), asyncio.Semaphore(len(asked))
    own = [f"own-{os.getpid()}-{next(fresh)}" for _ in asked]
    alone = await gather(server, asked, one, own)
    shared, other = ([f"{name}-{os.getpid()}-{next(fresh)}"] * len(asked) for name in ("shared", "other"))
    rows = {
        "alone, its whole prompt in the cache": await gather(server, asked, one, own),
        "alone, the pair in the cache": await gather(server, asked, one, other),
        f"{len(asked)} at once, cold cache (pairs shared within a step)": await gather(server, asked, all_at_once, shared),
        f"{len(asked)} at once, warm cache": await gather(server, asked, all_at_once, shared),
        f"{len(asked)} at once, nothing reused": await gather(
            server, asked, all_at_once, [f"none-{os.getpid()}-{next(fresh)}" for _ in asked]
        ),
    }
    spread = f"log-odds {fmean(alone):+.3f} ± {pstdev(alone):.3f}, margins ± {pstdev(margins(alone, people)):.3f}"
    print(f"\n## The same question asked otherwise ({len(asked)} requests; {spread}; nats)\n")
    print("| against: alone, empty cache | largest difference | mean | labels of another sign |\n|---|---|---|---|")
    labels = margins(alone, people)
    for name, read in rows.items():
        apart = [abs(a - b) for a, b in zip(read, alone, strict=True)]
        turned = sum(a * b < 0 for a, b in zip(margins(read, people), labels, strict=True))
        print(f"| {name} | {max(apart):.1e} | {fmean(apart):.1e} | {turned} of {len(labels)} |")


def margins(read: Sequence[float], people: int) -> list[float]:
    """Both orders of a comparison averaged: what a label says."""
    groups = [read[at : at + people] for at in range(0, len(read), people)]
    return [(a - b) / 2 for shown, swapped in zip(groups[::2], groups[1::2], strict=True) for a, b in zip(shown, swapped, strict=True)]


@contextmanager
def started(command: str) -> Iterator[str]:
    """The base URL of a server that runs until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        full = [*shlex.split(command), "--host", "127.0.0.1", "--port", str(port)]
        quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        process = subprocess.Popen(full, stdout=log, stderr=subprocess.STDOUT, env={**quiet, **os.environ}, start_new_session=True)
        try:
            while not healthy(port):
                if process.poll() is not None:
                    sys.exit(Path(log.name).read_text()[-4000:])
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except OSError:
        return False


async def run(base: str, judgements: int, in_flight: int, parts: str) -> None:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)  # vLLM closes an idle connection after 5 seconds
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:
        server = Server(session, base.rstrip("/"))
        await server.meet()
        print(f"{server.model} at blocks of {server.block} tokens, letters {server.letters}, {server.tokens_per_word:.2f} tokens per word")
        if "sharing" in parts:
            await sharing(server, judgements, in_flight)
        if "ahead" in parts:
            await going_ahead(server, judgements)
        if "agreement" in parts:
            await agreement(server)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="base URL of a vLLM server that nobody else uses, with /v1")
    where.add_argument("--vllm", metavar="COMMAND", help="a whole `vllm serve …`, without host and port")
    parser.add_argument("--judgements", type=int, default=800, help="per row of the tables")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--parts", default="sharing,ahead,agreement")
    options = parser.parse_args()
    rest = options.judgements, options.in_flight, options.parts
    if options.url:
        asyncio.run(run(options.url, *rest))
    else:
        with started(options.vllm) as base:
            asyncio.run(run(base, *rest))


if __name__ == "__main__":
    main()
