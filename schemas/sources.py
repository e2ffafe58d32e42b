"""Where the rows of a dataset come from: sections of a recipe for personas, prompts and candidates.

personas: [{source: society, count: 200}]        prompts: [{source: file, path: prompts.jsonl}]
candidates: {source: models, models: [scholar], views: ["a short answer", "a list of steps"], samples: 2}
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.section import Count, Distinct, Section, Share
from prefloom.schemas.steering import Steering, Views

_NO_VIEW: list[str | None] = [None]


class PersonaFields(Section):
    """Which columns of the file mean what."""

    description: str = Field(default="description", description="Column of what a judge reads about the persona")
    id: str | None = Field(default=None, description="Column of your own id, kept as source_id")
    traits: list[str] = Field(
        default=[], exclude_if=lambda names: not names, description="Columns that are traits: its name, and the value of the cell"
    )


class FilePersonas(Section):
    """Personas from a .jsonl, .csv or .parquet file."""

    source: Literal["file"] = Field(description="Says which kind of source this is")
    path: str = Field(description="A .jsonl, .csv or .parquet file, relative to the recipe")
    count: Count | None = Field(default=None, description="How many of the distinct ones, chosen by hash (default: all)")
    fields: PersonaFields = PersonaFields()


class SocietyPersonas(Section):
    """People with planted tastes, so that every label can be checked against the truth."""

    source: Literal["society"] = Field(description="Says which kind of source this is")
    count: Count = Field(description="How many people; raising it keeps those already there")
    preset: Literal["fspo-like", "personalllm-like"] = Field(
        default="fspo-like", description="Tastes without anything in common, or with a common share of .6 (data/society/people.yaml)"
    )
    stated: Share = Field(default=0.7, description="Share of a person's tastes that the description tells, strongest first")
    wording: Literal["levels", "exact"] = Field(
        default="levels", description="Tastes in words of five strengths, or every weight as a number"
    )
    common: Share | None = Field(default=None, description="Share of the variance of tastes that all have alike (default: the preset's)")
    between: Share | None = Field(default=None, description="Share of the rest that a camp has alike (default: the preset's)")
    clusters: int | None = Field(default=None, ge=1, le=1000, description="Camps (default: the preset's)")
    bends: Share | None = Field(default=None, description="Share of utility that is not linear in the properties (default: the preset's)")
    hidden: Share | None = Field(default=None, description="Share of utility that no property tells (default: the preset's)")


class SeedPrompts(Section):
    """Prompts that ship with prefloom."""

    source: Literal["seeds"] = Field(description="Says which kind of source this is")
    path: str | None = Field(default=None, description="JSONL of text and domain (default: the shipped seeds)")
    count: Count | None = Field(default=None, description="How many of the distinct ones, chosen by hash (default: all)")


class PromptFields(Section):
    """Which columns of the file mean what."""

    text: str = Field(default="text", description="Column of the task")
    id: str | None = Field(default=None, description="Column of your own id, by which answers may name their prompt")
    domain: str | None = Field(default=None, description="Column of a topic, for tables and figures")
    trait: str | None = Field(
        default=None, exclude_if=lambda name: name is None, description="Column of a trait: only personas with that value are asked"
    )
    trait_value: str | None = Field(
        default=None, exclude_if=lambda name: name is None, description="Column of the trait's value; a row without one is for everybody"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.trait is None) != (self.trait_value is None):
            raise ValueError("trait and trait_value go together: name both columns or neither")
        return self


class FilePrompts(Section):
    """Prompts from a .jsonl, .csv or .parquet file."""

    source: Literal["file"] = Field(description="Says which kind of source this is")
    path: str = Field(description="A .jsonl, .csv or .parquet file, relative to the recipe")
    count: Count | None = Field(default=None, description="How many of the distinct ones, chosen by hash (default: all)")
    fields: PromptFields = PromptFields()


class ModelCandidates(Section):
    """Answers written by models: every model, in every view, `samples` times."""

    source: Literal["models"] = Field(description="Says which kind of source this is")
    models: Distinct = Field(min_length=1, description="Names from `models`")
    views: Views = Field(
        default=_NO_VIEW, description="Viewpoints or styles asked for, null asks for none; or {model, count}: who lists them"
    )
    samples: int = Field(default=1, ge=1, le=1000, description="Answers of each model in each view")
    temperature: float = Field(default=0.9, ge=0, le=5, description="Sampling temperature")
    max_tokens: Count = Field(default=512, description="Longest answer, in tokens of the model")
    template: str = Field(default="candidate/answer", description="Template that puts the task to a model")
    steer: Steering | None = Field(
        default=None,
        exclude_if=lambda steer: steer is None,
        description="Write each answer for a persona; null writes for nobody in particular",
    )


class CandidateFields(Section):
    """Which columns of the file mean what; a row names its prompt by `prompt_id` or by its `prompt` text."""

    text: str = Field(default="text", description="Column of the answer")
    model: str | None = Field(default="model", description="Column of the name of who wrote it (null: unknown)")
    prompt_id: str | None = Field(default=None, description="Column of the prompt's id, as in `prompts.fields.id`")
    prompt: str | None = Field(default=None, description="Column of the prompt's whole text")
    wide: Count | None = Field(
        default=None,
        exclude_if=lambda count: count is None,
        description="How many answers stand in one row; then `{i}` in the name of a column counts them from 1 (default: one)",
    )

    @model_validator(mode="after")
    def _one_link(self) -> Self:
        if (self.prompt_id is None) == (self.prompt is None):
            raise ValueError("name exactly one of prompt_id and prompt, the column that links an answer to its prompt")
        return self


class FileCandidates(Section):
    """Answers that already exist, from a .jsonl, .csv or .parquet file."""

    source: Literal["file"] = Field(description="Says which kind of source this is")
    path: str = Field(description="A .jsonl, .csv or .parquet file, relative to the recipe")
    fields: CandidateFields
