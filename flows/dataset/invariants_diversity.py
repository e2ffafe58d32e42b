"""What must hold of a dataset whose recipe asks for diversity: computed again from its vectors, without the code that chose.

diversity({"personas": …, "embeddings": …, "rejected": …}, recipe)  ->  Check("diversity", "no two personas …", problems=[])
"""

import json

import numpy as np
import polars as pl

from prefloom.flows.dataset.invariants import Check
from prefloom.flows.diversity.grid import Grid, cosines, on_grid
from prefloom.flows.diversity.near import near_duplicates
from prefloom.schemas.diversity import Diversity

_ALL_PAIRS = 20_000  # rows all of whose pairs are looked at; of more, those that the index finds
_BLOCK = 2048
_KEYS = {"personas": "persona_id", "prompts": "prompt_id", "candidates": "candidate_id"}


def diversity(data: dict[str, pl.DataFrame], wanted: Diversity) -> Check:
    """No near-duplicates are left, those that went say what they repeat, and as many were chosen as the recipe says."""
    check = Check("diversity", "no two personas, prompts or answers to a prompt are as near as their threshold; the chosen are counted")
    for table, key in _KEYS.items():
        settings = getattr(wanted, table)
        rows, gone = data[table], data["rejected"].filter(pl.col("stage") == table)
        repeats = gone.filter(pl.col("reason") == "near_duplicate")
        chosen_away = gone.filter(pl.col("reason") == "less_diverse")
        if settings is None:
            check.expect(repeats.is_empty() and chosen_away.is_empty(), f"{table} were left out without being asked to be diverse")
            continue
        near = _near_pairs(data, table, settings.near_duplicate)
        check.expect(not near, f"{near} {table} are as near to another as {settings.near_duplicate:g}")
        known = {*rows[key], *chosen_away["row_id"]}
        strays = repeats.filter(~pl.col("duplicate_of").is_in(list(known)).fill_null(value=False))
        check.expect(strays.is_empty(), f"{strays.height} near-duplicates among rejected {table} repeat nothing that is there")
        count = getattr(settings, "count", None)
        check.expect(count in (None, rows.height), f"{rows.height} {table}, the recipe says {count}")
        check.expect(count is not None or chosen_away.is_empty(), f"{table} were chosen without a count")
    if wanted.candidates:
        away = _elsewhere(data)
        check.expect(not away, f"{away} near-duplicates among rejected candidates answer another prompt than what they repeat")
    return check


def _near_pairs(data: dict[str, pl.DataFrame], table: str, threshold: float) -> int:
    """Rows that are near an earlier one: of the table, or for candidates of the same prompt."""
    vectors = data["embeddings"].filter(pl.col("table") == table).select("row_id", "vector")
    groups = data[table].select(
        pl.col(_KEYS[table]).alias("row_id"), pl.col("prompt_id") if table == "candidates" else pl.lit("").alias("prompt_id")
    )
    rows = groups.join(vectors, on="row_id", maintain_order="left").sort("prompt_id", maintain_order=True)
    if rows.is_empty():
        return 0
    grid = on_grid(np.array(rows["vector"].to_list(), dtype=np.float16))
    ends = np.cumsum(rows.group_by("prompt_id", maintain_order=True).len()["len"].to_numpy())
    return sum(_near(part, threshold) for part in np.split(grid, ends[:-1]))


def _near(grid: Grid, threshold: float) -> int:
    if len(grid) > _ALL_PAIRS:
        return int((near_duplicates(grid, threshold).of >= 0).sum())
    found = 0
    for start in range(0, len(grid), _BLOCK):
        stop = min(start + _BLOCK, len(grid))
        likeness = cosines(grid[start:stop], grid[:stop])
        found += int((np.tril(likeness >= threshold, start - 1)).any(axis=1).sum())
    return found


def _elsewhere(data: dict[str, pl.DataFrame]) -> int:
    homes = dict(data["candidates"].select("candidate_id", "prompt_id").iter_rows())
    repeats = data["rejected"].filter((pl.col("stage") == "candidates") & (pl.col("reason") == "near_duplicate"))
    return sum(homes.get(first, "") != _home(row) for first, row in repeats.select("duplicate_of", "row").iter_rows())


def _home(row: str | None) -> str | None:
    """The prompt that a rejected answer answers; None for a row that is not there or cannot be read."""
    try:
        return str(json.loads(row or "")["prompt_id"])
    except (ValueError, KeyError, TypeError):
        return None
