"""What became of each group that a recipe has a target for: asked, kept, and which check ate the rest. From the tables alone.

    outcomes(store, recipe)  ->  {"warm": Outcome("warm", target=5000, asked=20000, kept=4210, rejected={"undecided": 9210, …}, …), …}
    outcome.describe()       ->  'warm: 4,210 of 5,000 preferences, 790 missing; the budget of 20,000 is spent (raise target.budget); …'

A label belongs to the group of its persona if its split counts; with `group: split` it belongs to its split.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.label import Preference, Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.splits import cells
from prefloom.schemas.target import Quota, Target
from prefloom.schemas.texts import short

NAMED = 10  # groups that a log or a message names
_CELL = ["persona_id", "prompt_split"]


@dataclass(frozen=True)
class Outcome:
    """One group after the rounds so far; `asked` = `kept` + the sum of `rejected`."""

    group: str
    target: int
    asked: int
    kept: int
    rejected: dict[str, int]  # reason -> labels, the largest first
    supply: int  # labels that could be asked for in all
    budget: int

    @property
    def missing(self) -> int:
        """Preferences that it lacks."""
        return max(0, self.target - self.kept)

    @property
    def open(self) -> int:
        """Labels that may still be asked for."""
        return max(0, min(self.budget, self.supply) - self.asked)

    @property
    def why(self) -> str:
        """Why no more was asked, and what to change."""
        if self.open:
            return "the rounds are over (raise target.rounds)"
        if self.asked >= self.supply:
            more = "raise comparisons.per_prompt, candidates.samples or the prompts' count"
            return f"all {self.supply:,} comparisons there are for it were asked ({more})"
        return f"the budget of {self.budget:,} is spent (raise target.budget)"

    def describe(self) -> str:
        """All of it in one line."""
        eaten = ", ".join(f"{reason} {n:,}" for reason, n in self.rejected.items())
        name = short(" ".join(self.group.split()), 80)
        kept = f"{name}: {self.kept:,} of {self.target:,} preferences, {self.missing:,} missing; {self.asked:,} asked"
        return f"{kept}, {self.why}; eaten by {eaten}" if eaten else f"{kept}, {self.why}"

    def row(self) -> dict[str, Any]:
        """The same for `--json`."""
        figures = {"asked": self.asked, "kept": self.kept, "missing": self.missing, "rejected": self.rejected, "supply": self.supply}
        return {"target": self.target} | figures | ({"why": self.why} if self.missing else {})


def members(target: Target, personas: pl.DataFrame) -> pl.DataFrame:
    """persona_id, prompt_split, group: whose labels, on prompts of which half, count for which group. From rows of Persona."""
    named = [_group(target.group, row) for row in personas.select("persona_id", "kind", "traits").iter_rows(named=True)]
    placed = personas.select("persona_id", pl.col("split").alias("persona_split"), pl.Series("group", named, dtype=pl.String))
    found = placed.join(cells().filter(pl.col("split").is_in(target.splits)), on="persona_split")
    group = pl.col("split") if target.group == "split" else pl.col("group")
    return found.select(*_CELL, group.alias("group")).drop_nulls("group").sort("group", *_CELL)


def _group(by: str, persona: dict[str, Any]) -> str | None:
    """The group of a persona; None if it has no value of the trait, and is in none."""
    if by in ("all", "split"):
        return by
    if by in ("persona", "kind"):
        return str(persona["persona_id" if by == "persona" else "kind"])
    return next((trait["value"] for trait in persona["traits"] if trait["name"] == by), None)


def expect_groups(target: Target, personas: pl.DataFrame) -> pl.DataFrame:
    """`members`, of whom there are some. InputError names the traits if no persona has the one that is asked for."""
    found = members(target, personas)
    if not found.height:
        traits = {trait["name"] for own in personas["traits"] for trait in own}
        known = nearest(target.group, {"all", "split", "persona", "kind", *traits})
        what = f"no persona of these splits in a group of '{target.group}'"
        raise InputError("recipe", "target.group", found=what, expected=known)
    return found


def outcomes(store: Store, recipe: Recipe) -> dict[str, Outcome]:
    """Group -> what became of it, by name, from the tables of a run whose preferences are there; none without a target."""
    if not (target := recipe.target):
        return {}
    personas = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "split", "kind", "traits"])
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "split", "trait", "trait_value"])
    comparisons = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "prompt_id"])
    counted = members(target, personas)
    halves = comparisons.join(prompts.select("prompt_id", pl.col("split").alias("prompt_split")), on="prompt_id")
    found: Counter[tuple[str, str]] = Counter()
    for labels in _labels(store):
        placed = labels.join(halves, on="comparison_id").join(counted, on=_CELL).group_by("group", "reason").len()
        found.update({(group, reason): n for group, reason, n in placed.iter_rows()})
    there = supply(counted, personas, prompts, comparisons)
    rows = {}
    for group in counted["group"].unique().sort():
        lost = {reason: n for (name, reason), n in found.items() if name == group and reason}
        kept, ordered = found[group, ""], dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))
        rows[group] = Outcome(group, target.preferences, kept + sum(lost.values()), kept, ordered, there.get(group, 0), target.budget)
    return rows


def _labels(store: Store) -> Sequence[pl.DataFrame]:
    """Everything that was asked, file after file: persona_id, comparison_id and the reason, empty for what was kept."""
    kept = (tables.read(store, name, Preference, ["persona_id", "comparison_id"]) for name in store.list("preferences/part-*.parquet"))
    lost = (
        tables.read(store, name, Rejected, ["persona_id", "row_id", "reason"])
        for stage in ("labels", "preferences")
        for name in store.list(f"rejected/{stage}-*.parquet")
    )
    return (
        *(frame.with_columns(pl.lit("").alias("reason")) for frame in kept),
        *(frame.rename({"row_id": "comparison_id"}) for frame in lost),
    )


def supply(counted: pl.DataFrame, personas: pl.DataFrame, prompts: pl.DataFrame, comparisons: pl.DataFrame) -> dict[str, int]:
    """Group -> labels that could be asked for: every persona about every comparison of every prompt that it may be shown."""
    some = comparisons.group_by("prompt_id").len("pairs").join(prompts, on="prompt_id")
    sums = some.group_by(pl.col("split").alias("prompt_split"), "trait", "trait_value").agg(pl.col("pairs").cast(pl.Int64).sum())
    general = counted.join(sums.filter(pl.col("trait").is_null()), on="prompt_split").select("group", "pairs")
    traits = personas.select("persona_id", "traits").explode("traits").drop_nulls("traits").unnest("traits").unique()
    own = counted.join(traits.rename({"name": "trait", "value": "trait_value"}), on="persona_id")
    special = own.join(sums.drop_nulls("trait"), on=["prompt_split", "trait", "trait_value"]).select("group", "pairs")
    return dict(pl.concat([general, special]).group_by("group").agg(pl.col("pairs").sum()).iter_rows())


def quotas(store: Store) -> pl.DataFrame:
    """Rows of Quota of all rounds so far; none without a target."""
    return tables.read(store, "targets/part-*.parquet", Quota)


def lacking(found: Mapping[str, Outcome]) -> list[Outcome]:
    """The groups that lack some, the worst first."""
    return sorted((one for one in found.values() if one.missing), key=lambda one: (-one.missing, one.group))


def check(found: Sequence[Outcome], limit: float | None) -> None:
    """InputError if a group lacks a larger share than `limits.missing`. All that was read stays on disk."""
    beyond = [one for one in found if limit is not None and one.missing > limit * one.target]
    if beyond:
        others = f"; {len(beyond) - 1} other groups lack too many" if len(beyond) > 1 else ""
        raise InputError(
            "preferences",
            "limits.missing",
            found=beyond[0].describe() + others,
            expected=f"at most {limit:.0%} missing in each group; what was read is kept: raise what it names, or the limit",
        )


def in_words(found: Sequence[Outcome]) -> list[str]:
    """A line for each of the groups that lack some, of many for the first few."""
    more = f"and {len(found) - NAMED} other groups lack some"
    return [one.describe() for one in found[:NAMED]] + [more] * (len(found) > NAMED)
