"""How alike the texts of a dataset are, from its `embeddings` table: what they are worth, strategy by strategy, trait by trait.

    placed = load(store, data)                 ->  {"personas": Placed(rows, grid, of=200), …}; empty without such a table
    mine = pairs(placed["candidates"])         ->  one row per two answers to one prompt: prompt_id, first, second, cosine, …
    by_strategy(mine)                          ->  [Alike("same model, same view", pairs=187, mean=Share(0.81, …), median=0.84, …), …]
    explained(placed["personas"].grid, ages)   ->  0.04: what knowing the age says about where a text lies

Cosines are exact (flows/diversity/grid.py). Of a large table an even sample is looked at, so that a million rows take no longer than some
thousands; `Placed.of` says of how many.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.statistics import Dataset, Floats, Share, ratio
from prefloom.flows.dataset.store import Store
from prefloom.flows.diversity.grid import SCALE, Grid, cosines, on_grid
from prefloom.flows.diversity.measure import plane, vendi
from prefloom.schemas.embedding import Embedding

IDS = {"personas": "persona_id", "prompts": "prompt_id", "candidates": "candidate_id"}
MOST, MOST_ANSWERS, OF_A_PROMPT = 5_000, 10_000, 48  # personas or prompts, answers, and answers of one prompt that are looked at
MOST_VALUES = 50  # a trait with more values explains everything and nothing
_WEIGHED = 200  # prompts whose own Vendi score is reckoned
_UNRELATED = 2_000  # pairs of answers to different prompts
ACROSS = "answers to different prompts"


class Placed(NamedTuple):
    """Rows of a table, sorted by id (answers by prompt and id), the (n, d) grid of their vectors, and how many rows the table has."""

    rows: pl.DataFrame
    grid: Grid
    of: int


class Alike(NamedTuple):
    """How alike two answers to one prompt are: `mean` over prompts with its interval, and the prompts' own means, sorted by prompt."""

    name: str
    pairs: int
    mean: Share
    median: float
    means: Floats


def load(store: Store, data: Dataset) -> dict[str, Placed]:
    """The rows of each table with their vectors."""
    answers = data.candidates.sort("prompt_id", "candidate_id").filter(pl.int_range(pl.len()).over("prompt_id") < OF_A_PROMPT)
    some = _even(answers["prompt_id"].unique(maintain_order=True), answers.height, MOST_ANSWERS)
    frames = {
        "personas": data.personas.filter(pl.col("persona_id").is_in(_even(data.personas["persona_id"].sort(), data.personas.height, MOST))),
        "prompts": data.prompts.filter(pl.col("prompt_id").is_in(_even(data.prompts["prompt_id"].sort(), data.prompts.height, MOST))),
        "candidates": answers.filter(pl.col("prompt_id").is_in(some)),
    }
    sizes = {"personas": data.personas.height, "prompts": data.prompts.height, "candidates": data.candidates.height}
    ids, grid = _vectors(store, pl.concat(frame.select(pl.col(IDS[name]).alias("row_id")) for name, frame in frames.items()))
    place = dict(zip(ids, range(len(ids)), strict=True))
    placed = {}
    for name, frame in frames.items():
        rows = frame.filter(pl.col(IDS[name]).is_in(ids)).sort(["prompt_id"] * (name == "candidates") + [IDS[name]])
        placed[name] = Placed(rows, grid[[place[row] for row in rows[IDS[name]]]], sizes[name])
    return placed if ids else {}


