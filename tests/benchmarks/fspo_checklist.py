"""Rows F1-F22 of FSPO's data, held against datasets that were built: what each dataset shows of them, and whether it holds.

    python -m tests.benchmarks.fspo_checklist data/runs/reviews-29cb118f54d4 data/runs/roleplay-da562e3cb9a5
    F22  yes  reviews   4 users held out by trait: 0 of their 2,584 labels in train or validation

`yes` and `no` are read from the tables, never from the code that wrote them; `-` says that a dataset's recipe does not ask for the row.
What no single dataset shows (F13, F16) has a command of its own in docs/fspo.md.
"""

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.validate import RECORDS
from prefloom.schemas.label import TrlExample
from prefloom.schemas.sources import ModelCandidates
from prefloom.schemas.steering import AskedViews

LEVELS = {
    "reviews": [
        "positive",
        "negative",
        "concise",
        "verbose",
        "positive+concise",
        "negative+concise",
        "positive+verbose",
        "negative+verbose",
    ],
    "elix": ["child", "preteen", "teenager", "young adult", "expert"],
}
MARKDOWN = r"(?m)^\s{0,3}(#{1,6} |[-*+] |\d{1,3}[.)] |\|)|\*\*|```"
PEOPLE = 60  # of whom disagreement is measured


class Row(NamedTuple):
    """What a dataset shows of one criterion; `holds` is None where its recipe does not ask for it."""

    criterion: str
    holds: bool | None
    figure: str


class Tables:
    """The tables of a dataset, each read once."""

    def __init__(self, run: Run) -> None:
        self.run, self.recipe = run, run.resolved.recipe
        self._read: dict[str, pl.DataFrame] = {}

    def __getitem__(self, name: str) -> pl.DataFrame:
        if name not in self._read:
            self._read[name] = tables.read(self.run.store, f"{name}/*.parquet", RECORDS[name])
        return self._read[name]

    def traits(self) -> list[dict[str, str]]:
        """Of each persona, in the order of the table."""
        return [{trait["name"]: trait["value"] for trait in row} for row in self["personas"]["traits"]]

    def splits(self) -> dict[str, str]:
        """persona_id -> split."""
        return dict(self["personas"].select("persona_id", "split").iter_rows())


def f1(data: Tables) -> Row:
    """Users, questions and diversity are declared."""
    recipe = data.recipe
    axes = sorted({name for traits in data.traits() for name in traits})
    questions = [source.source for source in recipe.prompts]
    answers = recipe.candidates
    ways = ["persona steering"] if isinstance(answers, ModelCandidates) and answers.steer else []
    ways += ["views"] if isinstance(answers, ModelCandidates) and answers.views != [None] else []
    return Row("F1", bool(axes and questions and ways), f"users by {', '.join(axes)}; questions: {', '.join(questions)}; {', '.join(ways)}")


def f2(data: Tables) -> Row:
    """As many personas in every cell, and ids that are those of the text."""
    names = ("age", "continent", "gender")
    cells = Counter(tuple(traits[name] for name in names) for traits in data.traits() if set(names) <= traits.keys())
    if not cells:
        return Row("F2", None, "no grid of age, continent and gender")
    few, many = min(cells.values()), max(cells.values())
    return Row("F2", few == many and len(cells) == 50, f"{len(cells)} cells of age x continent x gender, {few} to {many} personas in each")


def f3(data: Tables) -> Row:
    """The exact levels."""
    found = {traits["level"] for traits in data.traits() if "level" in traits}
    if not found:
        return Row("F3", None, "no levels")
    return Row("F3", any(found == set(levels) for levels in LEVELS.values()), f"{len(found)} levels: {', '.join(sorted(found))}")


def f4(data: Tables) -> Row:
    """Every degree with every field."""
    pairs = {(traits["degree"], traits["field"]) for traits in data.traits() if {"degree", "field"} <= traits.keys()}
    if not pairs:
        return Row("F4", None, "no degrees and fields")
    degrees, fields = ({pair[place] for pair in pairs} for place in (0, 1))
    return Row("F4", len(pairs) == len(degrees) * len(fields), f"{len(degrees)} degrees x {len(fields)} fields = {len(pairs)} users")


def f5(data: Tables) -> Row:
    """A specific question is asked to nobody else."""
    specific = data["prompts"].filter(pl.col("scope") == "specific").select("prompt_id", "trait", "trait_value")
    if specific.is_empty():
        return Row("F5", None, "global questions alone")
    having = data["personas"].select("persona_id", "traits").explode("traits").unnest("traits")
    asked = data["labels"].join(specific, on="prompt_id")
    right = ["persona_id", "trait", "trait_value"], ["persona_id", "name", "value"]
    strays = asked.join(having, left_on=right[0], right_on=right[1], how="anti").height
    return Row(
        "F5", strays == 0, f"{specific.height} specific of {data['prompts'].height}; {strays} of their {asked.height:,} labels by others"
    )


