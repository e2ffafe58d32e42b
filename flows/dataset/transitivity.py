"""Do the labels of one persona fit on a scale? Circles of three answers, and what no strengths of the answers explain.

    circles(labels)    ->  persona_id, comparison_id    the weakest label of each circle a over b, b over c, c over a
    residuals(labels)  ->  persona_id, residual         0: a ranking of answers explains every margin; 1: it explains nothing

Both look at the labels of one persona and one prompt, which need three comparisons of three answers: `comparisons.per_persona_prompt: 3`.

A circle has at least one wrong label, and one is enough to make it: turned round, the other two form a ranking. The smallest |margin|
is the one most easily wrong, so it alone goes. With margins 2 for a over b, 1.5 for b over c and 0.4 for c over a, it is the last.

The residual fits strengths s by least squares to margin = s(a) - s(b), the scale of Bradley and Terry in log-odds; what is left of the
squares is cyclic (Jiang et al. 2011). Its share is divided by the share of dimensions that are cyclic, so that margins without any order
come to 1; over the prompts of a persona squares and dimensions are summed. Of the three margins above, which sum to 3.9 around the
circle, 3.9² / 3 = 5.07 of 6.41 is cyclic, in 1 of 3 dimensions: 2.37, held at 1. A persona whose labels close no circuit has none.
"""

from itertools import combinations

import numpy as np
import polars as pl

COLUMNS = ["persona_id", "comparison_id", "prompt_id", "candidate_a", "candidate_b", "margin"]
_OWN = ["persona_id", "prompt_id"]
Edge = tuple[str, str, str, float]  # comparison, a, b, margin


def circles(labels: pl.DataFrame) -> pl.DataFrame:
    """The weakest label of every circle, once; of equally weak ones that with the smallest id."""
    weakest = {
        (persona, min(circle, key=lambda edge: (abs(edge[3]), edge[0]))[0])
        for persona, edges in _groups(labels)
        for circle in triads(edges)
        if turns(circle)
    }
    return pl.DataFrame(sorted(weakest), schema={"persona_id": pl.String, "comparison_id": pl.String}, orient="row")


def triads(edges: list[Edge]) -> list[tuple[Edge, Edge, Edge]]:
    """All three labels of each three answers that were compared with each other."""
    between = {frozenset(edge[1:3]): edge for edge in edges}
    answers = sorted({answer for edge in edges for answer in edge[1:3]})
    found = []
    for some in combinations(answers, 3):
        sides = [between.get(frozenset(pair)) for pair in combinations(some, 2)]
        if sides[0] and sides[1] and sides[2]:
            found.append((sides[0], sides[1], sides[2]))
    return found


def turns(circle: tuple[Edge, Edge, Edge]) -> bool:
    """Whether each of the three answers wins once."""
    return all(edge[3] != 0 for edge in circle) and len({a if margin > 0 else b for _, a, b, margin in circle}) == 3


def share(labels: pl.DataFrame) -> tuple[int, int]:
    """(circles, triads) of all personas and prompts."""
    every = [triad for _, edges in _groups(labels) for triad in triads(edges)]
    return sum(map(turns, every)), len(every)


def residuals(labels: pl.DataFrame) -> pl.DataFrame:
    """persona_id -> residual, on a grid of 1e-4; personas whose labels form no circuit are not there."""
    sums: dict[str, list[float]] = {}
    for persona, edges in _groups(labels):
        left, free = _cyclic(edges)
        if free:
            cell = sums.setdefault(persona, [0.0, 0.0, 0.0, 0.0])
            for place, value in enumerate((left, sum(edge[3] ** 2 for edge in edges), free, len(edges))):
                cell[place] += value
    rows = [
        (persona, round(min(1.0, left / size / (free / count)) if size else 0.0, 4))
        for persona, (left, size, free, count) in sorted(sums.items())
    ]
    return pl.DataFrame(rows, schema={"persona_id": pl.String, "residual": pl.Float64}, orient="row")


def _cyclic(edges: list[Edge]) -> tuple[float, int]:
    """(squares that no strengths explain, dimensions in which they lie)."""
    answers = sorted({answer for edge in edges for answer in edge[1:3]})
    incidence = np.array([[(answer == a) - (answer == b) for answer in answers] for _, a, b, _ in edges], dtype=np.float64)
    margins = np.array([edge[3] for edge in edges])
    strengths, _, rank, _ = np.linalg.lstsq(incidence, margins, rcond=None)
    left = margins - incidence @ strengths
    return float(left @ left), len(edges) - int(rank)


def _groups(labels: pl.DataFrame) -> list[tuple[str, list[Edge]]]:
    """The labels of each persona and prompt that has three or more, in the order of ids."""
    many = labels.select(COLUMNS).filter(pl.len().over(_OWN) >= 3).sort([*_OWN, "comparison_id"])
    found: dict[tuple[str, str], list[Edge]] = {}
    for persona, comparison, prompt, a, b, margin in many.iter_rows():
        found.setdefault((persona, prompt), []).append((comparison, a, b, margin))
    return [(persona, edges) for (persona, _), edges in found.items()]
