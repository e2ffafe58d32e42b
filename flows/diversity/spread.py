"""The most different rows: farthest-point selection (Gonzalez 1985), with strata kept in balance.

    spread(rows, 3)                                 ->  [0, 17, 4]: the first row, the farthest from it, the farthest from both
    spread(rows, 200, codes, [[.5, .5], [.2, .8]])  ->  the same, taking from the values of each trait that are short of their share

Rows come in an order of their own (a draw): the first is taken first, and of equals the earlier. Choosing more begins with the same choice.

The plain method compares all rows with every chosen one. This one chooses the same with fewer looks at all rows: a cosine with the nearest
chosen row only grows, so no row that was set aside is farther now than it was then. While the farthest of some rows in hand is farther
than that, it is the farthest of all.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity.grid import Floats, Grid, between, whole

Ints = NDArray[np.int64]
_HAND = 16_384  # rows among which one goes on choosing before all are looked at again
_BLOCK = 16_384  # rows, and
_CENTRES = 1024  # chosen rows, that are compared at a time
_NOWHERE, _CHOSEN = 2.0, 3.0  # in place of a cosine: taken last; not again


def spread(rows: Grid, count: int, codes: Ints | None = None, shares: Sequence[Sequence[float]] = ()) -> list[int]:
    """Places of `count` rows (all if there are fewer), in the order they were chosen.

    codes   (n, traits) the value of each trait of each row, -1 where it has none
    shares  per trait, the share of the choice that each value should have
    A row is taken from those whose values are short of their shares in most traits; of these, the one farthest from all chosen. Rows of
    zeros have no place and are far from nothing: of eligible rows they are taken last.
    """
    kinds, kind = np.zeros((1, 0), np.int64), np.zeros(len(rows), np.int64)
    if codes is not None and len(shares):
        kinds, inverse = np.unique(codes, axis=0, return_inverse=True)
        kind = inverse.reshape(-1)
    left = np.bincount(kind, minlength=len(kinds))
    taken = [np.zeros(len(wanted)) for wanted in shares]
    nearest = np.where(rows.any(axis=1), -2, _NOWHERE).astype(np.float32)  # cosine with the nearest chosen row
    chosen: list[int] = []
    looked = 0  # chosen rows with which all others have been compared
    while len(chosen) < min(count, len(rows)):
        _compare(rows, rows[chosen[looked:]], nearest)
        nearest[chosen], looked = _CHOSEN, len(chosen)
        hand, aside = _deal(nearest, kind, len(kinds))
        prepared, mine = whole(rows[hand]), nearest[hand]
        while len(chosen) < min(count, len(rows)):
            eligible = _short(kinds, left, taken, shares, len(chosen))
            held = np.where(eligible[kind[hand]], mine, np.float32(_CHOSEN))
            best = int(held.argmin()) if len(held) else 0
            if (held[best], hand[best]) >= min(bound for bound, may in zip(aside, eligible, strict=True) if may):
                break  # a row set aside may be farther
            row = int(hand[best])
            chosen.append(row)
            left[kind[row]] -= 1
            for counts, value in zip(taken, kinds[kind[row]], strict=True):
                if value >= 0:
                    counts[value] += 1
            cosine = between(prepared, (prepared[0][best : best + 1], prepared[1][best : best + 1]))[:, 0]
            mine = np.maximum(mine, cosine, out=mine)
            mine[best] = _CHOSEN
    return chosen


def _compare(rows: Grid, centres: Grid, nearest: Floats) -> None:
    """Raise `nearest` to the cosine with the nearest of the centres."""
    for first in range(0, len(centres), _CENTRES):
        some = whole(centres[first : first + _CENTRES])
        for start in range(0, len(rows), _BLOCK):
            part = nearest[start : start + _BLOCK]
            np.maximum(part, between(whole(rows[start : start + _BLOCK]), some).max(axis=1), out=part)


def _deal(nearest: Floats, kind: Ints, kinds: int) -> tuple[Ints, list[tuple[float, int]]]:
    """The farthest rows of every kind, in their order, and per kind the farthest row set aside: (cosine, place)."""
    order = np.lexsort((nearest, kind))
    begins = np.searchsorted(kind[order], np.arange(kinds + 1))
    many = max(1, _HAND // kinds)
    hand = np.sort(order[np.arange(len(order)) - begins[kind[order]] < many])
    nexts = [at if at < end else -1 for at, end in zip(begins[:-1] + many, begins[1:], strict=True)]
    after = [(float(nearest[order[at]]), int(order[at])) if at >= 0 else (_CHOSEN, 0) for at in nexts]
    return hand, after


def _short(kinds: Ints, left: Ints, taken: list[NDArray[np.float64]], shares: Sequence[Sequence[float]], count: int) -> NDArray[np.bool_]:
    """Which kinds are short of their shares in most traits, of those with rows left."""
    short = np.zeros(len(kinds), np.int64)
    for trait, (wanted, counts) in enumerate(zip(shares, taken, strict=True)):
        need = np.append(np.asarray(wanted) * (count + 1) - counts > 1e-9, False)  # the last one is for -1
        short += need[kinds[:, trait]]
    return np.asarray((left > 0) & (short == short[left > 0].max()))
