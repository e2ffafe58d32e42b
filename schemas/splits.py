"""Splits: who and what a model may see when. Personas and prompts are split by hash of their id; a label's split follows.

             prompt: train          validation   test
    persona
    train            train          validation   test_new_prompts
    validation       validation     validation   (never asked)
    test             test_new_personas  (never asked)  test_new_both

A persona with a trait value that `splits.by_trait` names goes where that says, and not by hash:

    by_trait: {level: {positive: train, concise: train, positive+concise: test}}      of two such traits the one more held out decides

The two empty cells would let a choice made on `validation` meet a test persona or a test prompt, so nothing is asked there.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from prefloom.schemas.ids import draw, keys, unit

Half = Literal["train", "validation", "test"]
HALVES: tuple[Half, ...] = ("train", "validation", "test")
CELLS: dict[tuple[str, str], str] = {
    ("train", "train"): "train",
    ("train", "validation"): "validation",
    ("validation", "train"): "validation",
    ("validation", "validation"): "validation",
    ("train", "test"): "test_new_prompts",
    ("test", "train"): "test_new_personas",
    ("test", "test"): "test_new_both",
}
SPLITS = tuple(dict.fromkeys(CELLS.values()))


def split_of(ids: list[str], validation: float, test: float) -> list[str]:
    """The split of each persona or prompt: a function of its id and the two shares alone."""
    points = unit(draw(0, "split", keys(ids)))
    return ["test" if u < test else "validation" if u < test + validation else "train" for u in points.tolist()]


def persona_splits(
    ids: list[str],
    traits: Sequence[Sequence[Mapping[str, str]]],
    shares: tuple[float, float],
    by_trait: Mapping[str, Mapping[str, Half]],
) -> list[str]:
    """The split of each persona, from its id and its traits (`[{"name": "level", "value": "positive"}]`)."""
    drawn = split_of(ids, *shares)
    return [_placed(mine, by_trait) or split for mine, split in zip(traits, drawn, strict=True)]


def _placed(traits: Sequence[Mapping[str, str]], by_trait: Mapping[str, Mapping[str, Half]]) -> str | None:
    named = {by_trait.get(trait["name"], {}).get(trait["value"]) for trait in traits}
    return next((half for half in reversed(HALVES) if half in named), None)


def cells() -> pl.DataFrame:
    """The table above as rows (persona_split, prompt_split, split); a cell that is never asked has no row."""
    rows = [(persona, prompt, split) for (persona, prompt), split in CELLS.items()]
    return pl.DataFrame(rows, schema=["persona_split", "prompt_split", "split"], orient="row")
