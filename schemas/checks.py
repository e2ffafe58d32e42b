"""Who is asked about which answers, and what a label must be to be kept: sections of a recipe.

comparisons: {per_prompt: 3, per_persona_prompt: 2}
judgements: {model: judge, templates: [judge/pairwise, judge/reader]}
checks: {labels: {min_margin: 0.5}}
"""

from typing import Self

from pydantic import Field, model_validator

from prefloom.schemas.section import Count, Distinct, Section, Share


class Comparisons(Section):
    """Which two candidates are compared, and who is asked."""

    per_prompt: Count = Field(default=3, description="Unordered pairs of candidates taken from each prompt")
    prompts_per_persona: Count | None = Field(default=None, description="Prompts each persona is asked about (default: all)")
    per_persona_prompt: Count = Field(default=1, description="Comparisons of one prompt that a persona is asked")

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if self.per_persona_prompt > self.per_prompt:
            raise ValueError(f"per_persona_prompt {self.per_persona_prompt} is more than per_prompt {self.per_prompt}")
        return self


class Judgements(Section):
    """Who decides, and from which words."""

    model: str = Field(description="Name from `models`")
    templates: Distinct = Field(default=["judge/pairwise"], min_length=1, description="Each is read in both orders")


class CandidateChecks(Section):
    """What makes an answer unfit to be compared (empty answers and duplicates always are)."""

    refused: bool = Field(default=True, description="Reject answers that decline")
    truncated: bool = Field(default=True, description="Reject answers that were cut off")
    instructions: bool = Field(
        default=False,
        exclude_if=lambda wanted: not wanted,
        description="Reject answers that tell whoever judges them what to say (English)",
    )
    min_latin_share: Share = Field(default=0.5, description="Letters in Latin script; 0 admits every language")


class LabelChecks(Section):
    """What a label must be to become a preference."""

    min_mass: Share = Field(default=0.5, description="Probability the judge must have given to the two letters")
    min_margin: float = Field(default=0.2, ge=0, le=100, description="Smallest |margin| in log-odds")
    min_consistency: Share = Field(default=1.0, description="Share of templates whose two orders agree")
    length_only: bool = Field(default=True, description="Reject comparisons whose answers differ in length alone")


class Checks(Section):
    """All checks, in the order they run."""

    candidates: CandidateChecks = CandidateChecks()
    labels: LabelChecks = LabelChecks()
