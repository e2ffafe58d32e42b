"""How much a population differs in its best answers: figures by which sets of simulated users can be compared.

    choices = np.array([[0, 2], [0, 1], [1, 1]])           # [user, prompt] -> which of K answers is the user's best; -1: not known
    pairwise_agreement(choices)                      ->  0.333…
    interval(lambda u, p: pairwise_agreement(choices[np.ix_(u, p)], u), users=3, prompts=2)   ->  Estimate(0.333, 0.0, 1.0)

M1, M2, … number the measures; the first six are those of PersonalLLM (arXiv 2409.20296). V_p(j) is the share of users whose best answer
to prompt p is j. What needs whole rankings or repeated readings is in heterogeneity_pairs.py.

`users` of a function says whom each row is a copy of, for rows that were drawn with replacement. A user agrees with its own copy by
construction, so copies of one user are never compared with each other. Without it every row is a user of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESAMPLES = 200


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def interval(
    metric: Callable[[Ints, Ints], float], users: int, prompts: int, ceiling: float | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """`metric(rows of users, columns of prompts)` for all of them, with the 2.5 % and 97.5 % quantiles over resamples of both.

    Users and prompts are drawn with replacement, independently of each other: both are samples, and an interval over prompts alone would
    say nothing about other users (the pigeonhole bootstrap, Owen 2007). A draw holds only about 63 % of the users, so counts of distinct
    winners, entropies, contested pairs, nearest twins and numbers of types come out low in every draw, and so does what is measured against
    the mean of the same users. For those give `ceiling`, the largest value there can be: the quantiles are moved by the difference between
    the estimate and the median of the draws, and cut at the ceiling.
    """
    value = metric(np.arange(users), np.arange(prompts))
    if np.isnan(value):
        return Estimate(float("nan"), float("nan"), float("nan"))
    draw = np.random.default_rng(seed)
    draws = np.array([metric(draw.integers(0, users, users), draw.integers(0, prompts, prompts)) for _ in range(resamples)])
    low, middle, high = np.nanquantile(draws, [0.025, 0.5, 0.975])
    if ceiling is not None:
        low, high = (min(end + value - middle, ceiling) for end in (low, high))
    return Estimate(float(value), float(low), float(high))


def _chosen(choices: Ints, answers: int | None = None) -> Floats:
    """[user, prompt, answer] -> 1 where it is the user's choice; a row of zeros where the choice is not known."""
    count = answers or int(choices.max(initial=0)) + 1
    return np.asarray(choices[..., None] == np.arange(count), dtype=np.float64)


def _copies(rows: int, users: Ints | None) -> NDArray[np.bool_]:
    """[row, row] -> whether both are the same user."""
    owners = np.arange(rows) if users is None else users
    return np.asarray(owners[:, None] == owners[None, :])


def vote_shares(choices: Ints, answers: int) -> Floats:
    """V_p(j), as [prompt, answer]; nan for a prompt that nobody chose on. Two of three for answer 0: [[0.667, 0.333]]."""
    votes = _chosen(choices, answers).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def percentile_rank(values: Floats, score: float) -> float:
    """Percent of the values below the score, where ties count as the mean of their ranks.

    (below + at or below + (1 if any is equal)) * 50 / n, which is scipy.stats.percentileofscore(values, score, kind="rank") and what
    PersonalLLM's notebook uses: of [1, 2, 3, 4], 3 is at 75.
    """
    below, up_to = int((values < score).sum()), int((values <= score).sum())
    return (below + up_to + (up_to > below)) * 50.0 / len(values) if len(values) else float("nan")


def top_vote_rank(choices: Ints, answers: int, share: float) -> float:
    """M1: the percentile rank of `share` among m_p = max_j V_p(j); high where few prompts have a favourite with that much of the vote.

    PersonalLLM, section 3 (shares .50, .75 and .95). Two prompts, won by .4 and .6 of the users: the rank of .50 is 50.
    """
    tops = vote_shares(choices, answers).max(axis=1)
    return percentile_rank(tops[~np.isnan(tops)], share)


def winners(choices: Ints, answers: int, least: float = 0.0) -> Floats:
    """M2: per prompt the number of answers j with V_p(j) > 0, or with V_p(j) >= `least` if that is given.

    PersonalLLM counts with `least` 0, which grows with the number of users; 0.05 hardly does. Votes 96 : 4 make 2 winners, or 1 at 0.05.
    """
    votes = _chosen(choices, answers).sum(axis=0)
    # A whisker below, because .05 * 60 is a little more than 3.
    enough = np.maximum(least * votes.sum(axis=1, keepdims=True) - 1e-9, 0.5)
    return np.asarray((votes >= enough).sum(axis=1), dtype=np.float64)


def entropies(choices: Ints, answers: int) -> Floats:
    """M4: per prompt H_p = -sum_j V_p(j) ln V_p(j), in nats; divide by ln K for a number from 0 to 1. PersonalLLM, section 3.

    Everybody for one answer: 0. Two answers with half the votes each: ln 2 = 0.693.
    """
    shares = vote_shares(choices, answers)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=1) + 0.0)


