"""Personas made of weights: drawn from a Dirichlet distribution, given one by one, or shared by all of a type.

    {source: ensemble, count: 1000, alpha: 0.05}   ->  "Weighs answers by brevity 0.912043, warmth 0.087957."  and the same as `weights`
    {source: attributes, count: 300, types: …}     ->  "Person 17 of type kind: weighs answers by warmth 1."

A description holds every digit of the weights, and the id is the hash of the description: personas of equal weights are one persona, in
one split, so no test persona of an ensemble has a twin in train. Weights are whole millionths; rows that differ are 1.4e-6 apart or more.
Person n depends on the seed and on n alone, so raising `count` keeps the personas that were there.
"""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.steps.portraits import persona_of
from prefloom.schemas.ensembles import GRID, AttributePersonas, EnsemblePersonas
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import draw, unit
from prefloom.schemas.persona import Persona, Weight
from prefloom.schemas.recipe import Recipe

Floats = NDArray[np.float64]
WHOLE = round(1 / GRID)
_BATCH = 4096
_TRIED = 100  # rows drawn for each persona that is wanted, before it is said that there are no more


def dirichlet(alpha: float, size: int, count: int, seed: int, stage: str = "weights", first: int = 0) -> Floats:
    """(count, size) rows from Dirichlet(alpha, …, alpha), row n by (seed, stage, first + n) alone; sums are 1 to within rounding.

    A gamma variate of shape alpha is one of alpha + 1 times u ** (1 / alpha). With alpha .05 that is often too small for a float: it stays
    a logarithm until it is compared with the largest of its row.
    """
    rows, columns = np.arange(first, first + count, dtype=np.uint64)[:, None], np.arange(size, dtype=np.uint64)[None, :]
    logs = np.log(_gamma(alpha + 1, seed, stage, rows, columns)) + np.log(_open(draw(seed, f"{stage}/power", rows, columns))) / alpha
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _gamma(shape: float, seed: int, stage: str, rows: NDArray[np.uint64], columns: NDArray[np.uint64]) -> Floats:
    """Gamma variates of a shape of 1 or more by Marsaglia and Tsang (2000): tries that are rejected are made again with the next number."""
    d = shape - 1 / 3
    c = 1 / np.sqrt(9 * d)
    found = np.full((rows.shape[0], columns.shape[1]), np.nan)
    for attempt in itertools.count():
        open_ = np.isnan(found)
        if not open_.any():
            return found
        u, v, w = (_open(draw(seed, f"{stage}/{name}/{attempt}", rows, columns)) for name in ("radius", "angle", "accept"))
        x = np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
        cube = np.maximum(1 + c * x, 0.0) ** 3
        with np.errstate(divide="ignore", invalid="ignore"):
            good = (cube > 0) & (np.log(w) < 0.5 * x**2 + d - d * cube + d * np.log(cube))
        found = np.where(open_ & good, d * cube, found)
    raise AssertionError("never")


def _open(numbers: NDArray[np.uint64]) -> Floats:
    """Uniform in (0, 1): never zero, whose logarithm there is none of."""
    return np.asarray(unit(numbers) + 2.0**-54)


def in_millionths(shares: Floats) -> NDArray[np.int64]:
    """The same rows in whole millionths that sum to a million exactly: what rounding down leaves goes to the largest remainders."""
    scaled = shares * WHOLE
    whole = np.floor(scaled).astype(np.int64)
    order = np.argsort(whole - scaled, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(shares.shape[1])[None, :], axis=1)
    return np.asarray(whole + (ranks < (WHOLE - whole.sum(axis=1))[:, None]), dtype=np.int64)


def drawn(alpha: float, names: list[str], count: int, seed: int, stage: str) -> list[dict[str, float]]:
    """`count` different rows of weights by name. InputError if the grid has no more, as with a very small alpha and few rewards."""
    found: dict[tuple[int, ...], None] = {}
    for first in range(0, _TRIED * count, _BATCH):
        for row in in_millionths(dirichlet(alpha, len(names), _BATCH, seed, stage, first)).tolist():
            if len(found) < count:
                found.setdefault(tuple(row))
        if len(found) == count:
            return [{name: part / WHOLE for name, part in zip(names, row, strict=True) if part} for row in found]
    raise InputError(
        "recipe", "personas.count", found=str(count), expected=f"at most {len(found)}: alpha {alpha:g} gives no more that differ"
    )


def from_ensemble(source: EnsemblePersonas, place: int, recipe: Recipe) -> Iterator[Persona]:
    """The personas of one source, the `place`-th of the recipe."""
    if source.alpha is None:
        rows = [_exact(row) for row in source.weights or ()]
    else:
        names = sorted(source.rewards or recipe.rewards or ())
        rows = drawn(source.alpha, names, source.count or 0, recipe.seed, f"ensemble/{place}")
    for row in rows:
        leading = max(row, key=lambda name: (row[name], name))
        said = f"Weighs answers by {_told(row)}{_noise(source.noise)}."
        yield _persona(said, "ensemble", {"leading": leading}, row, source.alpha, source.noise, 0.0)


def from_attributes(source: AttributePersonas, place: int, recipe: Recipe) -> Iterator[Persona]:
    """The same for attribute users. A type is drawn by its share, and its people differ in their number alone: tell it to no judge."""
    if source.types is None:
        names = sorted(source.rewards or recipe.rewards or ())
        for row in drawn(source.alpha or 1.0, names, source.count, recipe.seed, f"attributes/{place}"):
            said = f"Weighs answers by {_told(row)}{_noise(source.noise, source.flips)}."
            yield _persona(said, "attributes", {}, row, source.alpha, source.noise, source.flips)
        return
    types = list(source.types)
    edges = np.cumsum([source.shares.get(name, 1 / len(types)) for name in types])
    points = unit(draw(recipe.seed, f"attributes/{place}", np.arange(source.count, dtype=np.uint64)))
    for number, which in enumerate(np.minimum(np.searchsorted(edges, points, side="right"), len(types) - 1).tolist()):
        row = _on_grid(source.types[types[which]])
        told = f"Person {number + 1} of type {types[which]}: weighs answers by {_told(row)}{_noise(source.noise, source.flips)}."
        yield _persona(told, "attributes", {"type": types[which]}, row, None, source.noise, source.flips)


def _exact(row: Mapping[str, float]) -> dict[str, float]:
    """Given shares in whole millionths that sum to one."""
    values = np.array([list(row.values())])
    return dict(zip(row, (in_millionths(values / values.sum())[0] / WHOLE).tolist(), strict=True))


def _on_grid(row: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value * WHOLE) / WHOLE for name, value in row.items()}


def _told(row: Mapping[str, float]) -> str:
    parts = sorted(row.items(), key=lambda item: (-abs(item[1]), item[0]))
    return ", ".join(f"{name} {value:.6f}".rstrip("0").rstrip(".") for name, value in parts if value)


def _noise(noise: float, flips: float = 0.0) -> str:
    said = [f"noise {noise:g}"] * (noise > 0) + [f"{flips:g} of the choices turned round"] * (flips > 0)
    return f", with {' and '.join(said)}" if said else ""


def _persona(
    description: str, kind: str, traits: dict[str, str], weights: Mapping[str, float], alpha: float | None, noise: float, flips: float
) -> Persona:
    decides = {
        "kind": kind,
        "weights": [Weight(name=name, value=value) for name, value in sorted(weights.items())],
        "alpha": alpha,
        "noise": noise,
        "flips": flips,
    }
    return persona_of(description, kind, traits).model_copy(update=decides)
