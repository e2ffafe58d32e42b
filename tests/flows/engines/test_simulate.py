"""The simulated society's server: the official client works with it, faults are as set, nothing that is sent breaks it."""

import asyncio
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import polars as pl
import pytest

from prefloom.flows.engines.endpoint import metrics
from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.society import Society, characters
from prefloom.flows.engines.society.judge import Judge, Verdict
from prefloom.flows.engines.society.server import LARGEST
from prefloom.flows.engines.society.server_tokens import encode
from prefloom.prompts import Messages, load
from tests.breaking import command
from tests.simulated import chat, send, served, wire

LETTERS = ("A", "B")
TASK = load("candidate/answer").render(prompt="How do I wrap a present neatly?", view="a list of steps")


def judged(persona: str = "A baker who likes it brief.", first: str = "Fold it, then tape it.") -> Messages:
    second = "There are, perhaps, many ways in which a present may be wrapped, and each of them has its charm."
    return load("judge/pairwise").render(persona=persona, prompt="How do I wrap a present?", first=first, second=second)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=20)


def in_process(model: str, *requests: Request) -> list[Any]:
    ((*found,),) = Society(model).answer(requests, lambda: False)
    return [reply for _, reply in found]


def test_a_chat_is_what_the_society_says(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(model="terse", messages=wire(TASK), max_tokens=300, temperature=0.7, seed=5, n=3)
    own = in_process("terse", *(Request(TASK, 300, 0.7, seed=5 + i) for i in range(3)))
    assert [choice.message.content for choice in said.choices] == [reply.text for reply in own]
    assert [choice.finish_reason for choice in said.choices] == [reply.finish_reason for reply in own]
    assert len({choice.message.content for choice in said.choices}) == 3
    assert said.usage
    assert said.usage.prompt_tokens == own[0].prompt_tokens
    assert said.usage.completion_tokens == sum(reply.completion_tokens for reply in own)
    assert said.system_fingerprint == Society("terse").identity
    short = client.chat.completions.create(model="terse", messages=wire(TASK), max_completion_tokens=3, seed=5, temperature=0.7)
    assert short.choices[0].message.content == (own[0].text or "")[:12]
    assert short.choices[0].finish_reason == "length"


def test_without_a_seed_samples_differ_and_requests_repeat(client: openai.OpenAI) -> None:
    first, second = (client.chat.completions.create(model="friendly", messages=wire(TASK), n=2) for _ in range(2))
    assert first.choices[0].message.content != first.choices[1].message.content
    assert [choice.message.content for choice in first.choices] == [choice.message.content for choice in second.choices]


@pytest.mark.parametrize("way", [{"logprob_token_ids": [encode("A"), encode("B")]}, {"top_logprobs": 20}])
def test_letters_are_those_of_the_judge(client: openai.OpenAI, way: dict[str, Any]) -> None:
    for persona in ("A baker who likes it brief.", "A poet who enjoys long and careful answers.", "Nobody."):
        messages = judged(persona)
        said = client.chat.completions.create(
            model="good", messages=wire(messages), max_tokens=1, temperature=0, logprobs=True, extra_body=way
        )
        (own,) = in_process("good", Request(messages, 1, letters=LETTERS))
        (entry,) = said.choices[0].logprobs.content  # type: ignore[union-attr,misc]
        assert {token.token: token.logprob for token in entry.top_logprobs} == own.logprobs
        assert (said.choices[0].message.content, entry.token, entry.logprob) == (own.text, own.text, own.logprobs[own.text])


def test_who_refuses_names_no_letter(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "read", lambda self, asked: [Verdict(0.3, 0.9, refuses=True) for _ in asked])
    status, _, raw = chat(url, messages=wire(judged("A miner.")), max_tokens=1, logprobs=True, logprob_token_ids=[65, 66])
    (entry,) = json.loads(raw)["choices"][0]["logprobs"]["content"]
    assert (status, [token["token"] for token in entry["top_logprobs"]]) == (200, [entry["token"]])
    assert entry["token"] not in LETTERS


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "scholar", "messages": wire(TASK), "seed": 2, "max_tokens": 200, "logprobs": True}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    assert whole.usage
    assert chunks[-1].usage
    assert len(chunks) == whole.usage.completion_tokens + 3, "role, a chunk for each token, the end, usage"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert whole.choices[0].logprobs
    assert [c.choices[0].logprobs.content[0].token for c in chunks[1:-2]] == [e.token for e in whole.choices[0].logprobs.content or []]  # type: ignore[union-attr,index]


