"""The population a recipe aims at: a table of trait, value and share, one row per value, the shares of a trait summing to 1.

    trait,value,share
    age,young,0.25          read_target(Path("census.csv"))  ->  {"age": {"young": 0.25, "middle": 0.45, "old": 0.3}}
    age,middle,0.45
    age,old,0.3

It is read when a recipe is resolved and stands in the resolved recipe and in the manifest in full, so that whoever has the dataset can see
how far its personas are from what was aimed at.
"""

from pathlib import Path

from prefloom.flows.dataset import inputs
from prefloom.schemas.diversity import Target, unlike_one
from prefloom.schemas.errors import InputError
from prefloom.schemas.recipe import Recipe

_MOST = 10_000  # rows: they stand in the manifest


def with_target(recipe: Recipe) -> Recipe:
    """The recipe with its table of a population read into it. InputError names the row that is wrong."""
    wanted = recipe.diversity and recipe.diversity.personas
    if not recipe.diversity or not wanted or wanted.path is None:
        return recipe
    given = wanted.model_dump() | {"path": None, "target": read_target(Path(wanted.path))}
    personas = type(wanted).model_validate(given)
    return recipe.model_copy(update={"diversity": recipe.diversity.model_copy(update={"personas": personas})})


def read_target(path: Path) -> Target:
    """Trait -> value -> share, in the order of the file."""
    target: Target = {}
    for number, (place, row) in enumerate(inputs.rows(path, ["trait", "value", "share"]), 1):
        if number > _MOST:
            raise InputError(str(path), found=f"more than {_MOST:,} rows", expected="a table of marginals: a row for each value of a trait")
        trait, value = ((row[name] or "").strip() for name in ("trait", "value"))
        if not trait or not value:
            found = "no value" if trait else "no trait"
            raise InputError(str(path), place, found=found, expected="trait, value and share in every row")
        if value in target.setdefault(trait, {}):
            raise InputError(str(path), place, found=f"'{value}' of '{trait}' a second time", expected="one share for each value")
        target[trait][value] = _share(row["share"], path, place)
    if odd := unlike_one(target):
        raise InputError(str(path), f"trait '{odd[0]}'", found=f"shares that sum to {odd[1]:.6g}", expected="shares that sum to 1")
    return target


def _share(text: str | None, path: Path, place: str) -> float:
    try:
        share = float(text or "")
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        found = f"'{text}'" if text else "nothing"
        raise InputError(str(path), f"{place}, column 'share'", found=found, expected="a number from 0 to 1")
    return share
