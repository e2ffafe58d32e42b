"""Is there a person in these labels? Figures over replicate readings of whatever (persona, comparison) there are, gaps and all.

    reads = Reads(persona=[0, 0, 1, …], comparison=[0, 1, 0, …], prompt=[0, 0, 0, …], values=[[1.2, 0.9], [-0.4, 0.1], …])
    components(reads).reliability   ->  0.71      M11       over_majority(reads).advantage  ->  0.08      M15
    sensitivity(own, shuffled)      ->  0.19      M16, per reading

`values` are log-odds for a, one column for each replicate (a template, or an order once the judge's mean bias is removed). The measures are
those of heterogeneity.py and heterogeneity_pairs.py, which want every user on every prompt; here a dataset is as it is. `people` and
`prompts` of a function are weights, how often each was drawn: with them `interval` of heterogeneity.py resamples both. Copies of one
persona are never taken for two, nor copies of one comparison.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from prefloom.flows.dataset.heterogeneity import Estimate, Floats, Ints, interval

NOTHING = 1e-9  # variance of log-odds that is none: they stand on a grid of 1e-4


@dataclass(frozen=True)
class Reads:
    """One row per (persona, comparison) that was read in every replicate."""

    persona: Ints
    comparison: Ints
    prompt: Ints
    values: Floats  # rows × replicates

    @property
    def people(self) -> int:
        """Personas, counted from the largest number."""
        return int(self.persona.max(initial=-1)) + 1

    @property
    def prompts(self) -> int:
        """Prompts, the same way."""
        return int(self.prompt.max(initial=-1)) + 1

    def weights(self, people: Ints | None, prompts: Ints | None) -> tuple[Floats, Floats]:
        """How often each row's persona and its prompt were drawn."""
        one = np.ones(len(self.persona))
        return (one if people is None else people[self.persona] * one), (one if prompts is None else prompts[self.prompt] * one)


class Parts(NamedTuple):
    """Variances of log-odds about the mean of a comparison: a persona's leaning to a or b, its taste, and what one replicate adds."""

    persona: float
    taste: float
    noise: float

    @property
    def reliability(self) -> float:
        """M11 of one replicate: taste / (taste + noise); 0 if nobody differs from anybody. Below 0 by chance where there is no taste."""
        return self.of_mean(1)

    def of_mean(self, replicates: int) -> float:
        """The same of the mean of so many replicates (Spearman and Brown)."""
        if np.isnan(self.taste):
            return float("nan")
        total = self.taste + max(self.noise, 0.0) / replicates
        return self.taste / total if total > NOTHING else 0.0


