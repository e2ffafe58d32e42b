"""What can be switched off in a recipe, one row of an ablation each: overrides as `prefloom build --set` takes them.

    rows(recipe)   ->  [Row("full", ()), Row("without checks.labels.min_margin", ("checks.labels.min_margin=0.0",)), …, Row("nothing", …)]

A step that chooses some of many (diversity.personas, diversity.prompts) is replaced by chance, not by all there are: its sources are asked
for as many rows as it would have left.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from prefloom.schemas.recipe import Recipe

FULL, NOTHING = "full", "nothing"
# Place in a recipe -> its value when it is off. What a recipe does not have, or has off, gives no row.
SWITCHES: dict[str, Any] = {
    "checks.candidates.refused": False,
    "checks.candidates.truncated": False,
    "checks.candidates.min_latin_share": 0.0,
    "checks.candidates.instructions": False,
    "checks.candidates.markdown": True,
    "checks.candidates.min_words": None,
    "checks.candidates.max_words": None,
    "checks.labels.length_only": False,
    "checks.labels.min_mass": 0.0,
    "checks.labels.min_consistency": 0.0,
    "checks.labels.min_margin": 0.0,
    "checks.labels.orders": "centred",
    "checks.labels.coverage": None,
    "checks.labels.min_confidence": None,
    "checks.labels.intransitive": "keep",
    "checks.labels.max_residual": None,
    "diversity.personas": None,
    "diversity.prompts": None,
    "diversity.candidates": None,
    "pilot": None,
    "agreement": None,
    "refinement": None,
    "judgements.adaptive": None,
}
GROUPS = {"checks.candidates": "all checks of answers", "checks.labels": "all checks of labels", "diversity": "all diversity steps"}


class Row(NamedTuple):
    """One variant of a recipe."""

    name: str
    overrides: tuple[str, ...]


def rows(recipe: Recipe) -> list[Row]:
    """The recipe as it is, without each of its steps, without each group of several, and without any."""
    off = dict(_switched_off(recipe))
    groups = {title: [name for name in off if name.startswith(f"{place}.")] for place, title in GROUPS.items()}
    return [
        Row(FULL, ()),
        *(Row(f"without {name}", overrides) for name, overrides in off.items()),
        *(Row(f"without {title}", _all(off, names)) for title, names in groups.items() if len(names) > 1),
        *([Row(NOTHING, _all(off, [*off]))] if len(off) > 1 else []),
    ]


def _all(off: dict[str, tuple[str, ...]], names: list[str]) -> tuple[str, ...]:
    return tuple(override for name in names for override in off[name])


def _switched_off(recipe: Recipe) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name of a step -> the overrides that switch it off."""
    tree = recipe.model_dump(mode="json")
    for place, off in SWITCHES.items():
        value = _look(tree, place)
        if value is not None and value != off:
            chosen = _by_chance(tree, place.removeprefix("diversity."), value) if place.startswith("diversity.") else ()
            yield place, (_set(place, off), *chosen)
    if len(templates := recipe.judgements.templates) > 1:
        yield "paraphrased templates", (_set("judgements.templates", templates[:1]),)


def _by_chance(tree: dict[str, Any], table: str, value: dict[str, Any]) -> tuple[str, ...]:
    """Counts that make the sources of a table give as many rows as a diversity step would have left, in the shares that they have now."""
    sources, wanted = tree.get(table), value.get("count")
    if wanted is None or not isinstance(sources, list):
        return ()
    counts = [source.get("count") for source in sources]
    if len(sources) == 1:
        return (_set(f"{table}.0.count", wanted),) if counts[0] is None or counts[0] > wanted else ()
    known = sum(count for count in counts if count)
    if None in counts or known <= wanted:
        return ()
    return tuple(_set(f"{table}.{i}.count", math.ceil(wanted * count / known)) for i, count in enumerate(counts))


def _set(place: str, value: Any) -> str:
    return f"{place}={json.dumps(value)}"


def _look(node: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
