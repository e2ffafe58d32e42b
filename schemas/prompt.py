"""A prompt: the task put to the models. Example row:

{"prompt_id": "9f0c…", "text": "How do I wrap a present neatly?", "domain": "everyday", "source": "seeds",
 "source_id": null, "scope": "global", "trait": null, "trait_value": null, "parents": [], "split": "train"}
"""

from pydantic import Field

from prefloom.schemas.record import Record


class Prompt(Record):
    """A task. Its id is the hash of its text alone, so a corrected domain costs no model call."""

    prompt_id: str = Field(description="Content id of the text")
    text: str = Field(description="The task as a model reads it")
    domain: str = Field(description="Topic, as given by its source")
    source: str = Field(description="Where it came from: seeds, file, entities, augmented or specific")
    source_id: str | None = Field(description="The id it had in the user's file")
    scope: str = Field(default="global", description="global, or specific: only personas with its trait_value are asked")
    trait: str | None = Field(default=None, description="Trait that a specific prompt belongs to")
    trait_value: str | None = Field(default=None, description="The value of that trait")
    parents: list[str] = Field(default=[], description="prompt_ids of the seeds that a model was shown when it wrote the prompt")
    split: str = Field(description="train, validation or test, by hash of prompt_id")
