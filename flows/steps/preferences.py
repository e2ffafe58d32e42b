"""Preferences: the labels that survive the checks. What a check removes goes to `rejected` with the first reason that holds.

    length_only    the comparison's answers differ in length alone        inconsistent   the orders disagree once the mean bias is removed
    low_mass       the judge wanted to say something else                 undecided      |margin| is too small

Accuracy is always measured on labels, which no check has touched; preferences are for training.
"""

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.schemas.checks import LabelChecks
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.label import Label, Preference, Rejected


def check_labels(job: ShardJob) -> ShardReport:
    """The preferences of this shard's personas, sorted by persona and comparison."""
    if done := job.done():
        return done
    store, checks = job.run.store, job.run.resolved.recipe.checks.labels
    flags = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "length_only"])
    labels = tables.read(store, job.part("labels"), Label)
    return job.write(Preference, *verdicts(labels, flags, checks), considered=labels.height)


def verdicts(labels: pl.DataFrame, flags: pl.DataFrame, checks: LabelChecks) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Preference, rows of Rejected) for rows of Label; `flags` has comparison_id and length_only."""
    labels = labels.join(flags, on="comparison_id", how="left").sort("persona_id", "comparison_id")
    judged = labels.with_columns(reason(checks).alias("reason"))
    rejected = judged.drop_nulls("reason").select(
        pl.lit("preferences").alias("stage"),
        pl.lit("check").alias("kind"),
        "reason",
        pl.col("comparison_id").alias("row_id"),
        "persona_id",
        pl.lit(None, pl.String).alias("duplicate_of"),
        pl.format("margin {}, consistency {}, mass {}", "margin", "consistency", "mass").alias("detail"),
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
        pl.when(first).then("calibrated").otherwise((1 - pl.col("calibrated")).round(4)).alias("calibrated"),
        "split",
    )
    return kept, rejected


def reason(checks: LabelChecks) -> pl.Expr:
    """Why a label is rejected, or null; columns of Label and `length_only`."""
    return (
        pl.when(pl.col("length_only") & checks.length_only)
        .then(pl.lit("length_only"))
        .when(pl.col("mass") < checks.min_mass)
        .then(pl.lit("low_mass"))
        .when(pl.col("consistency") < checks.min_consistency)
        .then(pl.lit("inconsistent"))
        .when((pl.col("margin").abs() < checks.min_margin) | (pl.col("margin") == 0))
        .then(pl.lit("undecided"))
        .otherwise(None)
    )
