"""How many kept preferences each group is to have: a section of a recipe, and what every round of asking was planned to do.

    target: {preferences: 5000, group: camp, budget: 20000}

    {"round": 2, "group": "warm", "personas": 31, "asked": 1240, "kept": 871, "rejected": [{"reason": "undecided", "labels": 214}, …],
     "quota": 7302, "turns": 235, "more": 17}

Of 1240 labels that group "warm" was asked for in round 1, 871 were kept; in round 2 its personas are asked until 7302 were asked for. Each
of its 31 personas has a queue of comparisons: all go to place 235 of theirs, the first 17 of them one place further.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from prefloom.schemas.record import Record
from prefloom.schemas.section import Count, Section

Split = Literal["train", "validation", "test_new_prompts", "test_new_personas", "test_new_both"]


def _once_each(splits: list[Split]) -> list[Split]:
    if len(set(splits)) < len(splits):
        raise ValueError("a split stands there twice")
    return splits


class Target(Section):
    """How many preferences each group shall have after all checks, and how much may be asked for that."""

    preferences: Count = Field(description="Kept preferences that each group shall have at least; none above it is thrown away")
    budget: Count = Field(description="Labels that a group is asked for at most, kept or not; what `comparisons` says is asked in any case")
    group: str = Field(
        default="all", min_length=1, description="What makes a group: all, split, persona, kind (who decides), or the name of a trait"
    )
    splits: Annotated[list[Split], AfterValidator(_once_each)] = Field(
        default=["train"],
        min_length=1,
        description="Splits that count and that more is asked for; the others get what `comparisons` says",
    )
    rounds: int = Field(default=6, ge=1, le=50, description="Times that is asked at most, the first included")


class Loss(Record):
    """What one check or failure took from a group."""

    reason: str = Field(description="Name of the check or of the failure")
    labels: int = Field(description="How many it took")


class Quota(Record):
    """What one round is to ask of one group, and what the rounds before it came to."""

    round: int = Field(description="1 for what `comparisons` says, then 2, 3, …")
    group: str = Field(description="The group: all, a split, a persona's id, who decides, or the value of a trait")
    personas: int = Field(description="Personas that are in it")
    asked: int = Field(description="Labels that it had been asked for before this round")
    kept: int = Field(description="Preferences among them")
    rejected: list[Loss] = Field(description="What became of the others, the largest loss first")
    quota: int | None = Field(description="Labels it is asked for by the end of this round; null in round 1, where `comparisons` says")
    turns: int = Field(description="How far in its queue of comparisons each persona of the group is asked")
    more: int = Field(description="How many of them, by hash, are asked one place further")
