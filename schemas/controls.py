"""Control readings: the judge is told of nobody, of somebody else, or asked once more. Section and limits of a recipe, and rows.

controls: {generic: true, repeats: 0.05, shuffled: 0.05, least: 200}
limits: {signal: {min_reliability: 0.5, min_sensitivity: 0.02}}

Example rows: of people in general; the same persona once more; a comparison of persona 5d1c… read as if it were persona 9b2e…

{"persona_id": "", "read_as": "", "comparison_id": "c1…", "order": "ab", "template": "judge/generic", "repeat": 0, "log_odds": 0.62, …}
{"persona_id": "5d1c…", "read_as": "5d1c…", "comparison_id": "c1…", "order": "ab", "template": "judge/pairwise", "repeat": 1, …}
{"persona_id": "5d1c…", "read_as": "9b2e…", "comparison_id": "c1…", "order": "ab", "template": "judge/pairwise", "repeat": 0, …}
"""

import math
from typing import Self

from pydantic import Field, model_validator

from prefloom.schemas.comparison import Order
from prefloom.schemas.record import Record
from prefloom.schemas.section import Count, Section, Share


class Controls(Section):
    """Readings that show whether the labels are about their personas at all. None of them enters a label."""

    generic: bool = Field(default=True, description="Read every comparison once in both orders for nobody in particular: `p_generic`")
    repeats: Share = Field(default=0.05, description="Share of (persona, comparison) that is read once more, word for word")
    shuffled: Share = Field(default=0.05, description="Share of (persona, comparison) that is read as if it were another persona's")
    least: Count = Field(default=200, description="So many of either at least, where the share is not 0 and there are as many")

    @model_validator(mode="after")
    def _read_something(self) -> Self:
        if not (self.generic or self.repeats or self.shuffled):
            raise ValueError("controls that read nothing; null stands for none")
        return self

    def count(self, share: float, asked: int) -> int:
        """How many of so many (persona, comparison) a share comes to."""
        return min(asked, max(math.ceil(share * asked), self.least)) if share else 0


class SignalLimits(Section):
    """How much of the labels must come from their personas, or the build stops after them; null asks for nothing."""

    min_reliability: float | None = Field(default=None, ge=0, le=1, description="M11: smallest persona-signal reliability of a reading")
    min_sensitivity: float | None = Field(
        default=None, ge=-1, le=1, description="M16: smallest sensitivity to a shuffled persona; needs controls.shuffled"
    )
    min_over_majority: float | None = Field(
        default=None, ge=-1, le=1, description="M15: least by which a reading beats the majority of the others"
    )


class Control(Record):
    """One control reading. It is of nobody if `read_as` is empty, shuffled if that is another persona, else a repetition."""

    persona_id: str = Field(description="For whom it was read; empty if for nobody in particular")
    read_as: str = Field(description="Persona whose description the judge was shown; empty if none")
    comparison_id: str = Field(description="What was compared")
    prompt_id: str = Field(description="The prompt of the comparison")
    order: Order = Field(description="'ab' if the candidate with the smaller id was shown first")
    template: str = Field(description="Template that put the question")
    repeat: int = Field(description="Index among equal readings; 0 is that of `judgements`")
    model: str = Field(description="Judge, as named in the recipe")
    log_odds: float = Field(description="log P(first) - log P(second), for the candidates as shown; on a grid of 1e-4")
    mass: float = Field(description="Probability that the judge gave to the two letters together")
