"""One round of the refinement of one persona. Example row, a description that could not tell:

{"persona_id": "5d1c…", "round": 2, "comparison_id": "c1…", "prompt_id": "9f0c…", "model": "judge", "ab": [-2.11, -1.9, -0.31],
 "ba": [-1.2, -2.6, -0.47], "verdict": "cannot_tell", "choice": "a", "source": "random",
 "sentence": "As a reader, this person likes brevity.", "contradicts": [], "appended": true,
 "description": "A baker from Pune. … As a reader, this person likes brevity.", "margin": 1.31, "holds": true}
"""

from typing import Literal

from pydantic import Field

from prefloom.schemas.record import Record

Side = Literal["a", "b"]


class Refined(Record):
    """What a persona's description decided of one comparison, or what was decided for it and written into it."""

    persona_id: str = Field(description="Whose description it is")
    round: int = Field(description="1 for the first comparison of this persona; a round that failed is missing here and stands in rejected")
    comparison_id: str = Field(description="What was compared: of a training prompt, and never labelled for this persona")
    prompt_id: str = Field(description="The prompt of the comparison")
    model: str = Field(description="Who read and wrote, as named in the recipe")
    ab: list[float] = Field(description="Log-probabilities of A, B and C (cannot tell) with the smaller id shown first; on a grid of 1e-4")
    ba: list[float] = Field(description="The same with the other candidate shown first")
    verdict: Literal["a", "b", "cannot_tell"] = Field(description="What the description before this round says; a has the smaller id")
    choice: Side = Field(description="What was decided")
    source: Literal["description", "random", "planted", "stereotype"] = Field(description="Who decided")
    sentence: str | None = Field(description="What was written, so that a later reader decides alike; null where the description decided")
    contradicts: list[str] = Field(description="Comparisons of earlier rounds whose decision no longer held under the sentence")
    appended: bool = Field(description="Whether the sentence is part of the description from here on")
    description: str = Field(description="The description after this round")
    margin: float | None = Field(
        description="Log-odds for a over b under the description after the last round, mean of both orders; null if it could not be read"
    )
    holds: bool | None = Field(description="Whether that margin still says what was decided; null with it")
