"""What vLLM's protocol does, and what the endpoint engine therefore may rely on."""

import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from prefloom.flows.engines.vllm.server import VllmServer

ASKED = [{"role": "user", "content": "Compare tea and music. Which answer would this person prefer? Reply with one letter, A or B."}]
SILENT = {"chat_template_kwargs": {"enable_thinking": False}}
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(vllm: VllmServer) -> Ask:
    """(status, JSON) of a chat completion, or of whatever stands at `path` below the server's root."""
    root = vllm.ensure().removesuffix("/v1")

    def call(path: str = "/v1/chat/completions", method: str = "POST", **fields: Any) -> tuple[int, Any]:
        given = {"model": "tiny", "messages": ASKED} | ({"max_tokens": 1, "temperature": 0} if path.endswith("completions") else {})
        body = json.dumps({name: value for name, value in (given | fields).items() if value is not None}).encode()
        request = urllib.request.Request(
            root + path, data=body if method == "POST" else None, headers={"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return call


@pytest.fixture
def letters(ask: Ask) -> list[int]:
    return [ask("/tokenize", messages=None, prompt=letter, add_special_tokens=False)[1]["tokens"][0] for letter in "AB"]


def read(reply: Any) -> dict[str, float]:
    """Token -> log-probability, of the first token."""
    return {entry["token"]: entry["logprob"] for entry in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}


def test_the_server_names_its_version_and_its_model(ask: Ask) -> None:
    assert ask("/version", method="GET")[1]["version"].startswith("0.")
    (model,) = ask("/v1/models", method="GET")[1]["data"]
    assert (model["id"], model["owned_by"], model["max_model_len"]) == ("tiny", "vllm", 4096)
    assert model["root"].endswith("thinking")


def test_exactly_the_two_letters_are_read(ask: Ask, letters: list[int]) -> None:
    status, reply = ask(logprobs=True, logprob_token_ids=letters, **SILENT)
    assert status == 200
    found = read(reply)
    assert set(found) == {"A", "B"}
    assert 0.5 < sum(map(math.exp, found.values())) <= 1.0001
    assert reply["choices"][0]["finish_reason"] == "length"
    assert (reply["usage"]["completion_tokens"], reply["choices"][0]["message"]["reasoning"]) == (1, None)


def test_the_sampled_token_comes_first_and_may_be_a_third(ask: Ask, letters: list[int]) -> None:
    rare = [letters[1] + 500, letters[0]]
    listed = ask(logprobs=True, logprob_token_ids=rare, return_tokens_as_token_ids=True, **SILENT)[1]["choices"][0]["logprobs"]
    tokens = [entry["token"] for entry in listed["content"][0]["top_logprobs"]]
    assert tokens[0] == listed["content"][0]["token"]
    assert list(dict.fromkeys([tokens[0], *(f"token_id:{number}" for number in rare)])) == tokens


def test_the_reading_is_raw_unless_the_output_is_constrained(ask: Ask, letters: list[int]) -> None:
    wanted = {"logprobs": True, "logprob_token_ids": letters} | SILENT
    plain = read(ask(**wanted)[1])
    assert read(ask(**wanted, temperature=2.0, seed=1, allowed_token_ids=letters)[1]) == pytest.approx(plain, abs=2e-3)
    forced = read(ask(**wanted, structured_outputs={"choice": ["A", "B"]})[1])
    assert sum(map(math.exp, forced.values())) == pytest.approx(1, abs=1e-4)  # the mass is gone: never constrain what is read


def test_what_a_reading_needs(ask: Ask, letters: list[int]) -> None:
    status, reply = ask(logprob_token_ids=letters)
    assert (status, reply["error"]["param"]) == (400, "logprob_token_ids")
    status, reply = ask(logprobs=True, logprob_token_ids=[99_999])
    assert (status, reply["error"]["param"]) == (400, "logprob_token_ids")
    status, reply = ask(logprobs=True, top_logprobs=21)
    assert status == 400
    assert "max allowed: 20" in reply["error"]["message"]


def test_an_old_constraint_is_ignored_in_silence_and_a_new_one_takes(ask: Ask) -> None:
    choices = ["zebra", "yak"]
    status, reply = ask(guided_choice=choices, max_tokens=8, **SILENT)
    assert status == 200
    assert reply["choices"][0]["message"]["content"] not in choices
    assert ask(structured_outputs={"choice": choices}, max_tokens=8, **SILENT)[1]["choices"][0]["message"]["content"] in choices


def test_a_schema_is_kept(ask: Ask) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["tea", "music"]}, "rank": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["kind", "rank"],
        "additionalProperties": False,
    }
    wish = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    choice = ask(response_format=wish, max_tokens=200, temperature=1.0, seed=1, **SILENT)[1]["choices"][0]
    if choice["finish_reason"] == "stop":  # white space is allowed, and a model may fill all its tokens with it
        said = json.loads(choice["message"]["content"])
        assert said["kind"] in ("tea", "music")
        assert said["rank"] in range(1, 10)


