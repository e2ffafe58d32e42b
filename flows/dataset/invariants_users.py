"""What must hold of scores, and of the personas that decide by weights. Computed again from the rows, without the code that made them.

scores(data, recipe)  ->  Check("scores", "every reward scored every answer once …", problems=[])
users(data, recipe)   ->  Check("users", "choices follow from weights and standardised scores …", problems=[])
"""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset.invariants import READING, Check
from prefloom.schemas.recipe import Recipe

_SEEN = 1_000_000  # rows looked at in one go
_FAR = 6.0  # standard deviations of a count of turned choices that are still chance
_CLOSE = 1e-3  # a size is (gap / noise) to four digits
Floats = NDArray[np.float64]


def scores(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Every answer has its scores, and they are standardised by those of train prompts alone."""
    check = Check("scores", "every reward scored every answer once or says why not; standards are of answers to train prompts alone")
    rows, rewards = data["scores"], recipe.rewards or {}
    check.expect(not rows.select("candidate_id", "reward").is_duplicated().any(), "an answer is scored twice by one reward")
    check.expect({*rows["reward"]} <= {*rewards}, "a score is by a reward that the recipe does not name")
    lost = data["rejected"].filter(pl.col("stage") == "scores").height
    due = data["candidates"].height * len(rewards)
    check.expect(rows.height + lost == due, f"{rows.height} scores and {lost} rejected ones, where {due} were due")
    answers = data["candidates"].select("candidate_id", pl.col("prompt_id").alias("home"))
    strays = rows.join(answers, on="candidate_id", how="left").filter(~pl.col("home").eq_missing(pl.col("prompt_id"))).height
    check.expect(strays == 0, f"{strays} scores are of no answer to their prompt")
    train = data["prompts"].filter(pl.col("split") == "train").select("prompt_id")
    found = (
        rows.join(train, on="prompt_id")
        .group_by("reward")
        .agg(pl.col("score").mean().alias("m"), pl.col("score").std(ddof=0).alias("s"), pl.len())
    )
    both = data["standards"].join(found, on="reward", how="full", coalesce=True)
    signs = {name: reward.sign for name, reward in rewards.items()}
    broken = {
        "standards are of other scores than those of train prompts": (
            ((pl.col("mean") - pl.col("m")).abs() > _CLOSE * (1 + pl.col("m").abs()))
            | ((pl.col("sd") - pl.col("s")).abs() > _CLOSE * (1 + pl.col("s")))
            | (pl.col("answers") != pl.col("len"))
        ),
        "standards have another sign than the recipe": pl.col("sign") != pl.col("reward").replace_strict(signs, default=0),
    }
    check.refuse(both, broken)
    check.expect({*data["standards"]["reward"]} == {*rewards}, "a reward has no standard, or one too many is there")
    return check


def users(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Weights are what they should be, no ensemble of a test split has a twin, and judgements are what the weights say."""
    check = Check("users", "weights of an ensemble sum to 1 and belong to one persona; choices follow from weights and standardised scores")
    people = data["personas"].filter(pl.col("kind") != "judge").sort("persona_id")
    if people.is_empty():
        return check
    names = data["standards"]["reward"].sort().to_list()
    weights = np.array([[{w["name"]: w["value"] for w in row}.get(name, 0.0) for name in names] for row in people["weights"]])
    named = {weight["name"] for row in people["weights"] for weight in row}
    check.expect(named <= {*names}, "a persona weighs a reward that has no standard")
    ensemble = (people["kind"] == "ensemble").to_numpy()
    off = int((np.abs(weights[ensemble].sum(axis=1) - 1) > 1e-9).sum())
    check.expect(off == 0, f"weights of {off} ensembles do not sum to 1")
    drawn = people.with_row_index("row").filter(pl.col("alpha").is_not_null())["row"].to_numpy()
    twins = len(drawn) - len(np.unique(np.rint(weights[drawn] * 1e6), axis=0))
    check.expect(twins == 0, f"{twins} personas with weights that were drawn have those of another one")
    z = _standardised(data, names)
    if not check.problems and z is not None:
        _choices(check, data, people, weights, z)
        _conflict(check, data, recipe, names, z)
    return check


def _standardised(data: dict[str, pl.DataFrame], names: list[str]) -> tuple[dict[str, int], Floats] | None:
    """(answer -> row, answers × rewards), nan where there is no score."""
    joined = data["scores"].join(data["standards"], on="reward")
    z = pl.when(pl.col("sd") > 0).then((pl.col("score") - pl.col("mean")) / pl.col("sd") * pl.col("sign")).otherwise(0.0).clip(-900, 900)
    wide = joined.with_columns(z.alias("z")).pivot("reward", index="candidate_id", values="z", sort_columns=True)
    if wide.is_empty():
        return None
    columns = wide.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names if name not in wide.columns).select(names)
    return {name: row for row, name in enumerate(wide["candidate_id"])}, columns.fill_null(float("nan")).to_numpy()


