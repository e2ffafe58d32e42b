"""How far a judge is read, and what its margins are worth: `judgements.adaptive`, and the file behind `judgements.calibration`.

judgements: {model: judge, templates: [judge/pairwise, judge/choice, judge/reader], adaptive: {keep: 1.25, spread: 1.0}}

calibration.json   {"version": 1, "slope": 0.31, "bend": 0.42, "judge": "society/rambler-0.65-…", "templates": [["judge/pairwise", …]], …}
                   P(a is preferred) = 1 / (1 + exp(-(slope · margin + bend · sign(margin) · log(1 + |margin|))))

Two numbers, no constant: what is called a is an accident of its id, so exchanging a and b turns p into 1 - p.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prefloom.schemas.section import Count, Section

SURE = 2.0  # standard deviations that make "hardly"
GRID = 1e-4  # of log-odds


class Adaptive(Section):
    """Which (persona, comparison) is read under another template: one that is neither clear nor hopeless yet."""

    first: Count = Field(default=1, description="Templates that everybody reads, in the order of `templates`")
    most: Count | None = Field(default=None, description="Templates that are read at most (default: all of `templates`)")
    keep: float = Field(default=1.25, ge=0, le=100, description="|margin| from which a label is sure enough to be kept")
    spread: float = Field(
        default=1.0, gt=0, le=100, description="Standard deviation of a judge's margins between templates; the audit measures it"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most is not None and self.first > self.most:
            raise ValueError(f"first {self.first} is more than most {self.most}")
        return self

    def edges(self, whole: int, templates: int) -> tuple[int, int]:
        """(keep, near) for a sum of log-odds for a over both orders of so many whole templates, in steps of the grid.

        The mean of all K templates is within 2 standard deviations, 2 · spread · sqrt(1 / k - 1 / K), of the mean of the k that are
        read. A label whose |margin| is farther than that from `keep` is clear, or hopeless. In whole numbers, so that every machine
        finds the same.
        """
        unit = 2 * whole / GRID
        most = min(self.most or templates, templates)
        return round(unit * self.keep), round(unit * SURE * self.spread * math.sqrt(max(1 / whole - 1 / most, 0.0)))

    def enough(self, total: int, whole: int, templates: int) -> bool:
        """Whether more templates could hardly bring |margin| across `keep`, after `whole` of them with a sum of `total`."""
        if not whole:
            return False
        keep, near = self.edges(whole, templates)
        return abs(abs(total) - keep) >= near


class Calibration(BaseModel):
    """A map from a label's margin to the probability that the persona prefers a, and what it was fitted on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = Field(default=1, description="Of this schema")
    slope: float = Field(ge=0, description="Of the log-odds in the margin")
    bend: float = Field(ge=0, description="Of the log-odds in sign(margin) · log(1 + |margin|)")
    judge: str = Field(description="Identity of the judge whose labels they were")
    templates: list[Annotated[tuple[str, str], Field(description="Name and content hash")]] = Field(description="What it was asked with")
    adaptive: Adaptive | None = Field(description="How far it was read")
    dataset: str = Field(description="Name and fingerprint of the dataset")
    split: str = Field(description="Of which the labels were, or `all`")
    gold: str = Field(description="sha256 of the gold file")
    labels: int = Field(ge=1, description="Labels that it was fitted on")
    brier: float = Field(description="Of its own labels, as fitted: the mean square of probability - choice")
    expected_error: float = Field(description="The same: mean distance of probability and accuracy in ten groups")
    raw_brier: float = Field(description="Of the probability as the judge states it")
    raw_expected_error: float = Field(description="The same")
