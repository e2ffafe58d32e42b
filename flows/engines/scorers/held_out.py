r"""What evaluation reads with, and nothing else may: twenty properties by cheap proxies and by the meaning of single words.

    measure("- Boil the water.\n- Add salt.")   ->  {"length": 3.2, "readability": -8.6, "structure": 0.9, …}      not standardised

They measure what truth.py measures, as a reader who skims does: letters instead of syllables, marks instead of grammar, and for values
the words that lie near a few others (words.py) instead of a list. This module shares no code and no list with truth.py and reading.py.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from prefloom.flows.engines.scorers.words import nearness, word_vectors, word_weights

_TOKEN = re.compile(r"[a-z]+(?:['’][a-z]{1,3}\b)?")
_BULLET = re.compile(r"^[ \t]{0,12}(?:[-*+•>|]|#{1,6}|\d{1,3}[.):])[ \t]*(?=[^\s-])", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]{1,90}\*\*")
_INSTANCE = re.compile(
    r"\b(?:examples?\b|instance\b|such as\b|e\.g\.|like when\b|imagine\b|including\b|picture this\b|suppose\b)", re.IGNORECASE
)
_SHOUTED = re.compile(r"[a-z)*]!+(?![\w=(\[-])", re.IGNORECASE)
_ASKED = re.compile(r"\?(?![\w/=&.])")
_WINDOW = 50  # words in which a reader notices that a word comes back
_CALM = 40  # words that every text has more, for rates


def measure(text: str) -> dict[str, float]:
    """All properties by name."""
    tokens = [token.replace("’", "'") for token in _TOKEN.findall(text.lower())]
    counts, size = Counter(tokens), len(tokens)
    known = _known(counts)
    near = {name: int(known[1] @ pole[known[0]]) / 10_000 / (size + _CALM) for name, pole in _poles().items()}
    asked, shouts = len(_ASKED.findall(text)), min(len(_SHOUTED.findall(text)), 6 + size // 50)
    found = {name: math.sqrt(value) for name, value in near.items() if name not in {"warmth", "humour"}}
    return found | {
        # What a page looks full of: characters.
        "length": math.log1p(sum(map(len, text.split()))),
        "readability": _readability(text, tokens),
        "structure": _structure(text),
        "formality": _formality(counts, size, shouts),
        "hedging": _listed("hedges", counts) / (size + _CALM),
        # Affect by nearness to a few words, as in distributed dictionaries (Garten et al. 2018), and marks.
        "warmth": -0.02 * _letters(counts, size)
        + math.sqrt(near["warmth"] + (0.2 * _listed("kind_words", counts) + 0.1 * shouts) / (size + _CALM)),
        "humour": -0.02 * _letters(counts, size)
        + math.sqrt(near["humour"] + (0.4 * _listed("calls", counts) + 0.25 * shouts + 0.1 * min(asked, 4)) / (size + _CALM)),
        "concreteness": _concreteness(known),
        # Nothing but the second person.
        "address": sum(counts[word] for word in ("you", "your", "yours", "yourself", "you're", "you'll", "you've", "you'd"))
        / (size + _CALM),
        # Question marks to a page, however long the sentences are.
        "questions": math.sqrt(asked / (len(text) + 500)),
        "diversity": _diversity([token for token in tokens if len(token) > 3]),
        # A handful of phrases.
        "examples": math.sqrt(len(_INSTANCE.findall(text)) / (size + 60)),
    }


def _readability(text: str, tokens: list[str]) -> float:
    """The automated readability index (Smith & Senter 1967) with its sign turned: letters per word and words per stop, no syllables."""
    size = len(tokens)
    if not size:
        return -10.0
    stops = sum(text.count(mark) for mark in ".!?:;\n") - 2 * text.count("\n\n")
    letters = min(sum(map(len, tokens)) / size, 15.0)
    index = 4.71 * letters + 0.5 * min(size / max(stops, 1), 60.0) - 21.43
    return -(size * index + 10.0 * _CALM) / (size + _CALM)


def _structure(text: str) -> float:
    """Lines that begin with a mark: how many, and how much of the page they are."""
    lines = sum(1 for line in text.splitlines() if line.strip())
    marked = min(len(_BULLET.findall(text)), lines)
    return marked / (lines + 2) + 0.4 * math.log1p(marked) + 0.15 * math.log1p(len(_BOLD.findall(text)))


def _letters(counts: Mapping[str, int], size: int) -> float:
    """Letters per word, as far as they exceed the ordinary 4.5; drawn to it where there are few words."""
    return (sum(min(len(word), 14) * count for word, count in counts.items()) - 4.5 * size) / (size + _CALM)


def _formality(counts: Mapping[str, int], size: int, shouts: int) -> float:
    """Long words and stately ones, few chatty ones, few contractions: the first factor of register studies (Biber 1988), cheaply."""
    lively = 1.5 * _listed("chatty", counts) + sum(count for word, count in counts.items() if "'" in word) + 2 * shouts
    return (_letters(counts, size) * size / 10 + 0.6 * _listed("stately", counts) - lively) / (size + _CALM)


def _concreteness(known: tuple[list[int], NDArray[np.int64]]) -> float:
    """Where the words lie between things and ideas, on average: ratings carry over to near words (Brysbaert 2014; Ljubešić 2018)."""
    rows, counts = known
    amounts = counts * word_weights()[rows] * _contents()[rows]
    return int(amounts @ _axis()[rows]) / 10_000 / (int(amounts.sum()) + 1000 * _CALM)


def _diversity(tokens: list[str]) -> float:
    """MATTR (Covington & McFall 2010): different words in a window of 50, averaged as it moves. Short texts are drawn to the ordinary.

    Words of four letters or more: the shorter ones come back in any text, and oftener in stories than in lists.
    """
    window: Counter[str] = Counter(tokens[:_WINDOW])
    distinct = total = len(window)
    places = 1
    for old, new in zip(tokens, tokens[_WINDOW:], strict=False):
        window[old] -= 1
        distinct += (window[new] == 0) - (window[old] == 0 and old != new)
        window[new] += 1
        total, places = total + distinct, places + 1
    width = max(min(len(tokens), _WINDOW), 1)
    share = total / places / width - 0.1 * (1 - width / _WINDOW)
    return (len(tokens) * share + 40 * 0.85) / (len(tokens) + 40)


def _known(counts: Mapping[str, int]) -> tuple[list[int], NDArray[np.int64]]:
    """Rows of the words that have a vector (a plural may borrow its singular's), and how often each stands there, three times at most."""
    index, found = word_vectors()[0], dict[int, int]()
    for word, count in counts.items():
        row = index.get(word, index.get(word.removesuffix("s")) if len(word) > 4 else None)
        if row is not None:
            found[row] = min(3, found.get(row, 0) + count)
    rows = sorted(found)
    return rows, np.array([found[row] for row in rows], dtype=np.int64)


def _listed(name: str, counts: Mapping[str, int]) -> int:
    return sum(counts[word] for word in _lists()[name] if word in counts)


@cache
def _poles() -> dict[str, NDArray[np.int64]]:
    """Per pole: what every word counts, in ten-thousandths; nothing but for the nearest words."""
    index, found = word_vectors()[0], {}
    for name, pole in _lexicon()["poles"].items():
        near = nearness(pole["words"].split()) - np.maximum(nearness(pole["less"].split()), 0) // 2
        least = int(np.sort(near)[-pole["width"]])
        near[[index[word] for word in pole.get("never", "").split() if word in index]] = -10_000
        found[name] = np.where(near > least, near - least + 1_500, 0) * word_weights() // 1_000
    return found


@cache
def _axis() -> NDArray[np.int64]:
    """Where every word lies between the two ends of concreteness."""
    ends = _lexicon()["axes"]["concreteness"]
    return nearness(ends["more"].split()) - nearness(ends["less"].split())


@cache
def _contents() -> NDArray[np.int64]:
    """1 for words that carry content: not the commonest ones."""
    return (np.arange(len(word_vectors()[0])) >= 120).astype(np.int64)


@cache
def _lists() -> dict[str, tuple[str, ...]]:
    return {name: tuple(words.split()) for name, words in _lexicon().items() if isinstance(words, str)}


@cache
def _lexicon() -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.safe_load((files("prefloom.data") / "society" / "lexicon_held_out.yaml").read_text(encoding="utf-8"))
    return content
