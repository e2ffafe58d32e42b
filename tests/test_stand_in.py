"""The stand-in server, which other tests trust: its answers hold still, its faults are what they say, its counts are exact."""

import http.client
import json
import math
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from prefloom.prompts import load
from tests.stand_in import StandIn, stand_in
from tests.stand_in_answers import log_odds
from tests.stand_in_faults import POISON, REFUSALS, TWISTED, Faults, Settings

Body = dict[str, Any]
KEY = "sk-secret-of-the-test"


def judge(first: str, second: str, persona: str = "A sailor.") -> list[dict[str, str]]:
    rendered = load("judge/pairwise").render(persona=persona, prompt="Tell me.", first=first, second=second)
    return [{"role": role, "content": content} for role, content in rendered]


def post(server: StandIn, messages: Any = "Hello.", **fields: Any) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of a chat request."""
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    data = json.dumps({"model": "stand-in", "messages": said, **fields}).encode()
    request = urllib.request.Request(f"{server.url}/chat/completions", data, {"Authorization": f"Bearer {KEY}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def ask(server: StandIn, messages: Any = "Hello.", **fields: Any) -> Body:
    """The reply to a chat request."""
    status, _, body = post(server, messages, **fields)
    assert status == 200, body
    reply: Body = json.loads(body)
    return reply


def read(server: StandIn, messages: list[dict[str, str]], **fields: Any) -> Body:
    """What a judge is asked: one token and its log-probabilities."""
    choice: Body = ask(server, messages, max_tokens=1, temperature=0, logprobs=True, **fields)["choices"][0]
    return choice


def chances(choice: Body) -> dict[str, float]:
    return {entry["token"]: entry["logprob"] for entry in choice["logprobs"]["content"][0]["top_logprobs"]}


def test_the_same_question_gets_the_same_answer_and_n_goes_by_seeds(stand_in_server: StandIn) -> None:
    bundle = ask(stand_in_server, n=3, seed=7)["choices"]
    single = [ask(stand_in_server, seed=seed)["choices"][0]["message"] for seed in (7, 8, 9)]
    assert [choice["message"] for choice in bundle] == single
    assert len({message["content"] for message in single}) == 3
    counted = stand_in_server.stats()
    assert counted["calls"] == {"distinct": 3, "repeated": 3, "answered": 3}
    assert counted["requests"] == counted["answered"] == 4


def test_a_judge_knows_the_person_and_has_a_small_bias() -> None:
    both = [(log_odds(judge(f"a{i}", f"b{i}", f"p{i % 7}")), log_odds(judge(f"b{i}", f"a{i}", f"p{i % 7}"))) for i in range(200)]
    assert all(abs(there + back - 0.6) < 1e-9 for there, back in both)
    assert 60 < sum(there > 0 for there, _ in both) < 140
    assert sum((there > 0) != (back > 0) for there, back in both) > 150
    assert log_odds(judge("a", "b", "p")) != log_odds(judge("a", "b", "q"))


def test_log_probabilities_are_given_as_the_server_can(stand_in_server: StandIn) -> None:
    messages = judge("one", "two")
    wanted = read(stand_in_server, messages, logprob_token_ids=[65, 66, 0x1F600])
    assert set(chances(wanted)) == {"A", "B", "\U0001f600"}
    assert wanted["message"]["content"] == max(chances(wanted), key=lambda token: chances(wanted)[token])
    assert chances(wanted)["A"] - chances(wanted)["B"] == pytest.approx(log_odds(messages))
    stand_in_server.set(reads="top")
    assert len(chances(read(stand_in_server, messages, logprob_token_ids=[65, 66], top_logprobs=5))) == 5
    stand_in_server.set(reads="none")
    assert read(stand_in_server, messages, top_logprobs=5)["logprobs"] is None
    votes = Counter(choice["message"]["content"] for choice in ask(stand_in_server, messages, max_tokens=1, n=500, seed=1)["choices"])
    assert votes["A"] / (votes["A"] + votes["B"]) == pytest.approx(1 / (1 + math.exp(-log_odds(messages))), abs=0.07)


def test_a_thinking_model_can_be_told_not_to(stand_in_server: StandIn) -> None:
    stand_in_server.set(thinking=True)
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    assert chances(read(stand_in_server, judge("one", "two"), logprob_token_ids=[65, 66]))["A"] == -20
    assert chances(read(stand_in_server, judge("one", "two"), logprob_token_ids=[65, 66], **off))["A"] > -5
    assert ask(stand_in_server)["choices"][0]["message"]["content"].startswith("<think>")
    assert "<think>" not in ask(stand_in_server, **off)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_has_its_status_and_its_wait(stand_in_server: StandIn, kind: str) -> None:
    stand_in_server.set(shares={kind: 1}, retry_after=2)
    status, headers, body = post(stand_in_server)
    wait = headers.get("Retry-After")
    assert status == int(kind[:3])
    assert {"429": wait == "2", "429-date": wait and wait.endswith("GMT"), "429-absurd": wait is not None}.get(kind, wait is None)
    assert (KEY.encode() in body) == (kind == "401")
    assert stand_in_server.stats()["faults"] == {kind: 1}


def test_broken_lines_and_bodies(stand_in_server: StandIn) -> None:
    for kind, fault in (("drop", OSError), ("drop-body", http.client.IncompleteRead)):
        stand_in_server.set(shares={kind: 1})
        with pytest.raises(fault):
            post(stand_in_server)
    for kind, start in (("torn", b"{"), ("html", b"<!doctype html>")):
        stand_in_server.set(shares={kind: 1})
        status, _, body = post(stand_in_server)
        assert (status, body[: len(start)]) == (200, start)
        with pytest.raises(ValueError):
            json.loads(body)
    stand_in_server.set(shares={"stall": 1}, stall=0.3)
    began = time.monotonic()
    assert ask(stand_in_server)["choices"]
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("kind", TWISTED)
def test_a_twisted_reply_is_twisted_in_one_way(stand_in_server: StandIn, kind: str) -> None:
    stand_in_server.set(shares={kind: 1}, huge=2)
    reply = ask(stand_in_server, judge("one", "two"), max_tokens=1, logprobs=True, logprob_token_ids=[65, 66])
    choice = (reply["choices"] or [{"message": {"content": ""}, "logprobs": {}}])[0]
    content = choice["message"]["content"]
    held = {
        "nan": bool(choice.get("logprobs")) and math.isnan(chances(choice)["A"]),
        "null-logprobs": choice.get("logprobs", "") is None,
        "missing-logprobs": "logprobs" not in choice,
        "other-model": reply["model"] != "stand-in",
        "no-choices": reply["choices"] == [],
        "huge": len(content or "") >= 2_000_000,
        "null-content": content is None,
        "length": choice.get("finish_reason") == "length",
        "content-filter": choice.get("finish_reason") == "content_filter",
        "control": "\x1b[31m" in (content or ""),
    }
    assert [name for name, holds in held.items() if holds] == [kind]


def test_faults_are_drawn_the_same_way_again_and_never_forever() -> None:
    exact = Faults(Settings(shares={"429": 0.2, "500": 0.05}, draw="counter"))
    drawn = Counter(exact.draw("x", i, logprobs=False) for i in range(1000))
    assert abs(drawn["429"] - 200) <= 2
    assert abs(drawn["500"] - 50) <= 2
    settings = Settings(shares={"503": 0.5, "nan": 0.4}, bound=2, seed=3)
    there, back = Faults(settings), Faults(settings)
    forward = {(i, attempt): there.draw(f"{i}", attempt, logprobs=True) for i in range(50) for attempt in range(1, 6)}
    backward = {(i, attempt): back.draw(f"{i}", attempt, logprobs=True) for i in reversed(range(50)) for attempt in range(1, 6)}
    assert forward == backward
    assert max(Counter(i for (i, _), kind in forward.items() if kind).values()) == 2
    assert Faults(settings).draw("0", 1, logprobs=False) in {"503", None}


def test_poison_a_wrong_model_and_a_wrong_key_never_heal(stand_in_server: StandIn) -> None:
    stand_in_server.set(key="another", models=["m"])
    assert post(stand_in_server)[0] == 401
    stand_in_server.set(models=["m"], refuse=["chat_template_kwargs"])
    assert post(stand_in_server)[0] == 404
    assert post(stand_in_server, model="m", chat_template_kwargs={})[0] == 400
    assert [post(stand_in_server, f"before {POISON} after", model="m")[0] for _ in range(3)] == [400] * 3


def test_what_is_in_flight_is_counted_and_capped(stand_in_server: StandIn) -> None:
    stand_in_server.set(latency=0.3, capacity=6)

    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(pool.map(lambda i: post(stand_in_server, str(i))[0], range(10)))
    counted = stand_in_server.stats()
    assert (statuses, counted["answered"], counted["most_in_flight"], counted["in_flight"]) == ({200: 6, 429: 4}, 6, 6, 0)
    assert counted["faults"] == {"over capacity": 4}
    with socket.create_connection(("127.0.0.1", stand_in_server.port)) as line:
        body = json.dumps({"model": "stand-in", "messages": [{"role": "user", "content": "gone"}]})
        line.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        time.sleep(0.1)
    time.sleep(0.4)
    assert stand_in_server.stats()["abandoned"] == 1


def test_a_killed_server_comes_back_on_its_port_and_its_log_stays(tmp_path: Path) -> None:
    with stand_in(log=tmp_path / "log") as server:
        url = server.url
        ask(server, judge("one", "two"), n=2)
        assert server.stats()["answered"] == 1
        server.kill()
        server.start()
        ask(server, "Hello.")
        assert server.url == url
        assert server.stats()["answered"] == 1
    lines = [line.split()[:2] for line in (tmp_path / "log").read_text().splitlines()]
    assert lines == [["received", "judge"]] * 2 + [["answered", "judge"]] * 2 + [["received", "other"], ["answered", "other"]]


def test_the_openai_client_is_at_home(stand_in_server: StandIn) -> None:
    client = openai.OpenAI(base_url=stand_in_server.url, api_key=KEY, max_retries=0)
    assert [model.id for model in client.models.list()] == ["stand-in"]
    vectors = client.embeddings.create(model="stand-in", input=["one", "two", "one"], dimensions=8).data
    assert vectors[0].embedding == vectors[2].embedding != vectors[1].embedding
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    asked: Any = {"model": "stand-in", "messages": [{"role": "user", "content": "A person, please."}], "response_format": form}
    reply = client.chat.completions.create(**asked)
    assert json.loads(reply.choices[0].message.content or "")["age"] == 18
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 10
    stand_in_server.set(json="once", usage=False)
    reply = client.chat.completions.create(**asked)
    assert reply.usage is None
    with pytest.raises(ValueError):
        json.loads(reply.choices[0].message.content or "")
    asked["messages"] += [{"role": "assistant", "content": reply.choices[0].message.content}, {"role": "user", "content": "Mend it."}]
    assert "name" in json.loads(client.chat.completions.create(**asked).choices[0].message.content or "")