def overlap(choices: Ints) -> Floats:
    """o_uv = mean of 1[c_up = c_vp] over the prompts where both choices are known, as [user, user]; nan where there are none."""
    flat = _chosen(choices).reshape(len(choices), -1)
    known = (choices >= 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray((flat @ flat.T) / (known @ known.T))


def pairwise_agreement(choices: Ints, users: Ints | None = None) -> float:
    """M5: the mean of o_uv over pairs of different users. PersonalLLM, section 3; 1 / K if all choose by chance."""
    others = overlap(choices)[~_copies(len(choices), users)]
    return float(np.nanmean(others)) if np.isfinite(others).any() else float("nan")


def nearest_twin(choices: Ints, users: Ints | None = None) -> float:
    """M6: the mean over users of max_v o_uv. PersonalLLM, section 3.

    Two groups of like-minded people who share nothing: 1, while their pairwise agreement is about 1/2. Noise around one common taste
    leaves nobody with a twin: hence the gap M6 - M5, `twin_gap`.
    """
    same = np.where(_copies(len(choices), users), np.nan, overlap(choices))
    known = same[~np.isnan(same).all(axis=1)]
    return float(np.nanmax(known, axis=1).mean()) if len(known) else float("nan")


def twin_gap(choices: Ints, users: Ints | None = None) -> float:
    """M6 - M5: how much more users agree with their nearest twin than with anybody. 0 if all are alike, large if there are groups."""
    return nearest_twin(choices, users) - pairwise_agreement(choices, users)


def alpha(choices: Ints, users: Ints | None = None) -> float:
    """M8: Krippendorff's alpha for nominal values, users as observers and prompts as units.

    1 - (observed disagreement / disagreement of choices paired at random): 1 if all agree, 0 if they agree as often as by chance. An
    answer counts as the same value on every prompt, so number the answers by what wrote them, not by the rank they got.
    """
    votes = _chosen(choices)
    known = choices >= 0
    owners = np.arange(len(choices)) if users is None else users
    copies = np.array([known[owners == owner].sum(axis=0) for owner in np.unique(owners)], dtype=np.float64)
    by_answer, n = votes.sum(axis=0), known.sum(axis=0).astype(np.float64)
    pairs = n**2 - (copies**2).sum(axis=0)  # ordered pairs of choices of different users; copies of one user chose the same
    alike = (by_answer**2).sum(axis=1) - (copies**2).sum(axis=0)
    paired = pairs > 0
    n, by_answer = n[paired], by_answer[paired]
    total, kinds = n.sum(), by_answer.sum(axis=0)
    expected = 1 - (kinds * (kinds - 1)).sum() / (total * (total - 1)) if total > 1 else 0.0
    observed = (n * (1 - alike[paired] / pairs[paired])).sum() / total if total else 0.0
    return float(1 - observed / expected) if expected > 1e-12 else float("nan")


def majority_hits(choices: Ints, users: Ints | None = None) -> Floats:
    """[user, prompt] -> 1 if the user's choice is that of most other users, 1 / n if it is one of n that tie, else 0; nan if not known."""
    votes = _chosen(choices)
    own = _copies(len(choices), users).sum(axis=1)[:, None, None]
    others = votes.sum(axis=0) - own * votes
    best = (others == others.max(axis=2, keepdims=True)) & (others > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        hits = (best * votes).sum(axis=2) / best.sum(axis=2)
    return np.asarray(np.where(choices >= 0, hits, np.nan))


def consensus(choices: Ints, users: Ints | None = None) -> float:
    """M15: how often c[u, p] is what most of the other users chose: what can be predicted without knowing the user at all.

    Votes A, A, B: each A has one A and one B beside it and hits half the time, B never does: (1/2 + 1/2 + 0) / 3.
    """
    hits = majority_hits(choices, users)
    return float(np.nanmean(hits)) if np.isfinite(hits).any() else float("nan")


def accuracy(choices: Ints, reference: Ints) -> float:
    """Share of c[u, p] that are the user's reference choice (the truth, or a held-out reading), where both are known."""
    both = (choices >= 0) & (reference >= 0)
    return float((choices == reference)[both].mean()) if both.any() else float("nan")


def advantage(choices: Ints, reference: Ints, users: Ints | None = None) -> float:
    """M15: accuracy of the users' own judged choices against reference choices, less that of the majority of the others' reference choices.

    Above 0, a judged choice says more about its user than the consensus does. The consensus is that of the reference itself, the hardest to
    beat. Choices that all equal a reference on which nobody agrees: 1 - 0 = 1.
    """
    return accuracy(choices, reference) - consensus(reference, users)


def sensitivity(own: Ints, shuffled: Ints) -> float:
    """M16: 1 - agreement of choices under one's own and under somebody else's persona, less the disagreement of replicates.

    Both are [replicate, user, prompt] with at least two replicates. Choices are compared between different replicates only, in both terms,
    so what another template or repeat changes by itself is the same in both and cancels: 0 if the persona changes nothing.
    """
    count = len(own)
    if count < 2 or len(shuffled) != count:
        raise ValueError("the same two or more replicates of both are needed")
    places = [(r, s) for r in range(count) for s in range(count) if r != s]
    moved = np.mean([1 - accuracy(own[r], shuffled[s]) for r, s in places])
    noise = np.mean([1 - accuracy(own[r], own[s]) for r, s in places])
    return float(moved - noise)
