"""What must hold of the refinement of personas. Computed again from the rows, without the code that made them.

refinements({"refinements": …, "personas": …, …}, recipe)  ->  Check("refinements", "every history replays …", problems=[])
"""

import numpy as np
import polars as pl

from prefloom.flows.dataset.invariants import GRID, Check
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.refinement import Refinement

_PAIR = ["persona_id", "comparison_id"]


def rounds(data: dict[str, pl.DataFrame], settings: Refinement) -> int:
    """Rounds there should be: for each persona as many as the recipe says, or as there are comparisons that it does not label."""
    pool = _train(data)
    asked = pool.explode("persona_ids").group_by(pl.col("persona_ids").alias("persona_id")).len("labelled")
    free = data["personas"].select("persona_id").join(asked, on="persona_id", how="left")
    left = pool.height - free["labelled"].fill_null(0).cast(pl.Int64)
    return int(left.clip(0, settings.comparisons).sum())


def refinements(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Every description follows from the seed by what was appended, and every decision from what was read."""
    check = Check(
        "refinements", "every history replays from its seed; each decision follows from its readings; none is about a label or a test"
    )
    settings, rows = recipe.refinement, data["refinements"].sort("persona_id", "round")
    assert settings
    pool, asked = _train(data), data["comparisons"].select("comparison_id", "persona_ids").explode("persona_ids")
    check.expect(rows.join(pool, on="comparison_id", how="anti").is_empty(), "a refinement is about a prompt that is not of train")
    labelled = rows.join(asked, left_on=_PAIR, right_on=["persona_ids", "comparison_id"], how="semi")
    check.expect(labelled.is_empty(), f"{labelled.height} refinements are about what the persona labels")
    lost = data["rejected"].filter(pl.col("stage") == "refinements").select("persona_id", pl.col("row_id").alias("comparison_id"))
    every = pl.concat([rows.select(_PAIR), lost])
    check.expect(not every.is_duplicated().any(), "a persona has two rounds on one comparison")
    check.expect(not rows.select("persona_id", "round").is_duplicated().any(), "a persona has a round twice")
    check.refuse(rows, _broken(settings))
    check.expect(_in_order(rows, recipe.seed), "rounds are not in the order of their hashes")
    if settings.source == "random":
        check.expect(_by_chance(rows, recipe.seed), "a choice at random is not the one that was drawn")
    model = settings.model or recipe.judgements.model
    check.refuse(rows, {"refinements are not by the recipe's model": pl.col("model") != model})
    strays = _unreplayed(data["personas"], rows)
    check.expect(strays == 0, f"{strays} personas have another description than their history gives")
    return check


def _train(data: dict[str, pl.DataFrame]) -> pl.DataFrame:
    train = data["prompts"].filter(pl.col("split") == "train").select("prompt_id")
    return data["comparisons"].join(train, on="prompt_id", how="semi").select("comparison_id", "persona_ids")


def _broken(settings: Refinement) -> dict[str, pl.Expr]:
    """What no row may be."""
    ab, ba = ([pl.col(name).list.get(place, null_on_oob=True) for place in range(3)] for name in ("ab", "ba"))
    margin = (ab[0] - ab[1] + ba[1] - ba[0]) / 2
    # The mean of both orders, a with a and b with b; C's share against the other two.
    a, b, c = (ab[0] + ba[1]) / 2, (ab[1] + ba[0]) / 2, (ab[2] + ba[2]) / 2
    share = 1 / (1 + (a - c).exp() + (b - c).exp())
    untold = (share >= settings.threshold) | (margin.abs() < GRID / 2)
    near = ((share - settings.threshold).abs() < 1e-9) | (margin.abs() < 2 * GRID)  # where rounding may decide
    due = pl.when(untold).then(pl.lit("cannot_tell")).when(margin > 0).then(pl.lit("a")).otherwise(pl.lit("b"))
    open_ = pl.col("verdict") == "cannot_tell"
    source = pl.when(open_).then(pl.lit(settings.source)).otherwise(pl.lit("description"))
    kept = open_ & ((pl.col("contradicts").list.len() == 0) | (settings.contradictions == "keep"))
    holds = pl.when(pl.col("choice") == "a").then(pl.col("margin") > 0).otherwise(pl.col("margin") < 0)
    broken = {
        "refinements do not say what their readings say": ~near & (pl.col("verdict") != due),
        "refinements decide against the description": ~open_ & (pl.col("choice") != pl.col("verdict")),
        "refinements name another source than decided": pl.col("source") != source,
        "refinements have a sentence where none was needed, or none where one was": pl.col("sentence").is_not_null() != open_,
        "refinements append against the recipe's word on contradictions": pl.col("appended") != kept,
        "refinements hold, or do not, against their margin": ~pl.col("holds").eq_missing(holds),
        "refinements have a round that the recipe has not": ~pl.col("round").is_between(1, settings.comparisons),
    }
    if settings.source == "stereotype":
        leaning = pl.when(margin > 0).then(pl.lit("a")).otherwise(pl.lit("b"))
        broken["refinements choose against the stereotype"] = open_ & (margin.abs() > 2 * GRID) & (pl.col("choice") != leaning)
    return broken


def _draws(rows: pl.DataFrame, seed: int, name: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return draw(seed, name, keys(rows["persona_id"]), keys(rows["comparison_id"]))


def _in_order(rows: pl.DataFrame, seed: int) -> bool:
    """Whether later rounds of a persona have comparisons of larger hashes."""
    drawn = _draws(rows, seed, "refinement") if rows.height else np.zeros(0, dtype=np.uint64)
    same = (rows["persona_id"] == rows["persona_id"].shift(1)).fill_null(value=False).to_numpy()
    return bool((drawn[1:] >= drawn[:-1])[same[1:]].all())


def _by_chance(rows: pl.DataFrame, seed: int) -> bool:
    """Whether the choices where a description could not tell are those that a draw gives."""
    some = rows.filter(pl.col("verdict") == "cannot_tell")
    if not some.height:
        return True
    odd = (_draws(some, seed, "refinement/choice") >> np.uint64(32)) & np.uint64(1) == 1
    return bool((np.where(odd, "b", "a") == some["choice"].to_numpy()).all())


def _unreplayed(personas: pl.DataFrame, rows: pl.DataFrame) -> int:
    """Personas whose descriptions are not those before with the sentence behind it, from the seed on."""
    seeds = dict(personas.select("persona_id", "description").iter_rows())
    now: dict[str, str] = {}
    wrong: set[str] = set()
    for persona_id, sentence, appended, description in rows.select("persona_id", "sentence", "appended", "description").iter_rows():
        before = now.get(persona_id, seeds.get(persona_id, ""))
        if description != (f"{before} {sentence}" if appended else before):
            wrong.add(persona_id)
        now[persona_id] = description
    return len(wrong)
