"""Prompts: from the shipped seeds, from files, from lists of names, and from models. Empty and repeated ones are rejected.

{source: file, path: prompts.jsonl, count: 400, fields: {text: text, id: prompt_id, domain: domain}}
{source: entities, path: titles.csv, text: "Write a review of the {{ kind }} {{ title }}.", fields: [kind, title], count: 80}
{source: augmented, model: scholar, count: 100, shots: 4}                                  see written.py, as for source specific

Of files and lists `count` are drawn by hash of id. With `diversity.prompts` near-duplicates among what the sources give go too, whatever
their split, and `count` of the others stay (selection.py), balanced over domains and as different as can be.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from prefloom.flows.dataset import inputs, tables
from prefloom.flows.dataset.plain import load_yaml, read_file
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines.asking import Asks, Meter, Sessions
from prefloom.flows.steps.selection import Encoder, Strata, diverse, encoder_of, stratify
from prefloom.flows.steps.texts import Sieve, draw_distinct, expect_one_meaning
from prefloom.flows.steps.written import EXAMPLES, PEOPLE, SCOPE, Writer, planned
from prefloom.prompts import expect_inputs, filler
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_id
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.prompt_sources import AugmentedPrompts, EntityPrompts, SpecificPrompts
from prefloom.schemas.recipe import PromptSource, Resolved
from prefloom.schemas.sources import FilePrompts, PromptFields, SeedPrompts
from prefloom.schemas.splits import split_of
from prefloom.schemas.texts import is_blank

Traits = Mapping[str, Sequence[str]]


def collect_prompts(job: ShardJob) -> ShardReport:
    """All prompts, sorted by id, into one part per prompt shard.

    A job for one model `only` journals what that model writes first, when nothing is rejected yet, and writes no part.
    """
    recipe = job.run.resolved.recipe
    parts = recipe.shards.prompts
    if job.only and job.index:
        return ShardReport(0, 0, {})
    if done := job.done_parts(parts):
        return done
    sources = [source for source in recipe.prompts if isinstance(source, AugmentedPrompts | SpecificPrompts)]
    asked = [source for source in sources if job.only in (None, source.model)]
    meter = Meter(job, planned=sum(planned(source, _traits(source, job.run.resolved)) for source in asked))
    with ExitStack() as stack:
        sessions = Sessions(job, meter, [SCOPE], stack)
        asks = {source.model: sessions.of(source.model) for source in asked}
        if job.only:
            prompts_of(job.run.resolved, None, asks, job.retry_failed)
            return meter.billed(ShardReport(0, 0, {}))
        frame, rejected = prompts_of(job.run.resolved, encoder_of(job), asks, job.retry_failed)
    return meter.billed(job.write_parts(Prompt, frame, rejected, parts, meter.usage()))


def prompts_of(
    resolved: Resolved, encoder: Encoder | None = None, asks: Mapping[str, Asks] | None = None, again: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Prompt sorted by id, rows of Rejected) for all sources. Without an encoder nothing is selected.

    `asks` has the models that write some; sources of others are left out. `again` asks once more what failed.
    """
    recipe = resolved.recipe
    sieve = Sieve("prompts")
    writer = Writer(recipe, asks or {}, sieve, again)
    kept: list[Prompt] = []
    named: dict[str, str] = {}
    for source in recipe.prompts:
        match source:
            case AugmentedPrompts():
                if source.model in (asks or {}):
                    kept += writer.augment(source, _seeds(source, resolved), kept)
            case SpecificPrompts():
                if source.model in (asks or {}):
                    kept += writer.specify(source, _traits(source, resolved), kept)
            case SeedPrompts() | FilePrompts() | EntityPrompts():
                assert source.path, "resolve fills in the shipped file"
                rows = _about(source, source.path, resolved) if isinstance(source, EntityPrompts) else _read(source, resolved, named)
                triples = ((prompt.prompt_id, prompt.text, prompt) for prompt in rows)
                kept += draw_distinct(sieve, triples, recipe.seed, source.count, source.path)
    if encoder and recipe.diversity and (wanted := recipe.diversity.prompts):
        kept = diverse(sieve, [(prompt.prompt_id, prompt.text, prompt) for prompt in kept], wanted, encoder, _strata)
    splits = split_of([prompt.prompt_id for prompt in kept], recipe.splits.validation, recipe.splits.test)
    placed: list[Prompt] = [prompt.model_copy(update={"split": split}) for prompt, split in zip(kept, splits, strict=True)]
    placed.sort(key=lambda prompt: prompt.prompt_id)
    return tables.frame(Prompt, placed), sieve.rejected()


