"""Rows of the exports, as the systems they are for name their columns. Example row of FSPO's pairs:

{"prompt": "Why is the sky blue?", "response_x": "Light …", "response_y": "Air …", "label": 0, "scorer_level": "child", …}

`record_of("exports/fspo/pairs/train/part-00000.parquet")` is the record of a file. Files of other kinds than Parquet have none, and
PersonalLLM's table has as many columns as the recipe has rewards.
"""

from typing import Annotated

import pyarrow as pa
from pydantic import Field

from prefloom.schemas.label import TrlExample
from prefloom.schemas.record import Record

Letter = Annotated[int, pa.int8()]


class ScorePersona(Record):
    """Who prefers, as FSPO's table has it."""

    persona_uuid: str = Field(description="persona_id")
    persona_description: str = Field(description="The description, refined where it was")


class FspoRoleplay(Record):
    """A preference in the layout that FSPO's `get_roleplay` reads."""

    level: str = Field(description="Who prefers: its level where it has one, else persona_id")
    x: str = Field(description="The prompt")
    yw: str = Field(description="Preferred answer")
    yl: str = Field(description="Other answer")
    score_persona: ScorePersona = Field(description="Who prefers, in words")
    comparison_id: str = Field(description="What was compared")


class FspoPair(Record):
    """A preference in the layout that FSPO's `get_elix` and `get_review` read."""

    prompt: str = Field(description="The prompt")
    response_x: str = Field(description="One answer")
    response_y: str = Field(description="The other")
    label: int = Field(description="0: response_x is preferred, 1: response_y")
    scorer_level: str = Field(description="Who prefers: its level where it has one, else persona_id")
    level_x: str | None = Field(description="The same of whom response_x was written for; null: for nobody in particular")
    level_y: str | None = Field(description="The same for response_y")
    scorer_level_id: int = Field(description="Number of the persona from 1, in the order of the table personas")
    level_id_x: int | None = Field(description="The same of whom response_x was written for")
    level_id_y: int | None = Field(description="The same for response_y")
    model_name_x: str = Field(description="Model that wrote response_x")
    model_name_y: str = Field(description="Model that wrote response_y")
    det_choice: int = Field(description="As label")
    persona_id: str = Field(description="Who prefers")
    comparison_id: str = Field(description="What was compared")


class FspoSft(Record):
    """A few-shot example for the first stage of FSPO's training."""

    prompt: str = Field(description="Shots, task and question, in FSPO's bytes")
    completion: str = Field(description="Heading and answer; the end-of-text token is the trainer's to add")
    persona_id: str = Field(description="Who prefers")
    comparison_id: str = Field(description="The comparison that is asked about")
    shots: list[str] = Field(description="comparison_ids of the shots, in their order")


class FspoIpo(Record):
    """The same few-shot example for the second stage."""

    prompt: str = Field(description="Shots, task and question, in FSPO's bytes")
    chosen: str = Field(description="Completion with the preferred answer")
    rejected: str = Field(description="Completion with the other")
    persona_id: str = Field(description="Who prefers")
    comparison_id: str = Field(description="The comparison that is asked about")
    shots: list[str] = Field(description="comparison_ids of the shots, in their order")


class ClientPreference(Record):
    """A preference as one client of a federation holds it."""

    client_id: str = Field(description="The client: persona_id")
    held_out: bool = Field(description="Whether the persona is of no training split, so that its client takes no part in training")
    split: str = Field(description="train, val or test, by the prompt")
    prompt_id: str = Field(description="The prompt")
    pair_id: str = Field(description="comparison_id")
    task: str = Field(description="Domain of the prompt")
    prompt: str = Field(description="Text of the prompt")
    response_a: str = Field(description="Answer shown first")
    response_b: str = Field(description="Answer shown second")
    choice: Letter = Field(description="0: response_a is better, 1: response_b")
    is_swapped: bool = Field(description="Whether response_a is the candidate with the larger id")
    label_source: str = Field(description="Who labelled: judge, ensemble or attributes")
    label_confidence: float = Field(description="The label's confidence")
    label_prob_ab: float = Field(description="Probability that response_a is preferred, read with it first")
    label_prob_ba: float = Field(description="The same, read with it second")
    gen_model_a: str = Field(description="Model that wrote response_a")
    gen_model_b: str = Field(description="Model that wrote response_b")
    gen_params_a: str = Field(description="View, sample, temperature and seed of response_a, as JSON")
    gen_params_b: str = Field(description="The same for response_b")


RECORDS: dict[str, type[Record]] = {
    "exports/trl": TrlExample,
    "exports/fspo/roleplay": FspoRoleplay,
    "exports/fspo/pairs": FspoPair,
    "exports/fspo/sft": FspoSft,
    "exports/fspo/ipo": FspoIpo,
    "exports/fedbiscuit/clients": ClientPreference,
}


def record_of(path: str) -> type[Record] | None:
    """The record of a Parquet file among the exports; None for a file of another kind."""
    return next((record for place, record in RECORDS.items() if path.startswith(f"{place}/") and path.endswith(".parquet")), None)


def wide_schema(answers: int, rewards: list[str]) -> pa.Schema:
    """PersonalLLM's columns: 3 + answers * (2 + rewards), 99 for eight answers and ten rewards."""
    fields = [pa.field("prompt", pa.string()), pa.field("subset", pa.string()), pa.field("prompt_id", pa.int64())]
    for i in range(1, answers + 1):
        fields += [pa.field(f"response_{i}", pa.string()), pa.field(f"response_{i}_model", pa.string())]
        fields += [pa.field(f"response_{i}_{reward}", pa.float64()) for reward in rewards]
    return pa.schema(fields)
