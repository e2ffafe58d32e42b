"""Stages without Prefect: what a flow does with a stage, in a plain loop."""

import time
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
from prefloom.flows.steps import freshness
from prefloom.flows.steps.candidates import generate_candidates, import_candidates
from prefloom.flows.steps.comparisons import choose_comparisons
from prefloom.flows.steps.controls import read_controls
from prefloom.flows.steps.drafts import draft_answers
from prefloom.flows.steps.embeddings import embed_texts
from prefloom.flows.steps.exports import export_preferences
from prefloom.flows.steps.judgements import judge_comparisons
from prefloom.flows.steps.labels import aggregate_labels
from prefloom.flows.steps.personas import sample_personas
from prefloom.flows.steps.pilot import look_ahead
from prefloom.flows.steps.preferences import check_labels
from prefloom.flows.steps.prompts import collect_prompts
from prefloom.flows.steps.refinements import refine_personas
from prefloom.flows.steps.scores import fit_standards, score_candidates
from prefloom.flows.steps.targets import first_round, further, next_round
from prefloom.schemas.recipe import Recipe, Resolved

Step = Callable[[ShardJob], ShardReport]
STEPS: dict[str, Step] = {
    "personas": sample_personas,
    "prompts": collect_prompts,
    "drafts": draft_answers,
    "candidates": generate_candidates,
    "embeddings": embed_texts,
    "scores": score_candidates,
    "standards": fit_standards,
    "pilot": look_ahead,
    "targets": first_round,
    "comparisons": choose_comparisons,
    "refinements": refine_personas,
    "judgements": judge_comparisons,
    "controls": read_controls,
    "labels": aggregate_labels,
    "preferences": check_labels,
    "exports": export_preferences,
}
BASE: dict[str, Any] = {
    "name": "test",
    "models": {"terse": {"engine": "society", "character": "terse"}, "judge": {"engine": "society", "character": "good"}},
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
    for name in [stage.name for stage in stages.of(run.resolved.recipe)]:
        make(run, name)
        if name == until:
            break
    return run


def run_rounds(root: Path, **changes: Any) -> Run:
    """Run every stage up to preferences, in rounds until the recipe's target is met or cannot be."""
    run = run_stage(root, "preferences", **changes)
    names = [stage.name for stage in stages.of(run.resolved.recipe)]
    while further(run):
        make(run, "targets", step=next_round)
        for name in names[names.index("targets") + 1 : names.index("exports")]:
            make(run, name)
    return run


def make(run: Run, name: str, clock: Callable[[], float] = time.perf_counter, step: Step | None = None) -> tuple[ShardReport, float]:
    """Make one stage, its shards one after another; (report, seconds of its steps by that clock)."""
    stage, uses, recipe = stages.BY_NAME[name], freshness.materials(run), run.resolved.recipe
    step = step or (import_candidates if name == "candidates" and recipe.candidates.source == "file" else STEPS[name])
    jobs = 1 if step in (collect_prompts, import_candidates, first_round, next_round) else stage.parts(recipe)
    digest = freshness.current_hash(run, stage, uses)
    assert digest
    stages.begin(run, stage, digest)
    began = clock()
    report = merge([step(ShardJob(str(run.folder), name, index, digest)) for index in range(jobs)])
    seconds = clock() - began
    for model in (*stage.models(recipe), *stage.journals(recipe)):
        run.journal(uses.models[model]).seal()
    stages.finish(run, stage, digest, report)
    return report, seconds


def table(run: Run, name: str) -> pl.DataFrame:
    """All rows of a table."""
    return tables.read(run.store, f"{name}/*.parquet", RECORDS[name])
