"""The figures of a card, from the tables of a finished dataset: one file at a time, so that a million labels take no more memory than one.

figures(store)  ->  {"splits": [("train", 14021), …], "consistency": 0.45, "first_wins": 0.71, "longer_wins": 0.52, "agreement": 0.53,
                     "contested": 0.41, "groups": [{"trait": "age", "value": "old", "personas": 31, "preferences": 2800}, …], …}

A share is None where there is nothing to count. The report of a run says more, and how sure it is.
"""

from collections import Counter
from statistics import median
from typing import Any

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.label import Judgement, Label, Preference
from prefloom.schemas.persona import Persona
from prefloom.schemas.splits import SPLITS

MOST_TRAITS, MOST_VALUES = 12, 12
CONTESTED = 0.3  # share of the voters on the smaller side


def figures(store: Store) -> dict[str, Any]:
    """All of them."""
    return _judgements(store) | _labels(store) | _preferences(store)


def share(hits: int, of: int) -> float | None:
    """hits / of, None of nothing."""
    return hits / of if of else None


def _judgements(store: Store) -> dict[str, Any]:
    first = read = 0
    for name in store.list("judgements/part-*.parquet"):
        leaning = tables.read(store, name, Judgement, ["log_odds"])["log_odds"]
        first, read = first + int((leaning > 0).sum()), read + int((leaning != 0).sum())
    return {"first_wins": share(first, read)}


def _labels(store: Store) -> dict[str, Any]:
    """Of all labels, which no check has touched."""
    length: dict[str, int] = {}
    for name in store.list("candidates/part-*.parquet"):
        part = tables.read(store, name, Candidate, ["candidate_id", "text"])
        length |= dict(zip(part["candidate_id"], part["text"].str.len_chars(), strict=True))
    columns = ["comparison_id", "candidate_a", "candidate_b", "margin", "consistency"]
    count = agreeing = longer = uneven = 0
    votes = []
    for name in store.list("labels/part-*.parquet"):
        part = tables.read(store, name, Label, columns)
        count, agreeing = count + part.height, agreeing + int((part["consistency"] * 10_000).round().cast(pl.Int64).sum())
        decided = part.filter(pl.col("margin") != 0)
        a, b = (pl.col(f"candidate_{side}").replace_strict(length, return_dtype=pl.Int64) for side in ("a", "b"))
        sides = decided.select((pl.col("margin") > 0).alias("won"), (a - b).alias("more")).filter(pl.col("more") != 0)
        longer, uneven = longer + sides.filter(pl.col("won") == (pl.col("more") > 0)).height, uneven + sides.height
        votes.append(
            decided.group_by("comparison_id").agg(
                pl.len().cast(pl.Int64).alias("n"), (pl.col("margin") > 0).sum().cast(pl.Int64).alias("k")
            )
        )
    n, k = pl.col("n"), pl.col("k")
    counted = pl.concat(votes).group_by("comparison_id").agg(n.sum(), k.sum()).filter(n > 1)
    pairs = counted.select((n * (n - 1)).sum().alias("all"), (k * (k - 1) + (n - k) * (n - k - 1)).sum().alias("alike")).row(0)
    torn = counted.filter(pl.min_horizontal(k, n - k) >= CONTESTED * n).height
    return {
        "labels": count,
        "consistency": share(agreeing, 10_000 * count),
        "longer_wins": share(longer, uneven),
        "agreement": share(pairs[1], pairs[0]),
        "contested": share(torn, counted.height),
    }


def _preferences(store: Store) -> dict[str, Any]:
    """Preferences by split, by persona and by group of personas."""
    splits: Counter[str] = Counter()
    each = []
    for name in store.list("preferences/part-*.parquet"):
        part = tables.read(store, name, Preference, ["persona_id", "split"])
        splits.update(dict(part.group_by("split").len().iter_rows()))
        each.append(part.group_by("persona_id").len("preferences"))
    personas = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "traits"])
    mine = pl.concat(each).group_by("persona_id").agg(pl.col("preferences").sum())
    counts = personas.join(mine, on="persona_id", how="left").with_columns(pl.col("preferences").fill_null(0).cast(pl.Int64))
    each_one = counts["preferences"].to_list()
    traits = counts.select("preferences", "traits").explode("traits").drop_nulls("traits").unnest("traits")
    groups = traits.group_by("name", "value").agg(pl.len().alias("personas"), pl.col("preferences").sum())
    ranked = groups.sort("name", "personas", "value", descending=[False, True, False]).with_columns(
        pl.int_range(pl.len()).over("name").alias("place")
    )
    names = ranked["name"].unique(maintain_order=True)
    shown = ranked.filter(pl.col("name").is_in(names.head(MOST_TRAITS).implode()), pl.col("place") < MOST_VALUES)
    return {
        "splits": [(name, splits[name]) for name in SPLITS if splits[name]],
        "preferences": splits.total(),
        "personas": personas.height,
        "each": {"least": min(each_one), "most": max(each_one), "median": median(each_one)},
        "groups": shown.select(pl.col("name").alias("trait"), "value", "personas", "preferences").to_dicts(),
        "more_groups": ranked.height - shown.height,
    }
