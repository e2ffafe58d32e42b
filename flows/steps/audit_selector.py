"""How well the labels are ranked: by our confidence, by the margin, by chance, and by a selector that has seen the truth of other personas.

    traits = features(reads, longer, comparison, persona)           ->  array (labels, 15)
    sure = reference(traits, right, persona)                        ->  log-odds of being right, each fitted on the other personas
    selection(confidence, margin, sure, right, prompt)["rows"]      ->  [{"rule": "confidence", "at": {"0.6": 0.88, …}, …}, …]

The reference is a ridge logistic regression on what the readings of a label say, its squares and products, cross-fitted: personas fall into
five groups, and a group is ranked by what was learnt from the other four. It shows what could be had from these readings if
somebody told the truth about some of them; a dataset's own confidence is made without. Nothing here is used to make a dataset.
"""

from collections.abc import Mapping

import numpy as np

from prefloom.flows.steps.audit_evidence import Bools, Floats, Ints
from prefloom.flows.steps.audit_measures import Row, mean, risk_coverage, shares

GROUPS = 5  # of personas
MOST = 20_000  # labels that a group is learnt from: every n-th of more
FEWEST = 200  # labels, for a reference to be worth the name
RIDGE = 20.0
COVERAGE = 0.6  # at which the rules are compared


def features(reads: Floats, longer: Floats, comparison: Ints, persona: Ints, generic: Floats | None = None) -> Floats:
    """What the readings say of each label, in terms of the answer it prefers. `reads` as in Evidence; nan where there is no reading.

    `generic` is the log-odds for a without a persona, where there is such a reading.
    """
    known = np.isfinite(reads).all(axis=2)
    count = np.maximum(known.sum(axis=1), 1)
    each, bias = (np.where(known, half, 0.0) for half in ((reads[:, :, 0] + reads[:, :, 1]) / 2, (reads[:, :, 0] - reads[:, :, 1]) / 2))
    swayed = np.where(known, bias - bias.sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0.0)
    margin, tilt = each.sum(axis=1) / count, swayed.sum(axis=1) / count
    sign, size = np.sign(margin), np.abs(margin)
    towards = np.where(known, each * sign[:, None], np.inf)
    agrees = (known & (np.abs(each) > np.abs(swayed))).sum(axis=1) / count
    spread = np.sqrt((np.where(known, each - margin[:, None], 0.0) ** 2).sum(axis=1) / count)
    swing, usual = np.sqrt(_mean_by(comparison, tilt**2)), _mean_by(comparison, tilt)
    apart = np.sqrt(_mean_by(comparison, (margin - _mean_by(comparison, margin)) ** 2))
    columns = [
        size,
        np.sqrt(size),
        np.abs(tilt),
        swing,
        np.abs(tilt) / (swing + 0.2),
        tilt * np.sign(usual) / (np.abs(usual) + 0.5),
        _others(comparison, margin) * sign,
        _others(comparison, sign) * sign,
        apart,
        longer * sign,
        np.where(known.sum(axis=1) > 0, towards.min(axis=1), 0.0),
        agrees,
        spread,
        _mean_by(persona, size),
        _mean_by(persona, agrees),
    ]
    return np.stack(columns if generic is None else [*columns, generic * sign], axis=1)


def reference(traits: Floats, right: Floats, persona: Ints) -> Floats | None:
    """Log-odds of each label to be right; None where there are too few labels or personas to learn from."""
    groups = np.unique(persona, return_inverse=True)[1] % GROUPS
    if len(right) < FEWEST or len(np.unique(groups)) < GROUPS:
        return None
    scaled = np.clip((traits - traits.mean(axis=0)) / np.maximum(traits.std(axis=0), 1e-9), -4, 4)
    i, j = np.triu_indices(scaled.shape[1])
    wide = np.column_stack([np.ones(len(scaled)), scaled, scaled[:, i] * scaled[:, j]])
    found = np.zeros(len(right))
    for group in range(GROUPS):
        learnt = np.flatnonzero(groups != group)
        learnt = learnt[:: -(-len(learnt) // MOST)]
        found[groups == group] = wide[groups == group] @ _logistic(wide[learnt], right[learnt])
    return found


def selection(confidence: Floats, margin: Floats, sure: Floats | None, right: Floats, prompt: Ints) -> Row:
    """Accuracy by share kept by each rule, with intervals over prompts at COVERAGE; `closed`: our part of the way from chance to it."""
    rules: dict[str, Floats] = {"confidence": confidence, "margin": np.abs(margin)}
    rules |= {} if sure is None else {"reference": sure}
    kept = {name: np.where(surest(values, COVERAGE), right, np.nan) for name, values in rules.items()} | {"random": right}
    with_ends = shares(kept, prompt)
    rows = [{"rule": name, **risk_coverage(values, right), "kept": with_ends[name]} for name, values in rules.items()]
    chance, ours = with_ends["random"]["value"], rows[0]["at"][str(COVERAGE)]
    best = None if sure is None else rows[-1]["at"][str(COVERAGE)]
    way = None if best is None or best <= chance else (ours - chance) / (best - chance)
    return {"rows": rows, "random": with_ends["random"], "coverage": COVERAGE, "closed": way}


def surest(values: Floats, coverage: float) -> Bools:
    """That share of the labels with the largest values; of equal ones the earlier."""
    keep = np.zeros(len(values), dtype=bool)
    keep[np.argsort(-values, kind="stable")[: round(coverage * len(values))]] = True
    return keep


def raw_orders(reads: Floats, right: Floats) -> Mapping[str, float]:
    """What FSPO's gate keeps: labels whose readings all name one answer, as they stand."""
    known = np.isfinite(reads).all(axis=2, keepdims=True)
    signs = np.where(known, np.sign(reads), 0.0)
    one = np.abs(signs.sum(axis=(1, 2))) == 2 * known.sum(axis=(1, 2))
    return {"kept": mean(one.astype(np.float64)), "accuracy": mean(right[one])}


def _logistic(columns: Floats, right: Floats) -> Floats:
    """Ridge logistic regression by Newton's steps; the first column, of ones, is free. `right` may be one half."""
    weights, ridge = np.zeros(columns.shape[1]), np.full(columns.shape[1], RIDGE)
    ridge[0] = 1e-9
    for _ in range(25):
        p = 0.5 * (1 + np.tanh(0.5 * (columns @ weights)))
        slope = columns.T @ (right - p) - ridge * weights
        step = np.linalg.solve((columns * (p * (1 - p))[:, None]).T @ columns + np.diag(ridge), slope)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-4:
            break
    return weights


def _mean_by(group: Ints, values: Floats) -> Floats:
    found: Floats = (np.bincount(group, weights=values) / np.maximum(np.bincount(group), 1))[group]
    return found


def _others(group: Ints, values: Floats) -> Floats:
    """The mean of the other labels of the group, 0 where there are none."""
    totals, count = np.bincount(group, weights=values)[group], np.bincount(group)[group]
    found: Floats = (totals - values) / np.maximum(count - 1, 1)
    return found
