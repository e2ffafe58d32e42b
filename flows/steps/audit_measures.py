"""The figures of an audit, each a plain function of arrays with one row per label.

    right = score(margin, target)          ->  1 if both have one sign, 0 if they differ, 0.5 if either is 0
    shares({"all": right}, by=prompt)      ->  {"all": {"value": 0.71, "low": 0.70, "high": 0.72, "of": 38995}}
    risk_coverage(abs(margin), right)      ->  {"area": 0.18, "at": {"0.2": 0.93, …}, "curve": [[0.02, 0.97], …]}

`target` is positive where a is truly better. Intervals are 95 %, from resampling whole prompts (or personas, or comparisons) with fixed
dice, because two labels on one prompt are not two independent observations.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefloom.flows.steps.audit_evidence import Bools, Floats, Ints

RESAMPLES = 400
MOST_UNITS = 20_000
COVERAGES = (0.2, 0.4, 0.6, 0.8, 1.0)
CURVE = 50  # points of the curve
NO_IDEA = 0.25  # Brier score of who always says one half
ENOUGH = 200  # labels of a domain before ten groups of them mean anything
FEWEST = 10  # labels of a persona before its accuracy means anything
WORST = 5
DIFFERENCE_EDGES = (0.0, 0.25, 0.5, 1.0, 2.0)
MARGIN_EDGES = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
Row = dict[str, Any]


def score(guess: Floats, target: Floats) -> Floats:
    """1 where the guess has the sign of the target, 0 where it has the other, one half where either is 0; nan stays nan."""
    return 0.5 + 0.5 * np.sign(guess) * np.sign(target)


def mean(values: Floats) -> float:
    """The mean, nan of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def sums(by: Ints, *columns: Floats) -> Floats:
    """Each column summed over the rows of each unit that has any, of shape (units, columns)."""
    present = np.bincount(by) > 0
    return np.stack([np.bincount(by, weights=column)[present] for column in columns], axis=1)


def resample(totals: Floats) -> Floats:
    """Totals over units drawn with replacement, of shape (RESAMPLES, columns)."""
    if len(totals) > MOST_UNITS:  # groups of units vary as their units do, so the intervals stay what they are
        group = np.arange(len(totals)) % MOST_UNITS
        totals = np.stack([np.bincount(group, weights=column) for column in totals.T], axis=1)
    dice, units = np.random.default_rng(0), len(totals)
    drawn = [np.bincount(dice.integers(0, units, units), minlength=units) @ totals for _ in range(RESAMPLES)]
    return np.array(drawn)


def interval(values: Floats) -> list[float]:
    """The middle 95 % of resampled values."""
    known = values[np.isfinite(values)]
    return [float(edge) for edge in np.quantile(known, [0.025, 0.975])] if len(known) else [float("nan")] * 2


def shares(parts: Mapping[str, Floats], by: Ints) -> dict[str, Row]:
    """The mean of each part with its interval from one common set of resamples; nan is not counted."""
    columns = [column for part in parts.values() for column in (np.nan_to_num(part), np.isfinite(part).astype(np.float64))]
    totals = sums(by, *columns) if len(by) else np.zeros((1, len(columns)))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = resample(totals)
        whole, values = totals.sum(axis=0), drawn[:, ::2] / drawn[:, 1::2]
        found = {}
        for i, name in enumerate(parts):
            low, high = interval(values[:, i])
            found[name] = {"value": float(whole[2 * i] / whole[2 * i + 1]), "low": low, "high": high, "of": int(whole[2 * i + 1])}
    return found


def ranked(sureness: Floats, right: Floats) -> Floats:
    """Accuracy of the k surest labels for k = 1, 2, …; equally sure ones stand in the order of no order: each counts as their mean."""
    _, group, count = np.unique(-sureness, return_inverse=True, return_counts=True)
    level = np.bincount(group, weights=right) / count
    running: Floats = np.cumsum(np.repeat(level, count)) / np.arange(1, len(right) + 1)
    return running


