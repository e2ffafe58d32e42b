"""Who needs no judge: a persona with weights prefers the answer of which its standardised scores, weighed, come to more.

    log_odds(weights, scores.steps, first, second)      ->  personas × comparisons: weighed score of the first less that of the second
    choose(gaps, persona_keys, comparison_keys, …)      ->  the same with the choices drawn, as judgements say it

Weights are whole numbers of 1e-6 and scores of 1e-4, so each sum of products is a whole number below 2**53: the matrix product is exact,
on any machine and in any order.

What a judgement says: its sign is the choice, its size how far apart the answers are for this persona. With noise T a choice is drawn,
P(first) = 1 / (1 + exp(-gap / T)), and the size is |gap| / T; then 1 / (1 + exp(-size)) is how often choices of that size go to the better
answer, which is what `probability` of a label should say. With noise 0 the choice is always the better answer and the size is |gap|,
in standard deviations of a reward. `flips` turn a choice round whatever its size. Both orders say the same: there is no position bias.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import standards, tables
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.dataset.standards import STEP, Standardised
from prefloom.schemas.comparison import ORDERS, Comparison
from prefloom.schemas.ensembles import GRID
from prefloom.schemas.ids import draw, keys, unit
from prefloom.schemas.label import Judgement, Rejected

MODEL = "rewards"  # stands where other judgements name their judge
BLOCK = 1024  # comparisons decided at a time: bounds memory, changes no byte
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Weighing(NamedTuple):
    """Some personas with weights, in the order of their ids."""

    rows: pl.DataFrame
    weights: Floats  # personas × rewards
    noise: Floats
    flips: Floats


def log_odds(weights: Floats, steps: Floats, first: Ints, second: Ints) -> Floats:
    """personas × comparisons: the weighed score of the first answer less that of the second, in standard deviations; exact."""
    whole = np.rint(weights / GRID)
    gaps = whole @ (steps[first] - steps[second]).T
    gaps *= GRID * STEP
    return np.asarray(gaps, dtype=np.float64)


def choose(gaps: Floats, noise: Floats, flips: Floats, personas: NDArray[np.uint64], comparisons: NDArray[np.uint64], seed: int) -> Floats:
    """Log-odds for the first answer as a judgement says them; arrays broadcast, one number of `personas` and `comparisons` for each gap."""
    noisy = bool((noise > 0).any())
    size = np.round(gaps / np.where(noise > 0, noise, 1.0) if noisy else gaps, 4)
    if noisy:
        points = unit(draw(seed, "choice", personas, comparisons))
        first = points < 1 / (1 + np.exp(-np.clip(size, -500, 500)))
        size = np.where(noise > 0, np.where(first, np.abs(size), -np.abs(size)), size)
    if (flips > 0).any():
        size = np.where(unit(draw(seed, "flip", personas, comparisons)) < flips, -size, size)
    return np.asarray(size + 0.0, dtype=np.float64)


def weighing(personas: pl.DataFrame, scores: Standardised) -> Weighing:
    """Those rows of Persona that decide by weights."""
    rows = personas.filter(pl.col("kind") != "judge").sort("persona_id")
    named = [{one["name"]: one["value"] for one in weights} for weights in rows["weights"]]
    return Weighing(rows, scores.weights(named), rows["noise"].to_numpy(), rows["flips"].to_numpy())


def decide(job: ShardJob, personas: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Judgement, rows of Rejected) of this shard's comparisons for the personas that decide by weights, sorted by comparison."""
    store, seed = job.run.store, job.run.resolved.recipe.seed
    if (personas["kind"] == "judge").all():
        return tables.frame(Judgement, []), tables.frame(Rejected, [])
    comparisons = tables.read(store, job.part("comparisons"), Comparison).sort("comparison_id")
    scores = standards.of_run(store, job.part("scores").split("/")[1])
    return decided(comparisons, weighing(personas, scores), scores, seed)


