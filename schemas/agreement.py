"""How much people should disagree about the answers to a prompt: a section of a recipe, and what was found in each round of answers.

    agreement: {low: 0.2, readers: 12, pairs: 3, rounds: 2}

    {"prompt_id": "9f0c…", "round": 0, "disagreement": 0.1364, "strength": 2.41, "action": "regenerated", "stays": false, "answers": 6,
     "candidate_ids": ["41be…", …], "first_ids": ["41be…", …], "second_ids": ["77a0…", …], "persona_ids": ["5d1c…", …],
     "margins": [0.81, …]}

Labels are 0 and 1. Two people disagree by the mean of |label - label| over the comparisons that both read, a prompt by the mean over every
two of its readers. Where n people split evenly, n / (2 (n - 1)) of the pairs among them differ: .5455 for twelve, and never more.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.record import Record
from prefloom.schemas.section import Count, Section, Share


class UserBounds(Section):
    """How far one person may be from the others; who is beyond is listed in the report, and stays."""

    low: Share = Field(default=0.2, description="Least mean disagreement of a persona with the others")
    high: Share = Field(default=0.8, description="Largest mean disagreement of a persona with the others")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self


class Agreement(Section):
    """Bounds for how much people disagree about a prompt's answers; what is outside is answered anew, in a few recorded rounds."""

    low: Share = Field(default=0.2, description="Least disagreement of a prompt's readers")
    high: Share = Field(default=1.0, description="Largest disagreement of a prompt's readers; 1: none is too large")
    readers: int = Field(default=12, ge=2, le=10_000, description="People of the training split who read some of a prompt's answers")
    pairs: Count = Field(default=3, description="Pairs of a prompt's answers that they read, in both orders")
    rounds: int = Field(default=2, ge=0, le=20, description="Times that a prompt is answered anew at most; 0 measures only")
    users: UserBounds = UserBounds()

    @property
    def most(self) -> float:
        """The largest disagreement there can be: an even split of all readers on every pair."""
        half = self.readers // 2
        return 2 * half * (self.readers - half) / (self.readers * (self.readers - 1))

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.low > self.most or self.most < self.high < 1:
            name, value = ("low", self.low) if self.low > self.most else ("high", self.high)
            raise ValueError(
                f"{name} {value:g}, but {self.readers} readers who split evenly disagree by {self.most:.4f}, and never by more"
            )
        return self

    def off(self, disagreement: float | None) -> float:
        """How far a disagreement is outside the bounds; 0 inside, and farther than any if it could not be measured."""
        return 2.0 if disagreement is None else round(max(self.low - disagreement, disagreement - self.high, 0.0), 4)


class Draft(Record):
    """One round of answers to one prompt, and what some people made of them. A reading is one entry in each of the last four columns."""

    prompt_id: str = Field(description="The prompt")
    round: int = Field(description="0 for the first answers, then 1, 2, … for those made anew")
    disagreement: float | None = Field(description="Mean disagreement of every two readers; null if no two read the same pair")
    strength: float | None = Field(description="Mean |log-odds| of the readings; null without any")
    action: Literal["kept", "regenerated", "gave_up"] = Field(description="Inside the bounds; answered anew; outside, and no round is left")
    stays: bool = Field(description="Whether the dataset has the answers of this round")
    answers: int = Field(description="Answers that were asked for")
    candidate_ids: list[str] = Field(description="Those that passed the checks")
    first_ids: list[str] = Field(description="What was read: the candidate with the smaller id")
    second_ids: list[str] = Field(description="What was read: the other candidate")
    persona_ids: list[str] = Field(description="Who read it, in both orders")
    margins: list[float] = Field(description="Mean log-odds for the first candidate, over both orders")