def test_a_stop_sequence_ends_an_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="scholar", messages=wire(TASK), seed=2).choices[0].message.content or ""
    cut = client.chat.completions.create(model="scholar", messages=wire(TASK), seed=2, stop=["no such words", whole[40:60]])
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (whole[:40], "stop")
    assert cut.usage
    assert cut.usage.completion_tokens == 10


def test_text_completions(client: openai.OpenAI) -> None:
    said = client.completions.create(model="terse", prompt=["How do I sleep?", "Why is it dark?"], max_tokens=20, n=2, seed=1, logprobs=1)
    own = in_process("terse", *(Request((("user", p),), 20, 1.0, seed=s) for p in ("How do I sleep?", "Why is it dark?") for s in (1, 2)))
    assert [choice.text for choice in said.choices] == [reply.text for reply in own]
    logprobs = said.choices[0].logprobs
    assert logprobs
    assert "".join(logprobs.tokens or []) == said.choices[0].text
    assert [said.choices[0].text[at : at + 4] for at in logprobs.text_offset or []] == logprobs.tokens
    stream = client.completions.create(model="terse", prompt="How do I sleep?", max_tokens=20, seed=1, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == own[0].text


def test_embeddings_in_both_formats(client: openai.OpenAI) -> None:
    said = ["a quiet river", "a quiet river at night", "stocks and bonds"]
    packed = client.embeddings.create(model="good", input=said)
    plain = client.embeddings.create(model="good", input=said, encoding_format="float")
    vectors = np.array([row.embedding for row in packed.data])
    assert np.allclose(vectors, [row.embedding for row in plain.data], atol=1e-7)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert packed.usage.prompt_tokens == 4 + 6 + 4


def test_models_and_errors_as_the_client_knows_them(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(characters())
    assert client.models.retrieve("good").id == "good"
    with pytest.raises(openai.NotFoundError, match="did you mean 'scholar'") as missing:
        client.chat.completions.create(model="scholer", messages=wire(TASK))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="temperature") as bad:
        client.chat.completions.create(model="good", messages=wire(TASK), temperature=-1)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="echo"):
        client.completions.create(model="good", prompt="x", echo=True)


def test_tokenize_and_detokenize_have_the_shape_of_vllm(url: str) -> None:
    def post(path: str, **fields: Any) -> Any:
        status, _, raw = send(url, path, {"model": "good", **fields})
        assert status == 200, raw
        return json.loads(raw)

    text = "Grüße, 你好 🎉 and so on"
    told = post("/tokenize", prompt=text, return_token_strs=True)
    assert (told["count"], "".join(told["token_strs"])) == (len(told["tokens"]), text)
    assert post("/detokenize", tokens=told["tokens"]) == {"prompt": text}
    assert [post("/tokenize", prompt=letter)["tokens"] for letter in "AZ7"] == [[65], [90], [55]]
    turns = {"messages": [{"role": "user", "content": "Hi."}]}
    on, off = (post("/detokenize", tokens=post("/tokenize", **turns, add_generation_prompt=flag)["tokens"]) for flag in (True, False))
    assert on["prompt"] == off["prompt"] + "<|assistant|>\n"
    assert Society("good").identity in on["prompt"]


def test_usage_and_counters_tell_what_was_cached(url: str) -> None:
    before = asyncio.run(metrics.read_all([url]))
    messages = wire(judged(first="Something said nowhere else. " * 40))
    counts = [json.loads(chat(url, messages=messages, max_tokens=1, seed=i)[2])["usage"] for i in range(3)]
    prompt = counts[0]["prompt_tokens"]
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in counts]
    assert cached[1] == cached[2] == (prompt - 1) // 16 * 16 > cached[0]
    prefill = metrics.difference(before, asyncio.run(metrics.read_all([url])))
    assert prefill
    assert (prefill.prompt_tokens, prefill.cached_tokens, prefill.preemptions) == (3 * prompt, sum(cached), 0)


