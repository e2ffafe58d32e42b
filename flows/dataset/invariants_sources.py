"""What must hold of made prompts, asked views and steered answers. Computed again from the rows, without the code that made them.

sources({"prompts": …, "candidates": …, "comparisons": …}, recipe)  ->  Check("sources", "specific prompts are …", problems=[])
answers_due(data, recipe.candidates)                                ->  how many answers `candidates` has to account for
"""

import polars as pl

from prefloom.flows.dataset.invariants import Check
from prefloom.schemas.prompt_sources import AugmentedPrompts, EntityPrompts, SpecificPrompts
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.sources import ModelCandidates, SeedPrompts
from prefloom.schemas.steering import AskedViews
from prefloom.schemas.texts import is_blank


def answers_due(data: dict[str, pl.DataFrame], source: ModelCandidates) -> int:
    """Answers of every model in every view for everybody steered by; a view that is missing is one rejected row and no answers."""
    views = source.views.count if isinstance(source.views, AskedViews) else len(source.views)
    people = min(source.steer.personas, _train(data).len()) if source.steer else 1
    missing = _of(data, "candidates").filter(pl.col("row_id").is_in(data["prompts"]["prompt_id"].implode())).height
    return (data["prompts"].height * views - missing) * people * len(source.models) * source.samples + missing


def readers_due(data: dict[str, pl.DataFrame], most: int) -> int:
    """Readers of all pairs of the pilot together: `most` of the training split for each, or as many as the prompt may be shown to."""
    have = data["personas"].filter(pl.col("split") == "train").select("traits").explode("traits").drop_nulls("traits").unnest("traits")
    counts = have.group_by(pl.col("name").alias("trait"), pl.col("value").alias("trait_value")).len("matching")
    prompts = data["prompts"].select("prompt_id", "scope", "trait", "trait_value").join(counts, on=["trait", "trait_value"], how="left")
    everybody = pl.col("scope") == "global"
    people = pl.when(everybody).then(_train(data).len()).otherwise(pl.col("matching").fill_null(0)).clip(0, most)
    pairs = data["pilot"].select("prompt_id").join(prompts.select("prompt_id", people.cast(pl.Int64).alias("people")), on="prompt_id")
    return int(pairs["people"].sum())


