"""The checks of what is too much to hold: judgements by prompt shard, labels and what follows from them by persona shard.

    found = pieces(store, small_tables, recipe)
    found.checks["labels"]   ->  Check("labels", "every label follows …", problems=[])          found.readings  ->  (77726, 77726)

A label and its judgements lie in shards of two kinds, so the judgements are shuffled once, into a temporary folder. What a check has to
know of all rows is counted on the way: what is liked by each template, the votes of each comparison, what the labels say of their judge.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from prefloom.flows.dataset import invariants_controls as controlled
from prefloom.flows.dataset import shuffle, tables
from prefloom.flows.dataset.confidence import fit_pieces
from prefloom.flows.dataset.invariants import READING, Check, exports, judgements, labels, leanings, liked, preferences, rises
from prefloom.flows.dataset.invariants_reading import adaptive, bounds
from prefloom.flows.dataset.invariants_sureness import structure, sureness, traced
from prefloom.flows.dataset.store import Store
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.controls import Control
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Judgement, Label, Preference, Rejected
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.splits import cells

Tables = dict[str, pl.DataFrame]
_NEW = (("persona_id", ["test_new_personas", "test_new_both"]), ("prompt_id", ["test_new_prompts", "test_new_both"]))
_COUNTED = re.compile(r"(\d+) (.*)", re.DOTALL)


@dataclass
class Found:
    """What came of all pieces."""

    checks: dict[str, Check] = field(default_factory=dict)
    readings: tuple[int, int] = (0, 0)  # the fewest and the most that were to be made

    def add(self, check: Check) -> None:
        """Take in the check of a piece; of equal problems the counts add up."""
        known = self.checks.setdefault(check.name, Check(check.name, check.detail))
        known.problems = _merged([*known.problems, *check.problems])


def _merged(problems: list[str]) -> list[str]:
    counts: dict[str, int | None] = {}
    for problem in problems:
        number = _COUNTED.fullmatch(problem)
        what = number[2] if number else problem
        counts[what] = (counts.get(what) or 0) + int(number[1]) if number else None
    return [what if count is None else f"{count} {what}" for what, count in counts.items()]


def pieces(store: Store, small: Tables, recipe: Recipe) -> Found:
    """All checks of judgements, controls, labels, preferences and exports. `small` has the other tables."""
    found = Found()
    with tempfile.TemporaryDirectory(prefix="prefloom-") as folder:
        scratch = Store(folder)
        bias = _by_prompt(store, small, recipe, scratch, found)
        _by_persona(store, small, recipe, scratch, found, bias)
    return found


def _by_prompt(store: Store, small: Tables, recipe: Recipe, scratch: Store, found: Found) -> pl.DataFrame:
    """The checks of readings; gives what is liked by each template."""
    said = []
    for index in range(recipe.shards.prompts):
        part = f"part-{index:05d}.parquet"
        data = small | {
            "comparisons": tables.read(store, f"comparisons/{part}", Comparison),
            "judgements": tables.read(store, f"judgements/{part}", Judgement),
            "controls": tables.read(store, f"controls/{part}", Control),
        }
        for table in ("judgements", "controls"):
            found.add(links(data, table))
        found.add(judgements(data, recipe))
        if recipe.controls:
            found.add(controlled.controls(data, recipe))
        if recipe.judgements.adaptive:
            mine = data["comparisons"].select("comparison_id")
            lost = data["rejected"].join(mine, left_on="row_id", right_on="comparison_id", how="semi")
            found.add(adaptive(data | {"rejected": lost}, recipe))
        found.readings = tuple(one + other for one, other in zip(found.readings, bounds(data, recipe), strict=True))  # type: ignore[assignment]
        rows = data["judgements"].drop("prompt_id", "model")
        said.append(leanings(rows))
        place = pl.Series(shard_of(rows["persona_id"], recipe.shards.personas))
        shuffle.write(scratch, f"judgements-{index:05d}", rows, place, recipe.shards.personas, "")
    return liked(pl.concat(said))


def _by_persona(store: Store, small: Tables, recipe: Recipe, scratch: Store, found: Found, bias: pl.DataFrame) -> None:
    """The checks of labels and of what follows from them."""
    people, votes, sure, rising, seen = recipe.shards.personas, [], [], [], []
    names = [f"judgements-{index:05d}" for index in range(recipe.shards.prompts)]
    nobody = {"controls": _nobody(store)}
    for index in range(people):
        data = small | {
            "judgements": shuffle.read(scratch, names, index),
            "labels": tables.read(store, f"labels/part-{index:05d}.parquet", Label),
        }
        rows = data["labels"]
        found.add(labels(data, recipe, bias))
        found.add(links(data, "labels"))
        found.add(_placed(data, index, people))
        votes.append(controlled.counts(rows))
        sure.append(rows["confidence"])
        rising.append(rows.select("margin", "calibrated").drop_nulls().unique())
        seen.append(rows.select("persona_id", "prompt_id", "split").unique(["prompt_id", "split"]))
        traces = traced(data, bias)
        shuffle.write(scratch, f"traces-{index:05d}", traces, pl.zeros(traces.height, dtype=pl.Int64, eager=True), 1, "")
    whole = Check("labels", "")
    rises(whole, pl.concat(rising))
    found.add(whole)
    found.add(_disjoint(pl.concat(seen), "prompt_id"))

    def judged() -> Iterator[pl.DataFrame]:
        return (shuffle.read(scratch, [f"traces-{index:05d}"], 0).filter("judged") for index in range(people))

    fitted, voted = fit_pieces(judged, small["comparisons"].height), pl.concat(votes).group_by("comparison_id").agg(pl.all().sum())
    confident = pl.concat(sure)
    for index in range(people):
        part, refused = f"part-{index:05d}.parquet", f"rejected/preferences-{index:05d}.parquet"
        rows = tables.read(store, f"labels/{part}", Label)
        data = (
            small
            | nobody
            | {
                "labels": rows,
                "preferences": tables.read(store, f"preferences/{part}", Preference),
                "rejected": tables.read(store, refused, Rejected, ["stage", "reason", "row_id", "persona_id"]),
            }
        )
        found.add(sureness(data, shuffle.read(scratch, [f"traces-{index:05d}"], 0), fitted))
        found.add(links(data, "preferences"))
        found.add(controlled.votes(data, recipe, voted))
        found.add(preferences(data, recipe, structure(rows, recipe.checks.labels, confident)))
        found.add(exports(store, data, recipe, f"{index:05d}"))


def _nobody(store: Store) -> pl.DataFrame:
    """Controls that were read for nobody."""
    parts = [tables.read(store, name, Control).filter(pl.col("persona_id") == "") for name in store.list("controls/part-*.parquet")]
    return pl.concat(parts) if parts else tables.read(store, "controls/part-*.parquet", Control)


def links(data: Tables, table: str) -> Check:
    """Every id that rows of a table name exists, and belongs to the prompt it is said to belong to."""
    check, rows = Check("links", "every id that is named exists, and belongs to the prompt it is said to belong to"), data[table]
    if table in ("labels", "preferences"):
        check.expect(not rows.select(READING).is_duplicated().any(), f"{table} has two rows for one persona and comparison")
    for column, target in (("persona_id", "personas"), ("comparison_id", "comparisons")):
        if (table, column) not in {("controls", "persona_id"), ("preferences", "persona_id"), ("preferences", "comparison_id")}:
            strays = rows.join(data[target], on=column, how="anti").height
            check.expect(strays == 0, f"{strays} rows of {table}.{column} name nothing in {target}")
    homes = data["comparisons"].select("comparison_id", pl.col("prompt_id").alias("home"))
    away = rows.join(homes, on="comparison_id").filter(pl.col("home") != pl.col("prompt_id"))
    check.expect(away.is_empty(), f"{away.height} {table} name another prompt than their comparison")
    if table == "preferences":
        ghosts = data["rejected"].join(homes, left_on="row_id", right_on="comparison_id", how="anti")
        check.expect(ghosts.is_empty(), f"{ghosts.height} rejected rows name no comparison")
    return check


def _placed(data: Tables, index: int, shards: int) -> Check:
    """Labels are in the split of their persona and prompt, and in the shard of their persona."""
    check, rows = Check("splits", ""), data["labels"]
    placed = (
        rows.select("persona_id", "prompt_id", "split")
        .join(data["personas"].select("persona_id", pl.col("split").alias("persona_split")), on="persona_id")
        .join(data["prompts"].select("prompt_id", pl.col("split").alias("prompt_split")), on="prompt_id")
        .join(cells().rename({"split": "expected"}), on=["persona_split", "prompt_split"], how="left")
    )
    wrong = placed.filter(~pl.col("split").eq_missing(pl.col("expected"))).height
    check.expect(wrong == 0, f"{wrong} labels are in another split than their persona and prompt say")
    check.problems += _disjoint(rows, "persona_id").problems
    misplaced = int((shard_of(rows["persona_id"], shards) != index).sum())
    check.expect(misplaced == 0, f"{misplaced} labels lie in another shard than the hash of their persona")
    return check


def _disjoint(rows: pl.DataFrame, column: str) -> Check:
    """No persona or prompt of a test split is seen in train or validation."""
    check, new = Check("splits", ""), dict(_NEW)[column]
    seen = rows.filter(pl.col("split").is_in(["train", "validation"])).select(column).unique()
    leak = rows.filter(pl.col("split").is_in(new)).select(column).unique().join(seen, on=column, how="semi").height
    check.expect(leak == 0, f"{leak} {column}s of {new} are also in train or validation")
    return check