def _even(units: pl.Series, rows: int, most: int) -> list[str]:
    """Every n-th of the units, so that of `rows` at most about `most` are taken."""
    return units.gather_every(max(1, -(-rows // most))).to_list() if rows else []


def _vectors(store: Store, wanted: pl.DataFrame) -> tuple[list[str], Grid]:
    """Ids and vectors of the wanted rows. One part at a time: the whole table may be larger than the memory."""
    ids: list[str] = []
    grids = []
    for name in store.list("embeddings/part-*.parquet"):
        part = tables.read(store, name, Embedding, ["row_id", "vector"]).filter(pl.col("row_id").is_in(wanted["row_id"].to_list()))
        if part.height:
            ids += part["row_id"].to_list()
            grids.append(on_grid(part["vector"].explode(empty_as_null=False).to_numpy().reshape(part.height, -1)))
    return ids, np.concatenate(grids) if grids else np.zeros((0, 0), np.int16)


def pairs(answers: Placed, left: Sequence[str] = ()) -> pl.DataFrame:
    """Every two answers to one prompt: prompt_id, first and second (places in `answers`), cosine, same_model, same_view, stay.

    `left` names answers that a later stage left out; `stay` says whether both are still there.
    """
    first, second, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for start, stop in _spans(answers):
        upper, lower = np.triu_indices(stop - start, 1)
        block = answers.grid[start:stop]
        first.append(start + upper)
        second.append(start + lower)
        found.append(cosines(block, block)[upper, lower])
    i, j = np.concatenate(first), np.concatenate(second)
    model, view = (answers.rows[name].fill_null("").rank("dense").to_numpy() for name in ("model", "view"))
    stays = ~answers.rows["candidate_id"].is_in(list(left)).to_numpy()
    columns = {"first": i, "second": j, "cosine": np.concatenate(found).astype(np.float64)}
    kinds = {"same_model": model[i] == model[j], "same_view": view[i] == view[j], "stay": stays[i] & stays[j]}
    return pl.DataFrame({"prompt_id": answers.rows["prompt_id"].gather(i)} | columns | kinds)


def by_strategy(mine: pl.DataFrame, views: bool = True) -> list[Alike]:
    """How alike answers are that differ in nothing but chance, in view, in model, in both; then all. Without `views`, by model alone."""
    model, view = pl.col("same_model"), pl.col("same_view")
    kinds = {
        "same model, same view": model & view,
        "same model, other view": model & ~view,
        "other model, same view": ~model & view,
        "other model, other view": ~model & ~view,
    }
    kinds = kinds if views else {"same model": model, "other model": ~model}
    kinds |= {"all answers to a prompt": pl.lit(True)}
    if not mine["stay"].all():
        kinds["after the pilot"] = pl.col("stay")
    return [_alike(name, mine.filter(hit)) for name, hit in kinds.items()]


def _alike(name: str, some: pl.DataFrame) -> Alike:
    means = some.group_by("prompt_id").agg(pl.col("cosine").mean()).sort("prompt_id")["cosine"].to_numpy()
    return Alike(name, some.height, ratio(means, np.ones(len(means))), float(np.median(means)) if len(means) else float("nan"), means)


def across(answers: Placed) -> Alike:
    """The same of two answers to different prompts: what an encoder gives texts that have little in common. Here a pair is a unit."""
    prompt = answers.rows["prompt_id"].to_numpy()
    other = np.roll(np.arange(len(prompt)), len(prompt) // 2)
    places = np.flatnonzero(prompt != prompt[other])
    places = places[:: max(1, -(-len(places) // _UNRELATED))]
    found = [cosines(answers.grid[[i]], answers.grid[[other[i]]])[0, 0] for i in places]
    return _alike(ACROSS, pl.DataFrame({"prompt_id": places, "cosine": np.array(found, np.float64)}))


def of_one_prompt(answers: Placed) -> tuple[float, float]:
    """(mean Vendi score of a prompt's answers, mean number of them), over an even sample of prompts; nan without answers."""
    spans = _spans(answers)
    scores = [(vendi(answers.grid[start:stop]), stop - start) for start, stop in spans[:: max(1, -(-len(spans) // _WEIGHED))]]
    return (float(np.mean([score for score, _ in scores])), float(np.mean([n for _, n in scores]))) if scores else (float("nan"),) * 2


def _spans(answers: Placed) -> list[tuple[int, int]]:
    """Where the answers of each prompt begin and end."""
    starts = np.unique(answers.rows["prompt_id"].to_numpy(), return_index=True)[1].tolist()
    return list(zip(starts, [*starts[1:], len(answers.grid)], strict=True)) if starts else []


def explained(grid: Grid, values: pl.Series) -> float:
    """Share of the spread of vectors that is between the values of a trait (adjusted: chance alone gives 0); nan where that means nothing.

    values  (n,) strings, null where a row has none: those rows do not count
    """
    known = values.is_not_null().to_numpy()
    codes: NDArray[np.int64] = values.drop_nulls().rank("dense").to_numpy().astype(np.int64) - 1
    n, k = len(codes), len(set(codes.tolist()))
    if not 1 < k < min(n, MOST_VALUES + 1):
        return float("nan")
    rows = grid[known].astype(np.float64)
    rows -= rows.mean(axis=0)
    total = float((rows**2).sum())
    member = np.eye(k)[codes]
    between = float((((member.T @ rows) ** 2).sum(axis=1) / member.sum(axis=0)).sum())
    return 1 - (1 - between / total) * (n - 1) / (n - k) if total else float("nan")


def flat(grid: Grid) -> tuple[Floats, tuple[float, float]]:
    """((n, 2) principal components, share of all spread along each); shares of 0 where there is no plane."""
    points = plane(grid)
    total = float(((grid - grid.mean(axis=0)) ** 2).sum()) / SCALE**2 if len(grid) > 2 else 0.0
    if not total:
        return points, (0.0, 0.0)
    first, second = (float(share) for share in (points**2).sum(axis=0) / total)
    return points, (first, second)
