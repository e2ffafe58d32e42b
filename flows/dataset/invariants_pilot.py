"""What must hold between the pilot and the comparisons that it chose. Computed again from the rows, without the code that made them.

chosen({"pilot": …, "comparisons": …}, recipe)  ->  Check("chosen", "every inclusion is …", problems=[])
"""

import numpy as np
import polars as pl

from prefloom.flows.dataset.invariants import Check
from prefloom.flows.diversity.grid import on_grid
from prefloom.schemas.comparison import in_order_ab
from prefloom.schemas.diversity import Pilot
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable

PAIR = ["prompt_id", "first_id", "second_id"]
_INCLUSION = 1e-5  # inclusion has six digits, and distance and disagreement stand on a grid of 1e-4


def pilot(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Every pair of the answers that the pilot kept stands there, as far apart as their vectors, read by people of the training split."""
    check = Check("pilot", "all pairs of the answers that were kept, with their distance, read by people of the training split alone")
    assert recipe.pilot
    rows, refused = data["pilot"], data["rejected"].filter((pl.col("stage") == "pilot") & (pl.col("kind") == "check"))
    kept = data["candidates"].select("prompt_id", "candidate_id").join(refused, left_on="candidate_id", right_on="row_id", how="anti")
    left = kept.rename({"candidate_id": "first_id"}).join(kept.rename({"candidate_id": "second_id"}), on="prompt_id")
    wanted = left.filter(pl.col("first_id") < pl.col("second_id")).select(PAIR).sort(PAIR)
    check.expect(rows.select(PAIR).sort(PAIR).equals(wanted), f"{rows.height} pairs, but {wanted.height} of the answers that were kept")
    before = data["candidates"].group_by("prompt_id").len("before")
    sizes = kept.group_by("prompt_id").len("left").join(before, on="prompt_id", how="right")
    if keep := recipe.pilot.keep:
        check.expect((sizes["left"].fill_null(0) <= keep).all(), f"a prompt has more than {keep} answers left")
    few = sizes.filter(pl.col("left").fill_null(0) < pl.min_horizontal("before", pl.lit(2))).height
    check.expect(few == 0, f"the pilot left fewer than two answers of {few} prompts")
    train = data["personas"].filter(pl.col("split") == "train")["persona_id"]
    read, readers = rows["persona_ids"].list.len(), rows["persona_ids"].explode().drop_nulls()
    check.expect(readers.is_in(train.implode()).all(), "a reader is not of the training split")
    check.expect((read <= recipe.pilot.personas).all(), f"a pair has more than {recipe.pilot.personas} readers")
    even = all((rows[name].list.len() == read).all() for name in ("margins", "biases"))
    check.expect(even, "a pair has another number of margins or biases than readers")
    check.expect((rows["disagreement"].is_null() == (read < 2)).all(), "a disagreement is there without two readers, or is not with them")
    check.expect((rows["strength"].is_null() == (read < 2)).all(), "a strength is there without two readers, or is not with them")
    check.expect((rows["persona_ids"].list.n_unique() == read).all(), "a pair has a reader twice")
    if not check.problems:
        _follow(check, rows)
        if recipe.refinement is None:  # with it, judgements read other descriptions
            _reread(check, rows, data["judgements"], portable(recipe.judgements.templates[0]))
    check.expect((rows["gap"].is_null() != recipe.pilot.rates).all(), "gaps are there that were not asked for, or are not that were")
    check.expect(_as_far(rows, data["embeddings"]), "a distance is not that of the vectors")
    return check


def _follow(check: Check, rows: pl.DataFrame) -> None:
    """Disagreement and strength follow from margins and biases: what biases vary by among the readers of a prompt's pairs is noise."""
    several = pl.col("biases").list.len() > 1
    squares = pl.when(several).then(pl.col("biases").list.var() * (pl.col("biases").list.len() - 1)).sum().over("prompt_id")
    degrees = pl.when(several).then(pl.col("biases").list.len() - 1).sum().over("prompt_id")
    noise = squares / degrees
    for name, size in (
        ("disagreement", pl.col("margins").list.var()),
        ("strength", pl.col("margins").list.eval(pl.element() ** 2).list.mean()),
    ):
        away = (pl.col(name) - pl.max_horizontal(size - noise, 0.0)).abs() > 1e-3
        check.refuse(rows.with_columns(away.alias("away")).drop_nulls(name), {f"pairs have a {name} that does not follow": pl.col("away")})


def _reread(check: Check, rows: pl.DataFrame, judgements: pl.DataFrame, template: str) -> None:
    """Where the same reading stands in both tables, it says the same."""
    read = rows.select("comparison_id", pl.col("persona_ids").alias("persona_id"), "margins").explode("persona_id", "margins")
    again = judgements.filter((pl.col("template") == template) & (pl.col("repeat") == 0))
    margins = again.group_by("comparison_id", "persona_id").agg((in_order_ab().mean()).alias("margin"), pl.len().alias("orders"))
    both = read.drop_nulls().join(margins.filter(pl.col("orders") == 2), on=["comparison_id", "persona_id"])
    check.refuse(
        both, {"readings of the pilot differ from the same ones in judgements": (pl.col("margins") - pl.col("margin")).abs() > 1e-3}
    )


def _as_far(rows: pl.DataFrame, embeddings: pl.DataFrame) -> bool:
    """Whether distances are those of the vectors, pair by pair."""
    vectors = embeddings.filter(pl.col("table") == "candidates")
    if not rows.height or not vectors.height:
        return not rows.height
    place = {row_id: i for i, row_id in enumerate(vectors["row_id"])}
    if not {*rows["first_id"], *rows["second_id"]} <= place.keys():
        return False
    grid = on_grid(np.array(vectors["vector"].to_list())).astype(np.float64)
    one, other = (grid[[place[name] for name in rows[side]]] for side in ("first_id", "second_id"))
    lengths = np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1), 1.0)
    return bool((np.abs(1 - (one * other).sum(axis=1) / lengths - rows["distance"].to_numpy()) < 1e-4).all())


