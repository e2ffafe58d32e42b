"""PersonalLLM's wide table: a row for each prompt, with all its answers, who wrote them and what each reward makes of them.

exports/personalllm/train-00000-of-00001.parquet
{"prompt": "…", "subset": "everyday", "prompt_id": 713…, "response_1": "…", "response_1_model": "terse", "response_1_warmth": 0.41, …}

Answers stand in the order of models, views and samples as the recipe lists them. Scores are raw, with the sign turned where less is
better: more is always better, as in the original. The number of answers is the recipe's `answers`, or that of the prompt with most; a
prompt with fewer is left out, and so is one with a score missing; of more, the first stand there. prompt_id is our id read as a signed
number of 64 bits.
"""

from typing import Any

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.steps.exports_rows import Sources, write_json
from prefloom.schemas.exported import wide_schema
from prefloom.schemas.ids import keys
from prefloom.schemas.score import Score, Standard
from prefloom.schemas.sources import ModelCandidates

FOLDER = "exports/personalllm"
HALVES = ("train", "validation", "test")


def export_wide(job: ShardJob, sources: Sources) -> None:
    """A file for each split of the prompts that has any, and the account."""
    store, recipe = job.run.store, job.run.resolved.recipe
    settings = recipe.exports.personalllm
    assert settings
    standards = tables.read(store, "standards/part-*.parquet", Standard, ["reward", "sign"])
    scores = tables.read(store, "scores/part-*.parquet", Score, ["candidate_id", "reward", "score"]).join(standards, on="reward")
    rewards = [name for name in recipe.rewards or {} if name in set(standards["reward"])]
    asked = recipe.candidates.models if isinstance(recipe.candidates, ModelCandidates) else []
    views = getattr(recipe.candidates, "views", [])
    answers = numbered(sources.answers, asked, views if isinstance(views, list) else [])
    most = settings.answers or max(answers["number"].to_list(), default=0)
    wide, left_out = widened(sources.prompts, answers.filter(pl.col("number") <= most), scores, rewards, most)
    schema, counts = wide_schema(most, rewards), {}
    for half in HALVES:
        rows = wide.filter(pl.col("prompt_split") == half).select(schema.names)
        name = f"{FOLDER}/{half}-00000-of-00001.parquet"
        if rows.height:
            groups = (some.to_arrow().cast(schema) for some in rows.iter_slices(8192))
            tables.write_groups(store, name, schema, groups, job.footer(name))
            counts[half] = rows.height
        else:
            store.remove(name)
    told = {"prompts": sources.prompts.height, "answers": most, "rows": counts, "left_out": left_out}
    write_json(store, f"{FOLDER}/accounting-00000.json", told)


def numbered(answers: pl.DataFrame, models: list[str], views: list[Any]) -> pl.DataFrame:
    """Rows of Candidate with `number`, from 1 within each prompt; models and views that the recipe does not list come last, by name."""
    rank = [
        pl.col(column).replace_strict({name: place for place, name in enumerate(listed)}, default=len(listed), return_dtype=pl.Int64)
        for column, listed in (("model", models), ("view", views))
        if listed
    ]
    ordered = answers.sort("prompt_id", *rank, "model", "view", "sample", "candidate_id")
    return ordered.with_columns(pl.int_range(1, pl.len() + 1).over("prompt_id").alias("number"))


def widened(
    prompts: pl.DataFrame, answers: pl.DataFrame, scores: pl.DataFrame, rewards: list[str], most: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """(a row for each prompt that has `most` answers with all their scores, how many others there are by reason)."""
    signed = scores.with_columns(pl.col("score") * pl.col("sign"))
    columns = signed.pivot("reward", index="candidate_id", values="score", maintain_order=False)
    columns = columns.with_columns(pl.lit(None, pl.Float64).alias(name) for name in rewards if name not in columns.columns)
    columns = columns.select("candidate_id", *(pl.col(name).alias(f"score {name}") for name in rewards))
    scored = answers.join(columns, on="candidate_id", how="left")
    wide = prompts.select("prompt_id", "prompt", pl.col("domain").alias("subset"), "prompt_split")
    for number in range(1, most + 1):
        mine = scored.filter(pl.col("number") == number).select(
            "prompt_id",
            pl.col("text").alias(f"response_{number}"),
            pl.col("model").alias(f"response_{number}_model"),
            *(pl.col(f"score {name}").alias(f"response_{number}_{name}") for name in rewards),
        )
        wide = wide.join(mine, on="prompt_id", how="left", maintain_order="left")
    few = pl.col(f"response_{most}").is_null()
    missing = pl.any_horizontal(pl.col(f"response_{i}_{name}").is_null() for i in range(1, most + 1) for name in rewards)
    why = wide.select(pl.when(few).then(pl.lit("too_few_answers")).when(missing).then(pl.lit("missing_score")).alias("why"))["why"]
    counts = why.drop_nulls().value_counts(sort=True)
    kept = wide.filter(why.is_null())
    ids = pl.Series("prompt_id", keys(kept["prompt_id"]).astype("int64"))
    return kept.with_columns(ids), dict(sorted(counts.iter_rows()))
