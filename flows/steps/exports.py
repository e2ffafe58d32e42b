"""Exports: views of the preferences in the shapes that training code reads.

exports/trl/<split>/part-00000.parquet    conversational, explicit prompt, as TRL's DPOTrainer takes it:
{"prompt": [{"role": "system", "content": "You are answering this person …"}, {"role": "user", "content": "…"}],
 "chosen": [{"role": "assistant", "content": "…"}], "rejected": [{"role": "assistant", "content": "…"}], "margin": 1.3, …}
"""

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import descriptions
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.prompts import expect_inputs
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.label import Preference, TrlExample
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.splits import SPLITS


def export_preferences(job: ShardJob) -> ShardReport:
    """Write this shard's preferences as text, one file per split that has any."""
    store, settings = job.run.store, job.run.resolved.recipe.exports.trl
    if settings is None:
        return ShardReport(0, 0, {})
    preferences = tables.read(store, job.part("preferences"), Preference)
    answers = tables.read(store, "candidates/part-*.parquet", Candidate, ["candidate_id", "text"])
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text"])
    system = opening(descriptions(store), settings.persona)
    examples = conversations(preferences, answers, prompts, system)
    for split in SPLITS:
        rows = examples.filter(pl.col("split") == split)
        name = f"exports/trl/{split}/part-{job.index:05d}.parquet"
        if rows.height:
            tables.write(store, name, TrlExample, rows, job.footer(name))
        else:
            store.remove(name)
    return ShardReport(preferences.height, examples.height, {})


def conversations(preferences: pl.DataFrame, answers: pl.DataFrame, prompts: pl.DataFrame, system: pl.DataFrame) -> pl.DataFrame:
    """Rows of TrlExample, with their split, for rows of Preference; `system` has persona_id and system, a conversation."""
    return (
        preferences.join(prompts.select("prompt_id", turn("user", "text").alias("task")), on="prompt_id")
        .join(system, on="persona_id")
        .join(answers.select(pl.col("candidate_id").alias("chosen_id"), turn("assistant", "text").alias("chosen")), on="chosen_id")
        .join(answers.select(pl.col("candidate_id").alias("rejected_id"), turn("assistant", "text").alias("rejected")), on="rejected_id")
        .with_columns(pl.concat_list("system", "task").alias("prompt"))
        .sort("persona_id", "comparison_id")
    )


def turn(role: str, text: str) -> pl.Expr:
    """A column of texts as a column of one-message conversations."""
    return pl.concat_list(pl.struct(pl.lit(role).alias("role"), pl.col(text).alias("content")))


def opening(personas: pl.DataFrame, wanted: bool) -> pl.DataFrame:
    """persona_id -> the system message that opens its conversations, or an empty list."""
    if not wanted:
        return personas.select("persona_id", turn("system", "description").list.head(0).alias("system"))
    template = expect_inputs("export/system", frozenset({"persona"}))
    texts = [template.render(persona=description)[0][1] for description in personas["description"]]
    return personas.with_columns(pl.Series("text", texts)).select("persona_id", turn("system", "text").alias("system"))
