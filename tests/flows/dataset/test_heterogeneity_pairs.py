"""Figures over pairs and repeated readings, on planted variances and on tables small enough to count by hand."""

import numpy as np
import pytest

from prefloom.flows.dataset import heterogeneity_pairs as hp


def test_borda_gives_back_the_order_of_utilities() -> None:
    utilities = np.random.default_rng(0).normal(size=(5, 6, 8))
    assert hp.log_odds_of(np.array([3.0, 1.0, 0.0])).tolist() == [2.0, 3.0, 1.0]
    scores = hp.borda(hp.log_odds_of(utilities), 8)
    assert (scores.argsort(axis=2) == utilities.argsort(axis=2)).all()
    assert hp.borda(np.array([1.0, np.nan, 0.0]), 3).tolist() == [1.0, -1.0, 0.0]


def test_contested_counts_the_smaller_side() -> None:
    seven_to_three = np.repeat([1.0, -1.0], [7, 3])[:, None, None]
    assert hp.contested(seven_to_three, 0.3) == 1.0
    assert hp.contested(seven_to_three, 0.31) == 0.0
    one_unread = np.concatenate([seven_to_three, [[[np.nan]]]])
    assert hp.contested(one_unread, 0.3) == 1.0
    undecided = np.array([1.0, 1.0, 0.0])[:, None, None]
    assert (hp.contested(undecided, 1 / 6), hp.contested(undecided, 0.2)) == (1.0, 0.0), "half a user on each side"


def test_disagreement_is_over_shared_pairs() -> None:
    x = np.array([[[1.0, 1, 1, 1, np.nan]], [[1.0, 1, 1, -1, 1]], [[-1.0, -1, -1, -1, -1]]])
    assert hp.disagreements(x).tolist() == [0.25, 1.0, 0.8]
    assert hp.disagreement(x) == pytest.approx((0.25 + 1 + 0.8) / 3)


@pytest.mark.parametrize("persona_pair", [0.0, 0.5, 2.0])
def test_planted_components_come_back(persona_pair: float) -> None:
    users, prompts, pairs, replicates = 120, 20, 28, 3
    draw = np.random.default_rng(7)
    planted = {(0, prompts, pairs, 0): 1.5, (users, 0, 0, 0): 0.3, (users, prompts, pairs, 0): persona_pair, (0, prompts, pairs, 1): 0.4}
    planted[users, prompts, pairs, 1] = 0.8
    y = np.zeros((users, prompts, pairs, replicates))
    for axes, variance in planted.items():
        shape = [size if axes[k] else 1 for k, size in enumerate(y.shape)]
        y += draw.normal(0, variance**0.5, shape)
    found = hp.components(y)
    assert found.pair == pytest.approx(1.5, rel=0.25)
    assert found.persona == pytest.approx(0.3, rel=0.35)
    assert found.persona_pair == pytest.approx(persona_pair, abs=0.03)
    assert found.wording == pytest.approx(0.4, rel=0.15)
    assert found.replicate == pytest.approx(0.8, rel=0.03)
    assert found.reliability == pytest.approx(persona_pair / (persona_pair + 0.8), abs=0.03)


def test_components_solve_the_expected_mean_squares() -> None:
    # 2 x 2 x 2 cells of +1 and -1, all of it three-way interaction: its mean square is 8, all others are 0. By hand: 8 / 4 for main
    # effects.
    sides = np.array([1.0, -1.0])
    found = hp.components(np.einsum("u,i,r->uir", sides, sides, sides)[:, None])
    assert found == hp.Components(pair=2.0, persona=2.0, persona_pair=0.0, wording=2.0, replicate=8.0)


def test_readers_without_noise_are_reliable_and_readers_without_taste_are_not() -> None:
    taste = np.random.default_rng(1).normal(size=(10, 4, 28))
    assert hp.components(np.stack([taste, taste], axis=-1)).reliability == pytest.approx(1.0)
    assert hp.components(np.random.default_rng(2).normal(size=(40, 10, 28, 2))).reliability < 0.05
    # A template that tilts every pair for all personas alike is no noise of theirs.
    tilted = np.stack([taste, taste + np.random.default_rng(3).normal(size=(1, 4, 28))], axis=-1)
    assert hp.components(tilted).reliability == pytest.approx(1.0)
    assert np.isnan(hp.components(np.ones((3, 2, 28, 2))).reliability)
    with pytest.raises(ValueError, match="1 replicates"):
        hp.components(taste[..., None])


def test_headroom_is_what_one_answer_for_all_costs() -> None:
    alike = np.tile(np.random.default_rng(0).normal(size=(1, 6, 8)), (5, 1, 1))
    assert hp.headroom(alike) == 0.0
    # Two users, one prompt: one likes the first of two answers by a little, the other the second by more; z scores are +1 and -1.
    opposed = np.array([[[0.1, 0.0]], [[0.0, 9.0]], [[0.0, 9.0]]])
    assert hp.headroom(opposed) == pytest.approx(2 / 3), "the first user loses 2, the others nothing"
    best = opposed.argmax(axis=2)
    assert hp.headroom(opposed, best) == hp.headroom(opposed)
    assert hp.headroom(opposed, np.array([[1], [1], [1]])) == 0.0
    assert hp.headroom(opposed, np.array([[1], [0], [-1]])) == pytest.approx(-1.0)
