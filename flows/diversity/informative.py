"""Which pairs of answers are worth asking about: general quality, what divides people, and a draw whose chances are known.

quality([0, 1, 0], [1, 2, 2], [1.1, -0.3, 0.7], 3)      ->  [0.6, -0.47, -0.13]: log-odds, mean 0
disagreement([[2.1, -1.8, 0.3]], [[0.2, 0.1, 0.4]])     ->  [3.8]: variance between people, in squared log-odds
chances(np.array([.4, .1, .1]), 1, uniform=.2)          ->  [0.6, 0.2, 0.2]: how likely each pair is to be drawn, one in all
systematic(chances, 0.7)                                ->  [1]: so many pairs, each with exactly its chance
"""

import math
from collections.abc import Sequence

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
    degrees = sum(len(row) - 1 for row in biases if len(row) > 1)
    noise = sum(float(np.var(row)) * len(row) for row in biases if len(row) > 1) / max(degrees, 1)
    found = [float(np.var(row, ddof=1)) - noise if len(row) > 1 else math.nan for row in margins]
    return np.maximum(found, 0.0)


def chances(worth: Floats, count: int, uniform: float) -> Floats:
    """Probabilities of being drawn that add up to `count` (1 each if there are no more): a share `uniform` of them equal for all, the
    rest in proportion to `worth`; where that is more than 1 it is 1, and the others share what is left.
    """
    if count >= len(worth):
        return np.ones(len(worth))
    equal = np.full(len(worth), 1 / len(worth))
    size = (1 - uniform) * worth / worth.sum() + uniform * equal if worth.sum() > 0 else equal
    certain = np.zeros(len(worth), dtype=bool)
    while True:
        found = np.where(certain, 1.0, (count - certain.sum()) * size / max(size[~certain].sum(), 1e-300))
        more = found > 1 + 1e-12
        if not more.any():
            return np.minimum(found, 1.0)
        certain |= more


def systematic(found: Floats, point: float) -> list[int]:
    """Places that are drawn, as many as the chances add up to: where point, point + 1, … fall among their running sums (Madow 1949)."""
    ends = np.cumsum(found)
    return [int(place) for place in np.minimum(np.searchsorted(ends, np.arange(round(ends[-1])) + point, side="right"), len(found) - 1)]
