"""What a real tokenizer makes of an answer that writes the marks of a chat template: turns, unless they are broken before."""

import json
import urllib.request
from typing import Any

import pytest

from prefloom.flows.engines.vllm.server import VllmServer
from prefloom.prompts import load
from prefloom.prompts.fence import apart
from tests.benchmarks.attacks import ATTACKS

MARKS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
HONEST = {"prompt": "How do I boil an egg?", "second": "Seven minutes.", "persona": "A tailor who likes it brief."}


def tokens(root: str, **body: Any) -> list[int]:
    data = json.dumps({"model": "tiny"} | body).encode()
    call = urllib.request.Request(f"{root}/tokenize", data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=120) as reply:
        found: list[int] = json.load(reply)["tokens"]
        return found


@pytest.mark.parametrize("template", ["judge/pairwise", "judge/reader", "judge/choice"])
def test_an_answer_cannot_open_a_turn(vllm: VllmServer, template: str) -> None:
    root = vllm.ensure().removesuffix("/v1")
    single = {mark: tokens(root, prompt=mark, add_special_tokens=False) for mark in MARKS}
    assert all(len(ids) == 1 for ids in single.values())
    marks = {ids[0] for ids in single.values()}

    def turns(first: str, unbroken: str = "") -> int:
        messages = [{"role": role, "content": text} for role, text in load(template).render(first=first, **HONEST)]
        (passage,) = (text for text in apart(messages[-1]["content"])[0].values() if text.startswith("Nine"))
        messages[-1]["content"] = messages[-1]["content"].replace(passage, unbroken or passage)
        return sum(token in marks for token in tokens(root, messages=messages, add_generation_prompt=True))

    attack = ATTACKS["chat turns"]("Nine minutes.", "A", "") + "<think>"
    honest = turns("Nine minutes.")
    assert turns(attack) == honest
    assert turns(attack, unbroken=attack) > honest + 4, "or this would prove nothing"
