"""What a recipe says about diversity: near-duplicates out, the most different kept. Needs `embeddings`: it goes by vectors.

embeddings: {engine: sentence-transformers}
diversity:
  personas: {near_duplicate: 0.95, count: 200, path: census.csv}        # balanced over traits, then farthest apart
  prompts: {near_duplicate: 0.85, count: 100}                           # balanced over domains, then farthest apart
  candidates: {near_duplicate: 0.97}
pilot: {keep: 4, floor: -1.0, personas: 12}                            # general quality, then pairs that divide people

A threshold means something for one encoder only; the ones below were chosen for the default (docs/diversity.md). An encoder reads the
beginning of a text (the default some 250 tokens), so texts that begin alike for longer than that are near, whatever follows.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.section import Count, Distinct, Section, Share

Target = dict[str, Annotated[dict[str, Share], Field(min_length=1)]]  # trait -> value -> share of the population


def unlike_one(target: Target) -> tuple[str, float] | None:
    """The first trait whose shares do not sum to 1, and what they sum to."""
    sums = {trait: math.fsum(shares.values()) for trait, shares in target.items()}
    return next(((trait, found) for trait, found in sums.items() if abs(found - 1) > 1e-6), None)


class DiversePersonas(Section):
    """Which of the sources' personas stay."""

    near_duplicate: float = Field(default=0.95, gt=0, le=1, description="Cosine from which a description repeats an earlier one")
    count: Count | None = Field(default=None, description="How many stay, balanced over traits, then farthest apart (default: all)")
    strata: Distinct | None = Field(default=None, min_length=1, description="Traits to balance by (default: those of `target`, else all)")
    target: Target | None = Field(default=None, description="Trait -> value -> share of the population aimed at (default: equal shares)")
    path: str | None = Field(default=None, description="The same as a .csv, .jsonl or .parquet of trait, value, share; read into `target`")

    @model_validator(mode="after")
    def _one_population(self) -> Self:
        if self.target is not None and self.path is not None:
            raise ValueError("target and path name the population twice; give one of them")
        if (self.target or self.path) and self.count is None:
            raise ValueError("a population without a `count`, which says how many personas are chosen to be like it")
        if self.target and (odd := unlike_one(self.target)):
            raise ValueError(f"the shares of '{odd[0]}' in `target` sum to {odd[1]:.6g}, not to 1")
        if self.target and self.strata and (other := sorted(self.target.keys() - set(self.strata))):
            raise ValueError(f"`target` has shares for '{other[0]}', which is not among the `strata`")
        return self


class DiversePrompts(Section):
    """Which of the sources' prompts stay."""

    near_duplicate: float = Field(default=0.85, gt=0, le=1, description="Cosine from which a prompt repeats an earlier one, in any split")
    count: Count | None = Field(default=None, description="How many stay, balanced over domains, then farthest apart (default: all)")


class DiverseCandidates(Section):
    """Which answers to one prompt are compared."""

    near_duplicate: float = Field(default=0.97, gt=0, le=1, description="Cosine from which an answer repeats another to the same prompt")


class Diversity(Section):
    """Near-duplicates out, and the most different kept; null leaves a table as its sources gave it."""

    personas: DiversePersonas | None = Field(default=DiversePersonas(), description="Of the sources' personas; null: all stay")
    prompts: DiversePrompts | None = Field(default=DiversePrompts(), description="Of the sources' prompts; null: all stay")
    candidates: DiverseCandidates | None = Field(default=DiverseCandidates(), description="Of the answers to one prompt; null: all stay")


class Pilot(Section):
    """What is looked at before everybody is asked: how good answers are in general, and which of them divide people."""

    keep: Count | None = Field(default=None, ge=2, description="Answers of a prompt that are compared: the farthest apart (default: all)")
    floor: float | None = Field(
        default=None,
        ge=-100,
        le=100,
        description="Least general quality of an answer that is compared, in log-odds against the mean of its prompt (default: none)",
    )
    dominated: float | None = Field(
        default=2.0,
        gt=0,
        description="Gap in general quality, in log-odds, that marks a comparison as dominated; null: unasked",
    )
    personas: int = Field(default=12, ge=0, le=10_000, description="People of the training split who read all pairs of a prompt's answers")
    first: Literal["disagreement", "strength"] = Field(
        default="disagreement",
        description="Pairs that come first: those that divide people most, or those about which they feel most, be it alike",
    )
    uniform: float = Field(
        default=0.2, ge=0.01, le=1, description="Share of the choice of pairs left to chance; 1: the pilot marks and does not choose"
    )

    @property
    def rates(self) -> bool:
        """Whether answers are compared for people in general."""
        return self.floor is not None or self.dominated is not None
