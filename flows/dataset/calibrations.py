"""A calibration file as a build uses it: read, held against the recipe and the judge, turned into a column.

    known = load(Path("calibration.json"))                             InputError if it is none
    fits(known, path, [("judge/pairwise", "9f0c…")], adaptive=None)    InputError if it was fitted for other templates, or read otherwise
    expression(known, pl.col("margin"))                                the column `calibrated`

A map that was fitted for another judge, or for other words, is refused: its probabilities would be wrong and look right. Templates are
held against the recipe before anything is asked, the judge once it is known who answers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from prefloom.flows.dataset.inputs import expect_unchanged
from prefloom.flows.dataset.plain import expect_file, read_file
from prefloom.schemas.errors import InputError
from prefloom.schemas.reading import Adaptive, Calibration

_ANOTHER = "one that was fitted for it: `prefloom calibrate` writes it from a dataset of this judge; or no judgements.calibration"
Floats = NDArray[np.float64]


def load(path: Path, sha256: str | None = None) -> Calibration:
    """The file's content. With `sha256` it must still be the file that was resolved."""
    expect_file(path)
    try:
        known = Calibration.model_validate_json(read_file(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(str(path), place, found=str(first["msg"]), expected="a file that `prefloom calibrate` wrote") from None
    if sha256:
        expect_unchanged(path, sha256)
    return known


def fits(known: Calibration, path: str, templates: Sequence[tuple[str, str]], adaptive: Adaptive | None) -> None:
    """InputError unless it was fitted for these templates (name, hash), read as far as here."""
    if [*known.templates] != [*templates]:
        names = ", ".join(name for name, _ in known.templates)
        changed = [name for name, _ in known.templates] == [name for name, _ in templates]
        raise InputError(
            path, "templates", found=f"{names}{' in other words' if changed else ''}, not those of the recipe", expected=_ANOTHER
        )
    if known.adaptive != adaptive:
        found = "other judgements.adaptive than in the recipe" if known.adaptive else "labels that were not read adaptively"
        raise InputError(path, "adaptive", found=found, expected=_ANOTHER)


def expect_judge(known: Calibration, path: str, identity: str) -> None:
    """InputError unless it was fitted for the judge of this identity."""
    if known.judge != identity:
        raise InputError(path, "judge", found=f"{known.judge}, and the judge of the recipe is {identity}", expected=_ANOTHER)


def expression(known: Calibration, margin: pl.Expr) -> pl.Expr:
    """Probability of a by a margin, to 4 digits."""
    odds = known.slope * margin + known.bend * margin.sign() * (1 + margin.abs()).log()
    return (1 / (1 + (-odds).exp())).round(4)


def features(margin: Floats) -> Floats:
    """The two columns that slope and bend weigh."""
    return np.stack([margin, np.sign(margin) * np.log(1 + np.abs(margin))], axis=1)
