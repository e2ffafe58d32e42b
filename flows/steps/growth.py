"""How large tonight's dataset is. What is on disk decides, so that a night that was killed goes on with the size it had.

    growth = Growth.parse("personas.0.count=+50", at_most=1000)
    latest("demo", Path("data"), [], growth)            ->  Night: the recipe's own 200 people, or the most that a run under data/ has
    latest("demo", Path("data"), [], growth).grown()    ->  Night: 50 people more, or None where there is nothing to add

A run belongs to the series if the recipe as it is now, at that size, has its fingerprint: a changed recipe begins a series of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps import freshness
from prefloom.schemas.errors import InputError
from prefloom.schemas.recipe import Recipe

_RULE = re.compile(r"((?:personas|prompts)\.\d+\.count)=\+([1-9]\d{0,8})")


@dataclass(frozen=True)
class Growth:
    """`step` more of `key` in every night, until there are `at_most`."""

    key: str
    step: int
    at_most: int | None = None

    @classmethod
    def parse(cls, rule: str, at_most: int | None = None) -> "Growth":
        """`personas.0.count=+50`. InputError where it says anything else."""
        if not (found := _RULE.fullmatch(rule)):
            raise InputError("--grow", found=f"'{rule}'", expected="PATH=+STEP for a count, such as personas.0.count=+50")
        return cls(found[1], int(found[2]), at_most)

    def value(self, recipe: Recipe) -> int:
        """What the key says in a recipe. InputError where there is no number to grow from."""
        node: Any = recipe.model_dump(mode="json")
        for part in self.key.split("."):
            node = node.get(part) if isinstance(node, dict) else node[int(part)] if int(part) < len(node) else {}
        if not isinstance(node, int):
            found = "nothing there" if node in (None, {}) else repr(node)
            raise InputError("--grow", self.key, found=found, expected="a number in the recipe, to grow from")
        return node


@dataclass(frozen=True)
class Night:
    """One size of the dataset of a recipe."""

    recipe: str
    out: Path
    base: tuple[str, ...]
    growth: Growth | None = None
    size: int | None = None

    @property
    def overrides(self) -> list[str]:
        """What `prefloom build --set` would have to be told."""
        return [*self.base, *([f"{self.growth.key}={self.size}"] if self.growth and self.size is not None else [])]

    @cached_property
    def run(self) -> Run:
        """Where it is built."""
        return Run.create(self.out, resolve(self.recipe, self.overrides))

    def describe(self) -> str:
        """`demo-b10794099e1f, personas.0.count 250`."""
        return self.run.name + (f", {self.growth.key} {self.size}" if self.growth else "")

    def is_finished(self) -> bool:
        """Whether a build would do nothing."""
        return freshness.is_finished(self.run, freshness.materials(self.run))

    def grown(self) -> "Night | None":
        """The next size; None without a rule, or where the rule has been fulfilled."""
        if self.growth is None or self.size is None:
            return None
        size = self.size + self.growth.step
        if self.growth.at_most is not None:
            size = min(size, self.growth.at_most)
        return replace(self, size=size) if size > self.size else None


def latest(recipe: str, out: Path, overrides: Sequence[str], growth: Growth | None) -> Night:
    """The largest size that was begun under `out`, or the recipe's own."""
    own = Night(recipe, out, tuple(overrides))
    if growth is None:
        return own
    first = growth.value(own.run.resolved.recipe)
    name = own.run.resolved.recipe.name
    sizes = {size for folder in (out / "runs").glob(f"{name}-*") if (size := _size(folder, growth)) and size > first}
    nights = (replace(own, growth=growth, size=size) for size in sorted(sizes, reverse=True))
    return next((night for night in nights if night.run.folder.is_dir()), replace(own, growth=growth, size=first))


def _size(folder: Path, growth: Growth) -> int | None:
    try:
        return growth.value(Run(folder).resolved.recipe)
    except InputError:  # another recipe's, or damaged
        return None
