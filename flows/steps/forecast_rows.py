"""Plausible rows: what the readings of a panel may come to, drawn from the few that were looked at.

    drawn = Drawn(panel, recipe, readings)
    drawn.judgements(some)  ->  rows of Judgement for some of the pairs        drawn.labels()  ->  rows of Label, rows of Rejected

Ids are real where they are known. A comparison's log-odds are drawn near those of one that was looked at; where none was, from a normal
distribution. What comes of it is good for counting rows and bytes, and for nothing else.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.steps.forecast_adaptive import asked
from prefloom.flows.steps.forecast_readings import Floats, Ints, Panel, Readings, Sample
from prefloom.schemas.comparison import ORDERS
from prefloom.schemas.label import Rejected
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable
from prefloom.schemas.splits import CELLS, HALVES

MOST_PAIRS = 500_000  # (comparison, persona) pairs that are drawn; of more, those of some personas stand for all
NEAR = 0.03  # standard deviations by which a drawn log-odds differs from the one that was read
ASSUMED_SPREAD = 1.5  # standard deviation of log-odds of which nothing is known


@dataclass(frozen=True)
class Drawn:
    """Plausible readings of every pair, or of the pairs of some personas. Arrays are templates × pairs, [2, …] order ab and ba."""

    panel: Panel
    recipe: Recipe
    readings: Readings

    @cached_property
    def pairs(self) -> tuple[Ints, Ints, float]:
        """(place of the comparison, place of the persona, how many pairs each stands for)."""
        comparison, persona = self.panel.pairs
        step = math.ceil(len(persona) / MOST_PAIRS)
        kept = persona % max(step, 1) == 0
        return comparison[kept], persona[kept], len(persona) / max(kept.sum(), 1)

    @cached_property
    def values(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """(log-odds for the answer shown first, mass, whether it could be read)."""
        comparison, _, _ = self.pairs
        rng = np.random.default_rng(0)
        shape = (2, len(self.recipe.judgements.templates), len(comparison))
        sample = self.readings.sample or self._assumed(rng)
        _, clusters, readers = sample.first.shape
        which = rng.integers(clusters, size=self.panel.comparisons.height)[comparison]
        flip = rng.integers(2, size=self.panel.comparisons.height)[comparison] == 1  # which answer has the smaller id is chance
        column = rng.integers(readers, size=len(comparison))
        ab, ba = sample.first[:, which, column], sample.second[:, which, column]
        # Templates with the same words are read once, and their rows are equal.
        rows = np.arange(shape[1]) % len(ab)
        odds = np.stack([np.where(flip, ba, ab), np.where(flip, ab, ba)])[:, rows]
        odds = (odds + rng.normal(0, NEAR * float(sample.first.std()), shape)).round(4)
        mass = np.interp(rng.random(shape), np.linspace(0, 1, len(sample.mass)), sample.mass).round(4)
        return odds, mass, (rng.random(shape) >= sample.failed) & asked(odds, self.recipe.judgements)

    @cached_property
    def readings_asked(self) -> int:
        """How many readings of these pairs are asked for."""
        return 2 * int(asked(self.values[0], self.recipe.judgements).sum())

    def _assumed(self, rng: np.random.Generator) -> Sample:
        wanted = rng.normal(0, ASSUMED_SPREAD, (len(self.recipe.judgements.templates), 64, 8))
        return Sample(wanted, -wanted, np.linspace(0.9, 1.0, 100), 0.0)

    def judgements(self, some: Ints) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(rows of Judgement, what a few of them would be as rows of Rejected) for some pairs, all templates in both orders."""
        odds, mass, fine = self.values
        ids, model, frames = self._ids(some), self.recipe.judgements.model, []
        for (o, order), (t, name) in itertools.product(enumerate(ORDERS), enumerate(self.recipe.judgements.templates)):
            fixed = {"order": order, "template": portable(name), "repeat": 0, "model": model}
            read = {"log_odds": odds[o, t, some], "mass": mass[o, t, some], "fine": fine[o, t, some]}
            frames.append(ids.with_columns(*(pl.lit(v).alias(k) for k, v in fixed.items()), *(pl.Series(k, v) for k, v in read.items())))
        rows = pl.concat(frames).sort("comparison_id", "persona_id", "order", "template")
        said = self.readings.sample.said if self.readings.sample else ""
        detail = pl.format("order {}, {}: {}", "order", "template", pl.lit(said)).str.head(500)
        return rows.filter("fine"), _rejected(rows.head(64), "judgements", "off_menu", detail)

    def _ids(self, some: Ints) -> pl.DataFrame:
        comparison, persona, _ = self.pairs
        named = {"persona_id": self.panel.personas["persona_id"].gather(persona[some])}
        return pl.DataFrame(
            named | {name: self.panel.comparisons[name].gather(comparison[some]) for name in ("comparison_id", "prompt_id")}
        )

    def _generic(self, margin: Floats) -> pl.Series:
        """What a comparison's first label says, for people in general; nulls without controls."""
        comparison, _, _ = self.pairs
        if not (self.recipe.controls and self.recipe.controls.generic):
            return pl.Series([None] * len(comparison), dtype=pl.Float64)
        found = np.zeros(self.panel.comparisons.height)
        found[comparison] = margin
        return pl.Series((1 / (1 + np.exp(-found[comparison]))).round(4))

    def labels(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(rows of Label, rows of Rejected), unsorted: what the drawn readings come to."""
        comparison, persona, _ = self.pairs
        (ab, ba), mass, fine = self.values
        whole = fine[0] & fine[1]
        count = whole.sum(axis=0)
        liking = (ab + ba).sum(axis=1, keepdims=True) / (2 * max(ab.shape[1], 1))  # for whatever is shown first
        agree = ((ab - liking) * (liking - ba) > 0) & whole
        margin, bias = (np.where(whole, x, 0).sum(axis=0) / np.maximum(2 * count, 1) for x in (ab - ba, ab + ba))
        apart = np.where(whole, ((ab - ba) / 2 - margin) ** 2, 0).sum(axis=0)
        spread = np.where(count > 1, np.sqrt(apart / np.maximum(count - 1, 1)), np.nan)
        cells = pl.Series([CELLS.get((a, b), "") for a in HALVES for b in HALVES])
        halves = [
            np.array([HALVES.index(name) for name in rows["split"]], dtype=np.int64) for rows in (self.panel.personas, self.panel.prompts)
        ]
        frame = self._ids(np.arange(len(comparison))).with_columns(
            self.panel.comparisons["first_id"].gather(comparison).alias("candidate_a"),
            self.panel.comparisons["second_id"].gather(comparison).alias("candidate_b"),
            pl.Series("margin", margin.round(4)),
            pl.Series("probability", (1 / (1 + np.exp(-margin))).round(4)),
            pl.Series("bias", bias.round(4)),
            pl.Series("mass", np.where(whole, mass.min(axis=0), 1).min(axis=0)),
            pl.Series("consistency", (agree.sum(axis=0) / np.maximum(count, 1)).round(4)),
            pl.Series("agreement", (((ab * ba < 0) & whole).sum(axis=0) / np.maximum(count, 1)).round(4)),
            pl.Series("confidence", np.abs(margin).round(4)),
            pl.Series("judgements", 2 * count.astype(np.int64)),
            pl.Series("spread", spread.round(4)).fill_nan(None),
            pl.lit(None if self.recipe.judgements.calibration is None else 0.5, pl.Float64).alias("calibrated"),
            self._generic(margin).alias("p_generic"),
            cells.gather(len(HALVES) * halves[0][persona] + halves[1][self.panel.prompt][comparison]).alias("split"),
        )
        unread = pl.Series(count == 0)
        reason = pl.lit("no template has judgements in both orders")
        return frame.filter(~unread), _rejected(frame.filter(unread), "labels", "unread", reason)


def _rejected(rows: pl.DataFrame, stage: str, reason: str, detail: pl.Expr) -> pl.DataFrame:
    """Readings that failed as rows of Rejected."""
    named = {"stage": stage, "kind": "failure", "reason": reason}
    nothing = [pl.lit(None, pl.String).alias(name) for name in ("duplicate_of", "row")]
    own = [pl.col("comparison_id").alias("row_id"), pl.col("persona_id"), detail.alias("detail")]
    return rows.select(*(pl.lit(value).alias(name) for name, value in named.items()), *own, *nothing).select(list(Rejected.model_fields))