def sources(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Where prompts come from and whom they are for, what answers were steered by, and how they are written."""
    check = Check(
        "sources", "specific prompts are asked of people with their trait value; parents, views and steering are as the recipe says"
    )
    _prompts(check, data["prompts"], recipe)
    _asked(check, data)
    if isinstance(recipe.candidates, ModelCandidates):
        _steering(check, data, recipe.candidates)
    else:
        check.expect(data["candidates"]["steered_by"].is_null().all(), "imported answers say whom they were written for")
    _style(check, data["candidates"], recipe)
    return check


def _prompts(check: Check, prompts: pl.DataFrame, recipe: Recipe) -> None:
    specific = pl.col("scope") == "specific"
    written = pl.col("source") == "augmented"
    count = pl.col("parents").list.len()
    most = max((source.shots for source in recipe.prompts if isinstance(source, AugmentedPrompts)), default=0)
    check.refuse(
        prompts,
        {
            "prompts are neither global nor specific": ~pl.col("scope").is_in(["global", "specific"]),
            "prompts have a trait without being specific, or the other way round": specific != pl.col("trait").is_not_null(),
            "prompts have a trait without its value, or the other way round": pl.col("trait").is_null() != pl.col("trait_value").is_null(),
            "prompts have parents without being augmented, none although they are, or too many": ~pl.when(written)
            .then(count.is_between(1, most))
            .otherwise(count == 0),
            "prompts have a parent twice": pl.col("parents").list.n_unique() != count,
            "prompts are their own parents": pl.col("parents").list.contains(pl.col("prompt_id")),
        },
    )
    kinds = {"entities": EntityPrompts, "augmented": AugmentedPrompts, "specific": SpecificPrompts, "seeds": SeedPrompts}
    for name, kind in kinds.items():
        asked = any(isinstance(source, kind) for source in recipe.prompts)
        check.expect(asked or name not in set(prompts["source"]), f"prompts are of source {name}, which the recipe does not have")
    most = sum(source.count for source in recipe.prompts if isinstance(source, AugmentedPrompts))
    check.expect(prompts.filter(written).height <= most, f"more than {most} augmented prompts")
    limits = [source.per_value for source in recipe.prompts if isinstance(source, SpecificPrompts)]
    made = prompts.filter(pl.col("source") == "specific").group_by("trait", "trait_value").len()
    check.expect((made["len"] <= sum(limits)).all(), f"more than {sum(limits)} specific prompts for one value")


def _asked(check: Check, data: dict[str, pl.DataFrame]) -> None:
    """Nobody is shown a prompt of other people; a prompt that was left out for want of readers has none."""
    specific = (
        data["prompts"].filter(pl.col("scope") == "specific").select("prompt_id", "trait", "trait_value", pl.col("split").alias("home"))
    )
    traits = data["personas"].select("persona_id", "split", "traits").explode("traits").drop_nulls("traits").unnest("traits")
    have = traits.rename({"name": "trait", "value": "trait_value"}).unique()
    shown = data["comparisons"].select("prompt_id", pl.col("persona_ids").alias("persona_id")).explode("persona_id").drop_nulls()
    strangers = shown.join(specific, on="prompt_id").join(have, on=["persona_id", "trait", "trait_value"], how="anti").height
    check.expect(strangers == 0, f"{strangers} times a specific prompt is put to a persona without its trait value")
    left = _of(data, "comparisons").filter(pl.col("reason") == "nobody_matches").select(pl.col("row_id").alias("prompt_id"))
    never = ((pl.col("split") == "validation") & (pl.col("home") == "test")) | (
        (pl.col("split") == "test") & (pl.col("home") == "validation")
    )
    matches = left.join(specific, on="prompt_id").join(have, on=["trait", "trait_value"]).filter(~never)
    check.expect(matches.is_empty(), f"{matches['prompt_id'].n_unique()} prompts were left out as nobody's although somebody matches")
    check.expect(left.join(specific, on="prompt_id", how="anti").is_empty(), "a prompt for everybody was left out as nobody's")


def _steering(check: Check, data: dict[str, pl.DataFrame], source: ModelCandidates) -> None:
    rows = data["candidates"]
    if isinstance(source.views, AskedViews):
        check.expect(not any(is_blank(view or "") for view in rows["view"]), "an answer has no view although a model listed some")
        per_prompt = rows.group_by("prompt_id").agg(pl.col("view").n_unique())["view"]
        check.expect((per_prompt <= source.views.count).all(), f"a prompt has more than {source.views.count} views")
    else:
        check.expect(set(rows["view"]) <= set(source.views), "an answer has a view that the recipe does not list")
    if source.steer is None:
        check.expect(rows["steered_by"].is_null().all(), "answers are steered without being asked to be")
        return
    check.expect(rows["steered_by"].is_in(_train(data).implode()).all(), "an answer is written for somebody outside the training split")
    per_prompt = rows.group_by("prompt_id").agg(pl.col("steered_by").n_unique())["steered_by"]
    check.expect((per_prompt <= source.steer.personas).all(), f"a prompt's answers are written for more than {source.steer.personas}")


def _style(check: Check, rows: pl.DataFrame, recipe: Recipe) -> None:
    checks = recipe.checks.candidates
    words = [len(text.split()) for text in rows["text"]]
    check.expect(checks.max_words is None or max(words, default=0) <= checks.max_words, f"an answer has over {checks.max_words} words")
    check.expect(checks.min_words is None or min(words, default=10**9) >= checks.min_words, f"an answer has under {checks.min_words} words")
    starts = rows["text"].str.contains(r"(?m)^ {0,3}(#{1,6}|[-*+]) +\S") | rows["text"].str.contains(r"\*\*\S")
    check.expect(checks.markdown or not starts.any(), "an answer has a heading, a list or bold type although Markdown is refused")


def _train(data: dict[str, pl.DataFrame]) -> pl.Series:
    return data["personas"].filter(pl.col("split") == "train")["persona_id"]


def _of(data: dict[str, pl.DataFrame], stage: str) -> pl.DataFrame:
    return data["rejected"].filter(pl.col("stage") == stage)
