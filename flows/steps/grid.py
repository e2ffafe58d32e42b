"""Personas from a grid of traits: trait -> value -> wordings, put into one sentence by a template.

    {source: grid, count: 200}                                             every trait balanced over all of them
    {source: grid, per_cell: 30, cells: [age, continent, gender], …}       as many for every combination of these three
    -> "A nurse in her forties from Cairo who …" with its traits {"work": "carer", "place": "africa", …}

The grid is walked in a fixed order, each cell in one of its own, so raising either number keeps the personas that were there.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from prefloom.flows.dataset import inputs
from prefloom.flows.dataset.plain import load_yaml, read_file
from prefloom.flows.steps.portraits import persona_of
from prefloom.flows.steps.texts import Sieve
from prefloom.prompts import PromptTemplate, expect_inputs
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.ids import draw, draw_one
from prefloom.schemas.people import GridPersonas
from prefloom.schemas.persona import Persona
from prefloom.schemas.recipe import Resolved

Grid = dict[str, dict[str, list[str]]]


def from_grid(source: GridPersonas, resolved: Resolved, sieve: Sieve) -> Iterator[Persona]:
    """Every persona of the grid that the source asks for, distinct descriptions in the order of the walk."""
    grid, seed = _read(source, resolved), resolved.recipe.seed
    template = expect_inputs(source.template, frozenset(grid))
    if source.count is not None:
        yield from _distinct(_walk(grid, seed), grid, template, source.count, sieve, "personas.count")
        return
    names = list(grid) if source.cells is None else source.cells
    if strange := [name for name in names if name not in grid]:
        raise InputError("recipe", "personas.cells", found=f"'{strange[0]}'", expected=nearest(strange[0], grid))
    for values in itertools.product(*(grid[name] for name in names)):
        cell = {name: {value: grid[name][value]} for name, value in zip(names, values, strict=True)}
        within = {name: cell.get(name, wordings) for name, wordings in grid.items()}
        assert source.per_cell
        walk = _walk(within, seed, "/".join(values) + "/")
        yield from _distinct(walk, within, template, source.per_cell, sieve, f"personas.per_cell, {' and '.join(values)}")


def _distinct(
    walk: Iterator[tuple[dict[str, str], dict[str, str]]], grid: Grid, template: PromptTemplate, count: int, sieve: Sieve, field: str
) -> Iterator[Persona]:
    """Walk until `count` distinct descriptions are there. A combination that comes twice is skipped, not rejected."""
    limit = math.prod(sum(map(len, values.values())) for values in grid.values())
    if count > limit:
        raise InputError("recipe", field, found=str(count), expected=f"at most {limit}: the grid has no more combinations")
    kept = 0
    seen: set[str] = set()
    for traits, wordings in itertools.islice(walk, 100 * count):
        if kept == count:
            return
        description = template.render(**wordings)[-1][1]
        persona = persona_of(description, "grid", traits)
        if description not in seen and sieve.admit(persona, persona.persona_id, description):
            kept += 1
            yield persona
        seen.add(description)
    if kept < count:
        raise InputError("recipe", field, found=str(count), expected=f"a smaller count: the grid gave {kept} distinct")


def _walk(grid: Grid, seed: int, cell: str = "") -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Endless (traits, wordings). In every run of K steps each of a trait's K values comes once, in an order of its own."""
    orders: dict[str, Any] = {}
    for step in itertools.count():
        traits, wordings = {}, {}
        for name, values in grid.items():
            block, place = divmod(step, len(values))
            if place == 0:
                orders[name] = np.argsort(draw(seed, f"grid/{cell}{name}/{block}", np.arange(len(values), dtype=np.uint64)), kind="stable")
            traits[name] = list(values)[orders[name][place]]
            choices = values[traits[name]]
            wordings[name] = choices[draw_one(seed, f"wording/{cell}{name}/{step}", 0) % len(choices)]
        yield traits, wordings


def _read(source: GridPersonas, resolved: Resolved) -> Grid:
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
