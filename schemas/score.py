"""Scores of answers, and what makes the scores of different rewards comparable. Example rows:

scores     {"candidate_id": "41be…", "prompt_id": "9f0c…", "reward": "thrift", "score": 2.3071}
standards  {"reward": "thrift", "sign": 1, "mean": 0.412, "sd": 1.08, "answers": 3200}       ->   z = 1 * (2.3071 - 0.412) / 1.08
"""

from pydantic import Field

from prefloom.schemas.record import Record


class Score(Record):
    """What one reward model makes of one answer."""

    candidate_id: str = Field(description="The answer")
    prompt_id: str = Field(description="The prompt it answers")
    reward: str = Field(description="Reward, as named in the recipe")
    score: float = Field(description="Its raw score, on a grid of 1e-4; only standardised scores (table standards) are ever weighed")


class Standard(Record):
    """How the scores of one reward are made comparable with others: (score - mean) / sd * sign."""

    reward: str = Field(description="Reward, as named in the recipe")
    sign: int = Field(description="-1 where less is better")
    mean: float = Field(description="Mean score over the answers to train prompts, and no others")
    sd: float = Field(description="Their standard deviation; 0 where all scores are equal, then every standardised score is 0")
    answers: int = Field(description="How many answers these are of")
