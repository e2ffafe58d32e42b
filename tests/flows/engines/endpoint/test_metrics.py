"""Counters of a vLLM server: recorded text of vLLM 0.32 (two data-parallel ranks), older servers, restarts, and text that is none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from prefloom.flows.engines.endpoint.metrics import Prefill, difference, metrics_url, parse, scrape, total

RECORDED = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 555166.0
vllm:prefix_cache_queries_total{engine="1",model_name="tiny"} 542316.0
# HELP vllm:prefix_cache_hits_total Prefix cache hits, in terms of number of cached tokens.
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 482560.0
vllm:prefix_cache_hits_total{engine="1",model_name="tiny"} 471360.0
# HELP vllm:num_preemptions_total Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="tiny"} 0.0
vllm:num_preemptions_total{engine="1",model_name="tiny"} 2.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 555166.0
vllm:prompt_tokens_total{engine="1",model_name="tiny"} 542316.0
# HELP vllm:prompt_tokens_created Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{engine="0",model_name="tiny"} 1.7952520629263465e+09
vllm:prompt_tokens_created{engine="1",model_name="tiny"} 1.7952520629263512e+09
# HELP vllm:prompt_tokens_cached_total Number of cached prompt tokens (local + external).
# TYPE vllm:prompt_tokens_cached_total counter
vllm:prompt_tokens_cached_total{engine="0",model_name="tiny"} 482560.0
vllm:prompt_tokens_cached_total{engine="1",model_name="tiny"} 471360.0
# HELP vllm:request_prompt_tokens Number of prefill tokens processed.
# TYPE vllm:request_prompt_tokens histogram
vllm:request_prompt_tokens_bucket{engine="0",le="+Inf",model_name="tiny"} 601.0
"""
A = "http://a:8000/v1"


def text(prompt: object, cached: object, *, created: object = 1, more: str = "") -> str:
    labels = '{engine="0",model_name="m"}'
    return "\n".join(
        [
            f"vllm:prompt_tokens_total{labels} {prompt}",
            f"vllm:prompt_tokens_cached_total{labels} {cached}",
            f"vllm:prompt_tokens_created{labels} {created}",
            more,
        ]
    )


def between(before: str, after: str) -> Prefill | None:
    readings = [{A: counters} if (counters := parse(page)) is not None else {} for page in (before, after)]
    return difference(*readings)


def test_ranks_of_a_recorded_server_are_summed() -> None:
    later = (
        RECORDED.replace("555166.0", "655166.0")
        .replace("482560.0", "582000.0")
        .replace('"1",model_name="tiny"} 2.0', '"1",model_name="tiny"} 5.0')
    )
    assert between(RECORDED, RECORDED) == Prefill(servers=1)
    assert between(RECORDED, later) == Prefill(prompt_tokens=100_000, cached_tokens=99_440, preemptions=3, servers=1)
    assert Prefill(100_000, 99_440, 3, 1).computed_tokens == 560
    assert Prefill(100_000, 99_440, 3, 1).reused == pytest.approx(0.9944)
    assert Prefill().reused is None


def test_an_older_server_says_it_by_cache_hits() -> None:
    def older(prompt: int, hits: int, external: int) -> str:
        return f"vllm:prompt_tokens_total {prompt}\nvllm:prefix_cache_hits_total {hits}\nvllm:external_prefix_cache_hits_total {external}\n"

    assert between(older(10, 4, 0), older(110, 64, 20)) == Prefill(100, 80, 0, 1)


@pytest.mark.parametrize(
    "after",
    [
        text(50, 20),  # went down
        text(5000, 20, created=2),  # went past the old count, but began later
        text(50, 20).replace('"m"', '"other"'),  # another model: the old series is gone
    ],
)
def test_a_restarted_server_counts_from_zero(after: str) -> None:
    assert between(text(1000, 900), after) == Prefill(5000 if "5000" in after else 50, 20, 0, 1)


def test_several_servers_are_summed_and_one_that_says_nothing_is_left_out() -> None:
    one, two = parse(text(10, 0)), parse(text(30, 20))
    assert one is not None
    assert two is not None
    assert difference({"a": one, "b": one, "c": one}, {"a": two, "b": two, "d": two}) == Prefill(40, 40, 0, 2)
    assert difference({"a": one}, {"b": two}) is None
    assert total([]) is None


@pytest.mark.parametrize(
    "page",
    [
        "",
        "<html><body>502 Bad Gateway</body></html>",
        '{"error": "not found"}',
        "sglang:prompt_tokens_total 5\n",
        "vllm:prompt_tokens_total 5\n",  # no word on reuse
        "vllm:prompt_tokens_cached_total 5\n",
        text("NaN", 0),
        text("+Inf", 0),
        text(10, -1),
        text("1e300", 0),
        text("many", 0),
        text("", 0),
        text(10, 0).replace("} 10", "10"),
        text(10, 0).replace('model_name="m"', 'model_name="m'),
        text(10, 0).replace("engine=", "="),
    ],
)
def test_what_makes_no_sense_is_nothing(page: str) -> None:
    assert parse(page) is None


def test_more_reused_than_asked_is_nothing() -> None:
    assert between(text(10, 0), text(20, 11)) is None


def test_other_lines_do_not_matter() -> None:
    hostile = text(10, 5, more='other{ "broken\nvllm:prompt_tokens_total_x{} nonsense\n\x00\ud7ff vllm:prompt_tokens_total 9')
    assert parse(hostile) == parse(text(10, 5))
    odd = (
        text(10, 5).replace('"m"', r'"a } b \" c \\ \n {d} 7"').replace("} 10", "} 10 1795252062926")
    )  # labels may hold anything; a time stamp
    assert between(odd, odd.replace("} 10 ", "} 30 ")) == Prefill(20, 0, 0, 1)


@given(st.text(max_size=40), st.text(max_size=10), st.sampled_from(("prompt_tokens_total", "prompt_tokens_cached_total")))
def test_no_text_raises(middle: str, value: str, name: str) -> None:
    parse(f"vllm:{name}{{{middle}}} {value}\nvllm:{name}{middle} {value}\n" + text(1, 1))


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:8000/v1", "http://h:8000/metrics"),
        ("http://h:8000/v1/", "http://h:8000/metrics"),
        ("http://h/vllm/v1", "http://h/vllm/metrics"),
        ("http://h", "http://h/metrics"),
    ],
)
def test_metrics_stand_beside_v1(base: str, url: str) -> None:
    assert metrics_url(base) == url


@asynccontextmanager
async def serving(page: str | bytes, status: int = 200) -> AsyncIterator[str]:
    """The base URL of a server whose /metrics says this."""

    async def metrics(request: web.Request) -> web.Response:
        headers = {"Location": "/v1/metrics"} if status == 302 else {}
        return web.Response(body=page, status=status, headers=headers)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def test_scrape_reads_what_can_be_read() -> None:
    async def go() -> None:
        async with (
            aiohttp.ClientSession() as session,
            serving(RECORDED) as good,
            serving(b"\xff\xfe" + text(1, 1).encode()) as other,
            serving("gone", 404) as missing,
            serving(text(1, 1), 302) as moved,
            serving(b"x" * 8_000_001) as endless,
        ):
            dead = "http://127.0.0.1:1/v1"
            read = await scrape(session, [good, good, other, missing, moved, endless, dead, "no url", "http://[::1/v1"])
            assert set(read) == {good}  # the first line of `other` is not ours
            assert read[good] == parse(RECORDED)

    asyncio.run(go())
