"""Judgements (raw reads), labels (their aggregate), preferences (kept labels), and what was rejected.

Worked example, one persona and one comparison, both orders read from one template:

    judgements  order "ab": log_odds  1.9   (for the candidate shown first: a)
                order "ba": log_odds -0.7   (for the candidate shown first: b)
    label       margin = (1.9 + 0.7) / 2 = 1.3 for a, bias = (1.9 - 0.7) / 2 = 0.6 for whoever is first,
                probability = 1 / (1 + exp(-1.3)) = 0.7858, consistency = 1; spread and calibrated are null
    preference  chosen = a, rejected = b, margin = 1.3
"""

from typing import Literal

from pydantic import Field

from prefloom.schemas.comparison import Order
from prefloom.schemas.record import Record


class Judgement(Record):
    """One reading of one comparison for one persona."""

    persona_id: str = Field(description="For whom it was read")
    comparison_id: str = Field(description="What was compared")
    prompt_id: str = Field(description="The prompt of the comparison")
    order: Order = Field(description="'ab' if the candidate with the smaller id was shown first")
    template: str = Field(description="Template that put the question")
    repeat: int = Field(description="Index among equal readings")
    model: str = Field(description="Judge, as named in the recipe")
    log_odds: float = Field(description="log P(first) - log P(second), for the candidates as shown; on a grid of 1e-4")
    mass: float = Field(description="Probability that the judge gave to the two letters together")


class Label(Record):
    """What one persona prefers in one comparison, from all its judgements."""

    persona_id: str = Field(description="Who prefers")
    comparison_id: str = Field(description="What was compared")
    prompt_id: str = Field(description="The prompt of the comparison")
    candidate_a: str = Field(description="Candidate with the smaller id")
    candidate_b: str = Field(description="The other candidate")
    margin: float = Field(description="Mean log-odds for a over templates and both orders")
    probability: float = Field(description="1 / (1 + exp(-margin)): how likely the persona is to prefer a")
    bias: float = Field(description="Mean log-odds for whichever candidate was shown first")
    mass: float = Field(description="Smallest mass among its judgements")
    consistency: float = Field(description="Share of templates whose two orders agree once the template's mean bias is removed")
    agreement: float = Field(description="Share of templates whose two orders name the same answer as they stand, bias and all")
    confidence: float = Field(
        description="How sure the sign of the margin is, in shrunk log-odds; ranks labels, below 0 the sign is doubted"
    )
    judgements: int = Field(description="Number of judgements it stands on")
    spread: float | None = Field(default=None, description="Standard deviation of the templates' margins; null for one template")
    calibrated: float | None = Field(default=None, description="The same probability by judgements.calibration; null without one")
    p_generic: float | None = Field(
        default=None, description="Probability that people in general prefer a, both orders averaged; null without"
    )
    split: str = Field(description="train, validation, test_new_prompts, test_new_personas or test_new_both")


class Preference(Record):
    """A label that survived the checks, by ids."""

    persona_id: str = Field(description="Who prefers")
    comparison_id: str = Field(description="What was compared")
    prompt_id: str = Field(description="The prompt of the comparison")
    chosen_id: str = Field(description="Candidate preferred")
    rejected_id: str = Field(description="The other candidate")
    margin: float = Field(description="Log-odds for the chosen candidate, positive")
    probability: float = Field(description="Probability that the chosen candidate is preferred, above one half")
    calibrated: float | None = Field(default=None, description="The same by judgements.calibration; null without one")
    confidence: float = Field(description="The label's confidence")
    p_generic: float | None = Field(
        default=None, description="Probability that people in general prefer the chosen one; null without controls"
    )
    voters: int = Field(description="Personas that have a label on the comparison, kept or not")
    minority_share: float = Field(description="Share of the voters on its smaller side; .3 and more is called contested")
    entropy: float = Field(description="Entropy of the two shares of the voters in nats, from 0 to ln 2 = 0.6931")
    split: str = Field(description="The label's split")


class Rejected(Record):
    """What a check removed or a failure cost. Nothing is thrown away."""

    stage: str = Field(description="Stage that rejected it")
    kind: Literal["check", "failure"] = Field(description="check: read and found wanting; failure: could not be had")
    reason: str = Field(description="Name of the check or of the failure")
    row_id: str = Field(description="Id of the row (for labels and judgements: of the comparison)")
    persona_id: str | None = Field(default=None, description="Persona concerned")
    duplicate_of: str | None = Field(default=None, description="Id of the row it repeats")
    detail: str = Field(description="What was found, for a reader")
    row: str | None = Field(default=None, description="The row as JSON, where it is kept nowhere else")


class Message(Record):
    """One turn of a conversation."""

    role: str = Field(description="system, user or assistant")
    content: str = Field(description="What was said")


class TrlExample(Record):
    """Text view of a preference in TRL's conversational form with explicit prompt."""

    prompt: list[Message] = Field(description="Conversation up to the answer")
    chosen: list[Message] = Field(description="Preferred answer")
    rejected: list[Message] = Field(description="Other answer")
    margin: float = Field(description="Log-odds for the chosen answer")
    persona_id: str = Field(description="Who prefers")
    comparison_id: str = Field(description="What was compared")