def test_n_samples_are_the_seeds_that_follow_one_another(ask: Ask) -> None:
    wanted = {"messages": [{"role": "user", "content": "Write about tea."}], "max_tokens": 30, "temperature": 1.0} | SILENT
    reply = ask(n=4, seed=50, **wanted)[1]
    together = [choice["message"]["content"] for choice in sorted(reply["choices"], key=lambda choice: choice["index"])]
    alone = [ask(seed=50 + i, **wanted)[1]["choices"][0]["message"]["content"] for i in range(4)]
    assert together == alone
    assert len(set(together)) > 1
    assert {choice["finish_reason"] for choice in reply["choices"]} <= {"stop", "length"}


def test_thinking_is_seen_and_can_be_switched_off(ask: Ask, letters: list[int]) -> None:
    wanted = {"logprobs": True, "logprob_token_ids": letters}
    thinking = ask(**wanted)[1]
    assert thinking["choices"][0]["message"]["content"] == "<think>"
    assert sum(math.exp(p) for token, p in read(thinking).items() if token in "AB") < 0.1
    assert read(ask(**wanted, reasoning_effort="none")[1]) == pytest.approx(read(ask(**wanted, **SILENT)[1]), abs=2e-3)
    with_, without = (ask("/tokenize", add_generation_prompt=True, **fields)[1]["tokens"] for fields in ({}, SILENT))
    assert without[: len(with_)] == with_
    assert ask("/detokenize", tokens=without[len(with_) :])[1]["prompt"] == "<think>\n\n</think>\n\n"


def test_tokenize_renders_the_template(ask: Ask) -> None:
    reply = ask("/tokenize", add_generation_prompt=True)[1]
    assert reply["count"] == len(reply["tokens"])
    assert reply["max_model_len"] == 4096
    text = ask("/detokenize", tokens=reply["tokens"])[1]["prompt"]
    assert text == f"<|im_start|>user\n{ASKED[0]['content']}<|im_end|>\n<|im_start|>assistant\n"
    assert reply["count"] == ask()[1]["usage"]["prompt_tokens"]


def test_reused_tokens_are_in_the_usage(ask: Ask) -> None:
    long = [{"role": "user", "content": "tea and music " * 100 + "?"}]
    first, second = (ask(messages=long)[1]["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["prompt_tokens"] - 2 * 32 < second["prompt_tokens_details"]["cached_tokens"] < second["prompt_tokens"]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"messages": [{"role": "user", "content": "tea " * 5000}]}, 400, "input_tokens"),
        ({"max_tokens": 5000}, 400, "max_tokens"),
        ({"messages": []}, 400, None),
        ({"messages": "tea"}, 400, "body.messages"),
    ],
)
def test_errors_say_what_is_wrong(ask: Ask, fields: dict[str, Any], status: int, param: str | None) -> None:
    found, reply = ask(**fields)
    assert found == reply["error"]["code"] == status
    assert reply["error"]["param"] == param
    assert reply["error"]["message"]
