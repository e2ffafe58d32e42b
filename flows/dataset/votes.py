"""What all personas together say of each comparison: how many, how evenly they are split, and what people in general are held to say.

votes(labels)      ->  comparison_id "c1…", voters 24, minority_share 0.3333, entropy 0.6365       8 of 24 for the one, 16 for the other
generic(controls)  ->  comparison_id "c1…", p_generic 0.6502                                       the reading for nobody in particular

Votes are counted over labels, which no check has touched, so that a filter of ours makes no comparison look settled. A margin of 0 counts
as half a vote for each side. Comparisons with a minority share of .3 and more are called contested:

    pl.read_parquet("preferences/*.parquet").filter(pl.col("minority_share") >= 0.3)
"""

import polars as pl

from prefloom.schemas.comparison import in_order_ab

GRID = 1e-4
CONTESTED = 0.3


def votes(labels: pl.DataFrame) -> pl.DataFrame:
    """One row per comparison, from comparison_id and margin of all its labels."""
    return shares(ballots(labels))


def ballots(labels: pl.DataFrame) -> pl.DataFrame:
    """Per comparison how many vote, and half votes for a. Those of several pieces of the labels may stand below each other."""
    margin = pl.col("margin")
    return labels.group_by("comparison_id").agg(
        pl.len().cast(pl.Int64).alias("voters"), (2 * (margin > 0).sum() + (margin == 0).sum()).cast(pl.Int64).alias("halves")
    )


def shares(found: pl.DataFrame) -> pl.DataFrame:
    """One row per comparison, from the ballots of all labels."""
    counted = found.group_by("comparison_id").agg(pl.col("voters", "halves").sum())
    share = pl.col("halves") / (2 * pl.col("voters"))
    entropy = -sum((pl.when(part > 0).then(part * part.log()).otherwise(0.0) for part in (share, 1 - share)), pl.lit(0.0))
    return counted.select(
        "comparison_id",
        "voters",
        pl.min_horizontal(share, 1 - share).round(4).alias("minority_share"),
        entropy.abs().round(4).alias("entropy"),
    ).sort("comparison_id")


def generic(controls: pl.DataFrame) -> pl.DataFrame:
    """`p_generic` of each comparison that was read for nobody in both orders, from rows of Control."""
    nobody = controls.filter((pl.col("read_as") == "") & (pl.col("repeat") == 0))
    steps = (in_order_ab() / GRID).round().cast(pl.Int64)
    read = nobody.group_by("comparison_id").agg(steps.sum().alias("steps"), pl.col("order").n_unique().alias("orders"))
    margin = pl.col("steps") / 2 * GRID
    return read.filter(pl.col("orders") == 2).select("comparison_id", (1 / (1 + (-margin).exp())).round(4).alias("p_generic"))
