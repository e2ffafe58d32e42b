"""Twenty properties of any English text, each measured by three sets of means that share nothing: no weights, no network.

    score("truth", ["Save money: repair it.", "Buy a new one!"])[:, PROPERTIES.index("thrift")]   ->  [3.6, 2.1]

    truth      what planted tastes are made of           word lists and counts (truth.py)
    reading    what simulated judges read with           stems and endings (reading.py)
    held_out   what only evaluation reads with           letters, marks, and words near to a few others (held_out.py)

A score is in standard deviations of real answers (data/society/scorers.yaml), drawn into (-4, 4) and rounded to four digits, so that it is
the same on every machine. A text's score depends on nothing but the text.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Literal, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

Set = Literal["truth", "reading", "held_out"]
SETS: tuple[Set, ...] = get_args(Set)

STYLE = (
    *("length", "readability", "structure", "formality", "hedging", "warmth", "humour", "concreteness"),
    *("address", "questions", "diversity", "examples"),
)
VALUES = ("thrift", "health", "adventure", "tradition", "community", "ambition", "nature", "safety")
PROPERTIES = STYLE + VALUES

_WIDEST = 4.0  # standard deviations that no score exceeds


def raw(name: Set, texts: Sequence[str]) -> NDArray[np.float64]:
    """(n, 20) measurements as they come, each in its own unit."""
    measure = _measure(name)
    found = [[measured[one] for one in PROPERTIES] for measured in map(measure, texts)]
    return np.array(found, dtype=np.float64).reshape(len(texts), len(PROPERTIES))


def score(name: Set, texts: Sequence[str]) -> NDArray[np.float32]:
    """(n, 20) scores, comparable between properties."""
    measure, found = _measure(name), np.empty((len(texts), len(PROPERTIES)), np.float32)
    for row, text in enumerate(texts):
        measured = measure(text)
        # math's tanh one by one: numpy's depends on the processor in its last digits.
        found[row] = [
            round(_WIDEST * math.tanh((measured[one] - mean) / sd / _WIDEST), 4)
            for one, (mean, sd) in zip(PROPERTIES, standards(name), strict=True)
        ]
    return found


@cache
def standards(name: Set) -> tuple[tuple[float, float], ...]:
    """Mean and standard deviation on real answers, per property."""
    stored = yaml.safe_load((files("prefloom.data") / "society" / "scorers.yaml").read_text(encoding="utf-8"))[name]
    return tuple((stored[one]["mean"], stored[one]["sd"]) for one in PROPERTIES)


def revision(name: Set) -> str:
    """12 hex digits over the code and the lists of a set: what must change when its scores may have changed."""
    folder = files("prefloom.data") / "society"
    parts = [(files(__name__) / f"{name}.py").read_bytes(), (folder / f"lexicon_{name}.yaml").read_bytes()]
    if name == "held_out":
        parts += [(files(__name__) / "words.py").read_bytes(), (folder / "words.npz").read_bytes()]
    return hashlib.blake2b(b"\0".join(parts), digest_size=6).hexdigest()


def _measure(name: Set) -> Callable[[str], Mapping[str, float]]:
    measure: Callable[[str], Mapping[str, float]] = import_module(f"{__name__}.{name}").measure
    return measure
