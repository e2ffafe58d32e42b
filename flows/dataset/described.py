"""What is said of each persona to a judge and to a trained model: the refined description where there is one.

descriptions(store)   ->  persona_id, description: one row per persona, "A retired nurse from Europe who wants every detail …"
appended(store)       ->  persona_id, appended: what refinement added to the description of the personas table, "" where nothing
"""

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.persona import Persona
from prefloom.schemas.refined import Refined


def descriptions(store: Store) -> pl.DataFrame:
    """persona_id and description of every persona of the dataset, as the last round of its refinement left it."""
    seeds = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "description"])
    rounds = tables.read(store, "refinements/part-*.parquet", Refined, ["persona_id", "round", "description"])
    return refined(seeds, rounds)


def refined(seeds: pl.DataFrame, rounds: pl.DataFrame) -> pl.DataFrame:
    """The same from rows of Persona and of Refined."""
    last = rounds.sort("persona_id", "round").unique("persona_id", keep="last").select("persona_id", pl.col("description").alias("last"))
    whole = seeds.select("persona_id", "description").join(last, on="persona_id", how="left", maintain_order="left")
    return whole.select("persona_id", pl.coalesce("last", "description").alias("description"))


def appended(store: Store) -> pl.DataFrame:
    """persona_id and what was appended to its description."""
    seeds = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "description"])
    after = descriptions(store).rename({"description": "whole"})
    added = pl.col("whole").str.slice(pl.col("description").str.len_chars()).str.strip_chars()
    return seeds.join(after, on="persona_id", maintain_order="left").select("persona_id", added.alias("appended"))


def read_by_judges(personas: pl.DataFrame) -> pl.DataFrame:
    """Those rows of Persona for whom a judge decides from their description; nothing reads the descriptions of the others."""
    return personas.filter(pl.col("kind") == "judge")
