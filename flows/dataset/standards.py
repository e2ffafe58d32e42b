"""The one way from raw scores to numbers that may be weighed. Whoever weighs, chooses pairs by or measures scores comes through here.

    fit(scores, train, {"thrift": 1})       ->  rows of Standard: mean and standard deviation over the answers to train prompts alone
    standardised(scores, standards)         ->  Standardised(rewards=["thrift", …], ids=["41be…", …], steps=answers × rewards, known=…)
    of_run(store)                           ->  the same from the tables of a run

A standardised score is (score - mean) / sd * sign, as a whole number of steps of 1e-4, in a float64 that holds it exactly. Sums over scores
are sums of whole numbers, so neither figure depends on the order of anything.
"""

from collections.abc import Mapping
from math import sqrt
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.score import Score, Standard

STEP = 1e-4  # scores and standardised scores stand on it
FARTHEST = 900.0  # standard deviations to which an outlier is drawn in, so that sums of products stay exact
Floats = NDArray[np.float64]


class Standardised(NamedTuple):
    """Scores that may be weighed: answers × rewards, in whole steps of STEP; 0 where `known` says that there is none."""

    rewards: list[str]
    ids: list[str]
    steps: Floats
    known: NDArray[np.bool_]

    def places(self, ids: pl.Series) -> NDArray[np.int64]:
        """Row of each answer; -1 for one without any score."""
        row = {name: place for place, name in enumerate(self.ids)}
        return np.array([row.get(name, -1) for name in ids], dtype=np.int64)

    def weights(self, named: list[dict[str, float]]) -> Floats:
        """personas × rewards, zero for rewards that a persona does not name."""
        return np.array([[one.get(name, 0.0) for name in self.rewards] for one in named], dtype=np.float64).reshape(-1, len(self.rewards))


def fit(scores: pl.DataFrame, train: pl.Series, signs: Mapping[str, int]) -> list[Standard]:
    """Mean and standard deviation of each reward of `signs`, from rows of Score; those of other prompts than `train` count for nothing."""
    grouped = scores.filter(pl.col("prompt_id").is_in(train.implode())).select("reward", (pl.col("score") / STEP).round().cast(pl.Int64))
    found = []
    for name in sorted(signs):
        steps = grouped.filter(pl.col("reward") == name)["score"].to_list()
        count, total = len(steps), sum(steps)
        squares = sum(step * step for step in steps)  # Python's integers: squares of large scores leave 64 bits
        sd = sqrt(max(count * squares - total * total, 0)) / count if count else 0.0
        mean = total / count if count else 0.0
        found.append(Standard(reward=name, sign=signs[name], mean=round(mean * STEP, 6), sd=round(sd * STEP, 6), answers=count))
    return found


def standardised(scores: pl.DataFrame, standards: pl.DataFrame) -> Standardised:
    """All answers with any score, by id, from rows of Score and of Standard."""
    rewards = standards["reward"].sort().to_list()
    ids = scores["candidate_id"].unique().sort()
    rows = scores.join(standards, on="reward").sort("candidate_id", "reward")
    spread = pl.when(pl.col("sd") > 0).then(pl.col("sd"))
    z = ((pl.col("score") - pl.col("mean")) / spread * pl.col("sign")).fill_null(0.0).clip(-FARTHEST, FARTHEST)
    values = rows.select((z / STEP).round().alias("z"))["z"].to_numpy()
    places = ids.search_sorted(rows["candidate_id"]).to_numpy(), np.searchsorted(rewards, rows["reward"].to_list())
    steps, known = np.zeros((len(ids), len(rewards))), np.zeros((len(ids), len(rewards)), dtype=np.bool_)
    steps[places], known[places] = values + 0.0, True
    return Standardised(rewards, ids.to_list(), steps, known)


def of_run(store: Store, part: str = "part-*.parquet") -> Standardised:
    """The standardised scores of a run, or of one part of its scores."""
    scores = tables.read(store, f"scores/{part}", Score)
    return standardised(scores, tables.read(store, "standards/part-*.parquet", Standard))
