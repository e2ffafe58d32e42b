"""What a text is worth to somebody whose tastes are known: the truth that judges are measured against.

    u = linear · z  +  bends · q(z)  +  hidden · g

z: the 20 properties of the truth set of text scorers (scorers/truth.py), in standard deviations of real answers; q: squares and products of
some of them, so that a taste can have a middle or depend on another one; g: eight numbers made from the words of the text, which no
property tells, so that no judge and no trainer can know everything. Only differences between answers to one prompt mean anything.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from prefloom.flows.engines.scorers import PROPERTIES, score
from prefloom.flows.engines.society.chance import Floats

# A square is centred and scaled for a standard normal property: the second Hermite polynomial, uncorrelated with the property itself.
BENDS = (
    ("length", "length"),
    ("formality", "formality"),
    ("humour", "humour"),
    ("hedging", "hedging"),
    ("structure", "length"),
    ("warmth", "formality"),
)
HIDDEN = 8
WEIGHTS = len(PROPERTIES) + len(BENDS) + HIDDEN
_PLACES = [(PROPERTIES.index(one), PROPERTIES.index(other)) for one, other in BENDS]
_WORD = re.compile(r"[^\W\d_]{3,40}")


def features(texts: Sequence[str]) -> Floats:
    """Everything a utility is made of, shape (texts, 20 + 6 + 8)."""
    z = score("truth", texts).astype(np.float64)
    return np.concatenate([z, bent(z), np.array([_unspoken(text) for text in texts]).reshape(len(texts), HIDDEN)], axis=1)


def bent(z: Floats) -> Floats:
    """Squares and products of properties, shape (texts, 6)."""
    columns = [(z[:, i] ** 2 - 1) / np.sqrt(2) if i == j else z[:, i] * z[:, j] for i, j in _PLACES]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=4096)
def _unspoken(text: str) -> tuple[float, ...]:
    """Mean of the signs of the distinct words, scaled to a variance of about one."""
    words = sorted(set(_WORD.findall(text.lower())))
    signs = np.array([_signs(word) for word in words]).reshape(len(words), HIDDEN)
    return tuple(signs.sum(axis=0) / np.sqrt(max(len(words), 1)))


@lru_cache(maxsize=1 << 16)
def _signs(word: str) -> tuple[float, ...]:
    bits = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=1).digest()[0]
    return tuple(1.0 if bits >> place & 1 else -1.0 for place in range(HIDDEN))
