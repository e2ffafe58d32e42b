"""Figures of heterogeneity on populations whose answer is known: all alike, all independent, two groups, and votes counted by hand."""

import numpy as np
import pytest

from prefloom.flows.dataset import heterogeneity as h
from prefloom.flows.dataset import heterogeneity_pairs as hp
from prefloom.flows.dataset.heterogeneity import Ints

USERS, PROMPTS, ANSWERS = 60, 80, 8


def alike() -> Ints:
    return np.tile(np.arange(PROMPTS) % ANSWERS, (USERS, 1))


def independent(seed: int = 1, users: int = USERS) -> Ints:
    return np.random.default_rng(seed).integers(0, ANSWERS, (users, PROMPTS))


def two_groups() -> Ints:
    left = alike()
    return np.where(np.arange(USERS)[:, None] < USERS // 2, left, (left + 3) % ANSWERS)


def test_users_who_are_all_alike() -> None:
    choices = alike()
    assert h.pairwise_agreement(choices) == h.nearest_twin(choices) == h.alpha(choices) == h.consensus(choices) == 1.0
    assert h.twin_gap(choices) == 0.0
    assert (h.entropies(choices, ANSWERS) == 0).all()
    assert (h.winners(choices, ANSWERS) == 1).all()
    assert h.top_vote_rank(choices, ANSWERS, 0.95) == 0.0, "no prompt has a favourite with less than all votes"


def test_users_who_choose_by_chance() -> None:
    choices = independent()
    assert h.pairwise_agreement(choices) == pytest.approx(1 / ANSWERS, abs=0.01)
    # The entropy of a sample is low by about (K - 1) / 2U (Miller 1955).
    assert h.entropies(choices, ANSWERS).mean() == pytest.approx(np.log(ANSWERS) - (ANSWERS - 1) / (2 * USERS), abs=0.02)
    assert h.alpha(choices) == pytest.approx(0.0, abs=0.01)
    assert h.consensus(choices) == pytest.approx(1 / ANSWERS, abs=0.03)
    assert h.winners(choices, ANSWERS).mean() > 7.9
    assert h.top_vote_rank(choices, ANSWERS, 0.5) == 100.0
    assert h.twin_gap(choices) < 0.2


def test_two_groups_have_twins_and_one_line_of_difference() -> None:
    choices = two_groups()
    assert h.nearest_twin(choices) == 1.0
    assert h.pairwise_agreement(choices) == pytest.approx((USERS / 2 - 1) / (USERS - 1))
    assert h.twin_gap(choices) > 0.5
    assert h.entropies(choices, ANSWERS) == pytest.approx(np.log(2))
    signs = np.where(np.arange(USERS) < USERS // 2, 1.0, -1.0)[:, None, None] * np.ones((PROMPTS, 28))
    assert hp.user_types(signs) == pytest.approx(1.0)
    noise = np.random.default_rng(0).choice([-1.0, 1.0], (USERS, PROMPTS, 28))
    # Marchenko-Pastur: n / (1 + n / columns) for the n = U - 1 dimensions that are left.
    assert hp.user_types(noise) == pytest.approx((USERS - 1) / (1 + (USERS - 1) / (PROMPTS * 28)), rel=0.01)
    assert np.isnan(hp.user_types(np.ones((USERS, PROMPTS, 28))))


def test_counts_by_hand() -> None:
    # Three users, two prompts: votes 2 : 1 and 1 : 1 : 1.
    choices = np.array([[0, 0], [0, 1], [1, 2]])
    assert h.vote_shares(choices, 4) == pytest.approx(np.array([[2 / 3, 1 / 3, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0]]))
    assert list(h.winners(choices, 4)) == [2, 3]
    assert list(h.winners(choices, 4, least=0.4)) == [1, 0]
    assert h.pairwise_agreement(choices) == pytest.approx(1 / 6)
    assert h.nearest_twin(choices) == pytest.approx((0.5 + 0.5 + 0) / 3)
    # The other two votes tie on both prompts: half a hit for each of those who are with one of them.
    assert h.consensus(choices) == pytest.approx((0.5 + 0.5 + 0 + 0 + 0 + 0) / 6)
    assert h.accuracy(choices, np.array([[0, 1], [0, 1], [-1, 2]])) == pytest.approx(4 / 5)
    assert h.advantage(choices, choices) == pytest.approx(1 - 1 / 6)


def test_five_percent_of_the_users_are_enough_to_win() -> None:
    choices = np.repeat([0, 1, 2], [95, 5, 0])[:, None]
    assert h.winners(choices, 3, least=0.05)[0] == 2
    assert h.winners(np.repeat([0, 1], [96, 4])[:, None], 3, least=0.05)[0] == 1
    assert h.winners(np.repeat([0, 1], [57, 3])[:, None], 3, least=0.05)[0] == 2, "3 of 60 are 5 %, whatever .05 * 60 is in floats"


def test_percentile_rank_is_that_of_the_published_figures() -> None:
    # The documented examples of scipy.stats.percentileofscore, kind "rank".
    assert h.percentile_rank(np.array([1.0, 2, 3, 4]), 3) == 75.0
    assert h.percentile_rank(np.array([1.0, 2, 3, 3, 4]), 3) == 70.0
    assert h.percentile_rank(np.array([1.0, 2, 3, 4]), 2.5) == 50.0
    assert np.isnan(h.percentile_rank(np.array([]), 1.0))


def test_alpha_is_krippendorffs() -> None:
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, values missing, nominal alpha = 0.743.
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
    assert h.alpha(np.array(observers) - 1) == pytest.approx(0.743, abs=5e-4)


def test_choices_that_are_not_known_count_for_nobody() -> None:
    whole = independent()
    holes = np.where(np.random.default_rng(2).random(whole.shape) < 0.3, -1, whole)
    assert h.pairwise_agreement(holes) == pytest.approx(h.pairwise_agreement(whole), abs=0.01)
    assert h.pairwise_agreement(np.array([[0, -1], [0, 1]])) == 1.0
    assert h.pairwise_agreement(np.array([[0, -1], [-1, 1]])) != h.pairwise_agreement(np.array([[0, 1], [0, 1]])), "nan: nothing shared"
    assert np.isnan(h.majority_hits(np.array([[0, -1], [0, 1]]))[0, 1])


def test_a_copy_is_not_another_user() -> None:
    choices, users = np.array([[0, 1], [0, 1], [2, 3]]), np.array([0, 0, 1])
    for metric in (h.pairwise_agreement, h.nearest_twin, h.consensus):
        assert metric(choices) > 0
        assert metric(choices, users) == 0.0
    assert h.alpha(choices) > 0 > h.alpha(choices, users)
    signs = np.array([[[1.0, 1]], [[1, 1]], [[-1, -1]]])
    assert hp.disagreement(signs) == pytest.approx(2 / 3)
    assert hp.disagreement(signs, users) == 1.0


def test_an_interval_does_not_compare_a_user_with_its_copy() -> None:
    choices = independent(users=12)
    honest = h.interval(lambda u, p: h.pairwise_agreement(choices[np.ix_(u, p)], u), 12, PROMPTS)
    careless = h.interval(lambda u, p: h.pairwise_agreement(choices[np.ix_(u, p)]), 12, PROMPTS)
    assert honest.low < honest.value < honest.high < careless.high
    assert careless.low > careless.value, "copies agree with each other"


def test_an_interval_covers_users_as_well_as_prompts() -> None:
    # All that varies is who the users are: an interval over prompts alone would have no width.
    leaning = np.where(np.arange(40)[:, None] < 12, 0, 1) * np.ones((1, PROMPTS), dtype=np.int64)
    found = h.interval(lambda u, p: float((leaning[np.ix_(u, p)] == 0).mean()), 40, PROMPTS)
    assert found.value == 0.3
    # The binomial standard deviation is .0725.
    assert found.high - found.low == pytest.approx(4 * 0.0725, rel=0.2)
    assert h.interval(lambda u, p: float("nan"), 3, 3).value != found.value


def test_an_interval_is_moved_back_where_a_draw_holds_fewer_users() -> None:
    choices = independent()
    plain, moved = (
        h.interval(lambda u, p: float(h.entropies(choices[np.ix_(u, p)], ANSWERS).mean()), USERS, PROMPTS, ceiling)
        for ceiling in (None, np.log(ANSWERS))
    )
    assert plain.high < plain.value
    assert moved.low < moved.value < moved.high <= np.log(ANSWERS)


def test_sensitivity_is_what_the_persona_changes_beyond_noise() -> None:
    draw = np.random.default_rng(3)
    taste = independent(4)

    def noisy(choices: Ints) -> Ints:
        return np.stack([np.where(draw.random(choices.shape) < 0.2, draw.integers(0, ANSWERS, choices.shape), choices) for _ in range(2)])

    own, same, other = noisy(taste), noisy(taste), noisy(np.roll(taste, 1, axis=0))
    assert h.sensitivity(own, same) == pytest.approx(0.0, abs=0.02)
    assert h.sensitivity(np.stack([taste, taste]), np.stack([np.roll(taste, 1, axis=0)] * 2)) == pytest.approx(7 / 8, abs=0.02)
    assert 0.4 < h.sensitivity(own, other) < 7 / 8
    with pytest.raises(ValueError, match="two or more"):
        h.sensitivity(own[:1], other[:1])
