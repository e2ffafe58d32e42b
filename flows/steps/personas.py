"""Personas: from a trait grid, templates, a file, a model that writes them, planted, or made of weights (ensembles.py).

Empty and repeated descriptions are rejected.

    {source: grid, count: 200}      -> "A farmer from Pune who wants every step spelled out, …" with its traits

Raising `count` keeps the personas that were there: the grid is walked in a fixed order, a file is ranked by hash of id, a model is asked
for the new ones alone.
With `diversity.personas` what the sources give is a pool: near-duplicates go, and `count` of the others stay (selection.py), balanced over
their traits and as different as can be. The truth about planted people is that about all of the pool.
The split is the hash of the id, but for trait values that `splits.by_trait` sends somewhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import polars as pl

from prefloom.flows.dataset import inputs, tables
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines.asking import Asks, Meter, Sessions
from prefloom.flows.steps.ensembles import from_attributes, from_ensemble
from prefloom.flows.steps.grid import from_grid
from prefloom.flows.steps.portraits import SCOPE, persona_of, size, write
from prefloom.flows.steps.selection import Encoder, Strata, diverse, encoder_of, stratify
from prefloom.flows.steps.texts import Sieve, draw_distinct, expect_one_meaning
from prefloom.prompts import inline
from prefloom.schemas.diversity import DiversePersonas
from prefloom.schemas.ensembles import AttributePersonas, EnsemblePersonas
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.people import GridPersonas, TemplatePersonas, WrittenPersonas
from prefloom.schemas.persona import Persona
from prefloom.schemas.recipe import Recipe, Resolved
from prefloom.schemas.sources import FilePersonas, SocietyPersonas
from prefloom.schemas.splits import persona_splits
from prefloom.schemas.texts import is_blank


def sample_personas(job: ShardJob) -> ShardReport:
    """All personas of the recipe's sources, in one part, sorted by id; a job for one model `only` journals what that model writes."""
    if done := job.done():
        return done
    resolved = job.run.resolved
    writers = [source for source in resolved.recipe.personas if isinstance(source, WrittenPersonas) and job.only in (None, source.model)]
    meter = Meter(job, planned=sum(size(source) for source in writers))
    with ExitStack() as stack:
        sessions = Sessions(job, meter, [SCOPE], stack)
        asks = {source.model: sessions.of(source.model) for source in writers}
        if job.only:
            for source in writers:
                write(source, resolved.recipe, Sieve("personas"), asks[source.model], job.retry_failed)
            return meter.billed(ShardReport(0, 0, {}))
        frame, rejected = personas_of(resolved, encoder_of(job), asks, job.retry_failed)
    report = job.write(Persona, frame, rejected, considered=frame.height + rejected.height, usage=meter.usage())
    return meter.billed(report) if writers else report


def personas_of(
    resolved: Resolved, encoder: Encoder | None = None, asks: Mapping[str, Asks] | None = None, again: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Persona sorted by id, rows of Rejected) for all sources. InputError if no persona is left.

    Without an encoder nothing is selected. `asks` has the models that write some; `again` asks once more what failed.
    """
    recipe = resolved.recipe
    sieve = Sieve("personas")
    kept: list[Persona] = []
    named: dict[str, str] = {}
    for place, source in enumerate(recipe.personas):
        match source:
            case EnsemblePersonas():
                kept += [p for p in from_ensemble(source, place, recipe) if sieve.admit(p, p.persona_id, p.description)]
            case AttributePersonas():
                kept += [p for p in from_attributes(source, place, recipe) if sieve.admit(p, p.persona_id, p.description)]
            case GridPersonas():
                kept += from_grid(source, resolved, sieve)
            case TemplatePersonas():
                kept += [p for p in _from_template(source) if sieve.admit(p, p.persona_id, p.description)]
            case FilePersonas():
                kept += _from_file(source, resolved, sieve, named)
            case SocietyPersonas():
                kept += [p for p in _planted(source, resolved) if sieve.admit(p, p.persona_id, p.description)]
            case WrittenPersonas():
                assert asks, "a model that writes has to be asked"
                kept += write(source, recipe, sieve, asks[source.model], again)
    if not kept:
        raise InputError("recipe", "personas", found="no persona left", expected="at least one description that is not empty")
    _expect_traits(kept, recipe)
    if encoder and recipe.diversity and (wanted := recipe.diversity.personas):
        triples = [(persona.persona_id, persona.description, persona) for persona in kept]
        kept = diverse(sieve, triples, wanted, encoder, partial(_strata, wanted))
    splits, traits = recipe.splits, [[trait.model_dump() for trait in persona.traits] for persona in kept]
    halves = persona_splits([persona.persona_id for persona in kept], traits, (splits.validation, splits.test), splits.by_trait)
    rows = [persona.model_copy(update={"split": half}) for persona, half in zip(kept, halves, strict=True)]
    rows.sort(key=lambda persona: persona.persona_id)
    return tables.frame(Persona, rows), sieve.rejected()


def _strata(wanted: DiversePersonas, rows: Sequence[Persona]) -> Strata:
    labels = [{trait.name: trait.value for trait in row.traits} for row in rows]
    return stratify(labels, wanted.strata, wanted.target, "diversity.personas")


def _expect_traits(personas: Sequence[Persona], recipe: Recipe) -> None:
    """A split for a trait value that nobody has is a slip of the pen: whoever was meant would be split by hash."""
    known = {(trait.name, trait.value) for persona in personas for trait in persona.traits}
    for name, values in recipe.splits.by_trait.items():
        for value in values:
            if (name, value) not in known:
                having = (
                    sorted(own for trait, own in known if trait == name)
                    or sorted({trait for trait, _ in known})
                    or ["personas with traits"]
                )
                found = f"{name}: {value}, which no persona has"
                raise InputError("recipe", f"splits.by_trait.{name}", found=found, expected=nearest(value, having))


def _from_template(source: TemplatePersonas) -> Iterator[Persona]:
    for traits in source.combinations():
        yield persona_of(inline(source.text, traits), "template", traits)


def _planted(source: SocietyPersonas, resolved: Resolved) -> Iterator[Persona]:
    from prefloom.flows.engines.society.truth import planted

    people = planted(source, resolved.recipe.seed)
    for description, traits in zip(people.descriptions, people.traits, strict=True):
        yield persona_of(description, "society", traits)


def _from_file(source: FilePersonas, resolved: Resolved, sieve: Sieve, named: dict[str, str]) -> list[Persona]:
    fields = source.fields
    columns = [name for name in (fields.description, fields.id, *fields.traits) if name]
    rows = []
    for place, row in inputs.rows(Path(source.path), columns, resolved.inputs[source.path]):
        traits = {name: value.strip() for name in fields.traits if not is_blank(value := row[name] or "")}
        persona = persona_of((row[fields.description] or "").strip(), "file", traits, row[fields.id] if fields.id else None)
        expect_one_meaning(named, persona.source_id, persona.persona_id, source.path, place)
        rows.append((persona.persona_id, persona.description, persona))
    return draw_distinct(sieve, rows, resolved.recipe.seed, source.count, source.path)
