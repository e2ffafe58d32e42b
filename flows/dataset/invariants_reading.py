"""What must hold of adaptive readings and of calibrated labels. Computed again from the rows, without the code that made them.

bounds(data, recipe)     ->  (77726, 77726): the fewest and the most readings that the rule admits
adaptive(data, recipe)   ->  Check("adaptive", "every label stands on the templates that the rule asks for", problems=[])
"""

import polars as pl

from prefloom.flows.dataset.invariants import GRID, READING, Check
from prefloom.schemas.comparison import in_order_ab
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable

_EDGE = 0.5 * GRID  # of a margin: on the very edge the last bit decides, so either answer is right there


def asked(data: dict[str, pl.DataFrame], recipe: Recipe) -> pl.DataFrame:
    """persona_id, comparison_id, fewest and most: for how many templates the rule asks; the two differ on an edge alone."""
    rule, templates = recipe.judgements.adaptive, [portable(name) for name in recipe.judgements.templates]
    everybody = data["comparisons"].select("comparison_id", pl.col("persona_ids").alias("persona_id")).explode("persona_id").drop_nulls()
    everybody = everybody.join(data["personas"].filter(pl.col("kind") == "judge"), on="persona_id", how="semi")
    if rule is None:
        return everybody.select(*READING, pl.lit(len(templates)).alias("fewest"), pl.lit(len(templates)).alias("most"))
    for_a = data["judgements"].with_columns((in_order_ab() / 2).alias("half"))
    margins = for_a.group_by(*READING, "template").agg(pl.col("half").sum(), pl.len()).filter(pl.col("len") == 2)
    horizon = min(rule.most or len(templates), len(templates))
    rows = everybody
    total, whole = pl.lit(0.0), pl.lit(0)
    counts = {"fewest": pl.lit(0), "most": pl.lit(0)}
    goes_on = {name: pl.lit(value=True) for name in counts}
    for place, template in enumerate(templates):
        rows = rows.join(
            margins.filter(pl.col("template") == template).select(*READING, pl.col("half").alias(f"m{place}")), on=READING, how="left"
        )
        if place >= rule.first:
            away = ((total / whole).abs() - rule.keep).abs()
            reach = 2 * rule.spread * (1 / whole - 1 / horizon).clip(0.0).sqrt()
            # A whole template more or less moves an edge by rounding: half a step of the sum, which is less than half a step of the mean.
            goes_on["fewest"] = goes_on["fewest"] & ((whole == 0) | (away < reach - _EDGE))
            goes_on["most"] = goes_on["most"] & ((whole == 0) | (away < reach + _EDGE) & (whole < horizon))
        for name in counts:
            counts[name] = counts[name] + goes_on[name].cast(pl.Int64)
        found = pl.col(f"m{place}")
        total, whole = total + found.fill_null(0.0), whole + found.is_not_null().cast(pl.Int64)
    return rows.select(*READING, *(count.alias(name) for name, count in counts.items()))


def adaptive(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Every label stands on the readings that the rule asks for, no more and no fewer."""
    check = Check("adaptive", "every persona and comparison was read under the templates that the rule asks for, and under no others")
    templates = [portable(name) for name in recipe.judgements.templates]
    lost = data["rejected"].filter(pl.col("stage") == "judgements").select("persona_id", pl.col("row_id").alias("comparison_id"))
    read = data["judgements"].with_columns(pl.col("template").replace_strict(templates, range(len(templates)), default=None).alias("place"))
    had = read.group_by(READING).agg(pl.len().alias("read"), pl.col("place").max())
    rows = (
        asked(data, recipe)
        .join(had, on=READING, how="left")
        .join(lost.group_by(READING).agg(pl.len().alias("lost")), on=READING, how="left")
    )
    number = pl.col("read").fill_null(0) + pl.col("lost").fill_null(0)
    broken = {
        "labels stand on another number of readings than the rule asks for": ~number.is_between(2 * pl.col("fewest"), 2 * pl.col("most")),
        "labels stand on a template beyond those that the rule asks for": pl.col("place").fill_null(0) >= pl.col("most"),
    }
    check.refuse(rows, broken)
    return check


def bounds(data: dict[str, pl.DataFrame], recipe: Recipe) -> tuple[int, int]:
    """The fewest and the most readings that the rule admits."""
    fewest, most = asked(data, recipe).select(pl.col("fewest").sum(), pl.col("most").sum()).row(0)
    return 2 * int(fewest), 2 * int(most)
