"""What must hold of the rounds of a recipe with a target, and of who was asked. Computed again from the rows.

targets({"targets": …, "comparisons": …, …}, recipe, outcomes)  ->  Check("targets", "every round closes …", problems=[])
"""

from collections.abc import Mapping

import polars as pl

from prefloom.flows.dataset.invariants import READING, Check
from prefloom.flows.dataset.outcomes import Outcome, members
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.splits import cells

_LOST = pl.col("rejected").list.eval(pl.element().struct.field("labels")).list.sum()


def targets(data: dict[str, pl.DataFrame], recipe: Recipe, found: Mapping[str, Outcome]) -> Check:
    """The rounds follow upon each other, and everybody was asked as far as the last one says; `found` is what the groups came to."""
    check = Check("targets", "every round closes and asks no more than it may; everybody was asked as far as the last round says")
    rows, target = data["targets"].sort("round", "group"), recipe.target
    assert target, "a recipe without a target has no rounds"
    rounds = rows["round"].unique().sort().to_list()
    check.expect(rounds == [*range(1, len(rounds) + 1)] and 0 < len(rounds) <= target.rounds, f"rounds {rounds} of {target.rounds}")
    groups = [rows.filter(pl.col("round") == number)["group"].to_list() for number in rounds]
    check.expect(all(names == [*found] for names in groups), "a round has other groups than there are")
    if check.problems:
        return check
    before = {name: pl.col(name).shift().over("group") for name in ("quota", "turns", "more", "asked")}
    later = rows.with_columns(**{f"{name}_before": value for name, value in before.items()}).filter(pl.col("round") > 1)
    further = (pl.col("turns") > pl.col("turns_before")) | (
        (pl.col("turns") == pl.col("turns_before")) & (pl.col("more") >= pl.col("more_before"))
    )
    allowed = pl.max_horizontal("asked", pl.lit(target.budget))
    check.refuse(
        later,
        {
            "quotas do not close: asked is not kept and rejected": pl.col("asked") != pl.col("kept") + _LOST,
            "quotas begin elsewhere than the round before ended": (pl.col("round") > 2) & (pl.col("asked") != pl.col("quota_before")),
            "quotas take something back": (pl.col("quota") < pl.col("asked")) | ~further,
            "quotas are beyond the budget": pl.col("quota") > allowed,
            "quotas ask more of a group that has its target": (pl.col("kept") >= target.preferences) & (pl.col("quota") > pl.col("asked")),
        },
    )
    opening = rows.filter(pl.col("round") == 1)
    broken = (pl.col("asked") != 0) | (pl.col("kept") != 0) | (pl.col("rejected").list.len() > 0) | pl.col("quota").is_not_null()
    check.refuse(opening, {"quotas of the first round know of rounds before it": broken})
    asked = {name: one.asked for name, one in found.items()}
    last = rows.filter(pl.col("round") == len(rounds)).drop_nulls("quota")
    off = [name for name, quota in last.select("group", "quota").iter_rows() if quota != asked[name]]
    check.expect(not off, f"{len(off)} groups were asked for another number of labels than the last round says")
    early = [name for name, one in found.items() if one.missing and one.open] if len(rounds) < target.rounds else []
    check.expect(not early, f"{len(early)} groups lack preferences and could have been asked further")
    _asked(check, data, recipe, rows.filter(pl.col("round") == len(rounds)))
    return check


def _asked(check: Check, data: dict[str, pl.DataFrame], recipe: Recipe, last: pl.DataFrame) -> None:
    """Whom the last round asks about which comparison, from the order of the hashes."""
    assert recipe.target
    people, prompts = data["personas"], data["prompts"]
    traits = people.select("persona_id", "traits").explode("traits").drop_nulls("traits").unnest("traits").unique()
    traits = traits.rename({"name": "trait", "value": "trait_value"}).with_columns(own=pl.lit(value=True))
    halves = prompts.select("prompt_id", "trait", "trait_value", pl.col("split").alias("prompt_split"))
    shown = (
        people.select("persona_id", pl.col("split").alias("persona_split"))
        .join(cells().drop("split"), on="persona_split")
        .join(halves, on="prompt_split")
        .join(traits, on=["persona_id", "trait", "trait_value"], how="left")
        .filter(pl.col("trait").is_null() | pl.col("own"))
    )
    order = draw(recipe.seed, "assign", keys(shown["persona_id"]), keys(shown["prompt_id"]))
    ranked = shown.with_columns(draw=pl.Series(order)).with_columns(
        rank=pl.col("draw").rank("ordinal").over("persona_id").cast(pl.Int64) - 1
    )
    due = ranked.drop("draw").join(data["comparisons"].select("prompt_id", "comparison_id"), on="prompt_id")
    which = pl.Series(draw(recipe.seed, "which", keys(due["persona_id"]), keys(due["comparison_id"])))
    due = due.with_columns(draw=which).with_columns(which=pl.col("draw").rank("ordinal").over("persona_id", "prompt_id").cast(pl.Int64) - 1)
    each, size = recipe.comparisons.per_persona_prompt, prompts.height
    base = min(recipe.comparisons.prompts_per_persona or size, size) * each
    tier = pl.when(pl.col("which") < each).then(pl.col("rank") * each + pl.col("which")).otherwise(pl.col("which") * size + pl.col("rank"))
    counted = members(recipe.target, people)
    wheel = counted.select("group", "persona_id").unique()
    wheel = wheel.with_columns(draw=pl.Series(draw(recipe.seed, "target", keys(wheel["persona_id"]))))
    wheel = wheel.with_columns(turn=pl.col("draw").rank("ordinal").over("group")).join(last.select("group", "turns", "more"), on="group")
    reach = pl.col("turns") + (pl.col("turn") <= pl.col("more")).cast(pl.Int64)
    limits = counted.join(wheel.select("group", "persona_id", reach.alias("limit")), on=["group", "persona_id"]).drop("group")
    wanted = due.join(limits, on=["persona_id", "prompt_split"], how="left").filter(tier < pl.col("limit").fill_null(base)).select(READING)
    asked = data["comparisons"].select("comparison_id", pl.col("persona_ids").alias("persona_id")).explode("persona_id").drop_nulls()
    strays, unasked = asked.join(wanted, on=READING, how="anti").height, wanted.join(asked, on=READING, how="anti").height
    check.expect(strays == 0, f"{strays} personas were asked about a comparison beyond their place in the last round")
    check.expect(unasked == 0, f"{unasked} personas were not asked about a comparison that the last round asks them about")
