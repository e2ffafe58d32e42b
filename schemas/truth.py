"""What is planted in one person of a society. Example row of data/truth/<society>/people.parquet:

{"persona_id": "5d1c…", "cluster": 3, "weights": [0.1724, -0.0403, …]}
"""

from pydantic import Field

from prefloom.schemas.record import Record


class PlantedPerson(Record):
    """Who really prefers what. No stage of a build reads it."""

    persona_id: str = Field(description="Content id of the description")
    cluster: int = Field(description="Camp that the person was drawn from")
    weights: list[float] = Field(
        description="Weights of a utility: 20 properties, 6 bends, 8 hidden numbers (flows/engines/society/utility.py)"
    )
