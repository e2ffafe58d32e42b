r"""How a member of the society answers a task in its own style, bent by the view it was asked to take.

    respond("How do I wrap a present neatly?", "a list of steps", request, "terse", {"length": -1.0, …})
    -> "Here is what matters about wrap present neatly.\n- Start from …"

It knows nothing about the world: what differs between its answers is style, which is what the society's persons have tastes for.
"""

import hashlib
import math
import random
import re
from collections.abc import Mapping, Sequence

import orjson

from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.society.prose import features, sentences
from prefloom.flows.engines.society.reading import taste


def respond(task: str, view: str | None, request: Request, character: str, habits: Mapping[str, float]) -> str:
    """The answer, in full. The same request gets the same answer; the seed and the temperature move it."""
    dice = _dice(character, request)
    leaning = dict(zip(features(), taste(view) if view else [0.0] * len(features()), strict=True))
    style = {name: habits[name] + 1.4 * leaning[name] + 0.5 * request.temperature * dice.gauss(0, 1) for name in features()}
    return _compose(style, _topic(task), dice)


def _compose(style: Mapping[str, float], topic: str, dice: random.Random) -> str:
    bank = sentences()
    weights = {"warm": math.exp(style["warmth"]), "formal": math.exp(style["formality"]), "plain": 1.0}

    def voice() -> str:
        return dice.choices(list(weights), list(weights.values()))[0]

    points = {tone: dice.sample(lines, len(lines)) for tone, lines in bank["points"].items()}
    extras = {name: dice.sample(bank[name], len(bank[name])) for name in ("hedges", "examples", "humour", "address", "asides")}
    wanted = {"hedges": "hedging", "examples": "examples", "humour": "humour", "address": "address", "asides": "length"}
    body = []
    for _ in range(max(1, min(12, round(3.5 + 2.5 * style["length"])))):
        tone = next((t for t in (voice(), *points) if points[t]), None)
        if tone is None:
            break
        lines = [points[tone].pop()]
        for name, feature in wanted.items():
            if extras[name] and dice.random() < 1 / (1 + math.exp(2.0 - 1.5 * style[feature])):
                lines.append(extras[name].pop())
        body.append(" ".join(lines))
    opener, closer = dice.choice(bank["openers"][voice()]), dice.choice(bank["closers"][voice()])
    if style["lists"] > 0.3:
        mark = dice.choice(["- ", "* ", "1. "])
        items = [f"{number}. {line}" if mark == "1. " else mark + line for number, line in enumerate(body, 1)]
        text = "\n".join([opener, *items, *([closer] if style["length"] > 0 else [])])
    else:
        flow = [opener, *body, *([closer] if style["length"] > -0.5 else [])]
        size = 2 + round(2 * dice.random())
        text = "\n\n".join(" ".join(flow[i : i + size]) for i in range(0, len(flow), size))
    return text.replace("{topic}", topic).replace("{Topic}", topic[:1].upper() + topic[1:])


def _topic(task: str) -> str:
    """The longest run of words that carry meaning, at most four."""
    stop_words = frozenset(sentences()["stop_words"].split())
    runs: list[list[str]] = [[]]
    for word in re.findall(r"[^\W_][\w'’-]*", task)[:80]:
        if word.lower() in stop_words:
            runs.append([])
        else:
            runs[-1].append(word)
    best: Sequence[str] = max(runs, key=len)
    return " ".join(best[:4]) or "this"


def _dice(character: str, request: Request) -> random.Random:
    content = orjson.dumps([character, request.messages, request.temperature, request.seed, request.repeat])
    return random.Random(hashlib.blake2b(content, digest_size=16).digest())