HOSTILE: list[tuple[bytes | Any, str | None]] = [
    (b"", None),
    (b"{", None),
    (b"\xff\xfe\x00{}", None),
    (b'{"model": "\\ud800"}', None),
    (b"[" * 100_000, None),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, None),
    ([], None),
    ({"model": 3}, "model"),
    ({"model": "good"}, "messages"),
    ({"model": "good", "messages": "hello"}, "messages"),
    ({"model": "good", "messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"model": "good", "messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
    ({"model": "good", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    *(
        ({"model": "good", "messages": [{"role": "user", "content": "x"}], **fields}, name)
        for fields, name in (
            ({"n": 10**9}, "n"),
            ({"n": True}, "n"),
            ({"seed": 2**63}, "seed"),
            ({"seed": "7"}, "seed"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"temperature": "hot"}, "temperature"),
            ({"stream": 1}, "stream"),
            ({"stream_options": []}, "stream_options"),
            ({"stop": [3]}, "stop"),
            ({"top_logprobs": 3}, "top_logprobs"),
            ({"logprobs": True, "logprob_token_ids": [-1]}, "logprob_token_ids"),
            ({"logprobs": True, "logprob_token_ids": {"A": 1}}, "logprob_token_ids"),
            ({"response_format": "json"}, "response_format"),
            ({"messages": [{"role": "user", "content": "x" * 600_000}]}, "messages"),
        )
    ),
]


@pytest.mark.parametrize(("body", "param"), HOSTILE)
def test_nothing_that_is_sent_breaks_it(url: str, body: Any, param: str | None) -> None:
    status, _, raw = send(url, "/v1/chat/completions", body)
    error = json.loads(raw)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert chat(url)[0] == 200


def test_other_ways_to_be_wrong(url: str) -> None:
    assert send(url, "/v1/chat/completions", method="GET")[0] == 405
    assert send(url, "/v1/nothing", {})[0] == 404
    assert send(url, "/detokenize", {"tokens": [encode("\U0001f389") - 0x1F389 + 0xD800]})[0] == 400, "half a character"
    assert send(url, "/v1/embeddings", {"model": "good", "input": [], "encoding_format": "float"})[0] == 400
    bomb = gzip.compress(b" " * (LARGEST + 1))
    assert send(url, "/v1/chat/completions", bomb, **{"Content-Encoding": "gzip"})[0] == 413
    assert send(url, "/v1/chat/completions", b"no gzip", **{"Content-Encoding": "gzip"})[0] == 400
    with socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0]))) as line:
        line.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LARGEST + 1))
        assert line.recv(100).startswith(b"HTTP/1.1 413")
    assert send(url, "/health", method="GET")[0] == 200


def test_a_build_over_the_server_is_the_build_in_process(url: str, tmp_path: Path) -> None:
    recipe: dict[str, Any] = {
        "name": "twin",
        "personas": [{"source": "grid", "count": 12}],
        "prompts": [{"source": "seeds", "count": 8}],
        "candidates": {"source": "models", "models": ["terse", "friendly"], "samples": 2},
        "judgements": {"model": "judge"},
        "shards": {"prompts": 2, "personas": 2},
        "run": {"workers": 2, "report": False},
    }
    names, runs = {"terse": "terse", "friendly": "friendly", "judge": "good"}, {}
    for engine in ("society", "endpoint"):
        key = "character" if engine == "society" else "model"
        named = {name: {"engine": engine, key: member} for name, member in names.items()}
        servers = {"servers": {name: {"urls": [url], "concurrency": 8} for name in names}} if engine == "endpoint" else {}
        file = tmp_path / f"{engine}.yaml"
        file.write_text(json.dumps(recipe | {"models": named} | servers))
        ended = command("build", str(file), "--out", str(tmp_path / engine))
        assert ended.code == 0, ended.err
        (runs[engine],) = (tmp_path / engine / "runs").iterdir()
    for table in ("candidates", "comparisons", "judgements", "labels", "preferences", "rejected"):
        own, over = (pl.read_parquet(f"{run}/{table}/*.parquet") for run in runs.values())
        assert len(own) > 0, table
        assert own.equals(over), table
    probes = json.loads((runs["endpoint"] / "manifest.json").read_text())["probes"]
    assert probes["judge"]["read"] == "logprob_token_ids"
    assert (probes["terse"]["many"], probes["terse"]["metered"], probes["terse"]["server"]) == (True, True, "prefloom")
