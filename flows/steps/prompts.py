"""Prompts: from the shipped seeds and from files. Empty and repeated ones are rejected; the rest is ranked by hash and cut to `count`.

{source: file, path: prompts.jsonl, count: 400, fields: {text: text, id: prompt_id, domain: domain}}
"""

from importlib.resources import files
from pathlib import Path

import numpy as np

from prefloom.flows.dataset import inputs, tables
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.steps.texts import Sieve
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_id, draw, keys
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import FilePrompts, PromptFields, SeedPrompts
from prefloom.schemas.splits import split_of


def collect_prompts(job: ShardJob) -> ShardReport:
    """All prompts, sorted by id, into one part per prompt shard."""
    recipe = job.run.resolved.recipe
    if done := job.done_parts(recipe.shards.prompts):
        return done
    sieve = Sieve("prompts")
    kept = [prompt for source in recipe.prompts for prompt in _from_file(source, recipe.seed, sieve)]
    splits = split_of([p.prompt_id for p in kept], recipe.splits.validation, recipe.splits.test)
    rows: list[Prompt] = [prompt.model_copy(update={"split": split}) for prompt, split in zip(kept, splits, strict=True)]
    rows.sort(key=lambda prompt: prompt.prompt_id)
    frame = tables.frame(Prompt, rows)
    return job.write_parts(Prompt, frame, sieve.rejected(), recipe.shards.prompts)


def _from_file(source: SeedPrompts | FilePrompts, seed: int, sieve: Sieve) -> list[Prompt]:
    if isinstance(source, SeedPrompts):
        path, fields = str(files("prefloom.data") / "seeds" / "prompts.jsonl"), PromptFields(domain="domain")
    else:
        path, fields = source.path, source.fields
    kept = []
    for _, row in inputs.rows(Path(path), [name for name in (fields.text, fields.id, fields.domain) if name]):
        text = (row[fields.text] or "").strip()
        prompt = Prompt(
            prompt_id=content_id("prompt", text),
            text=text,
            domain=(row[fields.domain] if fields.domain else None) or "",
            source=source.source,
            source_id=row[fields.id] if fields.id else None,
            split="",
        )
        if sieve.admit(prompt, prompt.prompt_id, text):
            kept.append(prompt)
    wanted = source.count or len(kept)
    if wanted > len(kept):
        raise InputError(path, found=f"{len(kept)} distinct prompts", expected=f"count: {wanted}")
    order = np.argsort(draw(seed, "prompts", keys(p.prompt_id for p in kept)), kind="stable")
    return [kept[i] for i in order[:wanted]]
