"""A prompt: the task put to the models. Example row:

{"prompt_id": "9f0c…", "text": "How do I wrap a present neatly?", "domain": "everyday", "source": "seeds",
 "source_id": null, "split": "train"}
"""

from pydantic import Field

from prefloom.schemas.record import Record


class Prompt(Record):
    """A task. Its id is the hash of its text alone, so a corrected domain costs no model call."""

    prompt_id: str = Field(description="Content id of the text")
    text: str = Field(description="The task as a model reads it")
    domain: str = Field(description="Topic, as given by its source")
    source: str = Field(description="Where it came from: seeds or file")
    source_id: str | None = Field(description="The id it had in the user's file")
    split: str = Field(description="train, validation or test, by hash of prompt_id")