def _choices(check: Check, data: dict[str, pl.DataFrame], people: pl.DataFrame, weights: Floats, z: tuple[dict[str, int], Floats]) -> None:
    rows = data["judgements"].join(people.select("persona_id", "noise", "flips"), on="persona_id")
    both = rows.pivot("order", index=[*READING, "noise", "flips"], values="log_odds")
    for order in ("ab", "ba"):
        both = both if order in both.columns else both.with_columns(pl.lit(None, pl.Float64).alias(order))
    check.refuse(both, {"choices by weights differ between the orders": pl.col("ab") != -pl.col("ba")})
    pairs = both.join(data["comparisons"].select("comparison_id", "first_id", "second_id"), on="comparison_id")
    place = {name: row for row, name in enumerate(people["persona_id"])}
    wrong = turned = chance = spread = 0.0
    for start in range(0, pairs.height, _SEEN):
        some = pairs.slice(start, _SEEN)
        who = np.array([place[name] for name in some["persona_id"]])
        one, other = (np.array([z[0].get(name, 0) for name in some[side]]) for side in ("first_id", "second_id"))
        gap = np.nansum(weights[who] * (z[1][one] - z[1][other]), axis=1)
        noise, flips, said = (some[name].to_numpy() for name in ("noise", "flips", "ab"))
        size = gap / np.where(noise > 0, noise, 1.0)
        clear = np.abs(size) > _CLOSE  # of an answer that is hardly better the last digit may decide
        wrong += float(
            (np.abs(np.abs(said) - np.abs(size)) > _CLOSE * (1 + np.abs(size)) * np.maximum(1.0, 1 / np.where(noise > 0, noise, 1.0))).sum()
        )
        error = np.where(noise > 0, 1 / (1 + np.exp(np.minimum(np.abs(size), 500))), 0.0)
        due = np.where(clear, flips + error - 2 * flips * error, 0.0)
        away = clear & (np.sign(said) != np.sign(size))
        wrong += float((away & (due == 0)).sum())
        turned, chance, spread = turned + away.sum(), chance + due.sum(), spread + (due * (1 - due)).sum()
    check.expect(wrong == 0, f"{wrong:.0f} choices by weights are not what the weights and scores say")
    far = abs(turned - chance) > _FAR * math.sqrt(spread) + 1
    check.expect(not far, f"{turned:.0f} choices are turned round by noise and flips, where {chance:.1f} are due")


def _conflict(check: Check, data: dict[str, pl.DataFrame], recipe: Recipe, names: list[str], z: tuple[dict[str, int], Floats]) -> None:
    """The types disagree on the share of comparisons that the recipe names, to within one comparison."""
    if (source := recipe.conflict) is None:
        return
    weights = np.array([[row.get(name, 0.0) for name in names] for row in (source.types or {}).values()])
    one, other = (z[1][[z[0][name] for name in data["comparisons"][side]]] for side in ("first_id", "second_id"))
    gaps = np.nan_to_num(one - other) @ weights.T
    count, clash = len(gaps), int(((gaps > 0).any(axis=1) & (gaps < 0).any(axis=1)).sum())
    check.expect(bool((np.abs(gaps) > 1e-9).all()), "a comparison leaves a type of attribute users undecided")
    wanted = (source.conflict or 0.0) * count
    check.expect(abs(clash - wanted) <= 1, f"types disagree on {clash} of {count} comparisons, where {wanted:.1f} are wanted")
