"""Switching steps off: which rows a recipe has, what is compared, and that a learner finds what is planted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefloom.flows.ablate import Plan, text
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.engines import keep_truth
from prefloom.flows.steps import ablation, switches
from prefloom.schemas.errors import InputError
from prefloom.schemas.recipe import Recipe
from tests.helpers import BASE, run_stage

SOCIETY: dict[str, Any] = {
    "models": {"terse": {"engine": "society", "character": "terse"}, "judge": {"engine": "society", "character": "small"}},
    "personas": [{"source": "society", "count": 8}],
    "prompts": [{"source": "seeds", "count": 12}],
    "splits": {"test": 0.3, "validation": 0.0},
}
QUIET = {"checks": {"candidates": {"refused": False, "truncated": False, "min_latin_share": 0.0}, "labels": {"length_only": False}}}


def test_a_row_for_every_step_that_is_on() -> None:
    names = [row.name for row in switches.rows(Recipe.model_validate(BASE | QUIET))]
    assert names == [
        "full",
        *(f"without checks.labels.{name}" for name in ("min_mass", "min_consistency", "min_margin")),
        "without all checks of labels",
        "nothing",
    ]


def test_rows_are_overrides_that_a_build_takes(tmp_path: Path) -> None:
    for row in switches.rows(resolve("demo").recipe):
        changed = resolve("demo", row.overrides)
        assert (changed.fingerprint == resolve("demo").fingerprint) == (row.name == "full")


def test_what_chooses_some_of_many_is_replaced_by_chance() -> None:
    rows = {row.name: row.overrides for row in switches.rows(resolve("diverse").recipe)}
    assert rows["without diversity.personas"] == ("diversity.personas=null", "personas.0.count=120")
    assert rows["without diversity.prompts"] == ("diversity.prompts=null", "prompts.0.count=40")
    assert set(rows["without all diversity steps"]) < set(rows["nothing"])


def test_a_learner_finds_tastes_and_falls_back_on_what_all_have() -> None:
    dice = np.random.default_rng(0)
    tastes, apart = dice.normal(size=(3, 4)), dice.normal(size=(900, 4))
    person = np.arange(900) % 3
    weights = ablation.learn(apart, np.sign((apart * tastes[person]).sum(axis=1)), person, people=4)
    cosines = (weights[:3] * tastes).sum(axis=1) / np.linalg.norm(weights[:3], axis=1) / np.linalg.norm(tastes, axis=1)
    assert (cosines > 0.97).all()
    everybody = ablation.learn(apart, np.sign(apart @ tastes[0]), np.zeros(900, dtype=np.int64), people=2)
    assert np.allclose(everybody[1] * 10, everybody[0] * 10, atol=1)  # who said nothing gets the common weights


def test_variants_are_compared_at_one_number_of_labels_and_of_calls(tmp_path: Path) -> None:
    full = run_stage(tmp_path, "preferences", **SOCIETY, judgements={"model": "judge", "templates": ["judge/pairwise", "judge/reader"]})
    bare = run_stage(tmp_path, "preferences", **SOCIETY, checks={"labels": {"min_consistency": 0.0, "min_margin": 0.0, "min_mass": 0.0}})
    keep_truth(full)
    test = ablation.untouched(bare)
    variants = [ablation.look(full), ablation.look(bare)]
    assert variants[0].calls == 2 * variants[1].calls > 0
    first, second = ablation.compare(variants, test)
    assert first["as_is"]["kept"] < second["as_is"]["kept"]
    assert first["matched_labels"]["kept"] == second["matched_labels"]["kept"] == first["as_is"]["kept"]
    assert first["matched_calls"]["calls"] == second["matched_calls"]["calls"] == variants[1].calls
    assert 0 < first["matched_calls"]["kept"] < first["as_is"]["kept"]
    assert second["matched_calls"] == second["as_is"]
    trained = set(np.flatnonzero(variants[1].learns)) & set(np.flatnonzero(variants[1].evidence.kept))
    tested = {name for name in variants[1].evidence.names.splits if name in ("test_new_prompts", "test_new_both")}
    assert trained
    assert tested
    assert not {variants[1].evidence.names.splits[variants[1].evidence.split[row]] for row in trained} & tested


def test_differences_are_paired_over_seeds() -> None:
    def figures(value: float) -> dict[str, Any]:
        return {how: dict.fromkeys(ablation.FIGURES, value) for how in ("as_is", "matched_labels", "matched_calls")}

    by_seed = [[figures(seed + 0.5), figures(seed)] for seed in (1.0, 5.0, 9.0)]
    full, other = ablation.summary(by_seed, ["full", "without x"])
    assert other["as_is"]["accuracy"] == {"value": 5.0, "over": 0.5, "half": 0.0}  # seeds differ much, the difference does not
    assert full["as_is"]["accuracy"]["over"] == 0
    table = {"recipe": "r", "seeds": [1, 2, 3], "tables": [{"phi": 0.25, "rows": [full, other, full | {"name": "without y"}]}]}
    assert "no label differs without: y" in text(table)


@pytest.mark.parametrize(
    ("changes", "phi", "words"),
    [
        (
            ("models.judge={engine: endpoint, model: m}", "servers={judge: {urls: ['http://127.0.0.1:9/v1']}}"),
            [0.25],
            "no member of the society",
        ),
        ((), [0.3], "0.3, for which no judge is calibrated"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_built(changes: tuple[str, ...], phi: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Plan.of("demo", "data", changes, 2, phi)


def test_people_without_planted_tastes_cannot_be_measured(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "personas")
    with pytest.raises(InputError, match="people without planted tastes"):
        ablation.look(run)
