"""What exports show, looked up by id: the texts, people and labels that a preference names, for the checks of every system.

    known = Known(store)
    known.told(rows, known.shard(name))     # rows with persona_id and comparison_id, and beside them asked, good, bad, persona_level, …

A row that names no preference has nulls there, and a null breaks every rule of a check.
"""

import io
import json
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import descriptions
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.exported import RECORDS
from prefloom.schemas.label import Preference
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt

AT_ONCE = 16_384  # rows looked at together
PAIR = ["persona_id", "comparison_id"]
IDS = [*PAIR, "prompt_id", "chosen_id", "rejected_id", "split"]


class Known:
    """The preferences of a run, a shard at a time, with what their ids name."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.names = store.list("preferences/part-*.parquet")

    @cached_property
    def answers(self) -> pl.DataFrame:
        """candidate_id, text, model, steered_by."""
        return tables.read(self.store, "candidates/part-*.parquet", Candidate, ["candidate_id", "text", "model", "steered_by"])

    @cached_property
    def prompts(self) -> pl.DataFrame:
        """prompt_id, asked, domain_of, prompt_split."""
        rows = tables.read(self.store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text", "domain", "split"])
        return rows.rename({"text": "asked", "domain": "domain_of", "split": "prompt_split"})

    @cached_property
    def people(self) -> pl.DataFrame:
        """persona_id, persona_split, persona_kind, persona_text, and persona_level and persona_number as FSPO calls and counts users."""
        rows = tables.read(self.store, "personas/part-*.parquet", Persona, ["persona_id", "split", "kind", "source", "traits"])
        value = pl.col("traits").list.first().struct.field("value")
        single = ((pl.col("source") == "template") & (pl.col("traits").list.len() == 1)).all() & (value.n_unique() == pl.len())
        return rows.join(descriptions(self.store), on="persona_id", maintain_order="left").select(
            "persona_id",
            pl.when(single).then(value).otherwise("persona_id").alias("persona_level"),
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("persona_number"),
            pl.col("description").alias("persona_text"),
            pl.col("split").alias("persona_split"),
            pl.col("kind").alias("persona_kind"),
        )

    def shard(self, name: str) -> pl.DataFrame:
        """One part of the preferences, by ids."""
        return tables.read(self.store, name, Preference, IDS)

    def told(self, rows: pl.DataFrame, preferences: pl.DataFrame) -> pl.DataFrame:
        """Rows with persona_id and comparison_id, and beside them what their preference names, or nulls.

        Of the answers: good and bad, with _model, and _level, _number and _text of the persona that each was written for.
        """
        mine = preferences.join(rows.select(PAIR).unique(), on=PAIR, how="semi").rename({"split": "split_of"})
        mine = mine.join(self.prompts, on="prompt_id").join(self.people, on="persona_id")
        for side, text in (("chosen_id", "good"), ("rejected_id", "bad")):
            answers = self.answers.rename({"text": text, "model": f"{text}_model", "steered_by": f"{text}_by"})
            named = ("level", "number", "text")
            writers = self.people.select(
                pl.col("persona_id").alias(f"{text}_by"), *(pl.col(f"persona_{x}").alias(f"{text}_{x}") for x in named)
            )
            mine = mine.join(answers, left_on=side, right_on="candidate_id").join(writers, on=f"{text}_by", how="left")
        return rows.join(mine, on=PAIR, how="left", suffix="_of", maintain_order="left")


def stream(store: Store, name: str, at_once: int = AT_ONCE) -> Iterator[pl.DataFrame]:
    """A Parquet file, some rows at a time; none for a file that is not there."""
    if not store.exists(name):
        return
    record = next(record for place, record in RECORDS.items() if name.startswith(f"{place}/"))
    with store.open(name) as file, pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(at_once, columns=list(record.model_fields)):
            rows = pl.from_arrow(batch)
            assert isinstance(rows, pl.DataFrame)
            yield rows


def lines(store: Store, name: str) -> Iterator[pl.DataFrame]:
    """A file of JSON lines, some at a time."""
    with store.open(name) as file:
        while block := b"".join(islice(file, AT_ONCE)):
            yield pl.read_ndjson(io.BytesIO(block))


def said(store: Store, name: str) -> dict[str, Any]:
    """A small JSON file that should be there; nothing for one that is not."""
    found = json.loads(store.read(name)) if store.exists(name) else {}
    return found if isinstance(found, dict) else {}
