"""A candidate: one answer to one prompt. Example row:

{"candidate_id": "41be…", "prompt_id": "9f0c…", "text": "Lay the present face down …", "model": "scholar",
 "view": "a numbered list of steps", "sample": 0, "temperature": 0.9, "seed": 1, "finish_reason": "stop",
 "source": "models", "steered_by": null}
"""

from pydantic import Field

from prefloom.schemas.ids import content_id
from prefloom.schemas.record import Record


class Candidate(Record):
    """One answer, with the model, view and sampling settings it came from (null where imported answers do not say)."""

    candidate_id: str = Field(description="Content id of prompt, model, view, sample, text and, if there is one, steered_by")
    prompt_id: str = Field(description="The prompt it answers")
    text: str = Field(description="The answer")
    model: str = Field(description="Model that wrote it, as named in the recipe or the imported file")
    view: str | None = Field(description="Viewpoint or style it was asked to take")
    sample: int = Field(description="Index among the answers of this model and view")
    temperature: float | None = Field(description="Sampling temperature")
    seed: int | None = Field(description="Sampling seed")
    finish_reason: str | None = Field(description="Why the model stopped")
    source: str = Field(description="models if generated, file if imported")
    steered_by: str | None = Field(default=None, description="persona_id it was written for; null if for nobody in particular")


def candidate_id(prompt_id: str, model: str, view: str | None, sample: int, text: str, steered_by: str | None = None) -> str:
    """The id of an answer: of what it says and how it came about. Who it was written for counts where there is somebody."""
    return content_id("candidate", prompt_id, model, view, sample, text, *([steered_by] if steered_by else []))
