"""Near-duplicates: rows whose cosine with an earlier, kept row reaches a threshold. Of each group the first stays.

    near_duplicates(on_grid(vectors), 0.9)  ->  Near(of=[-1, -1, 0], cosine=[nan, .31, .94]): the third row repeats the first

A row that is left out hides nothing: a later row is compared with the kept ones alone.

Up to 20,000 rows every pair is looked at. Of more, kept rows lie in cells, each around one of some rows that were taken evenly, and a row
is compared with the kept rows of the cells nearest to it and with those of its own block: nearly all that repeat another are found, and what
is found is exact. Products are of whole numbers, so neither the number of threads nor the library changes a choice. An index of a
library looks a row up on its own; here rows of a block that ask the same cell are multiplied with it at once, which is faster.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity.grid import Floats, Grid, between, cosines, whole

Places = NDArray[np.int64]
_EXACT = 20_000  # rows up to which all pairs are looked at: there cells are no faster
_PROBES = 16  # cells that a row is compared with
_BLOCK = 8192  # rows that look for kept ones at a time
_PART = 512  # of these, rows that are decided at a time


class Near(NamedTuple):
    """Per row: the kept row that it repeats (-1: it is kept itself), and its cosine with the nearest kept row before it (nan: none)."""

    of: Places
    cosine: Floats


def near_duplicates(rows: Grid, threshold: float) -> Near:
    """Which rows repeat which, in the order of the rows. Rows of zeros are like nothing, not even each other: kept, their cosine nan.

    Of equally near rows the earlier one is named. Memory beside `rows`: some 500 MB, however many rows and whatever repeats whatever.
    """
    near = Near(np.full(len(rows), -1), np.full(len(rows), np.nan, np.float32))
    placed = np.flatnonzero(rows.any(axis=1))
    if len(placed) < len(rows):
        inner = near_duplicates(rows[placed], threshold)
        near.of[placed] = np.where(inner.of < 0, -1, placed[inner.of])
        near.cosine[placed] = inner.cosine
        return near
    centres = _centres(rows)
    cells = [np.zeros(0, np.int64) for _ in centres]  # the kept rows of each
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        of, cosine = np.full(len(block), -1), np.full(len(block), -2, np.float32)
        home = _look(rows, block, centres, cells, (of, cosine))
        kept = _decide(block, threshold, start, (of, cosine))
        for cell in np.unique(home[kept]):
            cells[cell] = np.append(cells[cell], start + kept[home[kept] == cell])
        near.of[start : start + _BLOCK] = np.where(cosine >= threshold, of, -1)
        near.cosine[start : start + _BLOCK] = np.where(cosine < -1, np.nan, cosine)
    return near


def _centres(rows: Grid) -> Grid:
    """(cells, d) distinct rows, evenly taken; one if all pairs are to be looked at."""
    return rows[:1] if len(rows) <= _EXACT else np.unique(rows[:: int(len(rows) ** 0.5)], axis=0)


def _look(rows: Grid, block: Grid, centres: Grid, cells: list[Places], best: tuple[Places, Floats]) -> Places:
    """Put the nearest kept row of the probed cells, and its cosine, into `best`; returns the cell in which each row of the block lies."""
    nearness = cosines(block, centres)
    home = nearness.argmax(axis=1)
    least = np.partition(nearness, -_PROBES, axis=1)[:, -_PROBES] if len(centres) > _PROBES else nearness.min(axis=1)
    probing, probed = np.nonzero(nearness >= least[:, None])  # equals too: which of them a partition takes is up to the machine
    order = np.argsort(probed, kind="stable")
    ends = np.cumsum(np.bincount(probed, minlength=len(cells)))
    asked = whole(block)
    for members, mine in zip(cells, np.split(probing[order], ends[:-1]), strict=True):
        for first in range(0, len(members) if len(mine) else 0, _BLOCK):
            some = members[first : first + _BLOCK]
            _closer(best, mine, between((asked[0][mine], asked[1][mine]), whole(rows[some])), some)
    return np.asarray(home)


def _decide(block: Grid, threshold: float, start: int, best: tuple[Places, Floats]) -> Places:
    """Compare the rows of a block with those before them in it that are kept; updates `best`, returns the places of the kept ones."""
    kept = np.zeros(0, np.int64)
    for first in range(0, len(block), _PART):
        mine = np.arange(first, min(first + _PART, len(block)))
        asked = whole(block[mine])
        _closer(best, mine, between(asked, whole(block[kept])), start + kept)
        pairs = between(asked, asked)
        pairs[np.triu_indices(len(mine))] = -2  # with itself and with later rows
        out = best[1][mine] >= threshold
        for row in np.flatnonzero((pairs >= threshold).any(axis=1)):
            out[row] |= bool((pairs[row] >= threshold)[~out].any())
        pairs[:, out] = -2
        _closer(best, mine, pairs, start + mine)
        kept = np.append(kept, mine[~out])
    return kept


def _closer(best: tuple[Places, Floats], mine: Places, found: Floats, names: Places) -> None:
    """Put into `best`, at the places `mine`, what is nearer in `found`, (mine, names); of equals the first name."""
    if not found.size:
        return
    of, cosine = best
    at = found.argmax(axis=1)
    value, name = found[np.arange(len(mine)), at], names[at]
    closer = (value > cosine[mine]) | ((value == cosine[mine]) & (name < of[mine]) & (value > -2))
    of[mine[closer]], cosine[mine[closer]] = name[closer], value[closer]
