"""Prompts that are made: from a list of names, by a model after examples, or by a model for people of one kind. Sections of a recipe.

prompts:
  - {source: entities, text: "Write a review of the {{ kind }} {{ title }}.", fields: [kind, title], count: 80, domain: review}
  - {source: augmented, model: scholar, count: 100, shots: 4}
  - {source: specific, model: scholar, traits: {age: [old, young]}, per_value: 5}
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.section import Count, Distinct, Section

Values = Annotated[list[str], Field(min_length=1)]

Many = Annotated[int, Field(ge=1, le=100_000)]  # prompts that a model is asked for


class EntityPrompts(Section):
    """One prompt for every row of a list of names: films, books, places."""

    source: Literal["entities"] = Field(description="Says which kind of source this is")
    path: str | None = Field(default=None, description="A .jsonl, .csv or .parquet file (default: the shipped titles of works)")
    text: str = Field(
        default="Write a review of the {{ kind }} {{ title }}.", description="The prompt with {{ variables }}: the columns under fields"
    )
    fields: Distinct = Field(default=["kind", "title"], min_length=1, description="Columns that stand in the text, all of them")
    count: Count | None = Field(default=None, description="How many of the distinct ones, chosen by hash (default: all)")
    domain: str = Field(default="review", description="Topic of all of them, for tables and figures")


class Written(Section):
    """What sources that ask a model have alike."""

    model: str = Field(description="Who writes: a name from `models`")
    temperature: float = Field(default=1.0, ge=0, le=5, description="Sampling temperature")
    max_words: Count = Field(default=60, description="Longest prompt; longer ones are rejected")
    likeness: float = Field(
        default=0.7, gt=0, le=1, description="ROUGE-L from which a prompt repeats a seed or an earlier one and is rejected"
    )
    attempts: int = Field(default=3, ge=1, le=100, description="Calls at most, as a multiple of those that would do if none were rejected")


class AugmentedPrompts(Written):
    """New prompts that a model writes after a few seeds, drawn anew for each."""

    source: Literal["augmented"] = Field(description="Says which kind of source this is")
    path: str | None = Field(default=None, description="JSONL of text and domain to draw examples from (default: the shipped seeds)")
    count: Many = Field(description="How many prompts are aimed at; raising it keeps those already there")
    shots: int = Field(default=4, ge=1, le=32, description="Seeds that are shown for each prompt, all of one domain")
    template: str = Field(default="prompt/augment", description="Template that asks for a prompt like the examples")


class SpecificPrompts(Written):
    """Prompts that only people with one value of a trait would give; only they are asked about them."""

    source: Literal["specific"] = Field(description="Says which kind of source this is")
    traits: dict[str, Values] | None = Field(default=None, description="Trait -> its values, as the personas have them")
    path: str | None = Field(default=None, description="In place of traits: YAML of trait -> values, as for personas of source grid")
    per_value: Many = Field(default=5, description="How many prompts are aimed at for each value")
    domain: str = Field(default="specific", description="Topic of all of them, for tables and figures")
    template: str = Field(default="prompt/specific", description="Template that asks for prompts of such people")

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.traits is None) == (self.path is None):
            raise ValueError("name exactly one of traits and path")
        if self.traits is not None and not self.traits:
            raise ValueError("no trait under traits")
        return self
