"""Deciding by weights: exact, the same in both orders, as noisy as it says, and never by a raw score."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import standards
from prefloom.flows.dataset.standards import STEP
from prefloom.flows.dataset.validate import validate
from prefloom.flows.steps import freshness
from prefloom.flows.steps.utilities import choose, log_odds
from prefloom.schemas.score import Score, Standard
from tests.helpers import run_stage, table

TYPES = {"warm": {"w": 1.0}, "brief": {"l": -1.0}}
RANDOM = np.random.default_rng(5)


def test_log_odds_are_the_difference_of_weighed_scores_to_the_last_digit() -> None:
    steps = RANDOM.integers(-40_000, 40_000, (30, 10)).astype(np.float64)
    weights = RANDOM.dirichlet(np.full(10, 0.05), 50).round(6)
    first, second = RANDOM.integers(0, 30, (2, 400))
    found = log_odds(weights, steps, first, second)
    exact = [[round(w * 1e6) for w in row] for row in weights]
    for u, c in ((0, 0), (7, 31), (49, 399)):
        whole = sum(w * int(steps[first[c], b] - steps[second[c], b]) for b, w in enumerate(exact[u]))
        assert found[u, c] == whole * (1e-6 * STEP)
    assert np.array_equal(found, -log_odds(weights, steps, second, first))
    order = RANDOM.permutation(10)
    assert np.array_equal(found, log_odds(weights[:, order], steps[:, order], first, second))  # exact, so in any order
    assert np.array_equal(found[7:8, 31:32], log_odds(weights[7:8], steps, first[31:32], second[31:32]))


def test_noisy_choices_follow_bradley_and_terry() -> None:
    gaps = np.linspace(-3, 3, 200_000)
    numbers = np.arange(len(gaps), dtype=np.uint64)
    said = choose(gaps, np.full(len(gaps), 0.5), np.zeros(len(gaps)), numbers, numbers[::-1], seed=1)
    assert np.allclose(np.abs(said), np.abs(gaps) / 0.5, atol=1e-4)  # the size is the gap in units of the noise
    for some in np.array_split(np.argsort(np.abs(gaps)), 10):
        turned = (np.sign(said[some]) != np.sign(gaps[some])).mean()
        assert turned == pytest.approx((1 / (1 + np.exp(np.abs(gaps[some]) / 0.5))).mean(), abs=0.02)
        right = (1 / (1 + np.exp(-np.abs(said[some])))).mean()  # what `probability` of a label will say of the choice
        assert 1 - turned == pytest.approx(right, abs=0.02)


def test_flips_turn_choices_round_whatever_their_size() -> None:
    gaps = np.where(np.arange(100_000) % 2 == 0, 0.01, 5.0)
    numbers = np.arange(len(gaps), dtype=np.uint64)
    said = choose(gaps, np.zeros(len(gaps)), np.full(len(gaps), 0.1), numbers, numbers, seed=1)
    for size in (0.01, 5.0):
        assert (said[gaps == size] < 0).mean() == pytest.approx(0.1, abs=0.005)
    same = choose(gaps, np.zeros(len(gaps)), np.zeros(len(gaps)), numbers, numbers, seed=1)
    assert np.array_equal(same, gaps)


def test_standards_are_of_train_prompts_alone() -> None:
    scores = pl.DataFrame(
        {
            "candidate_id": ["a", "b", "c", "d"],
            "prompt_id": ["p", "p", "q", "q"],
            "reward": "r",
            "score": [1.0, 3.0, 100.0, -50.0],
        }
    )
    (found,) = standards.fit(scores, pl.Series(["p"]), {"r": -1})
    assert found == Standard(reward="r", sign=-1, mean=2.0, sd=1.0, answers=2)
    z = standards.standardised(scores, pl.DataFrame([found.model_dump()]))
    assert z.ids == ["a", "b", "c", "d"]
    assert (z.steps[:, 0] * STEP).round(4).tolist() == [1.0, -1.0, -98.0, 52.0]
    assert list(Score.model_fields) == scores.columns


def recipe(tmp_path: Path, scale: float, shift: float, **changes: Any) -> dict[str, Any]:
    """Six prompts with four answers, and scores from a file, each `scale` times what it would be and `shift` more."""
    draw = np.random.default_rng(2)
    rows = [
        {
            "id": f"q{p}",
            "text": f"Answer {a} to {p}.",
            "model": "m",
            "w": scale * draw.integers(-99, 99) + shift,
            "l": int(draw.integers(-99, 99)),
        }
        for p in range(20)
        for a in range(4)
    ]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps({"id": f"q{p}", "text": f"Question {p}?"}) for p in range(20)))
    answers = str(tmp_path / "answers.jsonl")
    scored = {
        name: {"engine": "file", "path": answers, "fields": {"prompt_id": "id", "text": "text", "score": name}} for name in ("w", "l")
    }
    return {
        "personas": [{"source": "attributes", "count": 12, "types": TYPES, "conflict": 0.5, "flips": 0.1, "noise": 0.3}],
        "prompts": [{"source": "file", "path": str(tmp_path / "prompts.jsonl"), "fields": {"id": "id"}}],
        "candidates": {"source": "file", "path": answers, "fields": {"prompt_id": "id"}},
        "rewards": scored,
        "judgements": {},
        "comparisons": {"per_prompt": 3, "per_persona_prompt": 2},
    } | changes


def test_nobody_weighs_raw_scores(tmp_path: Path) -> None:
    """Scores twice as large and a hundred more are standardised to the same: comparisons and choices must not change by a digit."""
    found = []
    for name, scale, shift in (("one", 1.0, 0.0), ("other", 2.0, 100.0)):
        (tmp_path / name).mkdir()
        run = run_stage(tmp_path / name, "judgements", **recipe(tmp_path / name, scale, shift))
        found.append([table(run, stage) for stage in ("scores", "comparisons", "judgements")])
    (raw, pairs, choices), (others, *same) = found
    assert not raw.equals(others)
    assert pairs.equals(same[0])
    assert choices.equals(same[1])
    assert choices.height > 100


def test_a_dataset_of_weights_is_valid_and_tampering_is_seen(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "exports", **recipe(tmp_path, 1.0, 0.0))
    whole = freshness.composed(run, freshness.materials(run))
    assert whole
    run.store.create("manifest.json", whole)
    assert [check.problems for check in validate(run.store) if check.problems] == []
    judged = table(run, "judgements")
    assert set(judged["template"]) == {"attributes"}
    assert set(judged["model"]) == {"rewards"}
    assert set(judged["mass"]) == {1.0}
    from prefloom.flows.dataset.invariants_users import scores, users
    from prefloom.flows.dataset.validate import RECORDS

    data = {name: table(run, name) for name in RECORDS if name != "exports"}
    here = run.resolved.recipe
    assert not users(data, here).problems
    assert not scores(data, here).problems
    louder = judged.with_columns(pl.col("log_odds") * 1.5)
    assert users(data | {"judgements": louder}, here).problems
    turned = judged.with_columns(pl.when(pl.col("comparison_id") < "8").then(-pl.col("log_odds")).otherwise("log_odds"))
    assert users(data | {"judgements": turned}, here).problems
    wanted = here.model_copy(update={"personas": [here.personas[0].model_copy(update={"conflict": 0.6})]})
    assert users(data, wanted).problems
    assert scores(data | {"standards": data["standards"].with_columns(pl.col("mean") + 1)}, here).problems
    assert scores(data | {"scores": data["scores"].head(9)}, here).problems


def test_an_answer_without_a_score_is_a_failure_of_those_who_weigh_it(tmp_path: Path) -> None:
    given = recipe(tmp_path, 1.0, 0.0)
    given["personas"] = [{"source": "ensemble", "weights": [{"w": 1.0}, {"l": 1.0}]}]
    file = tmp_path / "scored.jsonl"
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    rows[0]["w"] = None
    file.write_text("\n".join(map(json.dumps, rows)))
    given["rewards"]["w"]["path"] = str(file)
    run = run_stage(tmp_path, "labels", **given, splits={"validation": 0.0, "test": 0.0}, limits={"failures": 0.5})
    lost = table(run, "rejected").filter(pl.col("reason") == "unscored")
    (answer,) = lost.filter(pl.col("stage") == "scores")["row_id"]
    about = table(run, "comparisons").filter((pl.col("first_id") == answer) | (pl.col("second_id") == answer))
    refused = lost.filter(pl.col("stage") == "judgements")
    one = table(run, "personas").filter(pl.col("description").str.contains("by w"))["persona_id"][0]
    asked = about.filter(pl.col("persona_ids").list.contains(one))
    assert asked.height
    assert set(refused["persona_id"]) == {one}
    assert refused.height == 2 * asked.height
