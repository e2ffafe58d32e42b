"""The most different rows: farthest-point selection (Gonzalez 1985), with strata kept in balance.

    spread(rows, 3)                                 ->  [0, 17, 4]: the first row, the farthest from it, the farthest from both
    spread(rows, 200, codes, [[.5, .5], [.2, .8]])  ->  the same, taking from the values of each trait that are short of their share

Rows come in an order of their own (a draw): the first is taken first, and of equals the earlier. Choosing more begins with the same choice.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity.grid import Grid, cosines


def spread(rows: Grid, count: int, codes: NDArray[np.int64] | None = None, shares: Sequence[Sequence[float]] = ()) -> list[int]:
    """Places of `count` rows (all if there are fewer), in the order they were chosen.

    codes   (n, traits) the value of each trait of each row, -1 where it has none
    shares  per trait, the share of the choice that each value should have
    A row is taken from those whose values are short of their shares in most traits; of these, the one farthest from all chosen.
    """
    nearest = np.full(len(rows), -2.0, np.float32)  # cosine with the nearest chosen row
    free = np.ones(len(rows), dtype=bool)
    taken = [np.zeros(len(wanted)) for wanted in shares]
    chosen: list[int] = []
    while len(chosen) < min(count, len(rows)):
        short = np.zeros(len(rows), dtype=np.int64)
        for trait, wanted in enumerate(shares):
            assert codes is not None
            need = np.append(np.asarray(wanted) * (len(chosen) + 1) - taken[trait] > 1e-9, False)  # the last one is for -1
            short += need[codes[:, trait]]
        eligible = free & (short == short[free].max())
        best = int(np.argmin(np.where(eligible, nearest, np.inf)))
        free[best] = False
        chosen.append(best)
        nearest = np.maximum(nearest, cosines(rows, rows[best : best + 1])[:, 0])
        for trait, counts in enumerate(taken):
            assert codes is not None
            if codes[best, trait] >= 0:
                counts[codes[best, trait]] += 1
    return chosen
