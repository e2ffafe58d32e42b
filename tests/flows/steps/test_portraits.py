"""Personas from cells, from a model that writes, with tastes of a template, and sent to a split by a trait."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset.resolve import SHIPPED
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.society.truth import Truth, keep
from prefloom.flows.steps.forecast_asked import Foreseen
from prefloom.flows.steps.freshness import materials
from prefloom.flows.steps.personas import personas_of
from prefloom.flows.steps.portraits import write
from prefloom.flows.steps.texts import Sieve
from prefloom.flows.steps.written import LATER
from prefloom.schemas.errors import InputError
from prefloom.schemas.people import WrittenPersonas
from prefloom.schemas.splits import persona_splits
from tests.helpers import resolved, run_stage, table

SEEDS = Path(__file__).parents[3] / "data/seeds"
TRAITS = {"age": ["in their twenties", "over 65"], "gender": ["woman", "man"]}
WRITTEN: dict[str, Any] = {"source": "written", "model": "terse", "traits": TRAITS, "per_cell": 3}
RESIDENTS = {
    "source": "grid",
    "path": str(SEEDS / "residents.yaml"),
    "template": "persona/resident",
    "cells": ["age", "continent", "gender"],
}
REVIEWERS = {
    "source": "template",
    "text": "This user prefers {{ level | replace('+', ' and ') }} reviews.",
    "values": {"level": ["positive", "concise", "positive+concise"]},
    "tastes": {"level": {"positive": {"warmth": 2}, "concise": {"length": -2}, "positive+concise": {"warmth": 2, "length": -2}}},
}


def cells(frame: pl.DataFrame, *names: str) -> Counter[tuple[str, ...]]:
    rows = [{trait["name"]: trait["value"] for trait in row} for row in frame["traits"]]
    return Counter(tuple(row[name] for name in names) for row in rows)


def test_every_cell_of_a_grid_has_as_many_and_more_keep_those_there(tmp_path: Path) -> None:
    few = table(run_stage(tmp_path / "a", "personas", personas=[RESIDENTS | {"per_cell": 4}]), "personas")
    many = table(run_stage(tmp_path / "b", "personas", personas=[RESIDENTS | {"per_cell": 30}]), "personas")
    assert few.height == 200
    assert many.height == 1500 == many["persona_id"].n_unique()
    counts = cells(many, "age", "continent", "gender")
    assert len(counts) == 50
    assert set(counts.values()) == {30}
    assert set(few["persona_id"]) < set(many["persona_id"])
    words = many["description"].str.split(" ").list.len()
    assert 12 <= int(words.min() or 0) <= int(words.max() or 0) <= 30


def test_cells_are_traits_of_the_grid_and_one_number_is_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="continent"):
        run_stage(tmp_path, "personas", personas=[RESIDENTS | {"per_cell": 1, "cells": ["continents"]}])
    with pytest.raises(InputError, match="at most"):
        run_stage(tmp_path, "personas", personas=[RESIDENTS | {"per_cell": 200}])
    for wrong in ({"count": 3, "per_cell": 1}, {}, {"count": 3, "cells": ["age"]}):
        with pytest.raises(ValueError, match="per_cell"):
            resolved(personas=[{"source": "grid"} | wrong])
    assert SHIPPED["grid"] == "traits.yaml"


def test_a_model_writes_personas_for_every_cell(tmp_path: Path) -> None:
    few = run_stage(tmp_path / "a", "personas", personas=[WRITTEN])
    frame = table(few, "personas")
    assert set(cells(frame, "age", "gender").values()) == {3}
    assert frame.height == 12
    assert set(frame["source"]) == {"written"}
    for row in frame.iter_rows(named=True):
        traits = {trait["name"]: trait["value"] for trait in row["traits"]}
        assert all(value in row["description"] for value in traits.values())
        assert 15 <= len(row["description"].split()) <= 40
    again = run_stage(tmp_path / "b", "personas", personas=[WRITTEN])
    name = "personas/part-00000.parquet"
    assert few.store.sha256(name) == again.store.sha256(name)
    more = table(run_stage(tmp_path / "a", "personas", personas=[WRITTEN | {"per_cell": 5}]), "personas")
    assert set(frame["persona_id"]) < set(more["persona_id"])


def test_the_plan_counts_what_writing_takes(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "personas", personas=[WRITTEN])
    seen = Foreseen(run, materials(run), "terse")
    planned, _ = personas_of(run.resolved, None, {"terse": seen})
    assert planned["persona_id"].to_list() == table(run, "personas")["persona_id"].to_list()
    assert seen.unknown == 0
    assert seen.usage.calls >= 12
    assert seen.left.calls == 0  # all of it is in the journal
    more = resolved(personas=[WRITTEN | {"per_cell": 4}])
    assert personas_of(more, None, {"terse": seen})[0].height == 16
    assert seen.left.calls >= 4
    later = Scripted(*[Reply(error=LATER)] * 16)
    assert personas_of(more, None, {"terse": later})[0].height == 16  # of a model that nobody has asked yet


class Scripted:
    """A model that says what it is told to, one text after the other."""

    def __init__(self, *replies: Reply) -> None:
        self.left, self.asked = list(replies), 0

    def ask(self, requests: Sequence[Request], scopes: Sequence[str], again: Callable[[Reply], bool] | None = None) -> list[Reply]:
        self.asked += len(requests)
        return [self.left.pop(0) for _ in requests]


def test_what_is_unfit_is_rejected_with_its_reason_and_asked_again() -> None:
    good = "A woman over 65 from a river town in Asia who grows chillies on the balcony and hums a tune each morning."
    replies = [
        Reply(good, "stop"),
        Reply(good.upper(), "stop"),
        Reply("A woman.", "stop"),
        Reply("word " * 60, "stop"),
        Reply("Here she is. " + good, "stop"),
        Reply("I'm sorry, but I can't help with that.", "stop"),
        Reply(good[:40], "length"),
        Reply("", "stop"),
        Reply(error="503"),
        Reply(good.replace("Asia", "Africa"), "stop"),
    ]
    source = WrittenPersonas.model_validate({**WRITTEN, "traits": {"gender": ["woman"]}, "per_cell": 2, "attempts": 20})
    sieve, model = Sieve("personas"), Scripted(*replies)
    kept = write(source, resolved().recipe, sieve, model)
    assert [persona.description for persona in kept] == [good, good.replace("Asia", "Africa")]
    reasons = ["duplicate", "too_short", "too_long", "several_sentences", "refused", "truncated", "empty", "error"]
    assert sieve.rejected()["reason"].to_list() == reasons
    assert sieve.rejected()["kind"].to_list() == ["check"] * 7 + ["failure"]
    assert model.asked == len(replies)
    once = write(source.model_copy(update={"attempts": 1}), resolved().recipe, Sieve("personas"), Scripted(*replies))
    assert len(once) == 1  # bounded: what still lacks stays lacking


def test_a_trait_decides_the_split() -> None:
    people = [[{"name": "level", "value": value}] for value in ("positive", "positive+concise", "other")]
    ids = ["a", "b", "c"]
    hashed = persona_splits(ids, people, (0.0, 0.0), {})
    assert hashed == ["train"] * 3
    held = persona_splits(ids, people, (0.0, 0.0), {"level": {"positive": "validation", "positive+concise": "test"}})
    assert held == ["validation", "test", "train"]
    both = [[*people[0], {"name": "age", "value": "old"}]]
    assert persona_splits(["a"], both, (0.0, 0.0), {"level": {"positive": "train"}, "age": {"old": "test"}}) == ["test"]


def test_held_out_users_are_in_no_training_row(tmp_path: Path) -> None:
    splits = {
        "validation": 0.2,
        "test": 0.3,
        "by_trait": {"level": {"positive": "train", "concise": "train", "positive+concise": "test"}},
    }
    run = run_stage(tmp_path, "labels", personas=[REVIEWERS], splits=splits)
    people = table(run, "personas")
    held = people.filter(pl.col("split") == "test")
    assert held["description"].to_list() == ["This user prefers positive and concise reviews."]
    labels = table(run, "labels").with_columns(pl.col("persona_id").is_in(held["persona_id"].to_list()).alias("held"))
    assert set(labels.filter("held")["split"]) == {"test_new_personas", "test_new_both"}
    assert not {"test_new_personas", "test_new_both"} & set(labels.filter(~pl.col("held"))["split"])
    with pytest.raises(InputError, match="positiv, which no persona has"):
        run_stage(tmp_path, "personas", personas=[REVIEWERS], splits={"by_trait": {"level": {"positiv": "test"}}})


def test_tastes_of_a_template_are_planted(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "personas", personas=[REVIEWERS])
    keep(run)
    truth, people = Truth.of(run), table(run, "personas")
    ids = dict(people.select("description", "persona_id").iter_rows())
    texts = ["It is dull.", "What a warm and lovely film, thank you, dear friends! " * 12]
    mine = truth.utilities([ids[f"This user prefers {level} reviews."] for level in ("positive", "concise")], texts)
    assert mine[0, 1] > mine[0, 0]
    assert mine[1, 1] < mine[1, 0]
    wrong = REVIEWERS | {"tastes": {"level": {"positive": {"warmht": 2}}}}
    with pytest.raises(InputError, match="warmth"):
        keep(run_stage(tmp_path, "personas", personas=[wrong]))
    with pytest.raises(ValueError, match="which values does not have"):
        resolved(personas=[REVIEWERS | {"tastes": {"level": {"verbose": {"length": 2}}}}])
