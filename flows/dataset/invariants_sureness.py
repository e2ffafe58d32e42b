"""What must hold of a label's confidence, and of the checks that look at more than one label. Computed again from the tables.

    sureness({"labels": …, "judgements": …, "comparisons": …, "candidates": …})  ->  Check("confidence", "…", problems=[])
    structure(labels, checks)   ->  labels with the columns `circle`, `residual` and `floor` that preferences are held to

The two habits of a judge are fitted by the same function as when the dataset was made; what goes into it and what comes of it is not.
"""

import math

import polars as pl

from prefloom.flows.dataset import transitivity
from prefloom.flows.dataset.confidence import Fitted, fit_pieces, rank
from prefloom.flows.dataset.invariants import READING, TOLERANCE, Check, leanings, liked
from prefloom.schemas.checks import LabelChecks
from prefloom.schemas.comparison import in_order_ab


def sureness(data: dict[str, pl.DataFrame], found: pl.DataFrame | None = None, fitted: Fitted | None = None) -> Check:
    """Every confidence and agreement follows from the judgements, as they are `traced`, and `fitted` on those of all labels."""
    check = Check("confidence", "every label is as sure as its judgements and those of the other labels make it")
    found = traced(data, liked(leanings(data["judgements"]))) if found is None else found
    fitted = fitted or fit_pieces(lambda: [found.filter("judged")], data["comparisons"].height)
    # A margin on an edge of the grid may be rounded either way, also to 0, which has no side: `labels` looks at that.
    margins = data["labels"].select(*READING, "margin")
    due = rank(found.drop("margin").join(margins, on=READING), fitted).select(*READING, pl.col("confidence").alias("due"), "as_they_stand")
    broken = {
        "labels have a wrong confidence": (pl.col("confidence") - pl.col("due")).abs().fill_nan(1) > 10 * TOLERANCE,
        "labels have a wrong agreement": (pl.col("agreement") - pl.col("as_they_stand")).abs().fill_nan(1) > TOLERANCE,
    }
    check.refuse(data["labels"].join(due, on=READING, how="left"), broken)
    return check


def traced(data: dict[str, pl.DataFrame], bias: pl.DataFrame) -> pl.DataFrame:
    """What the judgements of each label left behind, as confidence.Traces has it. `bias` is what is `liked` in all judgements."""
    reads = data["judgements"].with_columns(in_order_ab().alias("for_a"))
    key = [*READING, "template", "repeat"]
    first, second = (reads.filter(pl.col("order") == order).select(*key, pl.col("for_a").alias(order)) for order in ("ab", "ba"))
    per_template = (
        first.join(second, on=key)
        .join(bias, on="template")
        .select(
            *READING,
            ((pl.col("ab") + pl.col("ba")) / 2).alias("for_a"),
            ((pl.col("ab") - pl.col("ba")) / 2 - pl.col("liked")).alias("swayed"),
            ((pl.col("ab") * pl.col("ba")) > 0).alias("alike"),
        )
    )
    labels = per_template.group_by(READING).agg(
        pl.col("for_a").mean().round(4).alias("margin"),
        pl.col("swayed").mean().alias("tilt"),
        pl.when(pl.len() > 1).then(((pl.col("for_a") - pl.col("for_a").mean()) ** 2).sum()).otherwise(0.0).alias("scatter"),
        pl.len().alias("templates"),
        pl.col("alike").mean().alias("as_they_stand"),
    )
    length = dict(data["candidates"].select("candidate_id", pl.col("text").str.len_chars()).iter_rows())
    pairs = data["comparisons"].select("comparison_id", "first_id", "second_id").sort("comparison_id")
    log = [[round(math.log(max(length.get(side, 1), 1)), 4) for side in pair] for pair in pairs.select("first_id", "second_id").iter_rows()]
    pairs = pairs.select("comparison_id", pl.Series("longer", [a - b for a, b in log], dtype=pl.Float64)).with_row_index("comparison")
    judged = data["personas"].select("persona_id", (pl.col("kind") == "judge").alias("judged"))
    return labels.join(pairs, on="comparison_id").join(judged, on="persona_id").sort(READING)


def structure(labels: pl.DataFrame, checks: LabelChecks, sure: pl.Series | None = None) -> pl.DataFrame:
    """What the checks of circles, of personas and of coverage see in all labels; `sure`: the confidence of all, if these are some."""
    weakest = transitivity.circles(labels) if checks.intransitive == "reject" else labels.select(READING).clear()
    noisy = transitivity.residuals(labels) if checks.max_residual is not None else labels.select("persona_id", residual="margin").clear()
    floor = -math.inf if checks.min_confidence is None else checks.min_confidence
    if checks.coverage is not None:
        sure = labels["confidence"] if sure is None else sure
        kept = sure.top_k(round(checks.coverage * len(sure))).min()
        floor = max(floor, kept if isinstance(kept, float) else math.inf)
    marked = labels.join(weakest.with_columns(pl.lit(value=True).alias("circle")), on=READING, how="left")
    return marked.join(noisy, on="persona_id", how="left").with_columns(
        pl.col("circle").fill_null(value=False), pl.col("residual").fill_null(0.0), pl.lit(floor).alias("floor")
    )
