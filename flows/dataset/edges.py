"""Pairs at the edge of a threshold, so that a person can judge it: the most alike of those that stay, the least alike of those that go.

    nearest(placed.grid, 0.85)         ->  for every row its most alike earlier row below 0.85: first, second, cosine
    edge(frame, largest=True)          ->  the five rows of it with the largest cosines, no text in two of them
    removed(store, "prompts")          ->  the five near-duplicates of rejected/ that were the least alike: row_id, row, cosine, …
    left_out(store, "prompts")         ->  the five others of rejected/ that were most like a row that stays: row_id, row, cosine, beside

A rejected near-duplicate says in its `detail` how near it was: "cosine 0.9640 …".
"""

from typing import Any

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.flows.diversity.grid import Grid, cosines
from prefloom.schemas.label import Rejected

SHOWN = 5
_BLOCK = 2048
_LEFT_OUT = r"^cosine (-?\d\.\d+) .* with the nearest that was chosen, (\w+)$"
_PAIR = {"first": pl.Int64, "second": pl.Int64, "cosine": pl.Float64}


def nearest(grid: Grid, limit: float, above: bool = False) -> pl.DataFrame:
    """For every row of (n, d) the most alike of the earlier ones below `limit`; or, with `above`, the least alike that reaches it."""
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(grid), _BLOCK):
        block = cosines(grid[start : start + _BLOCK], grid[: start + _BLOCK])
        earlier = np.arange(block.shape[1])[None, :] < start + np.arange(len(block))[:, None]
        wanted = earlier & ((block >= limit) if above else (block < limit))
        off = np.where(wanted, np.abs(block - np.float32(limit)), np.float32(np.inf))
        for row, place in enumerate(off.argmin(axis=1).tolist()):
            if wanted[row, place]:
                found.append((place, start + row, float(block[row, place])))
    return pl.DataFrame(found, _PAIR, orient="row")


def edge(frame: pl.DataFrame, largest: bool) -> pl.DataFrame:
    """The SHOWN pairs (first, second, cosine, perhaps prompt_id) with the largest or smallest cosines, each of other texts and prompts."""
    seen: set[int | str] = set()
    chosen: list[dict[str, Any]] = []
    for row in frame.sort("cosine", "first", "second", descending=[largest, False, False]).iter_rows(named=True):
        names = {row["prompt_id"]} if "prompt_id" in row else {row["first"], row["second"]}
        if not names & seen and len(chosen) < SHOWN:
            chosen.append(row)
            seen |= names
    return pl.DataFrame(chosen, schema=frame.schema)


def removed(store: Store, stage: str) -> pl.DataFrame:
    """row_id, duplicate_of, cosine and row (JSON) of the near-duplicates that reached the threshold by least. One file at a time."""
    cosine = pl.col("detail").str.extract(r"^cosine (-?\d\.\d+)").cast(pl.Float64).alias("cosine")
    found = [pl.DataFrame(schema=dict.fromkeys(("row_id", "duplicate_of", "row"), pl.String) | {"cosine": pl.Float64})]
    for name in store.list(f"rejected/{stage}-*.parquet"):
        part = tables.read(store, name, Rejected, ["reason", "row_id", "duplicate_of", "row", "detail"])
        near = part.filter(pl.col("reason") == "near_duplicate").select("row_id", "duplicate_of", "row", cosine).drop_nulls()
        found.append(near.sort("cosine", "row_id").head(SHOWN))
    return pl.concat(found).sort("cosine", "row_id").head(SHOWN)


def left_out(store: Store, stage: str) -> pl.DataFrame:
    """row_id, row (JSON), cosine and `beside` (the chosen row nearest to it) of what a choice left out: no near-duplicates, but near."""
    names = {"row_id": pl.String, "row": pl.String, "cosine": pl.Float64, "beside": pl.String}
    near = pl.col("detail").str.extract(_LEFT_OUT, 1).cast(pl.Float64).alias("cosine")
    found = [pl.DataFrame(schema=names)]
    for name in store.list(f"rejected/{stage}-*.parquet"):
        part = tables.read(store, name, Rejected, ["reason", "row_id", "row", "detail"]).filter(pl.col("reason") == "less_diverse")
        part = part.select("row_id", "row", near, pl.col("detail").str.extract(_LEFT_OUT, 2).alias("beside")).drop_nulls()
        found.append(part.sort("cosine", "row_id", descending=[True, False]).head(SHOWN))
    return pl.concat(found).sort("cosine", "row_id", descending=[True, False]).head(SHOWN)


def rejected_rows(store: Store, stage: str, ids: list[str]) -> pl.DataFrame:
    """row_id and row (JSON) of rejected rows by id: what a near-duplicate repeats may have gone for another reason later."""
    names = store.list(f"rejected/{stage}-*.parquet") if ids else []
    parts = [tables.read(store, name, Rejected, ["row_id", "row"]).filter(pl.col("row_id").is_in(ids)) for name in names]
    return pl.concat([pl.DataFrame(schema={"row_id": pl.String, "row": pl.String}), *parts]).drop_nulls()
