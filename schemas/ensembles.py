"""Personas who decide by their weights: nobody is asked, their choices follow from the scores of answers.

personas:
  - {source: ensemble, count: 1000, alpha: 0.05}                                         weights drawn from Dirichlet(alpha, …, alpha)
  - {source: ensemble, count: 200, alpha: 0.5, rewards: [thrift, warmth], noise: 0.5}    choices drawn, by Bradley and Terry
  - {source: attributes, count: 600, types: {kind: {warmth: 1}, brief: {length: -1}}, conflict: 0.75, flips: 0.1}

The names are those of the recipe's `rewards`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.section import Count, Distinct, Section, Share

GRID = 1e-6  # weights stand on it; there are never so many rewards that the sum of a row's products outgrows an exact float
Weights = Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(min_length=1)]
Noise = Annotated[float, Field(ge=0, le=1000)]
_NOISE = "Temperature of a Bradley-Terry choice: P(first) = 1 / (1 + exp(-difference of utilities / noise)); 0: always the better answer"


class EnsemblePersonas(Section):
    """Personas with weights over standardised rewards that sum to one."""

    source: Literal["ensemble"] = Field(description="Says which kind of source this is")
    count: Count | None = Field(default=None, description="How many; raising it keeps those already there. Only with alpha")
    alpha: float | None = Field(default=None, ge=0.001, le=1000, description="Weights are drawn from Dirichlet(alpha, …, alpha)")
    weights: list[Weights] | None = Field(
        default=None, description="Or the weights themselves, one mapping of reward to weight for each persona"
    )
    rewards: Distinct | None = Field(
        default=None, min_length=1, description="Names from `rewards` that weights are drawn for (default: all)"
    )
    noise: Noise = Field(default=0.0, description=_NOISE)

    @model_validator(mode="after")
    def _drawn_or_given(self) -> Self:
        if (self.alpha is None) == (self.weights is None):
            raise ValueError("name exactly one of alpha (weights are drawn) and weights (they are given)")
        if self.weights is None:
            if self.count is None:
                raise ValueError("alpha without count: how many personas?")
            return self
        if self.count is not None or self.rewards is not None:
            raise ValueError("count and rewards are for weights that are drawn; these are given")
        for row in self.weights:
            if min(row.values()) < 0 or abs(sum(row.values()) - 1) > 1e-6:
                raise ValueError(f"weights that sum to {sum(row.values()):g}, or one below 0; those of an ensemble are shares of 1")
        return self

    @property
    def named(self) -> set[str]:
        """The rewards that it mentions."""
        return {*(self.rewards or ()), *(name for row in self.weights or () for name in row)}


class AttributePersonas(Section):
    """Personas of some types, each with weights over standardised attribute scores; or with weights of their own."""

    source: Literal["attributes"] = Field(description="Says which kind of source this is")
    count: Count = Field(description="How many; raising it keeps those already there")
    types: dict[str, Weights] | None = Field(default=None, min_length=1, description="Name of a type -> its weights")
    shares: dict[str, Share] = Field(default={}, description="Type -> share of the personas (default: all alike)")
    alpha: float | None = Field(default=None, ge=0.001, le=1000, description="In place of types: weights from Dirichlet(alpha, …, alpha)")
    rewards: Distinct | None = Field(
        default=None, min_length=1, description="Names from `rewards` that weights are drawn for (default: all)"
    )
    conflict: Share | None = Field(
        default=None, description="Share of the comparisons on which the types disagree, reached by choosing pairs (default: as it comes)"
    )
    flips: Share = Field(default=0.0, description="Share of choices that are turned round by chance")
    noise: Noise = Field(default=0.0, description=_NOISE)

    @model_validator(mode="after")
    def _types_or_drawn(self) -> Self:
        if (self.alpha is None) == (self.types is None):
            raise ValueError("name exactly one of types (whose weights are given) and alpha (weights are drawn)")
        if self.types is None:
            if self.conflict is not None or self.shares:
                raise ValueError("conflict and shares are about types, and there are none")
            return self
        if self.rewards is not None:
            raise ValueError("rewards is for weights that are drawn; those of types are given")
        if self.shares and (self.shares.keys() != self.types.keys() or abs(sum(self.shares.values()) - 1) > 1e-6):
            raise ValueError("shares must name every type and sum to 1")
        if self.conflict and len(self.types) < 2:
            raise ValueError("conflict needs two types that can disagree")
        return self

    @property
    def named(self) -> set[str]:
        """The rewards that it mentions."""
        return {*(self.rewards or ()), *(name for row in (self.types or {}).values() for name in row)}
