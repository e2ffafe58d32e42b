"""Near-duplicates: rows whose cosine with an earlier, kept row reaches a threshold. Of each group the first stays.

    near_duplicates(on_grid(vectors), 0.9)  ->  Near(of=[-1, -1, 0], cosine=[nan, .31, .94]): the third row repeats the first

A row that is left out hides nothing: a later row is compared with the kept ones alone.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity.grid import Floats, Grid, cosines

_BLOCK = 4096


class Near(NamedTuple):
    """Per row: the kept row that it repeats (-1: it is kept itself), and its cosine with the nearest kept row before it (nan: none)."""

    of: NDArray[np.int64]
    cosine: Floats


def near_duplicates(rows: Grid, threshold: float) -> Near:
    """Which rows repeat which, in the order of the rows."""
    found = Near(np.full(len(rows), -1), np.full(len(rows), np.nan, np.float32))
    kept: list[int] = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        known = np.array(kept, dtype=np.int64)
        outer = cosines(block, rows[known]) if kept else np.zeros((len(block), 0), np.float32)
        inner = cosines(block, block)
        fresh: list[int] = []
        for place in range(len(block)):
            near = np.concatenate([outer[place], inner[place, fresh]])
            if len(near):
                best = int(near.argmax())
                found.cosine[start + place] = near[best]
                if near[best] >= threshold:
                    found.of[start + place] = kept[best] if best < len(known) else start + fresh[best - len(known)]
                    continue
            fresh.append(place)
        kept += [start + place for place in fresh]
    return found
