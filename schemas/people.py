"""Personas made from traits: sections of a recipe for a grid, a template, or a model that writes.

{source: grid, per_cell: 30, cells: [age, continent, gender], path: residents.yaml, template: persona/resident}      5 x 5 x 2 cells
{source: template, text: "The user is {{ level }}.", values: {level: [child, expert]}, tastes: {level: {child: {readability: 2}}}}
{source: written, model: scholar, traits: {age: [young, old], gender: [woman, man]}, per_cell: 30}
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.section import Count, Distinct, Section
from prefloom.schemas.sources import SocietyPersonas

_COMBINATIONS = 1_000_000  # personas that one template may stand for
Values = dict[str, Annotated[Distinct, Field(min_length=1)]]
Level = Annotated[int, Field(ge=-2, le=2)]
THEMES = ["work", "family", "a hobby", "food", "money", "health", "travel", "faith", "machines", "neighbours", "learning", "nature"]


def _combined(values: Values) -> Iterator[dict[str, str]]:
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


class GridPersonas(Section):
    """Personas from a grid of traits: every trait balanced, combinations distinct."""

    source: Literal["grid"] = Field(description="Says which kind of source this is")
    count: Count | None = Field(default=None, description="How many personas; raising it keeps those already there")
    per_cell: Count | None = Field(
        default=None, exclude_if=lambda count: count is None, description="In place of `count`: how many for every combination of `cells`"
    )
    cells: Distinct | None = Field(
        default=None, exclude_if=lambda names: names is None, description="Traits whose values make the cells (default: all of the grid)"
    )
    path: str | None = Field(default=None, description="YAML of traits -> values -> wordings (default: the shipped seeds)")
    template: str = Field(default="persona/describe", description="Template that turns traits into a description")

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if (self.count is None) == (self.per_cell is None):
            raise ValueError("name exactly one of count, for all of the grid, and per_cell, for every combination")
        if self.cells is not None and self.per_cell is None:
            raise ValueError("cells without per_cell: say how many personas each cell has")
        return self


class TemplatePersonas(Section):
    """One persona for every combination of the values."""

    source: Literal["template"] = Field(description="Says which kind of source this is")
    text: str = Field(description="Description with {{ variables }}")
    values: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(description="Variable -> its values")
    tastes: dict[str, dict[str, dict[str, Level]]] = Field(
        default={},
        exclude_if=lambda tastes: not tastes,
        description="Variable -> value -> property -> -2 to 2: what such a person of the society likes, known to `audit` alone",
    )

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if (count := math.prod(map(len, self.values.values()))) > _COMBINATIONS:
            raise ValueError(f"{count:,} combinations of values, more than {_COMBINATIONS:,}")
        for name, values in self.tastes.items():
            if strange := [value for value in values if value not in self.values.get(name, [])]:
                raise ValueError(f"tastes of {name}: {strange[0]}, which values does not have")
        return self

    def combinations(self) -> Iterator[dict[str, str]]:
        """Variable -> value, for each persona."""
        return _combined(self.values)


class WrittenPersonas(Section):
    """Personas that a model writes: `per_cell` for every combination of trait values, each in one sentence."""

    source: Literal["written"] = Field(description="Says which kind of source this is")
    model: str = Field(description="Name from `models`")
    traits: Values = Field(min_length=1, description="Trait -> its values; every combination of them is a cell")
    per_cell: Count = Field(default=30, description="Personas of each cell; raising it keeps those already there")
    themes: Distinct = Field(default=THEMES, min_length=1, description="What else a sentence is to speak of, dealt out within a cell")
    min_words: Count = Field(default=15, description="A shorter sentence is rejected; the template asks for 20 to 30 words")
    max_words: Count = Field(default=40, description="A longer one too")
    attempts: int = Field(default=3, ge=1, le=100, description="Times that a cell is asked for what it still lacks")
    temperature: float = Field(default=1.0, ge=0, le=5, description="Sampling temperature")
    max_tokens: Count = Field(default=160, description="Longest answer, in tokens of the model")
    template: str = Field(default="persona/write", description="Template that puts traits and theme to the model")

    @model_validator(mode="after")
    def _words_and_cells(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is more than max_words {self.max_words}")
        if (count := self.per_cell * math.prod(map(len, self.traits.values()))) > _COMBINATIONS:
            raise ValueError(f"{count:,} personas to write, more than {_COMBINATIONS:,}")
        return self

    def cells(self) -> Iterator[dict[str, str]]:
        """Trait -> value, for each cell."""
        return _combined(self.traits)


Planted = SocietyPersonas | TemplatePersonas  # the latter where it has `tastes`


def planted_among(sources: Sequence[Section]) -> list[Planted]:
    """Those of a recipe's sources whose people have planted tastes."""
    return [
        source
        for source in sources
        if isinstance(source, SocietyPersonas) or (isinstance(source, TemplatePersonas) and bool(source.tastes))
    ]
