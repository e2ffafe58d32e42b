"""What a vLLM server says it computed and what it reused: its own counters, read before and after.

    before = await scrape(session, ["http://127.0.0.1:8000/v1"])        GET http://127.0.0.1:8000/metrics
    after = await scrape(session, ["http://127.0.0.1:8000/v1"])
    difference(before, after)  ->  Prefill(prompt_tokens=547612, cached_tokens=471808, preemptions=0, servers=1)

A prompt token is either computed or reused from the prefix cache. The counters are the server's, so they hold whatever else it was
asked meanwhile. They record how a request was first scheduled: prompts computed again after a preemption are in none of them, so with
preemptions the computed tokens are a lower bound. A server that says nothing readable is left out; a build never fails here.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prefloom.schemas.usage import Prefill

if TYPE_CHECKING:
    import aiohttp

_PROMPT = "vllm:prompt_tokens_total"
_CACHED = "vllm:prompt_tokens_cached_total"
_HITS = ("vllm:prefix_cache_hits_total", "vllm:external_prefix_cache_hits_total")  # the same where a server has no _CACHED
_PREEMPTIONS = "vllm:num_preemptions_total"
_CREATED = "vllm:prompt_tokens_created"  # when the server began to count; absent where several processes share a /metrics
_WATCHED = frozenset({_PROMPT, _CACHED, *_HITS, _PREEMPTIONS, _CREATED})

_LARGEST_TEXT = 8_000_000  # bytes; vLLM 0.32 writes 50,000 per data-parallel rank
_LARGEST_COUNT = 2**53  # a float holds no larger whole number exactly
_SECONDS = 10.0

Series = tuple[
    str, tuple[tuple[str, str], ...]
]  # name and labels: data-parallel ranks count each for themselves, as engine="0", engine="1"
Counters = Mapping[Series, float]


async def scrape(session: "aiohttp.ClientSession", urls: Iterable[str]) -> dict[str, Counters]:
    """Counters by base URL, of those servers that have them."""
    names = list(dict.fromkeys(urls))
    found = await asyncio.gather(*(_read(session, url) for url in names))
    return {name: counters for name, counters in zip(names, found, strict=True) if counters is not None}


async def read_all(urls: Iterable[str]) -> dict[str, Counters]:
    """`scrape` with a session of its own."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        return await scrape(session, urls)


def metrics_url(base: str) -> str:
    """'http://gpu:8000/v1' -> 'http://gpu:8000/metrics'."""
    return base.rstrip("/").removesuffix("/v1") + "/metrics"


def parse(text: str) -> Counters | None:
    """The watched counters in the Prometheus text of a vLLM server; None if it has none or they make no sense."""
    from prometheus_client.parser import text_string_to_metric_families

    # Only our lines: a line that some other exporter got wrong is no reason to read nothing.
    lines = [line for line in text.split("\n") if line.partition("{")[0].partition(" ")[0] in _WATCHED]
    counters: dict[Series, float] = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                counters[sample.name, tuple(sorted(sample.labels.items()))] = float(sample.value)
    except (ValueError, LookupError, TypeError):
        return None
    names = {name for name, _ in counters}
    if _PROMPT not in names or names.isdisjoint({_CACHED, *_HITS}):
        return None
    return counters if all(math.isfinite(value) and 0 <= value < _LARGEST_COUNT for value in counters.values()) else None


def difference(before: Mapping[str, Counters], after: Mapping[str, Counters]) -> Prefill | None:
    """What the servers that were read both times did between; None if there is none."""
    parts = [part for url in before.keys() & after.keys() if (part := _since(before[url], after[url]))]
    return total(parts)


def total(parts: Iterable[Prefill]) -> Prefill | None:
    """The sum over different servers; None if there are none."""
    parts = list(parts)
    if not parts:
        return None
    columns = zip(*((part.prompt_tokens, part.cached_tokens, part.preemptions, part.servers) for part in parts), strict=True)
    return Prefill(*map(sum, columns))


async def _read(session: "aiohttp.ClientSession", base: str) -> Counters | None:
    import aiohttp

    try:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with session.get(metrics_url(base), timeout=timeout, allow_redirects=False) as response:
            if response.status != 200:
                return None
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _LARGEST_TEXT:
                    return None
            return parse(body.decode("utf-8", "replace"))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None


def _since(before: Counters, after: Counters) -> Prefill | None:
    if _restarted(before, after):
        before = {}

    def grown(*names: str) -> int:
        return round(sum(value - before.get(series, 0) for series, value in after.items() if series[0] in names))

    prompt = grown(_PROMPT)
    cached = grown(_CACHED) if any(name == _CACHED for name, _ in after) else grown(*_HITS)
    return Prefill(prompt, cached, grown(_PREEMPTIONS), 1) if cached <= prompt else None


def _restarted(before: Counters, after: Counters) -> bool:
    """Whether the server began to count anew: a counter is gone or went down, or it says so itself."""
    return any(after.get(series, -1) < value or (series[0] == _CREATED and after[series] != value) for series, value in before.items())
