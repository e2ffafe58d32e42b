"""Personas: from the trait grid, from templates, from a file, planted, or made of weights (ensembles.py).

Empty and repeated descriptions are rejected.

    {source: grid, count: 200}      -> "A farmer from Pune who wants every step spelled out, …" with its traits

Raising `count` keeps the personas that were there: the grid is walked in a fixed order, a file is ranked by hash of id.
With `diversity.personas` what the sources give is a pool: near-duplicates go, and `count` of the others stay (selection.py), balanced over
their traits and as different as can be. The truth about planted people is that about all of the pool.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from prefloom.flows.dataset import inputs, tables
from prefloom.flows.dataset.plain import load_yaml, read_file
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.steps.ensembles import from_attributes, from_ensemble
from prefloom.flows.steps.selection import Encoder, Strata, diverse, encoder_of, stratify
from prefloom.flows.steps.texts import Sieve, draw_distinct, expect_one_meaning
from prefloom.prompts import expect_inputs, inline
from prefloom.schemas.diversity import DiversePersonas
from prefloom.schemas.ensembles import AttributePersonas, EnsemblePersonas
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_id, draw, draw_one
from prefloom.schemas.persona import Persona, Trait
from prefloom.schemas.recipe import Recipe, Resolved
from prefloom.schemas.sources import FilePersonas, GridPersonas, SocietyPersonas, TemplatePersonas
from prefloom.schemas.splits import split_of
from prefloom.schemas.texts import is_blank

Grid = dict[str, dict[str, list[str]]]


def sample_personas(job: ShardJob) -> ShardReport:
    """All personas of the recipe's sources, in one part, sorted by id."""
    if done := job.done():
        return done
    frame, rejected = personas_of(job.run.resolved, encoder_of(job))
    return job.write(Persona, frame, rejected, considered=frame.height + rejected.height)


def personas_of(resolved: Resolved, encoder: Encoder | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Persona sorted by id, rows of Rejected) for all sources. InputError if no persona is left.

    Without an encoder nothing is selected.
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
                kept += _from_grid(source, resolved, sieve)
            case TemplatePersonas():
                kept += [p for p in _from_template(source) if sieve.admit(p, p.persona_id, p.description)]
            case FilePersonas():
                kept += _from_file(source, resolved, sieve, named)
            case SocietyPersonas():
                kept += [p for p in _planted(source, resolved) if sieve.admit(p, p.persona_id, p.description)]
    if not kept:
        raise InputError("recipe", "personas", found="no persona left", expected="at least one description that is not empty")
    if encoder and recipe.diversity and (wanted := recipe.diversity.personas):
        triples = [(persona.persona_id, persona.description, persona) for persona in kept]
        kept = diverse(sieve, triples, wanted, encoder, partial(_strata, wanted))
    splits = _splits([persona.persona_id for persona in kept], recipe)
    rows = [persona.model_copy(update={"split": split}) for persona, split in zip(kept, splits, strict=True)]
    rows.sort(key=lambda persona: persona.persona_id)
    return tables.frame(Persona, rows), sieve.rejected()


def _strata(wanted: DiversePersonas, rows: Sequence[Persona]) -> Strata:
    labels = [{trait.name: trait.value for trait in row.traits} for row in rows]
    return stratify(labels, wanted.strata, wanted.target, "diversity.personas")


def _splits(ids: list[str], recipe: Recipe) -> list[str]:
    return split_of(ids, recipe.splits.validation, recipe.splits.test)


def _persona(description: str, source: str, traits: dict[str, str], source_id: str | None = None) -> Persona:
    return Persona(
        persona_id=content_id("persona", description),
        description=description,
        traits=[Trait(name=name, value=value) for name, value in traits.items()],
        source=source,
        source_id=source_id,
        split="",
    )


