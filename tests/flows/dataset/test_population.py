"""Agreement, its corrections and its sources, on votes small enough to count by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import population
from prefloom.flows.dataset.statistics import Dataset, load
from prefloom.flows.dataset.store import Store


def ballots(rows: dict[str, list[int]]) -> pl.DataFrame:
    """persona -> its votes on comparisons 0, 1, 2, … (0: not asked); each comparison is a prompt of its own."""
    cells = [(p, f"c{i:03d}", f"q{i:03d}", v) for p, votes in rows.items() for i, v in enumerate(votes) if v]
    schema = {"persona_id": pl.String, "comparison_id": pl.String, "prompt_id": pl.String, "vote": pl.Int8}
    return pl.DataFrame(cells, schema=schema, orient="row").with_columns(weight=1.0)


def test_agreement_counts_every_pair_of_votes() -> None:
    found = population.agreement(ballots({"a": [1, 1], "b": [1, -1], "c": [1, 0]}))
    assert (found.value, found.of) == (pytest.approx(3 / 4), 4)
    assert found.low <= found.value <= found.high
    assert np.isnan(population.agreement(ballots({"a": [1]})).value)


def test_alpha_is_krippendorffs() -> None:
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example A: binary, two observers, alpha = 0.095.
    observers = {"a": [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], "b": [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]}
    assert population.alpha(ballots({who: [2 * v - 1 for v in votes] for who, votes in observers.items()})) == pytest.approx(
        0.095, abs=5e-4
    )
    assert population.alpha(ballots({"a": [1, -1], "b": [1, -1]})) == 1.0


def test_the_majority_leaves_the_voter_out_and_a_tie_counts_half() -> None:
    assert population.majority(ballots({"a": [1], "b": [-1]})).value == 0.0
    assert population.majority(ballots({"a": [1], "b": [1], "c": [-1]})).value == pytest.approx((0.5 + 0.5 + 0) / 3)


def test_contested_needs_enough_votes() -> None:
    split = {f"p{i:02d}": [1 if i < 7 else -1] for i in range(10)}
    assert population.contested(ballots(split), 0.3).value == 1.0
    assert population.contested(ballots(split), 0.31).value == 0.0
    assert np.isnan(population.contested(ballots({"a": [1], "b": [-1]}), 0.1).value)


def test_a_comparison_that_was_chosen_more_often_counts_less() -> None:
    frame = ballots({f"p{i:02d}": [1, 1 if i < 5 else -1] for i in range(10)})  # all agree on c000, c001 is torn
    weighed = frame.with_columns(weight=pl.when(pl.col("comparison_id") == "c000").then(3.0).otherwise(1.0))
    torn = 2 * 10 / 45
    assert population.agreement(frame).value == pytest.approx((1 + torn) / 2)
    assert population.agreement(weighed).value == pytest.approx((3 + torn) / 4)
    assert (population.contested(frame, 0.3).value, population.contested(weighed, 0.3).value) == (0.5, 0.25)
    assert population.majority(weighed).value == pytest.approx(0.75), "of five against five everybody is against the majority of the others"
    thrice = pl.concat([frame, *(frame.filter(pl.col("comparison_id") == "c000").with_columns(comparison_id=pl.lit(c)) for c in "xy")])
    assert population.alpha(weighed) == pytest.approx(population.alpha(thrice))


def test_the_matrix_puts_those_who_agree_side_by_side() -> None:
    left, right = [1, -1] * 10, [-1, 1] * 10
    found = population.matrix(ballots({"a": left, "b": right, "c": left, "d": right, "e": [1] * 5 + [0] * 15}))
    assert found.same[found.ids.index("a"), found.ids.index("c")] == 1.0
    assert found.same[found.ids.index("a"), found.ids.index("b")] == 0.0
    assert np.isnan(found.same[found.ids.index("a"), found.ids.index("e")]), "five shared comparisons say nothing"
    assert "".join(p for p in found.ids if p != "e") in {"acbd", "acdb", "cabd", "cadb", "bdac", "bdca", "dbac", "dbca"}
    assert sorted(found.twins()) == [1.0] * 4


def test_the_trait_that_divides_comes_first() -> None:
    left, right = [1, -1] * 10, [-1, 1] * 10
    votes = ballots({"a": left, "b": right, "c": left, "d": right})
    traits = {
        p: [{"name": "tone", "value": "warm" if p in "ac" else "dry"}, {"name": "town", "value": "x" if p in "ab" else "y"}] for p in "abcd"
    }
    personas = pl.DataFrame({"persona_id": list(traits), "traits": list(traits.values())})
    assert population.dividing(population.matrix(votes), personas).rows() == [("tone", 1.0, 0.0), ("town", 0.0, 0.5)]


@pytest.mark.parametrize(("pair", "personal", "noise"), [(2.0, 1.0, 0.5), (0.0, 1.0, 1.0), (1.0, 0.0, 0.2)])
def test_variance_is_taken_apart_as_it_was_put_together(small: object, pair: float, personal: float, noise: float) -> None:
    rng = np.random.default_rng(1)
    u, c = 200, 300
    truth = pair * rng.normal(size=(1, c)) + personal * rng.normal(size=(u, c))
    liking = 3 * rng.normal(size=(1, c))  # for the first place, by comparison: averaging both orders removes it
    x, y = (truth + sign * liking + noise * rng.normal(size=(u, c)) for sign in (1, -1))
    labels = pl.DataFrame(
        {"comparison_id": np.tile(np.arange(c), u).astype(str), "margin": ((x + y) / 2).ravel(), "bias": ((x - y) / 2).ravel()}
    )
    data: Dataset = replace(load(Store(str(small))), labels=labels)
    total = pair**2 + personal**2 + noise**2 / 2
    expected = (pair**2 / total, personal**2 / total, noise**2 / 2 / total)
    assert population.variance_shares(data) == pytest.approx(expected, abs=0.04)
