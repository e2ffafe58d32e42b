"""What is said of each persona to a judge and to a trained model.

descriptions(store)   ->  persona_id, description: one row per persona, "A retired nurse from Europe who wants every detail …"
"""

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.persona import Persona


def descriptions(store: Store) -> pl.DataFrame:
    """persona_id and description of every persona of the dataset."""
    return tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "description"])
