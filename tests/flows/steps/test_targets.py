"""A group that lacks preferences is asked further, exactly as far as its quota, and nobody is asked twice."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import outcomes
from prefloom.flows.dataset.outcomes import Outcome
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.queues import places, ranks
from prefloom.flows.steps.targets import GROWTH, asking, further, next_round
from prefloom.schemas.checks import Comparisons
from prefloom.schemas.errors import InputError
from prefloom.schemas.recipe import Recipe
from tests.helpers import BASE, make, resolved, run_rounds, run_stage, table

CHANGES: dict[str, Any] = {
    "personas": [{"source": "society", "count": 40}],
    "prompts": [{"source": "seeds", "count": 20}],
    "comparisons": {"per_prompt": 2, "prompts_per_persona": 3},
}
TARGET = {"preferences": 100, "group": "age", "budget": 240}
READING = ["persona_id", "comparison_id"]


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose groups by age have what they shall have. Do not write into it."""
    return run_rounds(tmp_path_factory.mktemp("met"), **CHANGES, target=TARGET)


def asked(run: Run) -> pl.DataFrame:
    """Every (persona, comparison) that is asked."""
    return table(run, "comparisons").select("comparison_id", persona_id="persona_ids").explode("persona_id").drop_nulls().sort(READING)


def outcome(run: Run) -> dict[str, Outcome]:
    return outcomes.outcomes(run.store, run.resolved.recipe)


def digests(run: Run) -> dict[str, str]:
    return {str(path.relative_to(run.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.folder.rglob("*.parquet")}


def test_every_group_gets_its_preferences_and_is_asked_exactly_its_quota(met: Run) -> None:
    rows, found = table(met, "targets"), outcome(met)
    last = rows.filter(pl.col("round") == rows["round"].max())
    assert 1 < last["round"][0] < 6
    assert {name: one.asked for name, one in found.items()} == dict(last.select("group", "quota").iter_rows())
    assert all(one.kept >= 100 and not one.missing for one in found.values())
    train = table(met, "labels").filter(pl.col("split") == "train").height
    assert sum(one.kept for one in found.values()) == table(met, "preferences").filter(pl.col("split") == "train").height
    assert train <= sum(one.asked for one in found.values()) < 3 * 240 + 1


def test_the_first_round_asks_what_comparisons_says_and_a_later_one_all_that_was_asked_before(met: Run, tmp_path: Path) -> None:
    plain = asked(run_stage(tmp_path, "comparisons", **CHANGES))
    first = asked(run_stage(tmp_path, "comparisons", **CHANGES, target=TARGET))
    assert plain.equals(first)
    assert first.join(asked(met), on=READING, how="anti").height == 0
    people = table(met, "personas").filter(pl.col("split") != "train")["persona_id"].implode()
    assert asked(met).filter(pl.col("persona_id").is_in(people)).equals(plain.filter(pl.col("persona_id").is_in(people)))


def test_a_build_that_was_killed_between_two_files_ends_with_the_same_bytes(met: Run, tmp_path: Path) -> None:
    run = run_stage(tmp_path, "preferences", **CHANGES, target=TARGET)
    make(run, "targets", step=next_round)
    run.store.remove("targets/_stage.json")  # the round was written, what says so was not
    again = run_rounds(tmp_path, **CHANGES, target=TARGET)
    assert digests(again) == digests(met)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ({"preferences": 5000, "budget": 150, "group": "age"}, "the budget of 150 is spent (raise target.budget)"),
        ({"preferences": 9000, "budget": 9000}, "comparisons there are for it were asked (raise comparisons.per_prompt"),
        ({"preferences": 9000, "budget": 9000, "rounds": 1}, "the rounds are over (raise target.rounds)"),
    ],
)
def test_what_is_missing_is_said_with_what_ate_it(target: dict[str, Any], why: str, met: Run) -> None:
    run = run_rounds(met.folder.parents[1], **CHANGES, target=target)
    lacking = outcomes.lacking(outcomes.outcomes(run.store, run.resolved.recipe))
    assert further(run) == []
    assert len(lacking) == (3 if "group" in target else 1)
    for one in lacking:
        assert one.asked == one.kept + sum(one.rejected.values())
        assert why in one.describe()
        assert f"inconsistent {one.rejected['inconsistent']:,}" in one.describe()
    outcomes.check(lacking, None)
    with pytest.raises(InputError, match=r"limits.missing: found .* missing; .*; expected at most 10% missing"):
        outcomes.check(lacking, 0.1)


@pytest.mark.parametrize("group", ["all", "split", "persona", "kind"])
def test_groups_of_every_kind(group: str, met: Run) -> None:
    run = run_stage(met.folder.parents[1], "targets", **CHANGES, target={"preferences": 1, "budget": 1, "group": group})
    personas = table(run, "personas").filter(pl.col("split") == "train")["persona_id"].to_list()
    names = {"all": ["all"], "split": ["train"], "persona": sorted(personas), "kind": ["judge"]}[group]
    assert table(run, "targets")["group"].to_list() == names


def test_a_trait_that_nobody_has_is_refused_by_name(met: Run) -> None:
    with pytest.raises(InputError, match=r"target.group: found no persona of these splits in a group of 'agge'; did you mean 'age'"):
        run_stage(met.folder.parents[1], "targets", **CHANGES, target=TARGET | {"group": "agge"})


def test_how_much_is_asked() -> None:
    one = Outcome("all", 1000, asked=500, kept=250, rejected={}, supply=10**6, budget=10**6)
    assert asking(one) == (GROWTH - 1) * 500  # 1,540 are wanted
    half = Outcome("all", 1000, asked=1500, kept=750, rejected={}, supply=10**6, budget=10**6)
    assert 500 < asking(half) < 560
    assert asking(Outcome("all", 100, asked=500, kept=100, rejected={}, supply=10**6, budget=10**6)) == 0
    assert asking(Outcome("all", 100, asked=10, kept=0, rejected={}, supply=10**6, budget=10**6)) == 30
    assert asking(Outcome("all", 100, asked=0, kept=0, rejected={}, supply=10**6, budget=10**6)) == 100


def test_a_queue_goes_through_all_prompts_before_it_comes_back() -> None:
    settings = Comparisons(per_prompt=3, per_persona_prompt=1, prompts_per_persona=2)
    rank, which = np.meshgrid(np.arange(5), np.arange(3), indexing="ij")
    found = places(rank, which, settings, 5)
    assert found.T.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    two = places(rank, which, settings.model_copy(update={"per_persona_prompt": 2}), 5)
    assert two[:, :2].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    draws = np.array([[9, 3, 5]], dtype=np.uint64)
    assert ranks(draws, np.array([[True, False, True]])).tolist() == [[1, 2, 0]]


def test_a_recipe_without_a_target_is_what_it_was() -> None:
    assert not {"target", "limits"} & resolved().data().keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": {"preferences": 5}}, "budget"),
        ({"limits": {"missing": 0.1}}, "limits.missing without a target"),
        ({"target": {"preferences": 5, "budget": 9, "splits": ["train", "train"]}}, "stands there twice"),
        ({"target": {"preferences": 5, "budget": 9, "splits": ["test"]}}, "test_new_prompts"),
        ({"target": {"preferences": 5, "budget": 9}, "refinement": {}, "comparisons": {"per_prompt": 3}}, "refinement needs some"),
    ],
)
def test_recipes_that_cannot_be_meant(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe.model_validate(BASE | change)
