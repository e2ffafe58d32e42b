"""Who is asked about which answers, and what a label must be to be kept: sections of a recipe.

comparisons: {per_prompt: 3, per_persona_prompt: 2}
judgements: {model: judge, templates: [judge/pairwise, judge/reader]}
checks: {labels: {min_margin: 0.5}}
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.reading import Adaptive
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

    model: str = Field(
        default="",
        exclude_if=lambda name: not name,
        description="Name from `models`; needed unless all personas decide by weights (sources ensemble and attributes)",
    )
    templates: Distinct = Field(default=["judge/pairwise"], min_length=1, description="Each is read in both orders")
    adaptive: Adaptive | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Further templates for those alone who are neither clear nor hopeless (default: every template for all)",
    )
    calibration: str | None = Field(
        default=None, exclude_if=lambda value: value is None, description="A file that `prefloom calibrate` wrote, relative to the recipe"
    )

    @model_validator(mode="after")
    def _enough_templates(self) -> Self:
        for name in ("first", "most"):
            if self.adaptive and (wanted := getattr(self.adaptive, name) or 0) > len(self.templates):
                raise ValueError(f"adaptive.{name} {wanted} is more than the {len(self.templates)} of templates")
        return self


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
    markdown: bool = Field(
        default=True, exclude_if=lambda admitted: admitted, description="Admit Markdown; false rejects headings, lists, tables, bold, code"
    )
    min_words: Count | None = Field(default=None, exclude_if=lambda n: n is None, description="Fewest words of an answer")
    max_words: Count | None = Field(default=None, exclude_if=lambda n: n is None, description="Most words of an answer")

    @model_validator(mode="after")
    def _something_fits(self) -> Self:
        if self.min_words and self.max_words and self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is more than max_words {self.max_words}")
        return self


class LabelChecks(Section):
    """What a label must be to become a preference."""

    min_mass: Share = Field(default=0.5, description="Probability the judge must have given to the two letters")
    min_margin: float = Field(default=0.2, ge=0, le=100, description="Smallest |margin| in log-odds")
    min_consistency: Share = Field(default=1.0, description="Share of templates whose two orders agree")
    length_only: bool = Field(default=True, description="Reject comparisons whose answers differ in length alone")
    orders: Literal["centred", "raw"] = Field(
        default="centred",
        description="When two orders agree: once the template's mean bias is removed, or as they stand (FSPO's rule, which keeps little)",
        exclude_if=lambda value: value == "centred",
    )
    coverage: Share | None = Field(
        default=None, description="Share of all labels to keep, by `confidence`; null keeps all", exclude_if=lambda value: value is None
    )
    min_confidence: float | None = Field(
        default=None, description="Smallest `confidence` of a label; null admits all", exclude_if=lambda value: value is None
    )
    intransitive: Literal["keep", "reject"] = Field(
        default="keep",
        description="The weakest of three labels of one persona that go in a circle (a over b, b over c, c over a)",
        exclude_if=lambda value: value == "keep",
    )
    max_residual: Share | None = Field(
        default=None,
        description="Largest share of a persona's margins that no ranking of the answers explains; beyond it all its labels go",
        exclude_if=lambda value: value is None,
    )


class Checks(Section):
    """All checks, in the order they run."""

    candidates: CandidateChecks = CandidateChecks()
    labels: LabelChecks = LabelChecks()