def components(reads: Reads, people: Ints | None = None, prompts: Ints | None = None) -> Parts:
    """M11: the variances, from products of deviations from the comparison's mean, which are unbiased whoever read what.

    In one cell the products of two replicates hold leaning and taste, the squares noise besides; products from cell to cell of one persona
    hold its leaning. Where everybody read everything these are the mean squares of the analysis of variance (Henderson's method of 1953,
    with one factor crossed). nan where no comparison has two readers.
    """
    who, what = reads.weights(people, prompts)
    kinds = int(reads.comparison.max(initial=-1)) + 1
    n, squares = (np.bincount(reads.comparison, weights=weight, minlength=kinds) for weight in (who, who**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = 1 - squares / n**2  # what a mean of n values leaves of their variance
    kept = (left[reads.comparison] > 1e-9) & (who * what > 0)
    if not kept.any():
        return Parts(float("nan"), float("nan"), float("nan"))
    row, person, count = reads.comparison[kept], reads.persona[kept], reads.values.shape[1]
    who, what = who[kept], what[kept]
    away = np.empty((int(kept.sum()), count))
    for r in range(count):
        values = reads.values[kept, r]
        mean = np.bincount(row, weights=who * values, minlength=kinds) / np.where(n > 0, n, 1)
        away[:, r] = (values - mean[row]) / np.sqrt(left[row])
    weight, ways = who * what, count * (count - 1)
    own = (away**2).sum(axis=1)
    both = away.sum(axis=1) ** 2 - own  # over ordered pairs of different replicates
    square, product = (weight * own).sum() / weight.sum() / count, (weight * both).sum() / weight.sum() / ways
    sums = np.stack([np.bincount(person, weights=what * away[:, r], minlength=reads.people) for r in range(count)], axis=1)
    drawn = np.bincount(person, weights=who, minlength=reads.people) / np.maximum(np.bincount(person, minlength=reads.people), 1)
    cells, cells_squared = (np.bincount(person, weights=w, minlength=reads.people) for w in (what, what**2))
    pairs = float((drawn * (cells**2 - cells_squared)).sum())
    if pairs <= 0:
        return Parts(0.0, float(product), float(square - product))
    across_own = np.bincount(person, weights=what**2 * own, minlength=reads.people)
    across_both = np.bincount(person, weights=what**2 * both, minlength=reads.people)
    same = float((drawn * ((sums**2).sum(axis=1) - across_own)).sum()) / pairs / count
    leaning = float((drawn * (sums.sum(axis=1) ** 2 - (sums**2).sum(axis=1) - across_both)).sum()) / pairs / ways
    return Parts(leaning, float(product) - leaning, float(square - product) - (same - leaning))


class Beaten(NamedTuple):
    """How often a reading of a persona is foretold by another reading of it, and by the majority of the others."""

    own: float
    majority: float

    @property
    def advantage(self) -> float:
        """M15: above 0, one reading says more about its persona than everybody else does."""
        return self.own - self.majority


def over_majority(reads: Reads, people: Ints | None = None, prompts: Ints | None = None) -> Beaten:
    """M15: a reading is foretold by another replicate of the same cell, or by most of the others in the very replicate it is of.

    A sign of 0 and a majority that is tied count one half. Personas whom nobody else joins on a comparison are left out of it.
    """
    own, majority, weight = _foretold(reads, people, prompts)
    total = weight.sum()
    return Beaten(float((weight * own).sum() / total), float((weight * majority).sum() / total)) if total else Beaten(np.nan, np.nan)


def by_persona(reads: Reads) -> Floats:
    """M15 of each persona; nan for one who is nowhere joined by another."""
    own, majority, weight = _foretold(reads, None, None)
    sums, of = (np.bincount(reads.persona, weights=w, minlength=reads.people) for w in (weight * (own - majority), weight))
    return np.asarray(np.where(of > 0, sums / np.maximum(of, 1e-12), np.nan))


def _foretold(reads: Reads, people: Ints | None, prompts: Ints | None) -> tuple[Floats, Floats, Floats]:
    """(hits of another replicate, hits of the majority of the others, weight) of each row."""
    who, what = reads.weights(people, prompts)
    sign = np.sign(reads.values)
    kinds = int(reads.comparison.max(initial=-1)) + 1
    hits = np.zeros(len(sign))
    for column in sign.T:
        others = np.bincount(reads.comparison, weights=who * column, minlength=kinds)[reads.comparison] - who * column
        hits += (1 + np.sign(np.round(others, 6)) * column) / 2
    joined = np.bincount(reads.comparison, weights=who, minlength=kinds)[reads.comparison] > who
    return agreement(sign, sign), hits / sign.shape[1], who * what * joined


def agreement(one: Floats, other: Floats) -> Floats:
    """Per row how often the signs of different replicates agree: of each replicate of the one with every other of the other."""
    one, other = np.sign(one), np.sign(other)
    count = one.shape[1]
    alike = one.sum(axis=1) * other.sum(axis=1) - (one * other).sum(axis=1)
    return np.asarray((1 + alike / (count * (count - 1))) / 2)


def sensitivity(own: Floats, shuffled: Floats) -> Floats:
    """M16 per row: how much oftener a reading differs from one under another's description than from one under its own.

    Only different replicates are held against each other, in both terms, so that what another wording changes by itself cancels.
    """
    return agreement(own, own) - agreement(own, shuffled)


def estimate(reads: Reads, rows: Floats) -> Estimate:
    """The mean of a number per row, resampled over personas and prompts; nan where there is none."""
    known = ~np.isnan(rows)
    some = replace(reads, persona=reads.persona[known], prompt=reads.prompt[known])

    def mean(people: Ints, prompts: Ints) -> float:
        who, what = some.weights(_times(people, reads.people), _times(prompts, reads.prompts))
        weight = who * what
        return float((weight * rows[known]).sum() / weight.sum()) if weight.sum() else float("nan")

    return interval(mean, reads.people, reads.prompts) if known.any() else Estimate(float("nan"), float("nan"), float("nan"))


def reliability(reads: Reads, replicates: int = 1) -> Estimate:
    """M11 of one replicate, or of the mean of several, with its interval."""

    def metric(people: Ints, prompts: Ints) -> float:
        return components(reads, _times(people, reads.people), _times(prompts, reads.prompts)).of_mean(replicates)

    return interval(metric, reads.people, reads.prompts)


def advantage(reads: Reads) -> Estimate:
    """M15 with its interval."""

    def metric(people: Ints, prompts: Ints) -> float:
        return over_majority(reads, _times(people, reads.people), _times(prompts, reads.prompts)).advantage

    return interval(metric, reads.people, reads.prompts)


def retest(first: Floats, again: Floats) -> float:
    """How much of the variance of margins comes back when they are read once more: 1 - half the mean square difference / the variance."""
    both = np.concatenate([first, again])
    spread = float(both.var()) if len(both) else float("nan")
    return 1 - float(((first - again) ** 2).mean()) / 2 / spread if spread > NOTHING else float("nan")


def _times(drawn: Ints, of: int) -> Ints:
    return np.bincount(drawn, minlength=of)
