"""What a recipe says about the refinement of personas: what a description cannot decide is decided once, and written into it.

refinement: {comparisons: 4, source: random}
refinement: {comparisons: 6, source: stereotype, model: scribe, contradictions: keep, append: {max_tokens: 60}}

`random` is what FSPO does (arXiv 2502.19312, section 6): a side by chance. `stereotype` is the side to which the judge leans. `planted`
asks the person, which only people of the simulated society can be.
"""

from typing import Literal

from pydantic import Field

from prefloom.schemas.section import Count, Section

Source = Literal["random", "planted", "stereotype"]


class Append(Section):
    """How the sentence is asked for that makes a choice part of the description."""

    template: str = Field(default="persona/append", description="Template that asks for one sentence on what this person prefers")
    max_tokens: Count = Field(default=80, description="Longest sentence, in tokens of the model; a longer one is cut off and refused")


class Refinement(Section):
    """Personas whose descriptions are completed until they decide."""

    comparisons: int = Field(
        default=4, ge=1, le=64, description="Rounds of each persona: comparisons of training prompts that it is not asked to label"
    )
    source: Source = Field(default="random", description="Who chooses where the description cannot tell: chance, the person, or the judge")
    model: str | None = Field(default=None, description="Name from `models` that reads and writes (default: the judge)")
    template: str = Field(default="judge/refine", description="Template with three letters: A, B, or C for cannot tell")
    threshold: float = Field(
        default=0.5, gt=0, le=1, description="Share of C, in the mean of both orders, from which the description cannot tell"
    )
    contradictions: Literal["drop", "keep"] = Field(
        default="drop", description="What becomes of a sentence under which the reader reverses an earlier decision"
    )
    append: Append = Append()
