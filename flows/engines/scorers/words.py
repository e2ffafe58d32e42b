"""What common English words mean, roughly: 16,500 vectors of 48 numbers that ship with the project. No weights, no torch.

    index, vectors = word_vectors()      index["river"] -> a row of vectors, a unit vector in float32; a word's row is its rank by frequency
    embed(["A river.", "A bank."])       ->  array of shape (2, 48): unit vectors; a text without a known word is all zeros

The vectors were distilled once from all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers): its answers to single words of its own
vocabulary, without their mean, on their 48 main axes (`python -m tests.benchmarks.words` makes the file). A text is the sum of its words,
each weighted by a / (a + p) as in SIF (Arora, Liang & Ma 2017), where p follows from the word's rank. Sums are of integers, so that the
order of words, the batch and the machine change nothing.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-22  # what one step of the stored integers is worth
DIMENSION = 48
_WORD = re.compile(r"[a-z]+")
_COMMON = 1e-3  # SIF's a: words that make up more of a text than this count less than half
_ZIPF = 0.1  # the word of rank r makes up about 0.1 / r of English


@cache
def word_vectors() -> tuple[dict[str, int], NDArray[np.float32]]:
    """Word -> row, and unit vectors (to within the rounding of 8 bits)."""
    words, vectors = _stored()
    return words, (vectors * UNIT).astype(np.float32)


@cache
def word_weights() -> NDArray[np.int64]:
    """How much each word counts in a text, in thousandths."""
    ranks = range(1, len(_stored()[0]) + 1)
    return np.array([round(1000 * _COMMON / (_COMMON + _ZIPF / rank)) for rank in ranks], dtype=np.int64)


def nearness(pole: Sequence[str]) -> NDArray[np.int64]:
    """Cosine, in ten-thousandths, of every word with the middle of some others."""
    words, vectors = _stored()
    middle = sum(vectors[words[word]] for word in pole)
    # Python's integers: squares of these no longer fit into 64 bits once a pole has many words.
    length = math.isqrt(sum(int(value) ** 2 for value in middle)) or 1
    lengths = np.sqrt((vectors**2).sum(axis=1))
    return np.asarray(np.rint(10_000 * (vectors @ middle) / lengths / length), dtype=np.int64)


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """(n, 48): the direction of each text."""
    words, vectors = _stored()
    weights, result = word_weights(), np.zeros((len(texts), DIMENSION), np.float32)
    for row, text in enumerate(texts):
        counts = Counter(word for word in _WORD.findall(text.lower()) if word in words)
        if counts:
            rows = [words[word] for word in counts]
            amounts = np.array(list(counts.values()), dtype=np.int64) * weights[rows]
            total = (amounts[:, None] * vectors[rows]).sum(axis=0) * UNIT  # integers up to here
            result[row] = total / (math.sqrt(math.fsum(total**2)) or 1.0)
    return result


@cache
def _stored() -> tuple[dict[str, int], NDArray[np.int64]]:
    """The file: words in order of rank, and whole numbers that are vectors / UNIT."""
    with (files("prefloom.data") / "society" / "words.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        words = bytes(stored["words"]).decode("ascii").split("\n")
        vectors = stored["vectors"].astype(np.int64) * stored["scale"].astype(np.int64)
    return {word: row for row, word in enumerate(words)}, vectors
