"""The measures of persona signal are those of heterogeneity.py where everybody read everything, and keep their meaning where not."""

from typing import Any

import numpy as np
import pytest

from prefloom.flows.dataset import heterogeneity as h
from prefloom.flows.dataset import heterogeneity_pairs as hp
from prefloom.flows.dataset import signal_measures as measures
from prefloom.flows.dataset.heterogeneity import Estimate
from prefloom.flows.dataset.signal import Signal
from prefloom.flows.dataset.signal_measures import Reads

USERS, PROMPTS, REPLICATES = 30, 40, 3


def log_odds(seed: int, taste: float = 0.9, noise: float = 0.7) -> h.Floats:
    """[user, prompt, replicate]: pair 1, persona .3, taste, wording .5 by pair and .2 by persona, noise."""
    dice = np.random.default_rng(seed)

    def part(size: float, *shape: int) -> h.Floats:
        return size * dice.normal(size=shape)

    shared = part(1, 1, PROMPTS, 1) + part(0.5, 1, PROMPTS, REPLICATES)
    own = part(0.3, USERS, 1, 1) + part(0.2, USERS, 1, REPLICATES) + part(taste, USERS, PROMPTS, 1)
    return np.asarray(shared + own + part(noise, USERS, PROMPTS, REPLICATES))


def reads(values: h.Floats, share: float = 1.0) -> Reads:
    person, prompt = (axis.ravel() for axis in np.indices(values.shape[:2]))
    kept = np.random.default_rng(9).random(len(person)) < share
    return Reads(person[kept], prompt[kept], prompt[kept], values.reshape(-1, values.shape[2])[kept])


def test_variances_are_those_of_the_analysis_of_variance() -> None:
    values = log_odds(1)
    expected, found = hp.components(values), measures.components(reads(values))
    assert found.persona == pytest.approx(expected.persona)
    assert found.taste == pytest.approx(expected.persona_pair)
    assert found.noise == pytest.approx(expected.replicate)
    assert found.reliability == pytest.approx(expected.reliability)
    assert found.of_mean(3) == pytest.approx(found.taste / (found.taste + found.noise / 3))


def test_gaps_do_not_move_the_reliability() -> None:
    true = 0.81 / (0.81 + 0.49)
    found = [measures.components(reads(log_odds(seed), share=0.3)).reliability for seed in range(12)]
    assert np.mean(found) == pytest.approx(true, abs=0.02)


def test_a_persona_drawn_twice_is_not_taken_for_two() -> None:
    some = reads(log_odds(2))
    dice = np.random.default_rng(3)
    drawn = [np.bincount(dice.integers(0, n, n), minlength=n) for n in (USERS, PROMPTS) * 60]
    values = [measures.components(some, people, prompts).reliability for people, prompts in zip(drawn[::2], drawn[1::2], strict=True)]
    assert np.mean(values) == pytest.approx(measures.components(some).reliability, abs=0.02)


def test_without_taste_there_is_no_reliability() -> None:
    estimate = measures.reliability(reads(log_odds(4, taste=0.0)))
    assert estimate.low < 0 < estimate.high
    assert estimate.value == pytest.approx(0, abs=0.08)
    everybody = np.repeat(log_odds(5)[:1], USERS, axis=0)
    assert measures.components(reads(everybody)).reliability == 0.0
    alone = Reads(np.array([0, 1]), np.array([0, 1]), np.array([0, 1]), np.ones((2, 2)))
    assert np.isnan(measures.components(alone).reliability), "nobody else read what they read"


def test_the_majority_is_that_of_heterogeneity() -> None:
    values = log_odds(6)
    choices = (values > 0).astype(np.int64).transpose(2, 0, 1)
    own = np.mean([h.accuracy(choices[r], choices[s]) for r in range(3) for s in range(3) if r != s])
    found = measures.over_majority(reads(values))
    assert found.own == pytest.approx(own)
    assert found.majority == pytest.approx(np.mean([h.consensus(row) for row in choices]))
    assert np.nanmean(measures.by_persona(reads(values))) == pytest.approx(found.advantage)


def test_sensitivity_is_that_of_heterogeneity_and_nothing_for_nobody() -> None:
    values = log_odds(7)
    moved = np.roll(values, 1, axis=0)
    choices = [(rows > 0).astype(np.int64).transpose(2, 0, 1) for rows in (values, moved)]
    rows = measures.sensitivity(reads(values).values, reads(moved).values)
    assert rows.mean() == pytest.approx(h.sensitivity(*choices))
    everybody = np.repeat(values[:1], USERS, axis=0)
    assert measures.sensitivity(reads(everybody).values, reads(np.roll(everybody, 1, axis=0)).values).mean() == pytest.approx(0)


def test_what_comes_back_when_read_again() -> None:
    dice = np.random.default_rng(8)
    true = dice.normal(size=4000)
    first, again = (true + dice.normal(size=4000) for _ in range(2))
    assert measures.retest(first, again) == pytest.approx(0.5, abs=0.04)
    assert measures.retest(true, true) == 1.0
    assert np.isnan(measures.retest(np.zeros(3), np.zeros(3)))


@pytest.mark.parametrize(
    ("sensitivity", "reliability", "kind"),
    [
        ((0.2, 0.1, 0.3), (0.6, 0.5, 0.7), "personal"),
        ((0.01, -0.02, 0.04), (0.6, 0.5, 0.7), "generic preference"),
        ((0.05, -0.08, 0.16), (0.5, 0.4, 0.6), "unclear"),
        ((0.05, -0.08, 0.16), (0.0, -0.1, 0.1), "generic preference"),
        (None, (0.5, 0.4, 0.6), "personal"),
        (None, None, "unknown"),
    ],
)
def test_a_verdict_waits_for_enough_readings(sensitivity: Any, reliability: Any, kind: str) -> None:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    known = {name: Estimate(*found) if found else nothing for name, found in (("sensitivity", sensitivity), ("reliability", reliability))}
    found = Signal(**{name: known.get(name, nothing) for name in Signal.__dataclass_fields__})
    assert found.kind == kind
