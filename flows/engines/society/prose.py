"""The society's files in data/society/, read once.

characters()["scholar"]["judges"]["slope"]  ->  1.6
features()["length"]["likes"]               ->  ["detail", …]
"""

from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

FILES = ("characters.yaml", "features.yaml", "prose.yaml")


def source(name: str) -> str:
    """Text of a file of the society."""
    return (files("prefloom.data") / "society" / name).read_text(encoding="utf-8")


@cache
def characters() -> dict[str, dict[str, dict[str, float]]]:
    """character -> {writes: habits, judges: parameters}."""
    return cast("dict[str, dict[str, dict[str, float]]]", _load("characters.yaml"))


@cache
def features() -> dict[str, dict[str, Any]]:
    """feature -> its scale, its words and the cues that lean towards it or away."""
    return cast("dict[str, dict[str, Any]]", _load("features.yaml"))


@cache
def sentences() -> dict[str, Any]:
    """Banks of sentences by purpose and style."""
    return cast("dict[str, Any]", _load("prose.yaml"))


def _load(name: str) -> Any:
    return yaml.load(source(name), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - the safe loader, in C where it is there
