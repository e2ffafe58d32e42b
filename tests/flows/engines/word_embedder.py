"""An embedder without weights: a text is the bag of its first words, so that its cosines can be counted on fingers.

Two texts of ten words each, nine of them the same, have a cosine of .9, whatever their order; a text without letters is a row of zeros.
"""

import re
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from prefloom.flows.dataset.embeddings import Batches, Half
from prefloom.flows.engines.embedder import gather

DIMENSION = 2048
LONGEST = 500  # words that are read, as a model reads so many tokens


class Words:
    """Bags of words."""

    identity, dimension = "test/words@1", DIMENSION

    def __init__(self) -> None:
        self.texts: list[str] = []  # all that were embedded
        self.spoiled: str | None = None  # a text with this word in it has no finite vector

    def stream(self, texts: Sequence[str]) -> Batches:
        for index, text in enumerate(texts):
            self.texts.append(text)
            vector = np.zeros(DIMENSION, np.float16)
            for word in re.findall(r"[a-z0-9]+", text.lower())[:LONGEST]:
                vector[zlib.crc32(word.encode()) % DIMENSION] += 1
            yield [index], (vector * np.nan if self.spoiled and self.spoiled in text else vector)[None]

    def encode(self, texts: Sequence[str]) -> Half:
        return gather(self, texts)


def install(monkeypatch: pytest.MonkeyPatch) -> Words:
    """Let every recipe with a local encoder have this one."""
    words = Words()
    monkeypatch.setattr("prefloom.flows.engines.embedder.Local", lambda weights, device: words)
    return words