def f6(data: Tables) -> Row:
    """What a model wrote names the seeds that it was shown."""
    made = data["prompts"].filter(pl.col("source") == "augmented")
    if made.is_empty():
        return Row("F6", None, "no augmented questions")
    counts = made["parents"].list.len()
    return Row(
        "F6", bool((counts > 0).all()), f"{made.height} questions after subsets of {counts.min()} to {counts.max()} seeds, all named"
    )


def f7(data: Tables) -> Row:
    """Questions out of a list of names."""
    count = data["prompts"].filter(pl.col("source") == "entities").height
    return Row("F7", True, f"{count} prompts from the list of titles") if count else Row("F7", None, "no list of names")


def f8(data: Tables) -> Row:
    """Views that a model listed, distinct within a question."""
    asked = isinstance(data.recipe.candidates, ModelCandidates) and isinstance(data.recipe.candidates.views, AskedViews)
    if not asked:
        return Row("F8", None, "no views that a model lists")
    counts = data["candidates"].group_by("prompt_id").agg(pl.col("view").n_unique())["view"]
    return Row("F8", int(counts.min() or 0) >= 2, f"{counts.min()} to {counts.max()} distinct views per question, mean {counts.mean():.2f}")


def f9(data: Tables) -> Row:
    """One answer of each model in each view."""
    if not f8(data).holds:
        return Row("F9", None, "no views that a model lists")
    times = data["candidates"].group_by("prompt_id", "view", "model").len()["len"]
    return Row("F9", times.max() == 1, f"{times.len():,} combinations of question, view and model, {times.max()} answer each")


def f10(data: Tables) -> Row:
    """Steered to people of the training split, who are named."""
    steered = data["candidates"].drop_nulls("steered_by")
    if steered.is_empty():
        return Row("F10", None, "no steering")
    known, halves = steered["steered_by"].unique().to_list(), data.splits()
    trained = all(halves[one] == "train" for one in known)
    share = steered.height / data["candidates"].height
    return Row("F10", trained and share == 1, f"{share:.0%} of answers steered, to {len(known)} personas, all in train: {trained}")


def f11(data: Tables) -> Row:
    """Several models."""
    models = Counter(data["candidates"]["model"])
    warm = sorted(set(data["candidates"]["temperature"].drop_nulls()))
    said = ", ".join(f"{name} {n}" for name, n in sorted(models.items()))
    return Row("F11", len(models) > 1, f"{said}; temperatures {', '.join(f'{t:g}' for t in warm)}")


def f12(data: Tables) -> Row:
    """Paragraphs within a budget of words."""
    checks = data.recipe.checks.candidates
    if checks.markdown or not checks.max_words:
        return Row("F12", None, "no guard of style")
    words, marked = data["candidates"]["text"].str.split(" ").list.len(), data["candidates"]["text"].str.contains(MARKDOWN).sum()
    return Row(
        "F12", marked == 0 and int(words.max() or 0) <= checks.max_words, f"{marked} answers with Markdown, longest {words.max()} words"
    )


def f14(data: Tables) -> Row:
    """Rounds in sequence, a sentence wherever the description could not tell, the whole history."""
    if data.recipe.refinement is None:
        return Row("F14", None, "not refined")
    history = data["refinements"].sort("persona_id", "round")
    open_ = history.filter(pl.col("verdict") == "cannot_tell")
    decided = history.filter(pl.col("verdict") != "cannot_tell")
    once = not history.select("persona_id", "round").is_duplicated().any()
    right = once and bool((decided["choice"] == decided["verdict"]).all()) and not decided["appended"].any()
    return Row(
        "F14", right, f"{history.height:,} rounds, {open_.height:,} that could not tell, {history['appended'].sum():,} sentences appended"
    )


def f15(data: Tables) -> Row:
    """What stands for the persona in an export is what the last round left, and it begins with the seed."""
    if data.recipe.refinement is None:
        return Row("F15", None, "not refined")
    last = data["refinements"].sort("round").group_by("persona_id").agg(pl.col("description").last().alias("refined"))
    both = data["personas"].join(last, on="persona_id")
    begins = all(refined.startswith(seed) for seed, refined in both.select("description", "refined").iter_rows())
    said = tables.read(data.run.store, "exports/trl/*/*.parquet", TrlExample, ["persona_id", "prompt"]).unique("persona_id")
    told = both.join(said, on="persona_id").select("refined", pl.col("prompt").list.first().struct.field("content"))
    right = sum(refined in content for refined, content in told.iter_rows())
    longer = (both["refined"].str.len_chars() - both["description"].str.len_chars()).mean()
    return Row("F15", begins and right == told.height > 0, f"{right} of {told.height} exported as refined, {longer:.0f} characters longer")