def risk_coverage(sureness: Floats, right: Floats) -> Row:
    """Accuracy by share of labels kept, the surest first. `area` is the mean error over all coverages: less is better, 0 is perfect."""
    running = ranked(sureness, right)

    def at(coverage: float) -> float:
        return float(running[max(1, round(coverage * len(running))) - 1])

    points = [round((i + 1) / CURVE, 4) for i in range(CURVE)]
    return {
        "area": float((1 - running).mean()),
        "at": {str(coverage): at(coverage) for coverage in COVERAGES},
        "curve": [[point, at(point)] for point in points],
    }


def calibration(margin: Floats, probability: Floats, target: Floats) -> Row:
    """How far the stated probabilities can be believed.

    Ten groups of the probability of the preferred answer, each with its accuracy; `expected_error` is their mean distance, `brier` the mean
    square of (probability of a) - (1 if a is better), `skill` how much better that is than always saying one half, `excess` mean
    probability minus accuracy: above 0 the labels are too sure.
    """
    right, sure = score(margin, target), np.maximum(probability, 1 - probability)
    edges = np.unique(np.quantile(sure, np.linspace(0, 1, 11)))
    group = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, max(0, len(edges) - 2))
    rows = []
    for i in range(max(1, len(edges) - 1)):
        mine = group == i
        if mine.any():
            rows.append({"n": int(mine.sum()), "probability": mean(sure[mine]), "accuracy": mean(right[mine])})
    truly = (1 + np.sign(target)) / 2
    return {
        "rows": rows,
        "expected_error": sum(row["n"] * abs(row["probability"] - row["accuracy"]) for row in rows) / len(margin),
        "excess": mean(sure) - mean(right),
        "brier": (brier := float(((probability - truly) ** 2).mean())),
        "skill": 1 - brier / NO_IDEA,
        "slope": slope(margin, truly),
    }


def believed(stated: Mapping[str, Floats], margin: Floats, target: Floats, domain: Ints, names: Sequence[str]) -> Row:
    """How far each kind of stated probability can be believed, overall and in each domain with enough labels to say."""

    def figures(probability: Floats, mine: Bools) -> Row:
        found = calibration(margin[mine], probability[mine], target[mine])
        return {name: found[name] for name in ("expected_error", "excess", "brier", "skill")} | {"n": int(mine.sum())}

    found = {}
    for kind, probability in stated.items():
        known = np.isfinite(probability)
        rows = [
            {"name": name[:200]} | figures(probability, known & (domain == i)) for i, name in enumerate(names) if _many(known, domain, i)
        ]
        found[kind] = (figures(probability, known) if known.any() else {}) | {"domains": rows}
    return {kind: row for kind, row in found.items() if "n" in row}


def _many(known: Bools, domain: Ints, place: int) -> bool:
    return int((known & (domain == place)).sum()) >= ENOUGH


def slope(margin: Floats, truly: Floats) -> float:
    """`s` in P(a is better) = 1 / (1 + exp(-s · margin)) by maximum likelihood: 1 is calibrated, below 1 over-confident.

    Without a constant, because which answer is called a is an accident of its id; P(label is right) = 1 / (1 + exp(-s · |margin|)) is the
    same fit. nan where no finite `s` is best: every decided label is right, or every one wrong.
    """
    agree = margin * (2 * truly - 1)
    halves = (truly == 0.5) & (margin != 0)
    if not halves.any() and ((agree >= 0).all() or (agree <= 0).all()):
        return float("nan")

    def loss(s: float) -> float:
        return float((np.logaddexp(0, s * margin) - truly * s * margin).sum())

    s = 0.0
    for _ in range(100):
        p = 0.5 * (1 + np.tanh(0.5 * s * margin))
        gradient, curvature = float((margin * (truly - p)).sum()), float((margin**2 * p * (1 - p)).sum())
        step = gradient / max(curvature, 1e-12)
        before = loss(s)
        while loss(s + step) > before and abs(step) > 1e-9:
            step /= 2
        s += step
        if abs(step) < 1e-9:
            break
    return s


