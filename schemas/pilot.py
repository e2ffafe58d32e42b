"""What the pilot found of one pair of answers, before everybody is asked. Example row:

{"comparison_id": "c1…", "prompt_id": "9f0c…", "first_id": "41be…", "second_id": "77a0…", "distance": 0.31, "gap": -0.42,
 "disagreement": 1.73, "persona_ids": ["5d1c…", …], "margins": [0.81, …], "biases": [0.35, …]}
"""

from pydantic import Field

from prefloom.schemas.record import Record


class PilotPair(Record):
    """Two answers that may be compared, and what a few readers made of them."""

    comparison_id: str = Field(description="Content id of the unordered pair of candidates, as in comparisons")
    prompt_id: str = Field(description="The prompt both candidates answer")
    first_id: str = Field(description="Candidate with the smaller id")
    second_id: str = Field(description="The other candidate")
    distance: float = Field(description="1 - cosine of the two answers' vectors")
    gap: float | None = Field(description="General quality of the first less that of the second, in log-odds; null if it was not asked for")
    disagreement: float | None = Field(
        description="Variance of people's log-odds about this pair, noise removed; null if fewer than two read it"
    )
    strength: float | None = Field(
        description="Mean square of people's log-odds about this pair, noise removed; null if fewer than two read it"
    )
    persona_ids: list[str] = Field(description="Who read it in both orders")
    margins: list[float] = Field(description="Their mean log-odds for the first candidate, over both orders")
    biases: list[float] = Field(description="Their mean log-odds for whichever candidate was shown first")
