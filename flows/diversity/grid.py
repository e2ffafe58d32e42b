"""Exact cosines: unit vectors on a grid of whole numbers, so that every sum is a whole number and no order of adding changes it.

    grid = on_grid(vectors)            ->  (n, d) int16, each row 4000 times its unit vector, rounded
    cosines(grid[:1], grid)            ->  (1, n) float32, the same bits with any library, any number of threads, any block size

A choice that compares floats of a matrix product may differ between machines in near ties, and with it every id after it. Here no partial
sum of a product reaches 2²⁴ (the lengths see to that, by Cauchy and Schwarz), so 32-bit floats hold each exactly, and BLAS gives whole
numbers. The grid moves a cosine by about 1e-4. The length of a row on it is not quite 4000; a cosine is divided by the true lengths, so that equal
rows have exactly 1 and no two rows more.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloom.schemas.errors import InputError

Grid = NDArray[np.int16]
Floats = NDArray[np.float32]
SCALE = 4000
_BLOCK = 16_384  # rows taken to floats at a time
_LONGER = 1 + 4e-7  # roundings must not leave a row short of 1 with itself: a cosine may be that much too large, and is cut there


def on_grid(vectors: NDArray[Any]) -> Grid:
    """(n, d) vectors of any length -> their directions on the grid. A row of zeros stays one. InputError names a row that is not finite.

    The squares of 16-bit floats, as tables hold them, add up exactly in 64 bits: these rows too are the same on every machine.
    """
    placed = np.zeros(vectors.shape, np.int16)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float64)
        if not np.isfinite(block).all():
            row = start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise InputError("vectors", f"row {row}", found="a number that is not finite", expected="finite numbers")
        length = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        placed[start : start + _BLOCK] = np.rint(SCALE * np.divide(block, length, out=np.zeros_like(block), where=length > 0))
    return placed


def whole(rows: Grid) -> tuple[Floats, Floats]:
    """(n, d) the same whole numbers as floats, and (n,) what a product of each row is multiplied by: 1 / its length, 0 for zeros."""
    floats = rows.astype(np.float32)
    squares = np.einsum("ij,ij->i", floats, floats).astype(np.float64)
    return floats, np.divide(_LONGER, np.sqrt(squares), out=np.zeros(len(rows)), where=squares > 0).astype(np.float32)


def between(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Floats:
    """(n, m) cosines of all pairs of rows that `whole` has prepared."""
    products: Floats = first[0] @ second[0].T
    products *= first[1][:, None]
    products *= second[1]
    return np.clip(products, np.float32(-1), np.float32(1), out=products)


def cosines(first: Grid, second: Grid) -> Floats:
    """(n, m) cosines of all pairs; 0 with a row of zeros."""
    return between(whole(first), whole(second))
