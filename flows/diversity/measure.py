"""Measures of a set of vectors: how many different ones it is worth, and a plane to look at.

vendi(rows)                     ->  12.8: as diverse as so many texts that have nothing in common (Friedman & Dieng 2023)
plane(rows)                     ->  (n, 2) along the two directions in which they differ most

These are sums of 64-bit floats and differ in the last digits between machines: round them where they are stored.
"""

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity.grid import Grid

_LARGEST = 10_000  # rows whose Vendi score is reckoned; of more, so many at most, evenly taken


def _units(rows: Grid) -> NDArray[np.float64]:
    """(n, d) rows of length 1; zeros stay."""
    floats = rows.astype(np.float64)
    squares = np.einsum("ij,ij->i", floats, floats)[:, None]
    return np.asarray(np.divide(floats, np.sqrt(squares), out=floats, where=squares > 0))


def vendi(rows: Grid) -> float:
    """exp of the entropy of the eigenvalues of K/n, K the cosines of all pairs: 1 if all are equal, n if none has anything in common.

    Rows of zeros do not count; nan if there are no others. K has the eigenvalues of the d × d matrix of the same rows, and zeros.
    """
    placed = rows[rows.any(axis=1)]
    if not len(placed):
        return float("nan")
    some = _units(placed[:: -(-len(placed) // _LARGEST)])
    values = np.linalg.eigvalsh((some @ some.T if some.shape[0] < some.shape[1] else some.T @ some) / len(some))
    shares = values[values > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def plane(rows: Grid) -> NDArray[np.float64]:
    """(n, 2) principal components, turned so that the largest entry of each direction is positive; zeros where there are fewer than two."""
    centred = _units(rows)
    centred -= centred.mean(axis=0) if len(rows) else 0.0
    _, axes = np.linalg.eigh(centred.T @ centred)
    two = axes[:, ::-1][:, :2]
    two = two * np.sign(two[np.abs(two).argmax(axis=0), range(two.shape[1])])
    return np.pad(centred @ two, ((0, 0), (0, 2 - two.shape[1])))
