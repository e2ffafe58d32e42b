"""Which readings an adaptive recipe will ask for, before they are asked: by what a sample of them says.

    asked(odds, recipe.judgements)   ->  templates × pairs: whether this template is asked of this pair; odds as in forecast_rows.py
    shares(sample, recipe)           ->  [1.0, 0.62, 0.41]: of all pairs, those that are asked under each template

Every reading is taken to succeed. Without a sample, or without `judgements.adaptive`, every template is reckoned for everybody: an upper
bound.
"""

import numpy as np
from numpy.typing import NDArray

from prefloom.schemas.checks import Judgements
from prefloom.schemas.reading import GRID

Floats = NDArray[np.float64]


def asked(odds: Floats, judgements: Judgements) -> NDArray[np.bool_]:
    """For log-odds of the answer shown first, (2 orders, templates, …)."""
    found = np.ones(odds.shape[1:], dtype=bool)
    if (rule := judgements.adaptive) is None:
        return found
    totals = np.cumsum(np.rint((odds[0] - odds[1]) / GRID), axis=0)
    for place in range(rule.first, len(found)):
        keep, near = rule.edges(place, len(judgements.templates))
        found[place] = found[place - 1] & (np.abs(np.abs(totals[place - 1]) - keep) < near)
    return found


def shares(odds: Floats | None, templates: int, judgements: Judgements) -> Floats:
    """The share of pairs that each of so many templates is asked of."""
    if odds is None:
        return np.ones(templates)
    found: Floats = asked(odds, judgements).reshape(templates, -1).mean(axis=1)
    return found
