"""Prompts: from the shipped seeds and from files. Empty and repeated ones are rejected; of the rest `count` are drawn by hash of id.

{source: file, path: prompts.jsonl, count: 400, fields: {text: text, id: prompt_id, domain: domain}}

With `diversity.prompts` near-duplicates among what the sources give go too, whatever their split, and `count` of the others stay
(selection.py), balanced over domains and as different as can be.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from prefloom.flows.dataset import inputs, tables
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.steps.selection import Encoder, Strata, diverse, encoder_of, stratify
from prefloom.flows.steps.texts import Sieve, draw_distinct, expect_one_meaning
from prefloom.schemas.ids import content_id
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Resolved
from prefloom.schemas.sources import FilePrompts, PromptFields, SeedPrompts
from prefloom.schemas.splits import split_of


def collect_prompts(job: ShardJob) -> ShardReport:
    """All prompts, sorted by id, into one part per prompt shard."""
    parts = job.run.resolved.recipe.shards.prompts
    if done := job.done_parts(parts):
        return done
    return job.write_parts(Prompt, *prompts_of(job.run.resolved, encoder_of(job)), parts)


def prompts_of(resolved: Resolved, encoder: Encoder | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Prompt sorted by id, rows of Rejected) for all sources. Without an encoder nothing is selected."""
    recipe = resolved.recipe
    sieve = Sieve("prompts")
    kept: list[Prompt] = []
    named: dict[str, str] = {}
    for source in recipe.prompts:
        assert source.path, "resolve fills in the shipped seeds"
        rows = ((prompt.prompt_id, prompt.text, prompt) for prompt in _read(source, source.path, resolved, named))
        kept += draw_distinct(sieve, rows, recipe.seed, source.count, source.path)
    if encoder and recipe.diversity and (wanted := recipe.diversity.prompts):
        triples = [(prompt.prompt_id, prompt.text, prompt) for prompt in kept]
        kept = diverse(sieve, triples, wanted, encoder, _strata)
    splits = split_of([prompt.prompt_id for prompt in kept], recipe.splits.validation, recipe.splits.test)
    placed: list[Prompt] = [prompt.model_copy(update={"split": split}) for prompt, split in zip(kept, splits, strict=True)]
    placed.sort(key=lambda prompt: prompt.prompt_id)
    return tables.frame(Prompt, placed), sieve.rejected()


def _strata(rows: Sequence[Prompt]) -> Strata:
    return stratify([{"domain": row.domain} for row in rows], None, None, "diversity.prompts")


def _read(source: SeedPrompts | FilePrompts, path: str, resolved: Resolved, named: dict[str, str]) -> Iterator[Prompt]:
    """Rows of a source. `named` collects which id means which prompt: answers are linked by it, so it must mean one."""
    fields = source.fields if isinstance(source, FilePrompts) else PromptFields(domain="domain")
    columns = [name for name in (fields.text, fields.id, fields.domain) if name]
    for place, row in inputs.rows(Path(path), columns, resolved.inputs[path]):
        text = (row[fields.text] or "").strip()
        prompt_id, source_id = content_id("prompt", text), row[fields.id] if fields.id else None
        expect_one_meaning(named, source_id, prompt_id, path, place)
        domain = (row[fields.domain] if fields.domain else None) or ""
        yield Prompt(prompt_id=prompt_id, text=text, domain=domain, source=source.source, source_id=source_id, split="")
