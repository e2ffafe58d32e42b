"""Preferences: the labels that survive the checks. What a check removes goes to `rejected` with the first reason that holds.

    length_only    the comparison's answers differ in length alone        undecided      |margin| is too small
    low_mass       the judge wanted to say something else                 erratic        no ranking of the answers explains the persona
    inconsistent   the orders disagree once the mean bias is removed      intransitive   the weakest label of a circle of three
                   (`orders: raw`: as they stand)                         unsure         confidence is too small, or below the quantile

Accuracy is always measured on labels, which no check has touched; preferences are for training.
"""

import math
import threading
from functools import lru_cache

import polars as pl

from prefloom.flows.dataset import tables, transitivity
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.votes import ballots, shares
from prefloom.schemas.checks import LabelChecks
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.label import Label, Preference, Rejected

_ONE_AT_A_TIME = threading.Lock()


def check_labels(job: ShardJob) -> ShardReport:
    """The preferences of this shard's personas, sorted by persona and comparison."""
    if done := job.done():
        return done
    store, checks = job.run.store, job.run.resolved.recipe.checks.labels
    flags = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "length_only"])
    with _ONE_AT_A_TIME:  # shards that come at the same time wait for the first
        everybody, least = _whole(store.url, job.stage_hash, checks.coverage)
    labels = tables.read(store, job.part("labels"), Label)
    return job.write(Preference, *verdicts(labels, flags.join(everybody, on="comparison_id"), checks, least), considered=labels.height)


@lru_cache(maxsize=2)
def _whole(url: str, _made_of: str, coverage: float | None) -> tuple[pl.DataFrame, float | None]:
    """What all labels of the run say of each comparison, and the confidence from which on `coverage` of them are kept.

    No outcome is looked at for that, so all splits may say. The hash of the stage says of what labels.
    """
    store = Store(url)
    found, sure = [], []
    for name in store.list("labels/part-*.parquet"):
        part = tables.read(store, name, Label, ["comparison_id", "margin", "confidence"])
        found.append(ballots(part))
        sure.append(part.group_by("confidence").len())
    return shares(pl.concat(found)), None if coverage is None else threshold(pl.concat(sure), coverage)


def threshold(counts: pl.DataFrame, coverage: float) -> float:
    """The smallest confidence among that share of the labels which is surest; equally sure ones stay together.

    `counts` has columns confidence and len (how many labels have it), and may have a confidence more than once.
    """
    most = round(coverage * int(counts["len"].sum()))
    ranked = counts.group_by("confidence").agg(pl.col("len").sum()).sort("confidence", descending=True)
    return float(ranked.filter(pl.col("len").cum_sum() >= most)["confidence"][0]) if most else math.inf


def verdicts(
    labels: pl.DataFrame, flags: pl.DataFrame, checks: LabelChecks, least: float | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Preference, rows of Rejected) for all rows of Label of some personas; `flags` has comparison_id, length_only, the votes."""
    labels = labels.join(flags, on="comparison_id", how="left").sort("persona_id", "comparison_id")
    judged = with_structure(labels, checks).with_columns(reason(checks, least).alias("reason"))
    rejected = judged.drop_nulls("reason").select(
        pl.lit("preferences").alias("stage"),
        pl.lit("check").alias("kind"),
        "reason",
        pl.col("comparison_id").alias("row_id"),
        "persona_id",
        pl.lit(None, pl.String).alias("duplicate_of"),
        pl.format("margin {}, consistency {}, mass {}, confidence {}", "margin", "consistency", "mass", "confidence").alias("detail"),
        pl.lit(None, pl.String).alias("row"),
    )
    assert rejected.columns == list(Rejected.model_fields)
    first = pl.col("margin") > 0
    kept = judged.filter(pl.col("reason").is_null()).select(
        "persona_id",
        "comparison_id",
        "prompt_id",
        pl.when(first).then("candidate_a").otherwise("candidate_b").alias("chosen_id"),
        pl.when(first).then("candidate_b").otherwise("candidate_a").alias("rejected_id"),
        pl.col("margin").abs(),
        pl.when(first).then("probability").otherwise((1 - pl.col("probability")).round(4)).alias("probability"),
        "confidence",
        pl.when(first).then("p_generic").otherwise((1 - pl.col("p_generic")).round(4)).alias("p_generic"),
        "voters",
        "minority_share",
        "entropy",
        pl.when(first).then("calibrated").otherwise((1 - pl.col("calibrated")).round(4)).alias("calibrated"),
        "split",
    )
    return kept, rejected


def with_structure(labels: pl.DataFrame, checks: LabelChecks) -> pl.DataFrame:
    """With columns `residual` and `circle`, null and false where a check does not ask for them."""
    labels = labels.with_columns(pl.lit(None, pl.Float64).alias("residual"), pl.lit(value=False).alias("circle"))
    if checks.max_residual is not None:
        labels = labels.drop("residual").join(transitivity.residuals(labels), on="persona_id", how="left", maintain_order="left")
    if checks.intransitive == "reject":
        weakest = transitivity.circles(labels).with_columns(pl.lit(value=True).alias("circle"))
        joined = labels.drop("circle").join(weakest, on=["persona_id", "comparison_id"], how="left", maintain_order="left")
        labels = joined.with_columns(pl.col("circle").fill_null(value=False))
    return labels


def reason(checks: LabelChecks, least: float | None = None) -> pl.Expr:
    """Why a label is rejected, or null; columns of Label, `length_only`, and those of `with_structure`. `least`: see `_whole`."""
    floors = [floor for floor in (checks.min_confidence, least) if floor is not None]
    agreeing = "agreement" if checks.orders == "raw" else "consistency"
    return (
        pl.when(pl.col("length_only") & checks.length_only)
        .then(pl.lit("length_only"))
        .when(pl.col("mass") < checks.min_mass)
        .then(pl.lit("low_mass"))
        .when(pl.col(agreeing) < checks.min_consistency)
        .then(pl.lit("inconsistent"))
        .when((pl.col("margin").abs() < checks.min_margin) | (pl.col("margin") == 0))
        .then(pl.lit("undecided"))
        .when((pl.col("residual") > (1.0 if checks.max_residual is None else checks.max_residual)).fill_null(value=False))
        .then(pl.lit("erratic"))
        .when("circle")
        .then(pl.lit("intransitive"))
        .when(pl.col("confidence") < max(floors, default=-math.inf))
        .then(pl.lit("unsure"))
        .otherwise(None)
    )
