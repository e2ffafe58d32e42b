"""FSPO's two layouts: `roleplay` (chosen and rejected, and who prefers in words) and `pairs` (x, y and a label).

exports/fspo/roleplay/train/part-00000.parquet   {"level": "5d1c…", "x": "…", "yw": "…", "yl": "…", "score_persona": {…}}
exports/fspo/pairs/train/part-00000.parquet      {"prompt": "…", "response_x": "…", "response_y": "…", "label": 0, "scorer_level": …}

Label 0 means that response_x is preferred, and the preferred answer is x in half of the rows of every file, and of every persona in it.
"""

import polars as pl

from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.steps.exports_fewshot import export_examples
from prefloom.flows.steps.exports_rows import Sources, sided, sides, write_json
from prefloom.schemas.exported import FspoPair, FspoRoleplay
from prefloom.schemas.splits import SPLITS


def export_fspo(job: ShardJob, sources: Sources, preferences: pl.DataFrame) -> None:
    """Both layouts, and the few-shot examples if they are wanted, one file per split that has any."""
    settings = job.run.resolved.recipe.exports.fspo
    assert settings
    accounts = {}
    for split in SPLITS:
        mine, part = preferences.filter(pl.col("split") == split), f"{split}/part-{job.index:05d}.parquet"
        job.publish(f"exports/fspo/roleplay/{part}", FspoRoleplay, map(roleplay, sources.groups(mine)))
        placed = mine.with_columns(pl.Series("side", sides(mine, job.index), pl.Int64))
        job.publish(f"exports/fspo/pairs/{part}", FspoPair, map(pairs, sources.groups(placed)))
        if settings.few_shot and mine.height:
            accounts[split] = export_examples(job, sources, mine, settings.few_shot, part)
    if settings.few_shot:
        write_json(job.run.store, f"exports/fspo/accounting-{job.index:05d}.json", accounts)


def roleplay(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of FspoRoleplay from those of `Sources.joined`."""
    persona = pl.struct(persona_uuid="persona_id", persona_description="description")
    return rows.select("level", "comparison_id", x="prompt", yw="chosen", yl="rejected", score_persona=persona)


def pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of FspoPair from those of `Sources.joined`, with `side` where the preferred answer stands."""
    shown = {"response": "", "level": "_level", "level_id": "_level_id", "model_name": "_model"}
    return rows.select(
        "prompt",
        *sided(rows["side"].to_numpy(), "_x", "_y", shown),
        pl.col("side").alias("label"),
        pl.col("side").alias("det_choice"),
        pl.col("level").alias("scorer_level"),
        pl.col("level_id").alias("scorer_level_id"),
        "persona_id",
        "comparison_id",
    )