def _strata(rows: Sequence[Prompt]) -> Strata:
    return stratify([{"domain": row.domain} for row in rows], None, None, "diversity.prompts")


def _read(source: SeedPrompts | FilePrompts | AugmentedPrompts, resolved: Resolved, named: dict[str, str]) -> Iterator[Prompt]:
    """Rows of a source. `named` collects which id means which prompt: answers are linked by it, so it must mean one."""
    assert source.path, "resolve fills in the shipped seeds"
    path, fields = source.path, source.fields if isinstance(source, FilePrompts) else PromptFields(domain="domain")
    columns = [name for name in (fields.text, fields.id, fields.domain, fields.trait, fields.trait_value) if name]
    for place, row in inputs.rows(Path(path), columns, resolved.inputs[path]):
        text = (row[fields.text] or "").strip()
        prompt_id, source_id = content_id("prompt", text), row[fields.id] if fields.id else None
        expect_one_meaning(named, source_id, prompt_id, path, place)
        domain = (row[fields.domain] if fields.domain else None) or ""
        trait, value = ((row[name] or "").strip() or None if name else None for name in (fields.trait, fields.trait_value))
        if (trait is None) != (value is None):
            raise InputError(path, place, found=f"{fields.trait} {trait!r} and {fields.trait_value} {value!r}", expected="both or neither")
        yield Prompt(
            prompt_id=prompt_id,
            text=text,
            domain=domain,
            source=source.source,
            source_id=source_id,
            scope="specific" if trait else "global",
            trait=trait,
            trait_value=value,
            split="",
        )


def _about(source: EntityPrompts, path: str, resolved: Resolved) -> Iterator[Prompt]:
    """One prompt for each row of a list; a row that lacks a name gives an empty one."""
    fill = filler(source.text, source.fields, "fields")
    for _, row in inputs.rows(Path(path), source.fields, resolved.inputs[path]):
        values = {name: (row[name] or "").strip() for name in source.fields}
        text = "" if any(is_blank(value) for value in values.values()) else fill(values).strip()
        prompt_id = content_id("prompt", text)
        yield Prompt(prompt_id=prompt_id, text=text, domain=source.domain, source=source.source, source_id=None, split="")


def expect_source(source: PromptSource) -> None:
    """InputError if the template or the list of a source is not what it has to be."""
    match source:
        case AugmentedPrompts():
            expect_inputs(source.template, EXAMPLES)
        case SpecificPrompts():
            expect_inputs(source.template, PEOPLE)
        case EntityPrompts():
            filler(source.text, source.fields, "fields")
            next(inputs.rows(Path(source.path or ""), source.fields))


def _seeds(source: AugmentedPrompts, resolved: Resolved) -> list[Prompt]:
    """The distinct seeds that are shown to a model."""
    sieve = Sieve("seeds")
    rows = [row for row in _read(source, resolved, {}) if sieve.admit(row, row.prompt_id, row.text)]
    if not rows:
        raise InputError(str(source.path), found="no text in any row", expected="at least one seed")
    return rows


def _traits(source: AugmentedPrompts | SpecificPrompts, resolved: Resolved) -> Traits:
    """Trait -> its values, of a source for people of one kind."""
    if isinstance(source, AugmentedPrompts) or source.traits is not None:
        return source.traits or {} if isinstance(source, SpecificPrompts) else {}
    assert source.path, "the recipe names traits or a file of them"
    tree = load_yaml(read_file(Path(source.path)), source.path, expected="YAML: trait -> its values")
    inputs.expect_unchanged(Path(source.path), resolved.inputs[source.path])
    if not isinstance(tree, dict) or not tree or not all(isinstance(values, list | dict) and values for values in tree.values()):
        raise InputError(source.path, found="something else", expected="trait -> its values, a list or a mapping of wordings")
    return {str(trait): [str(value) for value in values] for trait, values in tree.items()}