def f17(data: Tables) -> Row:
    """One letter, nearly all of the probability on two of them."""
    mass = data["judgements"]["mass"]
    return Row("F17", float(mass.median() or 0) > 0.9, f"{mass.len():,} readings of one letter, median mass {mass.median():.3f} on A and B")


def f18(data: Tables) -> Row:
    """Both orders of each label are there, and what is kept agrees with itself."""
    orders = data["judgements"].group_by("persona_id", "comparison_id").agg(pl.col("order").n_unique())
    labelled = data["labels"].join(orders, on=["persona_id", "comparison_id"], how="left")
    kept = data["preferences"].join(data["labels"].select("persona_id", "comparison_id", "consistency"), on=["persona_id", "comparison_id"])
    sure = float(kept["consistency"].min() or 0)
    both = bool((labelled["order"] == 2).all())
    share = kept.height / max(labelled.height, 1)
    return Row(
        "F18", both and sure == 1, f"both orders of {labelled.height:,} labels stored; {share:.0%} kept, lowest consistency {sure:g}"
    )


def f19(data: Tables) -> Row:
    """Many people label one pair."""
    people = data["labels"].group_by("comparison_id").len()["len"]
    return Row("F19", int(people.min() or 0) >= 1 and float(people.median() or 0) >= 2, f"median {people.median():g} people per comparison")


def f20(data: Tables) -> Row:
    """Mean |label - label| over the comparisons that two people share: neither all of one mind nor each the other's opposite."""
    chosen = sorted(data["labels"]["persona_id"].unique())[:PEOPLE]
    mine = data["labels"].filter(pl.col("persona_id").is_in(chosen)).with_columns((pl.col("margin") > 0).cast(pl.Int64).alias("a"))
    votes = {one[0]: dict(rows.select("comparison_id", "a").iter_rows()) for one, rows in mine.group_by(["persona_id"])}
    found = [
        np.mean([votes[u][c] != votes[v][c] for c in shared])
        for u, v in itertools.combinations(chosen, 2)
        if (shared := votes[u].keys() & votes[v].keys())
    ]
    if not found:
        return Row("F20", None, "no two people share a comparison")
    return Row(
        "F20", True, f"disagreement of {len(found):,} pairs of people: mean {np.mean(found):.2f}, {min(found):.2f} to {max(found):.2f}"
    )


def f21(data: Tables) -> Row:
    """New users and new questions are new."""
    labels = data["labels"]
    seen = labels.filter(pl.col("split").is_in(["train", "validation"]))
    users = set(seen["persona_id"]) & set(labels.filter(pl.col("split").is_in(["test_new_personas", "test_new_both"]))["persona_id"])
    questions = set(seen["prompt_id"]) & set(labels.filter(pl.col("split").is_in(["test_new_prompts", "test_new_both"]))["prompt_id"])
    counts = ", ".join(f"{split} {n:,}" for split, n in sorted(labels["split"].value_counts().iter_rows()))
    return Row("F21", not users and not questions, f"{len(users)} users and {len(questions)} questions in both; {counts}")


def f22(data: Tables) -> Row:
    """Users that a trait holds out are in no training row."""
    named = data.recipe.splits.by_trait
    held = {(trait, value) for trait, values in named.items() for value, half in values.items() if half == "test"}
    if not held:
        return Row("F22", None, "nobody is held out by a trait")
    ids = [one for one, traits in zip(data["personas"]["persona_id"], data.traits(), strict=True) if held & set(traits.items())]
    theirs = data["labels"].filter(pl.col("persona_id").is_in(ids))
    seen = theirs.filter(pl.col("split").is_in(["train", "validation"])).height
    return Row(
        "F22",
        seen == 0 and len(ids) > 0,
        f"{len(ids)} users held out by trait: {seen} of their {theirs.height:,} labels in train or validation",
    )


CHECKS: tuple[Callable[[Tables], Row], ...] = (f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f14, f15, f17, f18, f19, f20, f21, f22)


def rows(run: Run) -> Iterator[Row]:
    """Every criterion that a dataset can show."""
    data = Tables(run)
    for check in CHECKS:
        yield check(data)


def main(folders: list[str]) -> int:
    """Print one line per criterion and dataset; 1 if any does not hold."""
    found = [(run.resolved.recipe.name, row) for folder in folders for run in [Run(Path(folder))] for row in rows(run)]
    for name, row in sorted(found, key=lambda pair: int(pair[1].criterion[1:])):
        said = {True: "yes", False: "no", None: "-"}[row.holds]
        print(f"{row.criterion:<4} {said:<4} {name:<10} {row.figure}")
    return int(any(row.holds is False for _, row in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
