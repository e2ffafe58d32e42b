"""Exports: views of the preferences in the shapes that training code reads.

exports/trl/<split>/part-00000.parquet    conversational, explicit prompt, as TRL's DPOTrainer takes it:
{"prompt": [{"role": "system", "content": "You are answering this person …"}, {"role": "user", "content": "…"}],
 "chosen": [{"role": "assistant", "content": "…"}], "rejected": [{"role": "assistant", "content": "…"}], "margin": 1.3, …}

The layouts of other systems are in the modules beside this one; docs/exports.md shows how each is loaded. A shard writes its own files and
holds one row group in memory; what is one file for the whole dataset is written by the first shard.
"""

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.steps.exports_fedbiscuit import export_clients, export_federation
from prefloom.flows.steps.exports_fspo import export_fspo
from prefloom.flows.steps.exports_neural import export_neural
from prefloom.flows.steps.exports_personalllm import export_wide
from prefloom.flows.steps.exports_rows import COLUMNS, Sources
from prefloom.prompts import expect_inputs
from prefloom.schemas.label import Preference, TrlExample
from prefloom.schemas.splits import SPLITS


def export_preferences(job: ShardJob) -> ShardReport:
    """Write what the recipe wants of this shard's preferences."""
    store, recipe = job.run.store, job.run.resolved.recipe
    wanted = recipe.exports
    if not wanted.wanted:
        return ShardReport(0, 0, {})
    preferences = tables.read(store, job.part("preferences"), Preference, COLUMNS)
    sources = Sources.of(store)
    if wanted.trl:
        export_trl(job, sources, preferences)
    if wanted.fspo:
        export_fspo(job, sources, preferences)
    if wanted.fedbiscuit:
        export_clients(job, sources, preferences)
    if wanted.fedbiscuit and job.index == 0:
        export_federation(job, sources)
    if wanted.neural_process and job.index == 0:
        export_neural(job, sources)
    if wanted.personalllm and job.index == 0:
        export_wide(job, sources)
    return ShardReport(preferences.height, preferences.height, {})


def export_trl(job: ShardJob, sources: Sources, preferences: pl.DataFrame) -> None:
    """One file per split that has any."""
    settings = job.run.resolved.recipe.exports.trl
    assert settings
    answers = sources.answers.select("candidate_id", "text")
    prompts = sources.prompts.select("prompt_id", pl.col("prompt").alias("text"))
    system = opening(sources.people.select("persona_id", "description"), settings.persona)
    for split in SPLITS:
        groups = sources.slices(preferences.filter(pl.col("split") == split))
        examples = (conversations(rows, answers, prompts, system) for rows in groups)
        job.publish(f"exports/trl/{split}/part-{job.index:05d}.parquet", TrlExample, examples)


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
