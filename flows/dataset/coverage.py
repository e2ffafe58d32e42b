"""How the personas of a dataset are spread over the values of their traits, from its tables alone.

    rows = coverage(personas, rejected, recipe)   a row per value: trait, value, pool, kept, share, target
    divergences(rows)                             a row per trait: trait, covered, values, smallest, evenness, total_variation, …

The pool is what `diversity.personas` chose from: the personas of the table, and those rejected as near_duplicate or less_diverse. The
target is the population that the recipe aims at, which it carries in full (dataset/targets.py), or equal shares of the values in the pool.
"""

import polars as pl

from prefloom.schemas.persona import Persona
from prefloom.schemas.recipe import Recipe

LEFT_OUT = ("near_duplicate", "less_diverse")  # reasons of rows that a choice for diversity left out
_NAMED = ["trait", "value"]


def coverage(personas: pl.DataFrame, rejected: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """From rows of Persona and of Rejected: per trait and value how many there were to choose from, how many are there, and both shares.

    A value of the target that nobody has counts 0. Sorted by trait and value; no rows where nobody has traits.
    """
    others = rejected.filter((pl.col("stage") == "personas") & pl.col("reason").is_in(LEFT_OUT))["row"].drop_nulls()
    gone = pl.DataFrame({"traits": [Persona.model_validate_json(row).model_dump()["traits"] for row in others]}, schema=_traits(personas))
    kept, left = (_counted(rows, name) for rows, name in ((personas, "kept"), (gone, "left")))
    settings = recipe.diversity and recipe.diversity.personas
    target = (settings and settings.target) or {}
    aims = [(trait, value, share) for trait, shares in target.items() for value, share in shares.items()]
    aimed = pl.DataFrame(aims, schema={"trait": pl.String, "value": pl.String, "aim": pl.Float64}, orient="row")
    rows = kept.join(left, on=_NAMED, how="full", coalesce=True).join(aimed, on=_NAMED, how="full", coalesce=True)
    equal = pl.when(pl.col("trait").is_in([*target])).then(0.0).otherwise(1 / pl.len().over("trait"))
    return (
        rows.with_columns(pl.col("kept", "left").fill_null(0))
        .select(
            *_NAMED,
            (pl.col("kept") + pl.col("left")).alias("pool"),
            "kept",
            (pl.col("kept") / pl.col("kept").sum().over("trait").clip(1)).round(4).alias("share"),
            pl.col("aim").fill_null(equal).round(4).alias("target"),
        )
        .sort(_NAMED)
    )


def divergences(rows: pl.DataFrame) -> pl.DataFrame:
    """From the rows of `coverage`, per trait:

    covered, values      how many of its values somebody has, and how many the pool or the target has
    smallest             personas with its rarest value
    evenness             entropy of the shares over that of equal shares, 0 to 1; null for a single value
    total_variation      half the sum of |share - target|: the part of the personas that would have to be others, 0 to 1
    jensen_shannon       divergence of shares and target in bits, 0 to 1 (Lin 1991)
    """
    share, target = pl.col("share"), pl.col("target")
    middle = (share + target) / 2
    apart = (_bits(share, middle) + _bits(target, middle)) / 2
    return (
        rows.group_by("trait", maintain_order=True)
        .agg(
            (pl.col("kept") > 0).sum().alias("covered"),
            pl.len().alias("values"),
            pl.col("kept").min().alias("smallest"),
            (-_bits(share, pl.lit(1.0)).sum() / pl.len().log(2)).alias("evenness"),
            ((share - target).abs().sum() / 2).alias("total_variation"),
            apart.sum().clip(0, 1).alias("jensen_shannon"),
        )
        .with_columns(pl.when(pl.col("values") > 1).then(pl.col("evenness")).alias("evenness"))
        .with_columns(pl.col("evenness", "total_variation", "jensen_shannon").round(4))
    )


def _bits(of: pl.Expr, against: pl.Expr) -> pl.Expr:
    return pl.when(of > 0).then(of * (of / against).log(2)).otherwise(0.0)


def _traits(personas: pl.DataFrame) -> dict[str, pl.DataType]:
    return {"traits": personas.schema["traits"]}


def _counted(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    traits = rows.select(pl.col("traits").explode()).drop_nulls().unnest("traits")
    return traits.rename({"name": "trait"}).group_by(_NAMED).agg(pl.len().cast(pl.Int64).alias(name))
