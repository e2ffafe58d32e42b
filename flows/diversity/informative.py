"""Which pairs of answers are worth asking about: general quality, what divides people, and a draw whose chances are known.

quality([0, 1, 0], [1, 2, 2], [1.1, -0.3, 0.7], 3)      ->  [0.6, -0.47, -0.13]: log-odds, mean 0
disagreement([[2.1, -1.8, 0.3]], [[0.2, 0.1, 0.4]])     ->  [3.8]: variance between people, in squared log-odds
strength([[2.1, -1.8, 0.3]], [[0.2, 0.1, 0.4]])         ->  [2.6]: mean square of people's log-odds
chances(np.array([.4, .1, .1]), 1, uniform=.3)          ->  [0.8, 0.1, 0.1]: how likely each pair is to be drawn, one in all
systematic(chances, 0.85)                               ->  [1]: so many pairs, each with exactly its chance
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = Sequence[Sequence[float]]


def quality(first: Sequence[int], second: Sequence[int], margins: Sequence[float], count: int) -> Floats:
    """(count,) general quality of answers in log-odds, mean 0, from margins of `first` over `second`.

    Least squares on log-odds: the model of Bradley and Terry (1952), of whose pairs log-odds are seen and not votes. An answer of which
    nothing was read has 0, like the mean.
    """
    design = np.zeros((len(margins), count))
    design[np.arange(len(margins)), list(first)] = 1.0
    design[np.arange(len(margins)), list(second)] = -1.0
    found = np.linalg.lstsq(design, np.asarray(margins, dtype=np.float64), rcond=None)[0] if len(margins) else np.zeros(count)
    return np.asarray(found - found.mean())


def disagreement(margins: Rows, biases: Rows) -> Floats:
    """Per pair, how far apart two people are expected to be: the variance of their margins without the noise; nan with fewer than two.

    The expected square of the difference of two people's log-odds is twice that. A margin is the mean of two readings, a bias half their
    difference, so what biases differ by among the readers of a pair is the noise of a margin; it is pooled over the given pairs, those of
    one prompt, for the readers of one pair are too few to tell. How often two people would vote differently is no such measure: a judge
    that cannot tell gives everybody a half (tests/benchmarks/informative.py).
    """
    return _above_noise(margins, biases, lambda row: float(np.var(row, ddof=1)))


def strength(margins: Rows, biases: Rows) -> Floats:
    """Per pair, how strongly people feel about it: the mean square of their margins without the noise; nan with fewer than two.

    It is the disagreement and the square of what they have in common: a pair about which all feel alike can be strong.
    """
    return _above_noise(margins, biases, lambda row: float(np.mean(np.square(row))))


def _above_noise(margins: Rows, biases: Rows, size: Callable[[Sequence[float]], float]) -> Floats:
    degrees = sum(len(row) - 1 for row in biases if len(row) > 1)
    noise = sum(float(np.var(row)) * len(row) for row in biases if len(row) > 1) / max(degrees, 1)
    return np.maximum([size(row) - noise if len(row) > 1 else math.nan for row in margins], 0.0)


def chances(worth: Floats, count: int, uniform: float) -> Floats:
    """Probabilities of being drawn that add up to `count` (1 each if there are no more): a share `uniform` of them equal for all, the
    rest for the `count` that are worth most, of equals the earlier. If all are worth the same, so are their chances.
    """
    if count >= len(worth):
        return np.ones(len(worth))
    found = np.full(len(worth), count / len(worth))
    if worth.max() > worth.min():
        found *= uniform
        found[np.argsort(-worth, kind="stable")[:count]] += 1 - uniform
    return found


def systematic(found: Floats, point: float) -> list[int]:
    """Places that are drawn, as many as the chances add up to: where point, point + 1, … fall among their running sums (Madow 1949)."""
    ends = np.cumsum(found)
    return [int(place) for place in np.minimum(np.searchsorted(ends, np.arange(round(ends[-1])) + point, side="right"), len(found) - 1)]