def decided(comparisons: pl.DataFrame, people: Weighing, scores: Standardised, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same from the rows themselves; comparisons stand by id."""
    if not people.rows.height or not comparisons.height:
        return tables.frame(Judgement, []), tables.frame(Rejected, [])
    parts = [*_blocks(comparisons, people, scores, seed)]
    judgements, failures = (pl.concat(frames) for frames in zip(*parts, strict=True))
    return judgements, failures


def _blocks(comparisons: pl.DataFrame, people: Weighing, scores: Standardised, seed: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    who = keys(people.rows["persona_id"])
    for start in range(0, comparisons.height, BLOCK):
        some = comparisons.slice(start, BLOCK)
        first, second = scores.places(some["first_id"]), scores.places(some["second_id"])
        person, comparison = _asked(some, people.rows)
        missing = _missing(people.weights, scores.known, first) | _missing(people.weights, scores.known, second)
        gaps = log_odds(people.weights, scores.steps, np.maximum(first, 0), np.maximum(second, 0))
        lost = missing[person, comparison]
        read = choose(
            gaps[person, comparison], people.noise[person], people.flips[person], who[person], keys(some["comparison_id"])[comparison], seed
        )
        yield (
            _judgements(some, people.rows, person[~lost], comparison[~lost], read[~lost]),
            _failures(some, people.rows, person[lost], comparison[lost]),
        )


def _missing(weights: Floats, known: Mask, places: Ints) -> Mask:
    """personas × comparisons: whether the answer lacks a score that the persona weighs."""
    there = known[np.maximum(places, 0)] & (places >= 0)[:, None]
    if there.all():
        return np.zeros((len(weights), len(places)), dtype=np.bool_)
    lacking: Mask = (weights != 0).astype(np.float64) @ (~there).astype(np.float64).T > 0
    return lacking


def _asked(comparisons: pl.DataFrame, personas: pl.DataFrame) -> tuple[Ints, Ints]:
    """(row of the persona, row of the comparison) of every pair that is asked, by comparison, then persona."""
    rows = personas.select("persona_id").with_row_index("person")
    pairs = comparisons.select("persona_ids").with_row_index("comparison").explode("persona_ids").rename({"persona_ids": "persona_id"})
    found = pairs.join(rows, on="persona_id").select("person", "comparison").sort("comparison", "person")
    return found["person"].to_numpy().astype(np.int64), found["comparison"].to_numpy().astype(np.int64)


def _judgements(comparisons: pl.DataFrame, personas: pl.DataFrame, person: Ints, comparison: Ints, read: Floats) -> pl.DataFrame:
    """Two rows for each pair, order ab and ba one after the other: the same choice, seen from the answer that stands first."""
    person, comparison = np.repeat(person, 2), np.repeat(comparison, 2)
    back = np.arange(len(person)) % 2 == 1
    chosen = personas.select("persona_id", pl.col("kind").alias("template"))[person]
    about = comparisons.select("comparison_id", "prompt_id")[comparison]
    order = pl.Series("order", ORDERS)[back.astype(np.int64)]
    return pl.DataFrame([chosen["persona_id"], about["comparison_id"], about["prompt_id"], order, chosen["template"]]).with_columns(
        pl.lit(0, pl.Int64).alias("repeat"),
        pl.lit(MODEL).alias("model"),
        pl.Series("log_odds", np.where(back, -np.repeat(read, 2), np.repeat(read, 2)) + 0.0),
        pl.lit(1.0).alias("mass"),
    )


def _failures(comparisons: pl.DataFrame, personas: pl.DataFrame, person: Ints, comparison: Ints) -> pl.DataFrame:
    """Both readings of each pair that cannot be decided, as they are counted."""
    ids = personas["persona_id"]
    return tables.frame(
        Rejected,
        [
            Rejected(
                stage="judgements",
                kind="failure",
                reason="unscored",
                row_id=comparisons["comparison_id"][int(place)],
                persona_id=ids[int(who)],
                detail=f"order {order}: an answer lacks the score of a reward that the persona weighs",
            )
            for who, place in zip(person, comparison, strict=True)
            for order in ORDERS
        ],
    )