def chosen(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """As many comparisons of each prompt as the recipe says, each with the chance that it had."""
    check = Check(
        "chosen", "each prompt has the comparisons it should, with their chance of being drawn; those of a pilot are among its pairs"
    )
    rows, most = data["comparisons"], recipe.comparisons.per_prompt
    count = pl.col("answers") * (pl.col("answers") - 1) // 2
    pairs = data["candidates"].group_by("prompt_id").len("answers").select("prompt_id", count.cast(pl.Int64).alias("pairs"))
    if recipe.pilot:
        pairs = data["pilot"].group_by("prompt_id").len("pairs").with_columns(pl.col("pairs").cast(pl.Int64))
    drawn = rows.group_by("prompt_id").len("drawn").join(pairs, on="prompt_id", how="full", coalesce=True).filter(pl.col("pairs") > 0)
    unasked = data["rejected"].filter((pl.col("stage") == "comparisons") & (pl.col("reason") == "nobody_matches"))["row_id"]
    drawn = drawn.filter(~pl.col("prompt_id").is_in(unasked.implode()))
    odd = drawn.filter(pl.col("drawn").fill_null(0) != pl.min_horizontal("pairs", pl.lit(most))).height
    check.expect(odd == 0, f"{odd} prompts have more or fewer comparisons than {most}, or than there are pairs")
    broken = {"comparisons have an inclusion that is no chance": (pl.col("inclusion") <= 0) | (pl.col("inclusion") > 1)}
    if recipe.pilot is None:
        due = pl.min_horizontal(1.0, most / pl.col("pairs"))
        check.refuse(
            rows.join(pairs, on="prompt_id", how="left"),
            broken
            | {
                "comparisons have another inclusion than the others of their prompt": (pl.col("inclusion") - due).abs() > _INCLUSION * due,
                "comparisons say what only a pilot can": pl.col("dominated").is_not_null() | pl.col("disagreement").is_not_null(),
            },
        )
        return check
    joined = rows.join(_due(data["pilot"], most, recipe.pilot), on=["comparison_id", *PAIR], how="left")
    limit = recipe.pilot.dominated
    near = pl.any_horizontal((pl.col("inclusion") / pl.coalesce("due", due) - 1).abs() <= _INCLUSION for due in ("due_high", "due_low"))
    far = (pl.col("gap").abs() >= limit) if limit is not None else pl.lit(None, pl.Boolean)
    check.refuse(
        joined,
        broken
        | {
            "comparisons have another inclusion than the pilot gives them": ~near,
            "comparisons differ from the pilot in disagreement": ~pl.col("disagreement").eq_missing(pl.col("disagreement_pilot")),
            "comparisons are marked as dominated against their gap": ~pl.col("dominated").eq_missing(far),
        },
    )
    return check


def _due(rows: pl.DataFrame, most: int, settings: Pilot) -> pl.DataFrame:
    """The pilot's pairs with the chance that is `due` to each: by how many pairs of its prompt are worth more, and how many as much."""
    first = pl.col(settings.first)
    mean = first.mean().over("prompt_id").fill_null(1.0)
    worth = (pl.max_horizontal("distance", 0.0) * first.fill_null(mean)).round(9)
    ranked = rows.with_columns(worth.alias("worth")).with_columns(
        pl.len().over("prompt_id").alias("count"),
        (pl.col("worth").rank("min", descending=True).over("prompt_id") - 1).alias("above"),
        (pl.col("worth").rank("max", descending=True).over("prompt_id") - 1).alias("beside"),
        (pl.col("worth").max() == pl.col("worth").min()).over("prompt_id").alias("equal"),
    )
    low = settings.uniform * most / pl.col("count")
    high = low + 1 - settings.uniform
    return ranked.select(
        "comparison_id",
        *PAIR,
        "gap",
        pl.when(pl.col("count") <= most).then(1.0).when("equal").then(most / pl.col("count")).alias("due"),
        pl.when(pl.col("above") < most).then(high).otherwise(low).alias("due_high"),  # of pairs worth as much the earlier ones come first
        pl.when(pl.col("beside") < most).then(high).otherwise(low).alias("due_low"),
        pl.col("disagreement").alias("disagreement_pilot"),
    )
