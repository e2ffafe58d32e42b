"""Measures of likeness say what the vectors say: held against the definition, on vectors small enough to do it by hand."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import similarity
from prefloom.flows.dataset.similarity import ACROSS, Placed
from prefloom.flows.dataset.statistics import load
from prefloom.flows.dataset.store import Store
from prefloom.flows.diversity.grid import on_grid
from tests.vectored import vectored

DRAWN = np.random.default_rng(0)
NAMES = {"prompt_id": pl.String, "candidate_id": pl.String, "model": pl.String, "view": pl.String}


def placed(rows: list[tuple[str, str, str | None]], vectors: list[list[float]]) -> Placed:
    """(prompt, model, view) of each answer, in the order of prompts."""
    frame = pl.DataFrame([(p, f"c{i}", m, v) for i, (p, m, v) in enumerate(rows)], NAMES, orient="row")
    return Placed(frame, on_grid(np.array(vectors or np.zeros((0, 2)), dtype=np.float64)), len(rows))


def test_two_answers_fall_under_one_strategy_and_every_prompt_counts_once() -> None:
    a, b, half = [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]
    rows = [("p", "m", "v"), ("p", "m", "v"), ("p", "m", "w"), ("p", "n", "v"), ("q", "m", "v"), ("q", "m", "v"), ("r", "n", "w")]
    found = {row.name: row for row in similarity.by_strategy(similarity.pairs(placed(rows, [a, a, b, half, a, b, a])))}
    assert {name: row.pairs for name, row in found.items()} == {
        "same model, same view": 2,
        "same model, other view": 2,
        "other model, same view": 2,
        "other model, other view": 1,
        "all answers to a prompt": 7,
    }
    assert found["same model, same view"].means.tolist() == pytest.approx([1, 0], abs=1e-3)
    assert found["same model, same view"].mean.value == pytest.approx(0.5, abs=1e-3)
    assert found["same model, other view"].mean.value == pytest.approx(0, abs=1e-3)
    assert found["other model, same view"].mean.value == pytest.approx(0.5**0.5, abs=1e-3)
    assert found["all answers to a prompt"].mean.value == pytest.approx((1 + 0 + 0 + 3 * 0.5**0.5) / 6 / 2, abs=1e-3)


def test_answers_without_views_differ_by_model_alone() -> None:
    mine = similarity.pairs(placed([("p", "m", None), ("p", "m", None), ("p", "n", None)], [[1, 0], [1, 0], [0, 1]]))
    assert mine["same_view"].all()
    assert [row.name for row in similarity.by_strategy(mine, views=False)] == ["same model", "other model", "all answers to a prompt"]


def test_what_the_pilot_left_is_measured_beside_what_it_found() -> None:
    answers = placed([("p", "m", "v"), ("p", "m", "w"), ("p", "n", "v")], [[1, 0], [0, 1], [1, 0]])
    *_, every, after = similarity.by_strategy(similarity.pairs(answers, left=["c0"]))
    assert (every.pairs, after.name, after.pairs) == (3, "after the pilot", 1)
    assert (every.mean.value, after.mean.value) == (pytest.approx(1 / 3, abs=1e-3), pytest.approx(0, abs=1e-3))


def test_answers_to_different_prompts_are_of_different_prompts() -> None:
    rows = [(f"p{i // 3}", "m", "v") for i in range(12)]
    found = similarity.across(placed(rows, [[1.0, 0.0] if i < 3 else [0.0, 1.0] for i in range(12)]))
    assert (found.name, found.pairs) == (ACROSS, 12)
    assert 0 < found.mean.value < 1
    assert similarity.across(placed(rows[:3], [[1.0, 0.0]] * 3)).pairs == 0


def test_one_prompts_answers_are_worth_their_number_when_they_have_nothing_in_common() -> None:
    rows = [("p", "m", "v")] * 4 + [("q", "m", "v")] * 2
    vectors = [*np.eye(4).tolist(), [1, 0, 0, 0], [1, 0, 0, 0]]
    score, number = similarity.of_one_prompt(placed(rows, vectors))
    assert (score, number) == (pytest.approx((4 + 1) / 2, abs=1e-3), 3)
    assert np.isnan(similarity.of_one_prompt(placed([], []))).all()


@pytest.mark.parametrize(("apart", "share"), [(50.0, 1.0), (0.0, 0.0)])
def test_a_trait_explains_what_it_decides(apart: float, share: float) -> None:
    """However many values there are: forty would explain 7 % of anything by chance."""
    codes = np.arange(600) % 40
    grid = on_grid(DRAWN.normal(size=(600, 40)) + apart * np.eye(40)[codes])
    values = pl.Series([f"v{code}" for code in codes])
    assert similarity.explained(grid, values) == pytest.approx(share, abs=0.02)
    some = values.to_frame("v").with_columns(pl.when(pl.int_range(pl.len()) % 3 > 0).then("v").alias("v"))["v"]
    assert similarity.explained(grid, some) == pytest.approx(share, abs=0.03), "rows without a value do not count"


def test_a_trait_of_one_value_or_of_too_many_explains_nothing() -> None:
    grid = on_grid(DRAWN.normal(size=(60, 5)))
    for values in (["a"] * 60, [str(i) for i in range(60)], [str(i % 55) for i in range(60)], [None] * 60):
        assert np.isnan(similarity.explained(grid, pl.Series(values, dtype=pl.String)))


def test_a_plane_knows_how_much_it_shows() -> None:
    points, shares = similarity.flat(on_grid(np.eye(8)[np.arange(400) % 2] + DRAWN.normal(size=(400, 8)) * 0.01))
    assert points.shape == (400, 2)
    assert shares[0] > 0.99
    assert sum(similarity.flat(on_grid(np.eye(5)))[1]) == pytest.approx(0.5), "four directions, all alike"
    for few in (np.ones((5, 4)), np.eye(4)[:2], np.ones((5, 1)), np.zeros((0, 4))):
        assert similarity.flat(on_grid(few))[1] == (0.0, 0.0)


def test_every_row_gets_its_own_vector(copy: Path) -> None:
    store = vectored(copy)
    data, found = load(store), similarity.load(store, load(store))
    assert {name: (len(part.rows), len(part.grid), part.of) for name, part in found.items()} == {
        "personas": (30,) * 3,
        "prompts": (20,) * 3,
        "candidates": (data.candidates.height,) * 3,
    }
    for name, key in similarity.IDS.items():
        for row_id, vector in zip(found[name].rows[key], found[name].grid, strict=True):
            wanted = np.random.default_rng(int(row_id, 16)).normal(size=16)
            assert np.abs(vector - on_grid(wanted[None, :])[0]).max() <= 4
    assert found["candidates"].rows["prompt_id"].is_sorted()


def test_of_a_large_table_whole_prompts_are_looked_at(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = vectored(copy)
    monkeypatch.setattr(similarity, "MOST", 8)
    monkeypatch.setattr(similarity, "MOST_ANSWERS", 30)
    monkeypatch.setattr(similarity, "OF_A_PROMPT", 3)
    found = similarity.load(store, load(store))
    assert (len(found["personas"].grid), found["personas"].of) == (8, 30)
    answers = found["candidates"]
    assert 15 <= len(answers.grid) <= 30
    assert answers.rows["prompt_id"].value_counts()["count"].to_list() == [3] * (len(answers.grid) // 3)


def test_a_dataset_without_vectors_has_no_measures(small: Path) -> None:
    store = Store(str(small))
    assert similarity.load(store, load(store)) == {}


def test_the_mean_is_that_of_the_definition() -> None:
    rows = [(f"p{i // 5:02}", "mn"[i % 2], "vw"[i % 3 % 2]) for i in range(60)]
    vectors = DRAWN.normal(size=(60, 24))
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    means = [np.mean([unit[i] @ unit[j] for i, j in itertools.combinations(range(start, start + 5), 2)]) for start in range(0, 60, 5)]
    found = similarity.by_strategy(similarity.pairs(placed(rows, vectors.tolist())))[-1]
    assert found.means == pytest.approx(means, abs=1e-3)
    assert (found.mean.value, found.median) == (pytest.approx(np.mean(means), abs=1e-3), pytest.approx(np.median(means), abs=1e-3))
