"""Comparisons on which the types of attribute users disagree, and how many of them there are to be.

    {source: attributes, types: {kind: {warmth: 1}, brief: {length: -1}}, conflict: 0.75}     per_prompt: 3
    ->  of all comparisons chosen three quarters are ones on which `kind` and `brief` would choose differently

The choices of a type are those of its weights, without noise and flips. A pair that leaves a type undecided is not taken. How many of each
prompt's comparisons are in conflict is settled for all prompts at once: the share is spread evenly over the prompts, those that have too
few such pairs are made up for by others, and where even that does not do, comparisons of the plentiful kind are given up. The share that
comes out differs from the one asked for by less than one comparison. Within a prompt and a kind, pairs are drawn by hash.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset.standards import Standardised
from prefloom.flows.steps.utilities import Ints, log_odds
from prefloom.schemas.ensembles import AttributePersonas
from prefloom.schemas.ids import draw, keys

Pairs = dict[str, list[tuple[str, str]]]  # prompt -> its pairs of answers, in order ab


class Kinds(NamedTuple):
    """Pairs by prompt: those on which the types disagree, and those on which they agree."""

    conflicting: Pairs
    agreeing: Pairs


def kinds(answers: dict[str, list[str]], source: AttributePersonas, scores: Standardised) -> Kinds:
    """All pairs of each prompt's answers that no type is undecided about; answers stand by id."""
    weights = scores.weights(list((source.types or {}).values()))
    found = Kinds({}, {})
    for prompt_id, ids in answers.items():
        one, other = np.triu_indices(len(ids), 1)
        place = scores.places(pl.Series(ids, dtype=pl.String))
        whole = np.array([row >= 0 and bool(scores.known[row][(weights != 0).any(axis=0)].all()) for row in place], dtype=np.bool_)
        signs = np.sign(log_odds(weights, scores.steps, place[one], place[other]))
        decided = (signs != 0).all(axis=0) & whole[one] & whole[other]
        alike = (signs == signs[:1]).all(axis=0)
        for pairs, wanted in ((found.conflicting, decided & ~alike), (found.agreeing, decided & alike)):
            pairs[prompt_id] = [(ids[one[k]], ids[other[k]]) for k in np.flatnonzero(wanted)]
    return found


def allot(conflicting: Ints, agreeing: Ints, most: int, share: float, order: Ints) -> tuple[Ints, Ints]:
    """How many pairs of each kind each prompt gives, `most` at most, so that `share` of all are in conflict; `order` of giving way.

    allot([3, 0, 3], [3, 3, 3], most=2, share=.5, order=[0, 1, 2])   ->   ([2, 0, 1], [0, 2, 1])
    """
    total = np.minimum(conflicting + agreeing, most)
    low, high = np.maximum(total - agreeing, 0), np.minimum(total, conflicting)
    edges = np.floor(share * np.concatenate([[0], np.cumsum(total[order])]) + 0.5).astype(np.int64)
    even = np.empty_like(total)
    even[order] = np.diff(edges)
    mine = np.clip(even, low, high)
    wanted = int(edges[-1])
    short = wanted - int(mine.sum())
    room = (high - mine) if short > 0 else (mine - low)
    mine = mine + np.sign(short) * _dealt(room, abs(short), order)
    others = total - mine
    left = wanted - int(mine.sum())
    if left > 0:  # too few conflicts in the world: fewer agreeing pairs
        keep = int(np.floor(mine.sum() * (1 - share) / share + 0.5))
        others = others - _dealt(others, int(others.sum()) - keep, order)
    elif left < 0:
        keep = int(np.floor(others.sum() * share / (1 - share) + 0.5))
        mine = mine - _dealt(mine, int(mine.sum()) - keep, order)
    return mine, others


def _dealt(room: Ints, count: int, order: Ints) -> Ints:
    """`count` taken from the prompts in rounds, one from each that has room, in the given order."""
    taken = np.zeros_like(room)
    while count > 0 and (open_ := order[taken[order] < room[order]]).size:
        taken[open_[:count]] += 1
        count -= min(count, open_.size)
    return taken


def chosen_pairs(found: Kinds, source: AttributePersonas, most: int, seed: int) -> dict[str, dict[tuple[str, str], float]]:
    """Prompt -> pair -> the chance that it had among the pairs of its kind, for every prompt."""
    assert source.conflict is not None
    prompts = sorted(found.conflicting)
    sizes = [np.array([len(pairs[name]) for name in prompts], dtype=np.int64) for pairs in found]
    order = np.argsort(draw(seed, "allot", keys(prompts)), kind="stable")
    counts = allot(sizes[0], sizes[1], most, source.conflict, order)
    result: dict[str, dict[tuple[str, str], float]] = {name: {} for name in prompts}
    for pairs, size, count in zip(found, sizes, counts, strict=True):
        for place, name in enumerate(prompts):
            for which in _lowest(pairs[name], int(count[place]), seed):
                result[name][pairs[name][which]] = float(count[place] / size[place])
    return result


def _lowest(pairs: list[tuple[str, str]], count: int, seed: int) -> NDArray[np.int64]:
    numbers = draw(seed, "pair", keys(a for a, _ in pairs), keys(b for _, b in pairs)) if pairs else np.zeros(0, np.uint64)
    return np.argsort(numbers, kind="stable")[:count]
