"""Splits: who and what a model may see when. Personas and prompts are split by hash of their id; a label's split follows.

             prompt: train          validation   test
    persona
    train            train          validation   test_new_prompts
    validation       validation     validation   (never asked)
    test             test_new_personas  (never asked)  test_new_both

The two empty cells would let a choice made on `validation` meet a test persona or a test prompt, so nothing is asked there.
"""

import polars as pl

from prefloom.schemas.ids import draw, keys, unit

HALVES = ("train", "validation", "test")
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


def cells() -> pl.DataFrame:
    """The table above as rows (persona_split, prompt_split, split); a cell that is never asked has no row."""
    rows = [(persona, prompt, split) for (persona, prompt), split in CELLS.items()]
    return pl.DataFrame(rows, schema=["persona_split", "prompt_split", "split"], orient="row")
