"""Preferences with what they are about, for the exports: texts are read once per shard and joined a row group at a time.

    sources = Sources.of(store)
    for rows in sources.groups(preferences):        # 40 MB of text or less at a time, in the order of the preferences
        rows["prompt"], rows["chosen"], rows["rejected"], rows["description"], rows["level"], …

`level` is what FSPO calls a user: where all personas come from templates with one trait, its value ("positive+concise"), and else
persona_id.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import descriptions
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt

COLUMNS = ["persona_id", "comparison_id", "prompt_id", "chosen_id", "rejected_id", "margin", "confidence", "split"]  # that exports read
GROUP = 40 << 20  # bytes of text in a row group: what a reader, or the Hub's viewer, has to hold at a time
MAP = {"train": "train", "validation": "val", "test": "test"}  # our halves, as the federated and the neural loaders call them


@dataclass(frozen=True)
class Sources:
    """What preferences name by id."""

    people: pl.DataFrame  # persona_id, persona_split, kind, description, level, level_id
    prompts: pl.DataFrame  # prompt_id, prompt, domain, prompt_split
    answers: pl.DataFrame  # rows of Candidate

    @classmethod
    def of(cls, store: Store) -> "Sources":
        """Read them from a run."""
        personas = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "split", "kind", "source", "traits"])
        people = personas.join(levels(personas), on="persona_id").join(descriptions(store), on="persona_id")
        prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text", "domain", "split"])
        return cls(
            people.drop("source", "traits").rename({"split": "persona_split"}),
            prompts.rename({"text": "prompt", "split": "prompt_split"}),
            tables.read(store, "candidates/part-*.parquet", Candidate),
        )

    def joined(self, preferences: pl.DataFrame) -> pl.DataFrame:
        """Rows of Preference with their texts, in the same order."""
        return (
            preferences.join(self.prompts, on="prompt_id", how="left", maintain_order="left")
            .join(self.people, on="persona_id", how="left", maintain_order="left")
            .join(self._sides["chosen"], on="chosen_id", how="left", maintain_order="left")
            .join(self._sides["rejected"], on="rejected_id", how="left", maintain_order="left")
        )

    def groups(self, preferences: pl.DataFrame, size: int = GROUP) -> Iterator[pl.DataFrame]:
        """The same, as many rows at a time as have `size` bytes of text."""
        for rows in self.slices(preferences, size):
            yield self.joined(rows)

    def slices(self, preferences: pl.DataFrame, size: int = GROUP) -> Iterator[pl.DataFrame]:
        """Rows of Preference, cut where their texts come to `size` bytes."""
        if not preferences.height:
            return
        texts = [
            (self.prompts, "prompt_id", "prompt_id", "prompt"),
            (self.people, "persona_id", "persona_id", "description"),
            *((self.answers, side, "candidate_id", "text") for side in ("chosen_id", "rejected_id")),
        ]
        total = np.zeros(preferences.height, np.int64)
        for frame, column, key, text in texts:
            lengths = frame.select(pl.col(key).alias(column), pl.col(text).str.len_bytes().cast(pl.Int64).alias("bytes"))
            total += preferences.select(column).join(lengths, on=column, how="left", maintain_order="left")["bytes"].to_numpy()
        group = (np.cumsum(total) - total) // size
        edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), preferences.height]
        for first, last in pairwise(edges):
            yield from preferences[first:last].iter_slices(tables.ROW_GROUP)

    @cached_property
    def _sides(self) -> dict[str, pl.DataFrame]:
        return {side: self._side(side) for side in ("chosen", "rejected")}

    def _side(self, side: str) -> pl.DataFrame:
        made = self.people.select(pl.col("persona_id").alias("steered_by"), "level", "level_id", "description")
        return self.answers.join(made, on="steered_by", how="left").select(
            pl.col("candidate_id").alias(f"{side}_id"),
            pl.col("text").alias(side),
            pl.col("model").alias(f"{side}_model"),
            pl.col("level").alias(f"{side}_level"),
            pl.col("level_id").alias(f"{side}_level_id"),
            pl.col("description").alias(f"{side}_description"),
            pl.struct("view", "sample", "temperature", "seed", "steered_by").struct.json_encode().alias(f"{side}_params"),
        )


def levels(personas: pl.DataFrame) -> pl.DataFrame:
    """persona_id, level, level_id of rows of Persona: what FSPO's tables call a user, and its number from 1."""
    single = bool((personas["source"] == "template").all() and (personas["traits"].list.len() == 1).all())
    values = personas["traits"].list.first().struct.field("value") if single and personas.height else personas["persona_id"]
    if values.n_unique() < len(values):  # two users under one name would be one user
        values = personas["persona_id"]
    numbers = pl.int_range(1, personas.height + 1, dtype=pl.Int64, eager=True)
    return pl.DataFrame([personas["persona_id"], values.alias("level"), numbers.alias("level_id")])


def sides(preferences: pl.DataFrame, index: int = 0) -> NDArray[np.int64]:
    """Where the preferred answer of each row stands: 0 first, 1 second. Half of each, over the rows and over those of a persona, by chance.

    `index` tells files apart, so that what is odd in them does not add up.
    """
    people = keys(preferences["persona_id"])
    drawn = draw(0, "export/sides", people, keys(preferences["comparison_id"]))
    places = np.empty(len(people), np.int64)
    places[np.lexsort((drawn, people))] = np.arange(len(people))
    return (places + index) % 2


def sided(side: NDArray[np.int64], first: str, second: str, columns: dict[str, str]) -> list[pl.Expr]:
    """Columns of `joined` for whoever stands first and second: {"text": ""} -> chosen or rejected as `first` and `second`."""
    is_first = pl.Series(side == 0)
    found = []
    for name, column in columns.items():
        good, bad = f"chosen{column}", f"rejected{column}"
        found += [
            pl.when(is_first).then(good).otherwise(bad).alias(f"{name}{first}"),
            pl.when(is_first).then(bad).otherwise(good).alias(f"{name}{second}"),
        ]
    return found


def write_json(store: Store, name: str, said: dict[str, Any]) -> None:
    """Publish a small JSON file."""
    text = json.dumps(said, indent=1, ensure_ascii=False).encode() + b"\n"
    store.publish(name, lambda file: file.write(text))
