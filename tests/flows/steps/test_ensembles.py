"""Personas made of weights: the distribution they should have, no two alike, the same whatever their number."""

from typing import Any

import numpy as np
import pytest

from prefloom.flows.steps.ensembles import dirichlet, in_millionths
from prefloom.flows.steps.personas import personas_of
from prefloom.schemas.errors import InputError
from tests.helpers import resolved

NAMES = ("thrift", "warmth", "humour", "length")
REWARDS = {name: {"engine": "scorer", "property": name} for name in NAMES}
TYPES = {"warm": {"warmth": 1.0}, "brief": {"length": -1.0, "humour": 0.5}}


def people(*sources: dict[str, Any], seed: int = 0) -> Any:
    return personas_of(resolved(personas=list(sources), rewards=REWARDS, judgements={}, seed=seed))[0]


def weights(frame: Any) -> list[dict[str, float]]:
    return [{one["name"]: one["value"] for one in row} for row in frame["weights"]]


@pytest.mark.parametrize(("alpha", "effective"), [(0.01, 1.14), (0.05, 1.61), (1.0, 5.77)])  # all five: tests/benchmarks/users.py
def test_weights_have_the_spread_of_their_alpha(alpha: float, effective: float) -> None:
    drawn = dirichlet(alpha, 10, 100_000, seed=1)
    assert np.allclose(drawn.sum(axis=1), 1)
    assert (1 / (drawn**2).sum(axis=1)).mean() == pytest.approx(effective, rel=0.02)
    assert np.abs(drawn.mean(axis=0) - 0.1).max() < 0.005  # no reward is favoured
    whole = in_millionths(drawn)
    assert (whole.sum(axis=1) == 1_000_000).all()
    assert whole.min() >= 0
    assert np.abs(whole / 1e6 - drawn).max() <= 1e-6
    assert np.array_equal(drawn[50:60], dirichlet(alpha, 10, 10, seed=1, first=50))


def test_no_two_people_share_their_weights_and_none_is_in_two_splits() -> None:
    found = people({"source": "ensemble", "count": 400, "alpha": 0.01})  # of these a quarter would be one reward and nothing else
    rows = np.array([[row.get(name, 0.0) for name in NAMES] for row in weights(found)])
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2) + 9 * np.eye(400)
    assert apart.min() > 1e-6
    assert np.abs(rows.sum(axis=1) - 1).max() <= 1e-9
    assert set(found["split"]) == {"train", "validation", "test"}
    assert found["kind"].unique().to_list() == ["ensemble"]
    assert found["alpha"].unique().to_list() == [0.01]


def test_more_people_leave_those_there_as_they_were() -> None:
    few, many = (people({"source": "ensemble", "count": count, "alpha": 0.05}) for count in (20, 50))
    assert set(few["persona_id"]) < set(many["persona_id"])
    assert not set(few["persona_id"]) & set(people({"source": "ensemble", "count": 20, "alpha": 0.05}, seed=1)["persona_id"])
    two = people({"source": "ensemble", "count": 20, "alpha": 0.05}, {"source": "ensemble", "count": 20, "alpha": 0.05})
    assert two.height == 40  # two sources are two streams


def test_given_weights_and_what_a_description_says() -> None:
    found = people({"source": "ensemble", "weights": [{"warmth": 0.25, "thrift": 0.75}, {"humour": 1.0}], "noise": 0.5})
    said = dict(zip(found["description"], weights(found), strict=True))
    assert said == {
        "Weighs answers by thrift 0.75, warmth 0.25, with noise 0.5.": {"thrift": 0.75, "warmth": 0.25},
        "Weighs answers by humour 1, with noise 0.5.": {"humour": 1.0},
    }
    assert found["noise"].to_list() == [0.5, 0.5]


def test_people_of_a_type_share_its_weights_and_come_in_their_shares() -> None:
    found = people({"source": "attributes", "count": 300, "types": TYPES, "shares": {"warm": 0.2, "brief": 0.8}, "flips": 0.1})
    kinds = [traits[0]["value"] for traits in found["traits"]]
    assert found.height == 300  # each has a number of its own
    assert 40 <= kinds.count("warm") <= 80
    assert all(row == TYPES[kind] for row, kind in zip(weights(found), kinds, strict=True))
    assert found["flips"].unique().to_list() == [0.1]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"source": "ensemble", "count": 5}, "exactly one of alpha"),
        ({"source": "ensemble", "alpha": 0.1}, "alpha without count"),
        ({"source": "ensemble", "weights": [{"warmth": 0.5}]}, "sum to 0.5"),
        ({"source": "ensemble", "count": 5, "alpha": 0.1, "rewards": ["warmht"]}, "did you mean 'warmth'"),
        ({"source": "attributes", "count": 5, "types": {"a": {"wramth": 1.0}}}, "did you mean 'warmth'"),
        ({"source": "attributes", "count": 5, "alpha": 0.5, "conflict": 0.5}, "about types"),
        ({"source": "attributes", "count": 5, "types": TYPES, "shares": {"warm": 1.0}}, "every type"),
        ({"source": "grid", "count": 5}, "judgements.model is missing"),
    ],
)
def test_sources_that_cannot_be_meant(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        people(source)


def test_a_grid_without_more_weights_says_so() -> None:
    with pytest.raises(InputError, match="gives no more that differ"):
        people({"source": "ensemble", "count": 3, "alpha": 0.1, "rewards": ["warmth"]})
