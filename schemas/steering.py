"""What makes the answers to one prompt differ, beside models and samples: views that a model lists first, and people to write for.

candidates: {source: models, models: [scholar], views: {model: scholar, count: 4}}
candidates: {source: models, models: [scholar], steer: {personas: 2}}
"""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from prefloom.schemas.section import Count, Section


class AskedViews(Section):
    """Viewpoints that a model lists for each prompt, before anybody answers it."""

    model: str = Field(description="Who lists them: a name from `models`")
    count: int = Field(default=4, ge=1, le=64, description="Distinct views per prompt; every model answers in each of them")
    temperature: float = Field(default=0.9, ge=0, le=5, description="Sampling temperature of the list")
    max_tokens: Count = Field(default=512, description="Longest list, in tokens of the model")
    template: str = Field(default="candidate/views", description="Template that asks for the list")


class Steering(Section):
    """Personas that answers are written for, other ones for each prompt."""

    personas: int = Field(
        ge=1, le=1000, description="Personas of the training split per prompt, chosen by hash; every model writes for each"
    )
    template: str = Field(default="candidate/steered", description="Template that puts the task and the persona to a model")


def _how(value: Any) -> str:
    return "asked" if isinstance(value, dict | AskedViews) else "listed"


Listed = Annotated[list[str | None], Field(min_length=1), Tag("listed")]
Views = Annotated[Listed | Annotated[AskedViews, Tag("asked")], Discriminator(_how)]
