"""Stages without Prefect: what a flow does with a stage, in a plain loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from prefloom.flows.dataset import stages, tables
from prefloom.flows.dataset.inputs import file_sha256
from prefloom.flows.dataset.resolve import complete, input_files
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport, merge
from prefloom.flows.dataset.validate import RECORDS
from prefloom.flows.steps import plan
from prefloom.flows.steps.candidates import generate_candidates, import_candidates
from prefloom.flows.steps.comparisons import choose_comparisons
from prefloom.flows.steps.exports import export_preferences
from prefloom.flows.steps.judgements import judge_comparisons
from prefloom.flows.steps.labels import aggregate_labels
from prefloom.flows.steps.personas import sample_personas
from prefloom.flows.steps.preferences import check_labels
from prefloom.flows.steps.prompts import collect_prompts
from prefloom.schemas.recipe import Recipe, Resolved

Step = Callable[[ShardJob], ShardReport]
BASE: dict[str, Any] = {
    "name": "test",
    "models": {"terse": {"engine": "society", "character": "terse"}, "judge": {"engine": "society", "character": "judge"}},
    "personas": [{"source": "grid", "count": 20}],
    "prompts": [{"source": "seeds", "count": 10}],
    "candidates": {"source": "models", "models": ["terse"], "samples": 3},
    "judgements": {"model": "judge"},
    "shards": {"prompts": 2, "personas": 2},
}


def resolved(**changes: Any) -> Resolved:
    """The base recipe with changes, its input files hashed as they are."""
    recipe = complete(Recipe.model_validate(BASE | changes))
    return Resolved(recipe=recipe, inputs={path: file_sha256(Path(path)) for path in input_files(recipe).values()})


def run_stage(root: Path, until: str, **changes: Any) -> Run:
    """Run every stage up to and including `until`; returns the run."""
    run = Run.create(root, resolved(**changes))
    run.store_recipe()
    recipe, uses = run.resolved.recipe, plan.materials(run.resolved)
    imported = recipe.candidates.source == "file"
    steps: dict[str, tuple[Step, int]] = {
        "personas": (sample_personas, 1),
        "prompts": (collect_prompts, 1),
        "candidates": (import_candidates, 1) if imported else (generate_candidates, recipe.shards.prompts),
        "comparisons": (choose_comparisons, recipe.shards.prompts),
        "judgements": (judge_comparisons, recipe.shards.prompts),
        "labels": (aggregate_labels, recipe.shards.personas),
        "preferences": (check_labels, recipe.shards.personas),
        "exports": (export_preferences, recipe.shards.personas),
    }
    for name, (step, shards) in steps.items():
        stage = stages.BY_NAME[name]
        digest = plan.current_hash(run, stage, uses)
        assert digest
        stages.begin(run, stage, digest)
        stages.finish(run, stage, digest, merge([step(ShardJob(str(run.folder), name, i, digest)) for i in range(shards)]))
        if name == until:
            break
    return run


def table(run: Run, name: str) -> pl.DataFrame:
    """All rows of a table."""
    return tables.read(run.store, f"{name}/*.parquet", RECORDS[name])
