r"""What the society notices in a text, and what it understands of a person.

    measure("- Boil the water.\n- Add salt.")  ->  (-2.4, 2.3, …)    per feature, in standard deviations, within (-3, 3)
    taste("A carpenter who likes it brief.")   ->  (-1.0, 0.02, …)   how much the person wants of each feature

Both read the text alone. Words that no cue knows still move a taste a little, each word always in the same direction, so that every
description, whatever it says, gives some taste of its own.
"""

import hashlib
import math
import re
from functools import cache, lru_cache

from prefloom.flows.engines.society.prose import features

Vector = tuple[float, ...]

_WORD = re.compile(r"[a-z][a-z'’-]*")
_ITEM = re.compile(r"\s*(?:[-*•]|\d{1,2}[.)])\s")
_UNKNOWN_WORDS = 0.3  # share of a taste that words without a cue may decide


@lru_cache(maxsize=2048)
def measure(text: str) -> Vector:
    """Features of an answer, standardised with the constants of features.yaml."""
    words = [word.replace("’", "'") for word in _WORD.findall(text.lower())]
    count = max(len(words), 1)
    lines = [line for line in text.splitlines() if line.strip()]
    values = []
    for name, feature in features().items():
        if name == "length":
            raw = math.log(count)
        elif name == "lists":
            raw = sum(bool(_ITEM.match(line)) for line in lines) / max(len(lines), 1)
        else:
            plus, minus = _words(name)
            raw = 100 * (sum(word in plus for word in words) - sum(word in minus for word in words)) / count
        values.append(3.0 * math.tanh((raw - feature["mean"]) / feature["sd"] / 3.0))
    return tuple(values)


@lru_cache(maxsize=1 << 14)
def taste(description: str) -> Vector:
    """Leaning towards each feature, within [-1.5, 1.5]: +1 or -1 per cue, and a little from every other word."""
    text = description.lower()
    leaning = [0.0] * len(features())
    for match in _cues().finditer(text):
        for index, sign in _signs()[match.group()]:
            leaning[index] += sign
    unknown = sorted({word for word in _WORD.findall(_cues().sub(" ", text)) if len(word) > 3})
    for word in unknown:
        digest = hashlib.blake2b(word.encode(), digest_size=len(leaning)).digest()
        for index, byte in enumerate(digest):
            leaning[index] += _UNKNOWN_WORDS * (byte / 127.5 - 1) / math.sqrt(len(unknown)) * 2
    return tuple(min(1.5, max(-1.5, value)) for value in leaning)


@cache
def _words(feature: str) -> tuple[frozenset[str], frozenset[str]]:
    entry = features()[feature]
    return frozenset(entry.get("words", [])), frozenset(entry.get("minus", []))


@cache
def _signs() -> dict[str, list[tuple[int, float]]]:
    signs: dict[str, list[tuple[int, float]]] = {}
    for index, feature in enumerate(features().values()):
        for cue in feature["likes"]:
            signs.setdefault(cue, []).append((index, 1.0))
        for cue in feature["dislikes"]:
            signs.setdefault(cue, []).append((index, -1.0))
    return signs


@cache
def _cues() -> re.Pattern[str]:
    # Longest first, so that "no lists" is not read as "lists".
    cues = sorted(_signs(), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, cues)) + r")\b")
