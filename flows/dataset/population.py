"""Who disagrees with whom: what a population of personas looks like from its labels.

    agreement(votes)      ->  Share(0.62, 0.60, 0.64, of=5_900_000)     pairs of labels on one comparison that agree
    matrix(votes)         ->  Agreement(ids=[…], same=array U × U)      nan where two personas share too few comparisons
    dividing(votes, personas)  ->  one row per trait: agreement among equals and among others

A vote is the sign of a label: +1 for a, -1 for b; labels with margin 0 are left out. Where a pilot chose the comparisons, too many of them
are torn: agreement, alpha, contested and majority weigh each by `statistics.weights`, so that they speak of all pairs.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from prefloom.flows.dataset.statistics import Dataset, Floats, Share, ratio

MOST_PERSONAS = 300  # of a larger population an even sample is compared, person by person
FEWEST_SHARED = 10  # comparisons that two personas must share before their agreement means anything
FEWEST_VOTES = 10  # votes that a comparison must have before it can be called contested


def votes(data: Dataset) -> pl.DataFrame:
    """persona_id, comparison_id, prompt_id, vote (+1 or -1), weight."""
    decided = data.labels.filter(pl.col("margin") != 0)
    return decided.select("persona_id", "comparison_id", "prompt_id", pl.col("margin").sign().cast(pl.Int8).alias("vote"), "weight")


def _counts(frame: pl.DataFrame) -> pl.DataFrame:
    """Per comparison: n votes, of them k for a, and its weight."""
    grouped = frame.group_by("comparison_id", "prompt_id").agg(
        pl.len().cast(pl.Int64).alias("n"), (pl.col("vote") > 0).sum().cast(pl.Int64).alias("k"), pl.col("weight").first()
    )
    return grouped.sort("comparison_id")


def agreement(frame: pl.DataFrame) -> Share:
    """Share of pairs of votes on the same comparison that agree (every pair of personas counts on every comparison they share)."""
    k, n = pl.col("k"), pl.col("n")
    pairs = (n * (n - 1) / 2 * pl.col("weight")).alias("pairs")
    alike = ((k * (k - 1) + (n - k) * (n - k - 1)) / 2 * pl.col("weight")).alias("alike")
    sums = _counts(frame).with_columns(pairs, alike).group_by("prompt_id").agg(pl.col("alike", "pairs").sum()).sort("prompt_id")
    return ratio(sums["alike"].to_numpy(), sums["pairs"].to_numpy())


def alpha(frame: pl.DataFrame) -> float:
    """Krippendorff's alpha for two nominal values: 1 if all agree, 0 if they agree as often as by chance."""
    counts = _counts(frame).filter(pl.col("n") > 1)
    n, k, weight = (counts[name].to_numpy().astype(np.float64) for name in ("n", "k", "weight"))
    everyone, for_a = (weight * n).sum(), (weight * k).sum()
    expected = 2 * for_a * (everyone - for_a) / (everyone * (everyone - 1)) if everyone > 1 else 0.0
    observed = (weight * 2 * k * (n - k) / (n - 1)).sum() / everyone if everyone else 0.0
    return float(1 - observed / expected) if expected else float("nan")


def contested(frame: pl.DataFrame, minority: float) -> Share:
    """Share of comparisons (with enough votes) in which at least `minority` of the personas are on the smaller side."""
    counts = _counts(frame).filter(pl.col("n") >= FEWEST_VOTES)
    split = (pl.min_horizontal("k", pl.col("n") - pl.col("k")) / pl.col("n") >= minority).cast(pl.Float64)
    by_prompt = (
        counts.group_by("prompt_id")
        .agg((split * pl.col("weight")).sum().alias("hits"), pl.col("weight").sum().alias("of"))
        .sort("prompt_id")
    )
    return ratio(by_prompt["hits"].to_numpy(), by_prompt["of"].to_numpy())


def majority(frame: pl.DataFrame) -> Share:
    """How often a vote is that of the majority of the other personas on the same comparison; a tie counts one half."""
    others = frame.join(_counts(frame).drop("prompt_id", "weight"), on="comparison_id").filter(pl.col("n") > 1)
    balance = (2 * pl.col("k") - pl.col("n") - pl.col("vote")) * pl.col("vote")
    hit = pl.when(balance > 0).then(1.0).when(balance == 0).then(0.5).otherwise(0.0)
    by_prompt = (
        others.group_by("prompt_id").agg((hit * pl.col("weight")).sum().alias("hits"), pl.col("weight").sum().alias("of")).sort("prompt_id")
    )
    return ratio(by_prompt["hits"].to_numpy(), by_prompt["of"].to_numpy())


def variance_shares(data: Dataset) -> tuple[float, float, float]:
    """Shares of the variance of margins: common to all personas, personal, and noise between the two orders; nan without enough labels.

    One-way analysis of variance over comparisons with unequal group sizes. A label's `bias` is half the difference of two readings; what it
    is on average for a comparison, both orders cancel, so its variance within comparisons is the noise in a mean of two.
    """
    between, within = components(data.labels, "comparison_id", "margin")
    noise = min(within, components(data.labels, "comparison_id", "bias")[1])
    total = between + within
    return (between / total, (within - noise) / total, noise / total) if total > 0 else (float("nan"),) * 3


