"""In what order a persona is asked: its queue of comparisons, of which any number is a prefix of any larger number.

    prompts_per_persona: 2, per_persona_prompt: 1, five prompts with three comparisons each; a persona's prompts by hash: p4 p1 p0 p3 p2
    place   0      1      2      3      4      5      …  9      10  …
            p4.0   p1.0   p0.0   p3.0   p2.0   p4.1      p2.1   p4.2       p4.0: of the comparisons of p4 the one with the lowest hash

`comparisons` alone asks about the first places (here two). A recipe with a target goes further: the further prompts, then further
comparisons of the same prompts. A place is empty where a prompt has fewer comparisons, or is not for this persona.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.schemas.checks import Comparisons
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.splits import HALVES

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def ranks(draws: NDArray[np.uint64], allowed: Bools) -> NDArray[np.int32]:
    """personas × prompts: the how manieth of its prompts, by draw, each is for a persona; those it may not see come after all others."""
    order = np.argsort(np.where(allowed, draws, np.uint64(2**64 - 1)), axis=1, kind="stable")
    found = np.empty(draws.shape, dtype=np.int32)
    np.put_along_axis(found, order, np.arange(draws.shape[1], dtype=np.int32)[None, :], axis=1)
    return found


def start(settings: Comparisons, prompts: int) -> int:
    """How far in its queue each persona is asked by `comparisons` alone, with so many prompts in all."""
    return min(settings.prompts_per_persona or prompts, prompts) * settings.per_persona_prompt


def places(rank: Ints, which: Ints, settings: Comparisons, prompts: int) -> Ints:
    """Place in the queue of comparison number `which` of a prompt with this rank; both broadcast."""
    base = settings.per_persona_prompt
    found: Ints = np.where(which < base, rank * base + which, prompts * which + rank)
    return found


@dataclass(frozen=True)
class Groups:
    """Who is in which group: `codes` (personas × halves of the prompts) has the group's index, -1 for none; `order` is by hash."""

    names: list[str]
    codes: Ints
    order: Ints

    @classmethod
    def of(cls, counted: pl.DataFrame, ids: Sequence[str], seed: int) -> "Groups":
        """From dataset.outcomes.members, for personas in this order."""
        names = counted["group"].unique().sort().to_list()
        row, column = ({name: place for place, name in enumerate(values)} for values in (ids, names))
        codes = np.full((len(ids), len(HALVES)), -1, dtype=np.int64)
        for persona_id, half, group in counted.iter_rows():
            codes[row[persona_id], HALVES.index(half)] = column[group]
        return cls(names, codes, np.argsort(draw(seed, "target", keys(ids)), kind="stable"))

    def personas(self, group: int) -> Ints:
        """Its personas, by hash."""
        found: Ints = self.order[(self.codes[self.order] == group).any(axis=1)]
        return found

    def limits(self, quotas: Mapping[str, tuple[int, int]], base: int) -> Ints:
        """personas × halves: how far each queue is asked, by group -> (turns, more), and `base` where nothing counts."""
        found = np.full(self.codes.shape, base, dtype=np.int64)
        for group, name in enumerate(self.names):
            turns, more = quotas[name]
            mine = self.codes == group
            found[mine] = turns
            ahead = np.zeros(len(mine), dtype=np.bool_)
            ahead[self.personas(group)[:more]] = True
            found[mine & ahead[:, None]] += 1
        return found


@dataclass(frozen=True)
class Queues:
    """The queues of all personas, and how far each is asked."""

    rank: NDArray[np.int32]  # personas × prompts
    allowed: Bools
    halves: Ints  # of the prompts, as places in HALVES
    limits: Ints  # personas × halves
    settings: Comparisons

    def picked(self, prompt: int, draws: NDArray[np.uint64]) -> Bools:
        """personas × the comparisons of a prompt, given their draws: who is asked about which."""
        which = np.argsort(np.argsort(draws, axis=1, kind="stable"), axis=1)
        place = places(self.rank[:, [prompt]].astype(np.int64), which, self.settings, self.rank.shape[1])
        mine: Bools = self.allowed[:, [prompt]] & (place < self.limits[:, [self.halves[prompt]]])
        return mine
