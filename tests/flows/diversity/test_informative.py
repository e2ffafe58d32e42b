"""Quality is found again, noise is no disagreement, and every pair is drawn as often as is said."""

import numpy as np
import pytest

from prefloom.flows.diversity.informative import chances, disagreement, quality, strength, systematic


def test_quality_is_found_again_from_differences() -> None:
    truth = np.array([1.5, -0.5, 0.25, -1.25])
    first, second = [0, 1, 2, 0], [1, 2, 3, 3]
    found = quality(first, second, [truth[a] - truth[b] for a, b in zip(first, second, strict=True)], 4)
    assert found == pytest.approx(truth - truth.mean())


def test_an_answer_that_was_never_read_is_like_the_mean() -> None:
    assert quality([0], [1], [2.0], 3) == pytest.approx([1.0, -1.0, 0.0])
    assert quality([], [], [], 2) == pytest.approx([0.0, 0.0])


def test_what_the_two_orders_differ_by_is_no_difference_between_people() -> None:
    dice = np.random.default_rng(0)
    noise, liking = dice.normal(0, 0.7, (2, 200, 12)), np.repeat(dice.normal(0, 2.0, (200, 1)), 12, axis=1)
    hesitant = disagreement(noise[0].tolist(), (liking + noise[1]).tolist())
    assert hesitant.mean() < 0.15
    tastes = dice.normal(0, 2.0, (200, 12))
    torn = disagreement((tastes + noise[0]).tolist(), (liking + noise[1]).tolist())
    assert torn.mean() == pytest.approx(4.0, rel=0.15)


def test_who_all_lean_to_one_side_do_not_disagree() -> None:
    found = disagreement([[2.0, -2.0, 1.0, -1.0], [3.0, 3.1, 2.9, 3.0], [0.0] * 4], [[0.5] * 4] * 3)
    assert found == pytest.approx([10 / 3, 0.02 / 3, 0.0])


def test_what_all_feel_alike_is_strong_and_noise_is_not() -> None:
    found = strength([[2.0, -2.0, 1.0, -1.0], [3.0, 3.1, 2.9, 3.0], [0.1, -0.1, 0.2, 0.0]], [[0.5] * 4, [0.5] * 4, [1.0, 0.0, 1.0, 0.0]])
    noise = 1.0 / 9  # four squares of a half over nine degrees of freedom, those of all three pairs
    assert found == pytest.approx([2.5 - noise, 9.005 - noise, 0.0])


def test_what_fewer_than_two_read_is_unknown() -> None:
    assert np.isnan(disagreement([[1.0], []], [[0.1], []])).all()
    assert disagreement([], []).shape == (0,)


@pytest.mark.parametrize("worth", [[0.4, 0.1, 0.1, 0.02], [1.0, 0.0, 0.0, 0.0], [0.0] * 4, [5.0, 5.0, 0.1, 0.1]])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_chances_add_up_and_none_is_above_one_or_zero(worth: list[float], count: int) -> None:
    found = chances(np.array(worth), count, 0.2)
    assert found.sum() == pytest.approx(count)
    assert (found <= 1).all()
    assert (found >= 0.2 * count / 4 - 1e-12).all()
    from_least = np.lexsort((-np.arange(4), worth))  # of equals the later
    assert (np.diff(found[from_least]) >= -1e-12).all(), "more worth, more chance"


def test_half_of_the_choice_can_be_left_to_chance_and_all_of_it() -> None:
    assert chances(np.array([3.0, 1.0, 0.0, 0.0]), 1, 0.5) == pytest.approx([0.625, 0.125, 0.125, 0.125])
    assert chances(np.array([3.0, 1.0, 0.0, 0.0]), 1, 1.0) == pytest.approx([0.25] * 4)
    assert chances(np.array([3.0, 3.0, 1.0]), 1, 0.3) == pytest.approx([0.8, 0.1, 0.1]), "of equals the earlier"
    assert chances(np.array([0.5] * 4), 1, 0.1) == pytest.approx([0.25] * 4), "nothing comes first where all are worth the same"
    assert chances(np.array([3.0, 1.0]), 2, 0.5) == pytest.approx([1.0, 1.0])
    assert chances(np.zeros(0), 2, 0.5).shape == (0,)


def test_each_pair_is_drawn_with_exactly_its_chance() -> None:
    found = chances(np.array([0.9, 0.02, 0.3, 0.11, 0.0, 0.5]), 3, 0.2)
    points = (np.arange(2000) + 0.5) / 2000
    drawn = [systematic(found, float(point)) for point in points]
    assert {len({*places}) for places in drawn} == {3}
    shares = np.bincount(np.concatenate(drawn), minlength=6) / len(points)
    assert shares == pytest.approx(found, abs=1e-3)
