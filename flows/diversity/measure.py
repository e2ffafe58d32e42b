"""Measures of a set of vectors: how many different ones it is worth, how alike those of a group are, and a plane to look at.

vendi(rows)                     ->  12.8: as diverse as so many texts that have nothing in common (Friedman & Dieng 2023)
within(rows, groups)            ->  mean cosine of all pairs of each group, nan for a group of one
plane(rows)                     ->  (n, 2) along the two directions in which they differ most
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity.grid import SCALE, Grid, cosines

_LARGEST = 10_000  # rows whose Vendi score is reckoned; of more, so many evenly taken


def vendi(rows: Grid) -> float:
    """exp of the entropy of the eigenvalues of K/n, K the cosines of all pairs; by way of the smaller of n × n and d × d. nan for none."""
    if not len(rows):
        return float("nan")
    some = rows[:: -(-len(rows) // _LARGEST)].astype(np.float64) / SCALE
    values = np.linalg.eigvalsh((some @ some.T if len(some) < some.shape[1] else some.T @ some) / len(some))
    shares = values[values > 1e-12] / values[values > 1e-12].sum() if (values > 1e-12).any() else np.ones(1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def within(rows: Grid, groups: NDArray[Any]) -> NDArray[np.float64]:
    """Mean cosine of the pairs of each group, in the order of np.unique(groups)."""
    means = []
    for group in np.unique(groups):
        mine = rows[groups == group]
        pairs = cosines(mine, mine)[np.triu_indices(len(mine), 1)]
        means.append(float(pairs.mean(dtype=np.float64)) if len(pairs) else float("nan"))
    return np.array(means)


def plane(rows: Grid) -> NDArray[np.float64]:
    """(n, 2) principal components, each turned so that its largest entry is positive."""
    centred = rows.astype(np.float64) / SCALE
    centred -= centred.mean(axis=0) if len(rows) else 0.0
    _, axes = np.linalg.eigh(centred.T @ centred)
    two = axes[:, ::-1][:, :2]
    two = two * np.sign(two[np.abs(two).argmax(axis=0), range(two.shape[1])])
    return np.asarray(centred @ two)
