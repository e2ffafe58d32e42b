"""How much a population differs in whole rankings, and how much of that would be read again: figures over pairs of answers.

    log_odds[user, prompt, pair]  > 0 if the user likes the first answer of the pair better; pairs of K answers in the order of pairs(K)
    borda(log_odds, 3)            ->  [user, prompt, answer] scores; their argmax are the `choices` of heterogeneity.py
    components(log_odds[..., None] of two or more readings).reliability  ->  0.71

Utilities are [user, prompt, answer]. Numbers M9, M10, … as in heterogeneity.py; `users` says there what it says here. A log-odds of nan was
not read: `contested`, `disagreements` and `borda` leave it out, the others want every cell.
"""

from dataclasses import dataclass

import numpy as np

from prefloom.flows.dataset.heterogeneity import Floats, Ints


def pairs(answers: int) -> list[tuple[int, int]]:
    """All pairs of K answers, in the order in which their log-odds stand: (0, 1), (0, 2), …, (1, 2), …"""
    return [(a, b) for a in range(answers) for b in range(a + 1, answers)]


def log_odds_of(utilities: Floats) -> Floats:
    """[…, answer] -> […, pair]: what a reader without faults would say, the difference of the utilities."""
    first, second = np.array(pairs(utilities.shape[-1])).T
    return np.asarray(utilities[..., first] - utilities[..., second])


def borda(log_odds: Floats, answers: int) -> Floats:
    """[…, pair] -> […, answer]: the sum of an answer's log-odds against all others. With (0,1): 1 and both others 0: [1, -1, 0]."""
    known = np.nan_to_num(log_odds, nan=0.0)
    scores = np.zeros((*log_odds.shape[:-1], answers))
    for column, (a, b) in enumerate(pairs(answers)):
        scores[..., a] += known[..., column]
        scores[..., b] -= known[..., column]
    return scores


def contested(log_odds: Floats, minority: float) -> float:
    """M9: share of (prompt, pair) where at least `minority` of the users are on the smaller side: min(share for a, share for b).

    .10 and .30 are the usual ones. 7 users for a and 3 for b: contested at .30. A log-odds of 0 counts as half a user on each side.
    """
    for_a = (log_odds > 0).sum(axis=0) + 0.5 * (log_odds == 0).sum(axis=0)
    n = (~np.isnan(log_odds)).sum(axis=0)
    asked = n > 0
    # A whisker below, because .1 * 30 is a little more than 3.
    split = np.minimum(for_a, n - for_a) >= minority * n - 1e-9
    return float(split[asked].mean()) if asked.any() else float("nan")


def _signs(log_odds: Floats) -> Floats:
    """[user, prompt × pair] -> +1, -1, or 0 where there is no leaning or no reading."""
    return np.asarray(np.nan_to_num(np.sign(log_odds), nan=0.0).reshape(len(log_odds), -1))


def user_types(log_odds: Floats) -> float:
    """M10: the effective number of user types: (sum of eigenvalues)² / sum of their squares, of the covariance of users over pairs.

    Columns are pairs with +1 or -1, less the pair's mean, so that a taste which all share does not count. Two opposed groups differ along
    one line: 1. Independent users: nearly their number. All alike: nan.
    """
    centred = _signs(log_odds)
    centred = centred - centred.mean(axis=0)
    gram = centred @ centred.T  # has the eigenvalues of the covariance of pairs, up to a factor that cancels
    squares = float((gram**2).sum())
    return float(np.trace(gram) ** 2 / squares) if squares > 1e-9 else float("nan")


def disagreements(log_odds: Floats, users: Ints | None = None) -> Floats:
    """For every two different users the mean over shared pairs of |label_u - label_v|, labels 0 and 1; a log-odds of 0 is no label.

    FSPO (arXiv 2502.19312), figure 5: .53 on average over five users, from .32 to .72. Two users who agree on 3 pairs of 4: [0.25].
    """
    signs = _signs(log_odds)
    known = np.abs(signs)
    with np.errstate(invalid="ignore"):
        apart = (1 - (signs @ signs.T) / (known @ known.T)) / 2
    owners = np.arange(len(signs)) if users is None else users
    upper = np.triu(owners[:, None] != owners[None, :], 1)
    found: Floats = apart[upper]
    return found[~np.isnan(found)]


def disagreement(log_odds: Floats, users: Ints | None = None) -> float:
    """The mean of `disagreements`."""
    found = disagreements(log_odds, users)
    return float(found.mean()) if len(found) else float("nan")