def binned(size: Floats, edges: Sequence[float], right: Floats, **means: Floats) -> list[Row]:
    """Accuracy (and the mean of whatever else) by bins [low, high) of a size; the last bin has no end."""
    rows = []
    for low, high in zip(edges, [*edges[1:], np.inf], strict=True):
        mine = (size >= low) & (size < high)
        row = {"low": low, "high": None if np.isinf(high) else high, "n": int(mine.sum()), "share": mean(mine.astype(np.float64))}
        rows.append(row | {"accuracy": mean(right[mine])} | {name: mean(values[mine]) for name, values in means.items()})
    return rows


def grouped(group: Ints, names: Mapping[int, str], right: Floats, by: Ints, most: int = 20) -> Row:
    """Accuracy of each group with its standard error over units (`by`), the largest groups first; of many, the `most` largest."""
    n, hits = np.bincount(group), np.bincount(group, weights=right)
    level = hits / np.maximum(n, 1)
    unit = group * (int(by.max(initial=0)) + 1) + by
    found, place = np.unique(unit, return_inverse=True)
    deviation = np.bincount(place, weights=right - level[group])
    home = found // (int(by.max(initial=0)) + 1)
    squares, units = np.bincount(home, weights=deviation**2), np.bincount(home)
    order = sorted((int(i) for i in np.flatnonzero(n)), key=lambda i: (-n[i], names[i]))
    rows = [
        {
            "name": names[i],
            "n": int(n[i]),
            "accuracy": float(level[i]),
            "error": float(np.sqrt(squares[i] * units[i] / (units[i] - 1)) / n[i]) if units[i] > 1 else float("nan"),
        }
        for i in order[:most]
    ]
    return {"rows": rows, "more": max(0, len(order) - most)}


def personas(persona: Ints, ids: Sequence[str], descriptions: Sequence[str], right: Floats) -> Row:
    """How accuracy differs from persona to persona; `noise` is the spread that chance alone would make."""
    n, hits = np.bincount(persona, minlength=len(ids)), np.bincount(persona, weights=right, minlength=len(ids))
    judged = [int(i) for i in np.flatnonzero(n >= FEWEST)] or [int(i) for i in np.flatnonzero(n)]
    level = hits[judged] / n[judged]
    mean = hits[judged].sum() / n[judged].sum()  # for chance: the level of one label is 0 or 1, as if none were in it
    worst = sorted(range(len(judged)), key=lambda i: (level[i], ids[judged[i]]))[:WORST]
    marks = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
    return {
        "counted": len(judged),
        "fewer": int((n > 0).sum()) - len(judged),
        "quantiles": {str(mark): float(value) for mark, value in zip(marks, np.quantile(level, marks), strict=True)},
        "spread": float(level.std(ddof=1)) if len(level) > 1 else float("nan"),
        "noise": float(np.sqrt((mean * (1 - mean) / n[judged]).mean())),
        "worst": [
            {
                "persona_id": ids[judged[i]],
                "n": int(n[judged[i]]),
                "accuracy": float(level[i]),
                "description": descriptions[judged[i]][:200],
            }
            for i in worst
        ],
    }


def checks(reason: Ints, names: Sequence[str], kept: Bools, margin: Floats, right: Floats) -> Row:
    """What each check removed, and what it is worth.

    A label is counted under the first check that found something, as in `rejected/`. `left` is the accuracy when only this check's rows
    go, `by_margin` what dropping equally many of the least sure labels would give: a check earns its rows where `left` is above it, or
    where it guards something that accuracy does not see.
    """
    running, rows = ranked(np.abs(margin), right), []

    def row(name: str, removed: Bools) -> Row:
        n = int(removed.sum())
        rest = running[len(right) - n - 1] if n < len(right) else float("nan")
        return {
            "check": name,
            "n": n,
            "removed": mean(right[removed]),
            "left": mean(right[~removed]),
            "by_margin": float(rest),
            "kept": len(right) - n,
        }

    for i, name in enumerate(names):
        if (reason == i).any():
            rows.append(row(name, reason == i))
    return {"rows": rows, "all": row("all", ~kept)}
