"""A persona: a simulated user. Example row:

{"persona_id": "5d1c…", "description": "A retired nurse from Europe who wants every detail spelled out.",
 "traits": [{"name": "length", "value": "long"}], "source": "grid", "source_id": null, "split": "train",
 "kind": "judge", "weights": [], "alpha": null, "noise": 0.0, "flips": 0.0}
"""

from typing import Literal

from pydantic import Field

from prefloom.schemas.record import Record


class Trait(Record):
    """One trait of a persona."""

    name: str = Field(description="Name of the trait")
    value: str = Field(description="Its value")


class Weight(Record):
    """What one reward is to a persona."""

    name: str = Field(description="Name of the reward")
    value: float = Field(description="How much its standardised score counts, on a grid of 1e-6")


class Persona(Record):
    """Who judges. Judges see the description and nothing else of it; personas with weights decide by them."""

    persona_id: str = Field(description="Content id of the description")
    description: str = Field(description="What a judge reads about this persona")
    traits: list[Trait] = Field(description="Traits the description was made from; empty if it came from a file")
    source: str = Field(description="Where it came from: grid, template, file, society, written, ensemble or attributes")
    source_id: str | None = Field(description="The id it had in the user's file")
    split: str = Field(description="train, validation or test, by hash of persona_id or by a trait")
    kind: Literal["judge", "ensemble", "attributes"] = Field(
        default="judge", description="Who decides: a judge that reads the description, or the weights"
    )
    weights: list[Weight] = Field(default=[], description="Weights over standardised rewards, by name; of an ensemble they sum to 1")
    alpha: float | None = Field(default=None, description="Parameter of the Dirichlet distribution that the weights were drawn from")
    noise: float = Field(default=0.0, description="Temperature of its choices by Bradley and Terry; 0: always the better answer")
    flips: float = Field(default=0.0, description="Share of its choices that are turned round by chance")
