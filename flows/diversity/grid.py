"""Exact cosines: unit vectors on a grid of whole numbers, so that every sum is a whole number and no order of adding changes it.

    grid = on_grid(vectors)            ->  (n, d) int16, each row 4000 times its unit vector, rounded
    cosines(grid[:1], grid)            ->  (1, n) float32, the same bits with any library, any number of threads, any block size

A choice that compares floats of a matrix product may differ between machines in near ties, and with it every id after it. Here a product is
at most 4000² + rounding < 2²⁴, which 32-bit floats hold exactly, so BLAS gives whole numbers. The grid moves a cosine by about 1e-4.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloom.schemas.errors import InputError

Grid = NDArray[np.int16]
Floats = NDArray[np.float32]
SCALE = 4000
_BLOCK = 65_536  # rows taken to 64-bit floats at a time


def on_grid(vectors: NDArray[Any]) -> Grid:
    """(n, d) vectors of any length -> their directions on the grid. A row of zeros stays one. InputError names a row that is not finite."""
    placed = np.zeros(vectors.shape, np.int16)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float64)
        if not np.isfinite(block).all():
            row = start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise InputError("vectors", f"row {row}", found="a number that is not finite", expected="finite numbers")
        length = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        placed[start : start + _BLOCK] = np.rint(SCALE * np.divide(block, length, out=np.zeros_like(block), where=length > 0))
    return placed


def cosines(first: Grid, second: Grid) -> Floats:
    """(n, m) cosines of all pairs; 0 with a row of zeros."""
    products: Floats = first.astype(np.float32) @ second.astype(np.float32).T
    return products / np.float32(SCALE**2)
