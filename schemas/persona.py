"""A persona: a simulated user. Example row:

{"persona_id": "5d1c…", "description": "A retired nurse from Europe who wants every detail spelled out.",
 "traits": [{"name": "length", "value": "long"}], "source": "grid", "source_id": null, "split": "train"}
"""

from pydantic import Field

from prefloom.schemas.record import Record


class Trait(Record):
    """One trait of a persona."""

    name: str = Field(description="Name of the trait")
    value: str = Field(description="Its value")


class Persona(Record):
    """Who judges. Judges see the description and nothing else of it."""

    persona_id: str = Field(description="Content id of the description")
    description: str = Field(description="What a judge reads about this persona")
    traits: list[Trait] = Field(description="Traits the description was made from; empty if it came from a file")
    source: str = Field(description="Where it came from: grid, template, file, society or written")
    source_id: str | None = Field(description="The id it had in the user's file")
    split: str = Field(description="train, validation or test, by hash of persona_id or by a trait")
