"""Which text repeats another, by the order of their words: what models write is held against the seeds and against what they wrote before.

    copies = Copies(0.7)
    copies.add("9f0c…", "How should I spend a free weekend?")
    copies.nearest("How should I spend my free weekend?")    ->  ("9f0c…", 0.8571)           None below the threshold

The measure is ROUGE-L (Lin 2004), F with equal weights: twice the longest common subsequence of words over all words of both. Self-Instruct
(Wang et al. 2023) keeps a new task below 0.7. Only texts that share enough words are compared in full, so a pool of ten thousand is fast.
"""

import math
import re
from collections import defaultdict

_WORD = re.compile(r"\w+")
_MOST = 200  # words of a text that are looked at


class Copies:
    """A pool of texts, and the question whether a new one is too like one of them."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: list[tuple[str, list[str]]] = []
        self._places: dict[str, list[int]] = defaultdict(list)  # word -> texts that have it

    def add(self, row_id: str, text: str) -> None:
        """Put a text into the pool."""
        words = _words(text)
        for word in set(words):
            self._places[word].append(len(self._texts))
        self._texts.append((row_id, words))

    def nearest(self, text: str) -> tuple[str, float] | None:
        """(id, ROUGE-L) of the text that is most alike, the first of equals; None if none reaches the threshold."""
        words = _words(text)
        best: tuple[str, float] | None = None
        for place in sorted(self._candidates(words)):
            row_id, other = self._texts[place]
            if 2 * min(len(words), len(other)) < self._threshold * (len(words) + len(other)):
                continue
            found = round(2 * _common(words, other) / (len(words) + len(other)), 4)
            if found >= self._threshold and (best is None or found > best[1]):
                best = (row_id, found)
        return best

    def _candidates(self, words: list[str]) -> set[int]:
        """Texts that can reach the threshold.

        One of n words shares at least t·(m + n)/2 with these m, and no more than n, so at least m·t/(2 - t): then it has one of the rarest
        m - m·t/(2 - t) + 1 of these words.
        """
        shared = math.ceil(len(words) * self._threshold / (2 - self._threshold) - 1e-9)
        rarest = sorted(words, key=lambda word: len(self._places.get(word, ())))[: len(words) - shared + 1]
        return {place for word in rarest for place in self._places.get(word, ())}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())[:_MOST]


def _common(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, mine in enumerate(other, 1):
            here = row[place]
            row[place] = before + 1 if word == mine else max(here, row[place - 1])
            before = here
    return row[-1]
