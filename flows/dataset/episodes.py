"""Few-shot episodes: for each preference as the question, others of the same persona as shots. A view, computed from ids and a seed.

    episodes = Episodes(preferences, digest="9f0c…")             # rows of Preference, in the dataset's order
    drawn = episodes.draw(shots=8)                               # Drawn(context (n, 8), targets (n, 1), left_out={"too_few_prompts": 22})
    drawn = episodes.draw(shots=10, targets=20, epoch=3)         # tasks for a neural process: context (n, 10), targets (n, 20)
    kept, fits = fit(sizes, asked, drawn, budget=32_768)         # shots that fit beside the question, which is never cut

Rows are numbers of preferences. All rows of an episode are of one persona and one split and no two of them are about one prompt, so context
and targets share neither a row nor a prompt. Shots of a question of a test split are the persona's labels on other prompts of that split: a
test persona is known by what it says itself, and no text of another split is shown. Which of them is drawn uniformly, without
replacement, by counters (digest, seed, epoch, id of the question, place): no worker, order or other question has a part in it.

Each preference is the question of exactly one episode of an epoch, or it is counted as left out because its persona has labels on too few
other prompts of the split: n = len(targets) + sum(left_out.values()).
"""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.schemas.ids import UInts, draw, keys, unit

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Drawn(NamedTuple):
    """Row numbers of the preferences that make each episode, in the order of their questions."""

    context: Ints  # episodes × shots
    targets: Ints  # episodes × targets; the question first
    left_out: dict[str, int]


class Episodes:
    """What may be drawn from some preferences: those of whole personas, for shots come from nowhere else."""

    def __init__(self, preferences: pl.DataFrame, digest: str, seed: int = 0) -> None:
        self._stage, self._seed = f"episodes/{digest}", seed
        self._persona, self._comparison = keys(preferences["persona_id"]), keys(preferences["comparison_id"])
        prompt = keys(preferences["prompt_id"])
        split = preferences["split"].rank("dense").to_numpy().astype(np.uint64) if preferences.height else np.zeros(0, np.uint64)
        # Sorted, the rows of one persona, split and prompt are a block, and the blocks of one persona and split a pool.
        self._order = np.lexsort((self._comparison, prompt, split, self._persona))
        pool = _starts(self._persona[self._order], split[self._order])
        block = pool | _starts(prompt[self._order])
        self._first = np.flatnonzero(block)  # where each block starts
        self._count = np.diff(np.append(self._first, len(block)))
        opening = np.flatnonzero(pool[self._first])  # first block of each pool
        blocks = np.diff(np.append(opening, len(self._first)))
        self._block, which = np.empty(len(block), np.int64), np.cumsum(pool) - 1
        self._block[self._order] = np.cumsum(block) - 1
        self._opening, self._blocks = np.empty_like(self._block), np.empty_like(self._block)
        self._opening[self._order], self._blocks[self._order] = opening[which], blocks[which]

    def draw(self, shots: int, targets: int = 1, epoch: int = 0, questions: Ints | None = None) -> Drawn:
        """One episode for each of the questions (row numbers; default: all rows) whose persona has enough other prompts in the split."""
        asked = np.arange(len(self._block)) if questions is None else questions
        wanted = shots + targets - 1
        enough = self._blocks[asked] - 1 >= wanted
        rows, counter = asked[enough], np.array([epoch], np.uint64)
        state = draw(self._seed, self._stage, counter, self._persona[rows], self._comparison[rows])
        mine = self._block[rows] - self._opening[rows]
        others = _distinct(state, self._blocks[rows] - 1, wanted)
        blocks = others + (others >= mine[:, None]) + self._opening[rows][:, None]
        within = (unit(_drawn(state, "row", wanted)) * self._count[blocks]).astype(np.int64)
        found = self._order[self._first[blocks] + within]
        short = int((~enough).sum())
        return Drawn(found[:, :shots], np.column_stack([rows, found[:, shots:]]), {"too_few_prompts": short} if short else {})


def fit(sizes: Ints, asked: Ints, drawn: Drawn, budget: int | None, drop: Literal["first", "longest"] = "first") -> tuple[Mask, Mask]:
    """(episodes × shots that stay, episodes that can be had): shots go, the first or the longest of them, until the rest fits the budget.

    `sizes` of each preference as a shot and `asked` of each as a question with its longer completion, in the unit of the budget. Of an
    episode whose question alone is too large nothing fits.
    """
    mask = np.ones(drawn.context.shape, np.bool_)
    if budget is None:
        return mask, np.ones(len(mask), np.bool_)
    room = budget - asked[drawn.targets[:, 0]]
    mine = sizes[drawn.context]
    # The last stand longest: going from the end, or from the shortest, as many as there is room for.
    order = np.argsort(mine, axis=1, kind="stable") if drop == "longest" else np.arange(mine.shape[1])[None, ::-1].repeat(len(mine), axis=0)
    np.put_along_axis(mask, order, np.cumsum(np.take_along_axis(mine, order, axis=1), axis=1) <= room[:, None], axis=1)
    return mask, room >= 0


def _starts(*columns: UInts) -> Mask:
    """Where a row differs from the one before it in any column."""
    found = np.ones(len(columns[0]), np.bool_)
    if len(found):
        found[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return found


def _drawn(state: UInts, what: str, count: int) -> UInts:
    return draw(0, what, state[:, None], np.arange(count, dtype=np.uint64)[None, :])


def _distinct(state: UInts, pool: Ints, count: int) -> Ints:
    """episodes × count different numbers below `pool`, all equally likely (Floyd's sampling; Bentley 1987), in an order by chance."""
    points, found = unit(_drawn(state, "prompt", count)), np.empty((len(state), count), np.int64)
    for place in range(count):
        last = pool - count + place
        found[:, place] = (points[:, place] * (last + 1)).astype(np.int64)
        taken = (found[:, :place] == found[:, place, None]).any(axis=1)
        found[taken, place] = last[taken]
    return np.take_along_axis(found, np.argsort(_drawn(state, "order", count), axis=1, kind="stable"), axis=1)