@dataclass(frozen=True)
class Components:
    """Variances of log-odds: what all share about a pair, a persona's leaning over all pairs, its own taste, and noise.

    `wording` is what a replicate (a template, a repeat) changes for everybody, for a pair, or for a persona on all pairs alike;
    `replicate` is what it changes for one persona on one pair, which looks like taste until it is read again.
    """

    pair: float
    persona: float
    persona_pair: float
    wording: float
    replicate: float

    @property
    def reliability(self) -> float:
        """persona_pair / (persona_pair + replicate), for a single reading; nan if neither varies."""
        total = self.persona_pair + self.replicate
        return self.persona_pair / total if total > 1e-12 else float("nan")


def components(log_odds: Floats) -> Components:
    """M11: variance components of log-odds [user, prompt, pair, replicate], at least two of each axis (prompt × pair is one axis).

    Persona, pair and replicate are crossed and random: y = mean + pair + persona + persona x pair + replicate, its two interactions with
    them, and the rest. Mean squares are set to their expectations and solved; a negative component is put to 0 (Searle, Casella and
    McCulloch, Variance Components, 1992; Cronbach's generalisability theory). Were replicates nested in cells instead, as if drawn anew
    for each, a template that tilts a pair for everybody would count as noise of the persona, which it is not.
    """
    users, replicates = log_odds.shape[0], log_odds.shape[-1]
    y = log_odds.reshape(users, -1, replicates)
    items = y.shape[1]
    if min(users, items, replicates) < 2:
        raise ValueError(f"{users} users, {items} pairs and {replicates} replicates: at least two of each are needed")
    y = y - y.mean()
    u, i, r = y.mean(axis=(1, 2)), y.mean(axis=(0, 2)), y.mean(axis=(0, 1))
    ui, ur, ir = y.mean(axis=2), y.mean(axis=1), y.mean(axis=0)
    rest = y - ui[:, :, None] - ur[:, None, :] - ir[None, :, :] + u[:, None, None] + i[None, :, None] + r[None, None, :]
    fu, fi, fr = users - 1, items - 1, replicates - 1
    # Mean squares, each divided by the number of values that its means are taken over.
    s_rest = float((rest**2).sum()) / (fu * fi * fr)
    s_ui = float(((ui - u[:, None] - i[None, :]) ** 2).sum()) / (fu * fi)
    s_ur = float(((ur - u[:, None] - r[None, :]) ** 2).sum()) / (fu * fr)
    s_ir = float(((ir - i[:, None] - r[None, :]) ** 2).sum()) / (fi * fr)
    s_u, s_i, s_r = float((u**2).sum()) / fu, float((i**2).sum()) / fi, float((r**2).sum()) / fr
    v_ui = s_ui - s_rest / replicates
    v_ur = s_ur - s_rest / items
    v_ir = s_ir - s_rest / users
    v_u = s_u - s_ui / items - s_ur / replicates + s_rest / (items * replicates)
    v_i = s_i - s_ui / users - s_ir / replicates + s_rest / (users * replicates)
    v_r = s_r - s_ur / users - s_ir / items + s_rest / (users * items)
    pair, persona, persona_pair = (max(0.0, value) for value in (v_i, v_u, v_ui))
    wording = sum(max(0.0, value) for value in (v_r, v_ur, v_ir))
    return Components(pair, persona, persona_pair, wording, s_rest)


def standardised(utilities: Floats) -> Floats:
    """Utilities [user, prompt, answer] in units of each user's standard deviation over all answers, as z scores."""
    flat = utilities.reshape(len(utilities), -1)
    spread = flat.std(axis=1)
    scaled = (flat - flat.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)[:, None]
    return np.asarray(scaled.reshape(utilities.shape))


def headroom(utilities: Floats, choices: Ints | None = None) -> float:
    """M17: mean over users and prompts of R^u(the user's answer) - R^u(the best answer for the mean user), in z units.

    The user's answer is that of the highest utility, or `choices` [user, prompt] if they are given: then it says how much of the headroom
    these choices win, and below 0 the mean user's answer would have been better for them. Users who all want the same: 0.
    """
    z = standardised(utilities)
    mean_best = z.mean(axis=0).argmax(axis=1)
    for_all = np.take_along_axis(z, np.broadcast_to(mean_best[None, :, None], (*z.shape[:2], 1)), axis=2)[..., 0]
    if choices is None:
        return float((z.max(axis=2) - for_all).mean())
    known = choices >= 0
    own = np.take_along_axis(z, np.where(known, choices, 0)[..., None], axis=2)[..., 0]
    return float((own - for_all)[known].mean()) if known.any() else float("nan")