def _from_grid(source: GridPersonas, resolved: Resolved, sieve: Sieve) -> list[Persona]:
    """Walk the grid until `count` distinct descriptions are there. A combination that comes twice is skipped, not rejected."""
    grid = _read_grid(source, resolved)
    template = expect_inputs(source.template, frozenset(grid))
    limit = 1
    for values in grid.values():
        limit *= sum(len(wordings) for wordings in values.values())
    if source.count > limit:
        raise InputError(
            "recipe", "personas.count", found=str(source.count), expected=f"at most {limit}: the grid has no more combinations"
        )
    kept: list[Persona] = []
    seen: set[str] = set()
    for traits, wordings in itertools.islice(_walk(grid, resolved.recipe.seed), 100 * source.count):
        if len(kept) == source.count:
            return kept
        description = template.render(**wordings)[-1][1]
        persona = _persona(description, "grid", traits)
        if description not in seen and sieve.admit(persona, persona.persona_id, description):
            kept.append(persona)
        seen.add(description)
    if len(kept) == source.count:
        return kept
    raise InputError("recipe", "personas.count", found=str(source.count), expected=f"a smaller count: the grid gave {len(kept)} distinct")


def _walk(grid: Grid, seed: int) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Endless (traits, wordings). In every run of K steps each of a trait's K values comes once, in an order of its own."""
    orders: dict[str, Any] = {}
    for step in itertools.count():
        traits, wordings = {}, {}
        for name, values in grid.items():
            block, place = divmod(step, len(values))
            if place == 0:
                orders[name] = np.argsort(_draws(seed, f"grid/{name}/{block}", len(values)), kind="stable")
            traits[name] = list(values)[orders[name][place]]
            choices = values[traits[name]]
            wordings[name] = choices[draw_one(seed, f"wording/{name}/{step}", 0) % len(choices)]
        yield traits, wordings


def _draws(seed: int, stage: str, count: int) -> Any:
    return draw(seed, stage, np.arange(count, dtype=np.uint64))


def _read_grid(source: GridPersonas, resolved: Resolved) -> Grid:
    assert source.path, "resolve fills in the shipped grid"
    path = Path(source.path)
    grid = load_yaml(read_file(path), str(path), expected="YAML: trait -> value -> list of wordings")
    inputs.expect_unchanged(path, resolved.inputs[source.path])
    whole = isinstance(grid, dict) and grid and all(isinstance(values, dict) and values for values in grid.values())
    if not whole or not all(
        isinstance(wordings, list) and wordings and all(isinstance(w, str) for w in wordings)
        for values in grid.values()
        for wordings in values.values()
    ):
        raise InputError(str(path), found="something else", expected="trait -> value -> list of wordings, all of them text")
    return {str(trait): {str(value): wordings for value, wordings in values.items()} for trait, values in grid.items()}


def _from_template(source: TemplatePersonas) -> Iterator[Persona]:
    for combination in itertools.product(*source.values.values()):
        traits = dict(zip(source.values, combination, strict=True))
        yield _persona(inline(source.text, traits), "template", traits)


def _planted(source: SocietyPersonas, resolved: Resolved) -> Iterator[Persona]:
    from prefloom.flows.engines.society.truth import planted

    people = planted(source, resolved.recipe.seed)
    for description, traits in zip(people.descriptions, people.traits, strict=True):
        yield _persona(description, "society", traits)


def _from_file(source: FilePersonas, resolved: Resolved, sieve: Sieve, named: dict[str, str]) -> list[Persona]:
    fields = source.fields
    columns = [name for name in (fields.description, fields.id, *fields.traits) if name]
    rows = []
    for place, row in inputs.rows(Path(source.path), columns, resolved.inputs[source.path]):
        traits = {name: value.strip() for name in fields.traits if not is_blank(value := row[name] or "")}
        persona = _persona((row[fields.description] or "").strip(), "file", traits, row[fields.id] if fields.id else None)
        expect_one_meaning(named, persona.source_id, persona.persona_id, source.path, place)
        rows.append((persona.persona_id, persona.description, persona))
    return draw_distinct(sieve, rows, resolved.recipe.seed, source.count, source.path)
