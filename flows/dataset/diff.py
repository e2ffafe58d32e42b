"""What two datasets have in common and what has changed: `prefloom diff OLD NEW`, and the card of a new version.

diff(Store("data/runs/demo-3b9c…"), Store("data/runs/demo-77ad…"))
->  {"rows": [{"table": "labels", "old": 38863, "new": 48570}], "labels": {"shared": 38863, "turned": 0, "moved": 0, …}, …}

A label is the same one if it is of the same persona and comparison, whose ids are hashes of what they say. It has turned if its sign is
another one. Labels are read a part of the personas at a time, so that memory does not grow with them.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from prefloom.flows.dataset import manifest, similarity, tables
from prefloom.flows.dataset.invariants import GRID, READING
from prefloom.flows.dataset.stages import BY_NAME
from prefloom.flows.dataset.statistics import Dataset
from prefloom.flows.dataset.store import Store
from prefloom.flows.diversity.measure import vendi
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Label
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt

PART = 1_000_000  # labels of either side that are compared at a time
MOST = 20  # changed keys, groups and values of traits that are listed
FEWEST = 20  # shared labels of a group before its share means anything
Found = dict[str, Any]


def diff(old: Store, new: Store) -> Found:
    """All differences, old first. InputError if one of them is no finished dataset."""
    before, after = manifest.load(old), manifest.load(new)
    people = [tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "traits"]) for store in (old, new)]
    counted = pl.concat(_parts(old, new, people, before, after))
    return {
        "old": f"{before.name}-{before.fingerprint}",
        "new": f"{after.name}-{after.fingerprint}",
        "recipe": changes(before.recipe, after.recipe),
        "rows": [
            {"table": name, "unit": BY_NAME[name].unit, "old": _kept(before, name), "new": _kept(after, name)}
            for name in dict.fromkeys([*before.stages, *after.stages])
            if name in BY_NAME
        ],
        "labels": _labels(counted),
        "groups": _groups(counted, people[1]),
        "population": _population(*people),
        "diversity": _diversity(old, new, before, after),
    }


def changes(old: Any, new: Any, place: str = "") -> list[Found]:
    """Keys of two recipes whose values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [row for key in dict.fromkeys([*old, *new]) for row in changes(old.get(key), new.get(key), f"{place}.{key}".strip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [row for i, pair in enumerate(zip(old, new, strict=True)) for row in changes(*pair, f"{place}.{i}")]
    return [] if old == new else [{"key": place, "old": old, "new": new}]


def _kept(found: Manifest, name: str) -> int | None:
    return found.stages[name].kept if name in found.stages else None


def _parts(old: Store, new: Store, people: list[pl.DataFrame], *found: Manifest) -> Iterator[pl.DataFrame]:
    """Per persona: labels of either side and of both, of those turned and moved, and sums over them on the grid of 1e-4."""
    ids = pl.concat(frame["persona_id"] for frame in people).unique().sort()
    most = max(entry.stages["labels"].kept for entry in found)
    parts = -(-most // PART) or 1
    place = shard_of(ids, parts)
    for part in range(parts):
        mine = ids.filter(pl.Series(place == part))
        sides = [
            _read(store, mine).rename({name: f"{side}_{name}" for name in ("margin", "consistency")})
            for store, side in ((old, "old"), (new, "new"))
        ]
        both = sides[0].join(sides[1], on=READING, how="full", coalesce=True)
        shift = (pl.col("new_margin") - pl.col("old_margin")).alias("shift")
        shared = pl.col("old_margin").is_not_null() & pl.col("new_margin").is_not_null()
        yield both.group_by("persona_id").agg(
            pl.col("old_margin").count().alias("old"),
            pl.col("new_margin").count().alias("new"),
            shared.sum().alias("shared"),
            (shared & (pl.col("old_margin").sign() != pl.col("new_margin").sign())).sum().alias("turned"),
            (shared & (pl.col("old_margin") != pl.col("new_margin"))).sum().alias("moved"),
            shift.sum().alias("shift"),
            shift.abs().sum().alias("distance"),
            pl.col("old_consistency").sum(),
            pl.col("new_consistency").sum(),
        )


def _read(store: Store, ids: pl.Series) -> pl.DataFrame:
    """Labels of some personas; margins and consistencies as whole numbers, so that no sum depends on its order."""
    steps = [(pl.col(name) / GRID).round().cast(pl.Int64) for name in ("margin", "consistency")]
    columns = [*READING, "margin", "consistency"]
    files = store.list("labels/part-*.parquet")
    return pl.concat(
        tables.read(store, name, Label, columns).filter(pl.col("persona_id").is_in(ids.implode())).with_columns(steps) for name in files
    )


def _labels(counted: pl.DataFrame) -> Found:
    sums = counted.drop("persona_id").sum().row(0, named=True)
    shared = sums["shared"]
    return {name: sums[name] for name in ("old", "new", "shared", "turned", "moved")} | {
        "shift": GRID * sums["shift"] / shared if shared else None,
        "distance": GRID * sums["distance"] / shared if shared else None,
        "consistency": [GRID * sums[f"{side}_consistency"] / sums[side] if sums[side] else None for side in ("old", "new")],
    }


def _traits(personas: pl.DataFrame) -> pl.DataFrame:
    """persona_id, trait, value."""
    return personas.explode("traits").drop_nulls("traits").unnest("traits").rename({"name": "trait"})


def _groups(counted: pl.DataFrame, personas: pl.DataFrame) -> list[Found]:
    """The groups of personas whose labels turned most, as a share of those that both have."""
    rows = (
        counted.join(_traits(personas), on="persona_id")
        .group_by("trait", "value")
        .agg(pl.col("shared", "turned").sum())
        .filter(pl.col("shared") >= FEWEST, pl.col("turned") > 0)
        .with_columns((pl.col("turned") / pl.col("shared")).alias("share"))
    )
    return rows.sort("share", "trait", "value", descending=[True, False, False]).head(MOST).to_dicts()


def _population(old: pl.DataFrame, new: pl.DataFrame) -> list[Found]:
    """Values of traits whose share among the personas moved, most first."""
    shares = [
        _traits(frame).group_by("trait", "value").agg((pl.len() / max(frame.height, 1)).alias(side))
        for frame, side in ((old, "old"), (new, "new"))
    ]
    rows = shares[0].join(shares[1], on=["trait", "value"], how="full", coalesce=True).fill_null(0.0)
    moved = rows.with_columns((pl.col("new") - pl.col("old")).abs().alias("by")).filter(pl.col("by") > 1e-9)
    return moved.sort("by", "trait", "value", descending=[True, False, False]).head(MOST).drop("by").to_dicts()


def _diversity(old: Store, new: Store, before: Manifest, after: Manifest) -> list[Found]:
    """Vendi scores, and mean cosine of two answers to one prompt; nothing without vectors of one encoder on both sides."""
    if not before.models.get("embeddings") or before.models["embeddings"] != after.models.get("embeddings"):
        return []
    placed = [_placed(store) for store in (old, new)]
    if not all(placed):
        return []
    rows = [
        {"what": f"Vendi score of {name}", "old": vendi(placed[0][name].grid), "new": vendi(placed[1][name].grid)} for name in placed[0]
    ]
    cosine = [float(value) if (value := similarity.pairs(side["candidates"])["cosine"].mean()) is not None else None for side in placed]  # type: ignore[arg-type]
    return [*rows, {"what": "cosine of two answers to one prompt", "old": cosine[0], "new": cosine[1]}]


def _placed(store: Store) -> dict[str, similarity.Placed]:
    """Vectors, of samples where there are many, with no more of the tables than finding them takes."""
    nothing = pl.DataFrame()
    slim = Dataset(
        personas=tables.read(store, "personas/part-*.parquet", Persona, ["persona_id"]),
        prompts=tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id"]),
        candidates=tables.read(store, "candidates/part-*.parquet", Candidate, ["candidate_id", "prompt_id", "model", "view"]),
        judgements=nothing,
        labels=nothing,
        appended=nothing,
    )
    return similarity.load(store, slim)
