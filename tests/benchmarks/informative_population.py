"""What choosing informative pairs does to figures about the population, and what weights mend. Part of tests/benchmarks/informative.py.

    bias(values, worth, 3)  ->  Bias(truth=.31, by chance=…, chosen=…, weighed=…): the mean over all pairs, and what draws make of it

The draw is repeated, everything else stays: what is left of a figure's distance from its truth in the mean of the draws is bias.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity.informative import chances, systematic

Floats = NDArray[np.float64]
DRAWS = 400


class Bias(NamedTuple):
    """The figure over all pairs, and (mean, standard deviation) of it over draws: by chance, chosen, chosen and weighed."""

    truth: float
    chance: tuple[float, float]
    chosen: tuple[float, float]
    weighed: tuple[float, float]


def bias(prompts: Sequence[tuple[Floats, Floats, Floats]], count: int, uniform: float, seed: int) -> Bias:
    """For prompts of (value of each pair, how many cases it is of, worth); a figure is the sum of values over the sum of cases."""
    dice = np.random.default_rng(seed)
    sums = np.zeros((3, DRAWS, 2))
    for value, cases, worth in prompts:
        found = chances(worth, count, uniform)
        rows = np.column_stack([value, cases])
        for draw in range(DRAWS):
            order = dice.permutation(len(value))
            places = order[systematic(found[order], float(dice.random()))]
            sums[0, draw] += rows[dice.permutation(len(value))[:count]].sum(axis=0)
            sums[1, draw] += rows[places].sum(axis=0)
            sums[2, draw] += (rows[places] * min(count, len(value)) / len(value) / found[places][:, None]).sum(axis=0)
    values = sums[..., 0] / sums[..., 1]
    chance, chosen, weighed = ((float(row.mean()), float(row.std(ddof=1))) for row in values)
    whole = sum(float(value.sum()) for value, _, _ in prompts) / sum(float(cases.sum()) for _, cases, _ in prompts)
    return Bias(whole, chance, chosen, weighed)


def figures(margins: Floats, first: Sequence[str], second: Sequence[str], leader: str) -> dict[str, tuple[Floats, Floats]]:
    """(value, cases) of each pair of one prompt, from margins (people, pairs) and who wrote the two answers."""
    people, ones = len(margins), np.ones(margins.shape[1])
    for_first = (margins > 0).sum(axis=0).astype(np.float64)
    smaller = np.minimum(for_first, people - for_first) / people
    one, other = (np.array([name == leader for name in side]) for side in (first, second))
    met = (one != other).astype(np.float64)
    return {
        "disagreement of two people": (2 * for_first * (people - for_first) / (people * (people - 1)), ones),
        "contested by 30 %": ((smaller >= 0.3).astype(np.float64), ones),
        "mean size of a margin": (np.abs(margins).mean(axis=0), ones),
        f"{leader} wins": (met * np.where(one, for_first, people - for_first) / people, met),
    }
