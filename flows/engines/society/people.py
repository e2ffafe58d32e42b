"""People with planted tastes: camps, individuals within them, and tastes that go with who somebody is.

    people = plant("fspo-like", 200, seed=1)
    people.descriptions[0]  ->  "A baker aged seventy-one from a town near Pune, living alone. As a reader, this person loves brevity, …"
    people.utilities(["- Boil the rice.", "Rice is a matter of patience …"])  ->  array of shape (200, 2)

Tastes come from a hierarchical mixture: what all have alike (`common`), a camp's centre (`between`), what goes with traits (`traits`),
and the individual rest; style and viewpoints have shares of their own (`values`). They are pulled towards five strengths, because that is
what words can tell (`jitter` is the distance left). Everything of person i is a function of (preset, settings, seed, i): more people change
nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.engines.scorers import PROPERTIES, STYLE, VALUES
from prefloom.flows.engines.society import utility, wording
from prefloom.flows.engines.society.chance import Floats, normals, uniforms
from prefloom.flows.engines.society.data import load
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.ids import content_hash

PEOPLE_VERSION = 2  # raise it when the code here or in wording.py plants others
# The five strengths that represent a standard normal number best, and where one ends and the next begins (Lloyd 1957, Max 1960).
STRENGTHS = np.array([-1.724, -0.7646, 0.0, 0.7646, 1.724])
_EDGES = np.array([-1.2444, -0.3823, 0.3823, 1.2444])
_TILT = 1.0  # how unevenly camps are spread over trait values
_TRAIT_SIZE = np.sqrt(20 / 9)  # makes the sum of the tastes of four traits, about nine entries of one or two, about one per property


@dataclass(frozen=True)
class People:
    """Planted people. `linear`, `bends` and `hidden` are the weights of utility.py, one row per person."""

    descriptions: list[str]
    traits: list[dict[str, str]]
    clusters: NDArray[np.int64]
    linear: Floats
    bends: Floats
    hidden: Floats

    @cached_property
    def weights(self) -> Floats:
        """All weights, shape (people, 34)."""
        return np.concatenate([self.linear, self.bends, self.hidden], axis=1)

    def utilities(self, texts: Sequence[str]) -> Floats:
        """What each text is worth to each person, shape (people, texts)."""
        worth: Floats = self.weights @ utility.features(texts).T
        return worth


def identity() -> str:
    """people@<hash of what people are made from>."""
    return f"people@{content_hash([PEOPLE_VERSION, load('people.yaml')], size=6)}"


def settings(preset: str, **changed: float | None) -> dict[str, float]:
    """The parameters of a preset, with some of them changed."""
    values: dict[str, float] = dict(load("people.yaml")["presets"][preset])
    return {**values, **{name: value for name, value in changed.items() if value is not None}}


def block_scale(values: float) -> Floats:
    """Weight of one unit of strength in each property, so that style and viewpoints have their shares of the variance."""
    shares = np.array([(1 - values) / len(STYLE)] * len(STYLE) + [values / len(VALUES)] * len(VALUES))
    return np.asarray(np.sqrt(shares))


def plant(preset: str, count: int, seed: int, stated: float = 0.7, how: str = "levels", **changed: float | None) -> People:
    """`count` people of a preset. `stated` is the share of their tastes that descriptions tell, `how` whether in words or as numbers."""
    given = settings(preset, **changed)
    camps = int(given["clusters"])
    clusters = np.floor(uniforms(f"{preset}/camp", count, seed=seed) * camps).astype(np.int64)
    traits = _traits(preset, seed, clusters, camps)
    apart = np.sqrt(given["between"]) * normals(f"{preset}/centres", camps, len(PROPERTIES), seed=seed)[clusters]
    apart += np.sqrt(given["traits"]) * _TRAIT_SIZE * _trait_tastes(traits)
    apart += np.sqrt(max(0.0, 1 - given["between"] - given["traits"])) * normals(f"{preset}/own", count, len(PROPERTIES), seed=seed)
    shared = np.array([load("people.yaml")["common"].get(name, 0.0) for name in PROPERTIES])
    strengths = np.sqrt(given["common"]) * shared / np.sqrt(np.mean(shared**2)) + np.sqrt(1 - given["common"]) * apart
    levels = np.searchsorted(_EDGES, strengths)
    strengths = STRENGTHS[levels] + given["jitter"] * (strengths - STRENGTHS[levels])
    linear = np.sqrt(1 - given["bends"] - given["hidden"]) * block_scale(given["values"]) * strengths
    bends = np.sqrt(given["bends"] / len(utility.BENDS)) * normals(f"{preset}/bends", count, len(utility.BENDS), seed=seed)
    hidden = np.sqrt(given["hidden"] / utility.HIDDEN) * normals(f"{preset}/hidden", count, utility.HIDDEN, seed=seed)
    if how == "exact":
        told = wording.exact(np.concatenate([linear, bends, hidden], axis=1))
    else:
        told = [wording.tell(levels[i] - 2, np.abs(strengths[i]), stated, f"{preset}/{seed}/{i}") for i in range(count)]
    descriptions = [wording.introduce(traits[i], f"{preset}/{seed}/{i}") + said for i, said in enumerate(told)]
    return People(descriptions, traits, clusters, linear, bends, hidden)


def with_tastes(descriptions: list[str], traits: list[dict[str, str]], tastes: Mapping[str, Mapping[str, Mapping[str, int]]]) -> People:
    """People who like what goes with their traits, {"level": {"child": {"readability": 2}}}, and nothing else; each is a camp."""
    strengths = np.zeros((len(descriptions), len(PROPERTIES)))
    for row, person in zip(strengths, traits, strict=True):
        for name, value in person.items():
            for taste, level in tastes.get(name, {}).get(value, {}).items():
                if taste not in PROPERTIES:
                    raise InputError("recipe", f"personas.tastes.{name}.{value}", found=f"'{taste}'", expected=nearest(taste, PROPERTIES))
                row[PROPERTIES.index(taste)] += level
    linear = block_scale(0.5) * STRENGTHS[np.clip(strengths, -2, 2).astype(np.int64) + 2]
    nothing = (np.zeros((len(descriptions), n)) for n in (len(utility.BENDS), utility.HIDDEN))
    return People(descriptions, traits, np.arange(len(descriptions)), linear, *nothing)


def _traits(preset: str, seed: int, clusters: NDArray[np.int64], camps: int) -> list[dict[str, str]]:
    """Trait values of each person; camps differ in which values are common among them."""
    columns = {}
    for name, values in _all_traits().items():
        odds = np.exp(_TILT * normals(f"{preset}/tilt/{name}", camps, len(values), seed=seed))
        edges = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)
        drawn = uniforms(f"{preset}/trait/{name}", len(clusters), seed=seed)
        columns[name] = [list(values)[min(int(np.sum(edges[camp] <= u)), len(values) - 1)] for camp, u in zip(clusters, drawn, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _trait_tastes(traits: Sequence[dict[str, str]]) -> Floats:
    tastes = np.zeros((len(traits), len(PROPERTIES)))
    for row, person in zip(tastes, traits, strict=True):
        for name, value in person.items():
            for taste, weight in _all_traits()[name][value]["tastes"].items():
                row[PROPERTIES.index(taste)] += weight / 2
    return tastes


def _all_traits() -> dict[str, dict[str, Any]]:
    traits: dict[str, dict[str, Any]] = load("people.yaml")["traits"]
    return traits