def components(frame: pl.DataFrame, group: str, value: str) -> tuple[float, float]:
    """Variance between groups and within them, by one-way analysis of variance with unequal sizes; nan without two groups of two."""
    of = pl.col(value)
    grouped = frame.group_by(group).agg(pl.len().alias("n"), of.mean().alias("mean"), of.var().alias("var"))
    grouped = grouped.filter(pl.col("n") > 1).sort(group)
    if grouped.height < 2:
        return float("nan"), float("nan")
    n, mean, variance = (grouped[name].to_numpy().astype(np.float64) for name in ("n", "mean", "var"))
    within = float((variance * (n - 1)).sum() / (n - 1).sum())
    grand = float((mean * n).sum() / n.sum())
    size = (n.sum() - (n**2).sum() / n.sum()) / (len(n) - 1)
    return max(0.0, float((((mean - grand) ** 2 * n).sum() / (len(n) - 1) - within) / size)), within


@dataclass(frozen=True)
class Agreement:
    """Personas in an order that puts those who agree side by side, and how often each two agree."""

    ids: list[str]
    same: Floats

    def pairs(self) -> Floats:
        """The agreement of every two different personas that share enough comparisons."""
        values: Floats = self.same[np.triu_indices(len(self.ids), 1)]
        return values[~np.isnan(values)]

    def twins(self) -> Floats:
        """For each persona the agreement with the one that agrees most."""
        others = np.where(np.eye(len(self.ids), dtype=bool), np.nan, self.same)
        known = others[~np.isnan(others).all(axis=1)]
        return np.nanmax(known, axis=1) if len(known) else np.array([])


def matrix(frame: pl.DataFrame) -> Agreement:
    """Pairwise agreement of up to MOST_PERSONAS personas, ordered by the angle of the two leading eigenvectors (Friendly 2002)."""
    ids = sorted(frame["persona_id"].unique())
    ids = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(len(ids), MOST_PERSONAS)).astype(int))] if ids else []
    row = {persona: i for i, persona in enumerate(ids)}
    mine = frame.filter(pl.col("persona_id").is_in(ids))
    column = {comparison: i for i, comparison in enumerate(sorted(mine["comparison_id"].unique()))}
    ballots = np.zeros((len(ids), len(column)), dtype=np.float32)
    places = [row[p] for p in mine["persona_id"]], [column[c] for c in mine["comparison_id"]]
    ballots[places] = mine["vote"].to_numpy()
    shared = np.abs(ballots) @ np.abs(ballots).T
    with np.errstate(invalid="ignore", divide="ignore"):
        same = np.where(shared >= FEWEST_SHARED, (1 + (ballots @ ballots.T) / shared) / 2, np.nan).astype(np.float64)
    if len(ids) > 2:
        order = _seriate(np.where(np.isnan(same), 0.5, same))
        ids, same = [ids[i] for i in order], same[np.ix_(order, order)]
    return Agreement(ids, same)


def _seriate(same: Floats) -> list[int]:
    centred = same - same.mean(axis=0) - same.mean(axis=1)[:, None] + same.mean()
    _, vectors = np.linalg.eigh(centred)
    angle = np.arctan2(vectors[:, -2], vectors[:, -1])
    order = np.argsort(angle, kind="stable")
    gaps = np.diff(np.append(angle[order], angle[order[0]] + 2 * np.pi))
    start = int(np.argmax(gaps)) + 1  # cut the circle where it is emptiest
    return [int(i) for i in np.roll(order, -start)]


def dividing(found: Agreement, personas: pl.DataFrame) -> pl.DataFrame:
    """Per trait: mean agreement of two personas with the same value (`equals`) and with different ones (`others`); the widest gap first."""
    place = {persona: i for i, persona in enumerate(found.ids)}
    known = personas.filter(pl.col("persona_id").is_in(found.ids)).select("persona_id", "traits").explode("traits").drop_nulls("traits")
    known = (
        known.unnest("traits") if known.height else pl.DataFrame(schema={"persona_id": pl.String, "name": pl.String, "value": pl.String})
    )
    off_diagonal = ~np.eye(len(found.ids), dtype=bool) & ~np.isnan(found.same)
    rows = []
    for (trait,), part in known.drop_nulls("name").group_by("name", maintain_order=True):
        values = np.full(len(found.ids), -1)
        codes = {value: code for code, value in enumerate(sorted(part["value"].unique()))}
        for persona, value in part.select("persona_id", "value").iter_rows():
            values[place[persona]] = codes[value]
        both = off_diagonal & (values[:, None] >= 0) & (values[None, :] >= 0)
        alike = values[:, None] == values[None, :]
        if (both & alike).any() and (both & ~alike).any():
            rows.append((str(trait), float(found.same[both & alike].mean()), float(found.same[both & ~alike].mean())))
    frame = pl.DataFrame(rows, schema={"trait": pl.String, "equals": pl.Float64, "others": pl.Float64}, orient="row")
    return frame.sort(pl.col("equals") - pl.col("others"), descending=True)
