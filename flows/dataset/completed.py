"""What the refinement of a dataset came to: how often descriptions could tell, and whether what was decided still holds at the end.

    outcome(store)  ->  {"rounds": 96, "told": 0.62, "appended": 34, "contradictions": 3, "holds": Share(0.98, 0.95, 1.0, of=96), …}

FSPO relabels with the final description and does not say how often that agrees with what was decided on the way: `holds` does.
"""

from typing import Any

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.statistics import share
from prefloom.flows.dataset.store import Store
from prefloom.schemas.refined import Refined

_COLUMNS = ["persona_id", "verdict", "source", "contradicts", "appended", "holds"]


def outcome(store: Store) -> dict[str, Any] | None:
    """The figures of the whole table, intervals by resampling personas; None for a dataset without refinement."""
    rows = tables.read(store, "refinements/part-*.parquet", Refined, _COLUMNS)
    if not rows.height:
        return None
    open_ = rows.filter(pl.col("verdict") == "cannot_tell")
    return {
        "rounds": rows.height,
        "personas": rows["persona_id"].n_unique(),
        "told": share(rows, pl.col("verdict") != "cannot_tell", by="persona_id"),
        "source": open_["source"].first() if open_.height else None,
        "appended": int(rows["appended"].sum()),
        "contradictions": int((rows["contradicts"].list.len() > 0).sum()),
        "holds": share(rows.drop_nulls("holds"), pl.col("holds"), by="persona_id"),
        "holds_appended": share(rows.filter("appended").drop_nulls("holds"), pl.col("holds"), by="persona_id"),
    }
