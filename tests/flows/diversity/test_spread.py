"""Farthest points: the plain method's choice, whatever is in hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloom.flows.diversity import spread as module
from prefloom.flows.diversity.grid import Grid, cosines
from prefloom.flows.diversity.spread import spread
from tests.flows.diversity.test_near import SMALL, clustered, lattice

SHARES = [[0.2, 0.5, 0.3], [0.75, 0.25]]


def written_out(rows: Grid, count: int, codes: np.ndarray | None = None, shares: Sequence[Sequence[float]] = ()) -> list[int]:
    """The plain method, with every row against every chosen one."""
    placed = rows.any(axis=1)
    nearest = np.where(placed, -2.0, 2.0)
    free, chosen = np.ones(len(rows), bool), list[int]()
    while len(chosen) < min(count, len(rows)):
        short = np.zeros(len(rows), int)
        for trait, wanted in enumerate(shares):
            assert codes is not None
            for value, share in enumerate(wanted):
                mine = codes[:, trait] == value
                short[mine] += share * (len(chosen) + 1) - mine[chosen].sum() > 1e-9
        eligible = free & (short == short[free].max())
        best = int(np.argmin(np.where(eligible, nearest, np.inf)))
        free[best] = False
        chosen.append(best)
        nearest = np.where(placed, np.maximum(nearest, cosines(rows, rows[best : best + 1])[:, 0]), 2.0)
    return chosen


@pytest.fixture(params=[1, 7, 4096])
def hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "_HAND", request.param)
    monkeypatch.setattr(module, "_BLOCK", 50)
    monkeypatch.setattr(module, "_CENTRES", 3)
    return int(request.param)


@settings(deadline=None)
@given(SMALL, st.integers(0, 80), st.integers(1, 20))
def test_it_is_the_plain_method_with_ties_and_zeros(size: tuple[int, int, int], count: int, many: int) -> None:
    rows = lattice(*size)
    codes = np.random.default_rng(size[2]).integers(-1, [3, 2], (len(rows), 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_HAND", many)
        patch.setattr(module, "_CENTRES", 2)
        assert spread(rows, count) == written_out(rows, count)
        assert spread(rows, count, codes, SHARES) == written_out(rows, count, codes, SHARES)


def test_it_is_the_plain_method_on_many(hand: int) -> None:
    rows = clustered(1500)
    codes = np.random.default_rng(0).integers(-1, [3, 2], (1500, 2))
    assert spread(rows, 60) == written_out(rows, 60)
    assert spread(rows, 60, codes, SHARES) == written_out(rows, 60, codes, SHARES)


def test_choosing_more_begins_with_the_same(hand: int) -> None:
    rows = clustered(400)
    longer = spread(rows, 120)
    assert sorted(set(longer)) == sorted(longer)
    for count in (0, 1, 40, 119):
        assert spread(rows, count) == longer[:count]


def test_all_identical_come_in_their_order(hand: int) -> None:
    rows = np.repeat(lattice(1, 3, 0), 30, axis=0)
    assert spread(rows, 12) == list(range(12))


def test_few_rows_none_and_more_than_there_are(hand: int) -> None:
    rows = clustered(10)
    assert sorted(spread(rows, 99)) == list(range(10))
    assert spread(rows[:1], 3) == [0]
    assert spread(rows[:0], 3) == []
    assert spread(rows[:0], 3, np.zeros((0, 1), np.int64), [[1.0]]) == []


def test_zeros_are_taken_last(hand: int) -> None:
    rows = clustered(20)
    rows[[0, 4]] = 0
    assert spread(rows, 20)[-2:] == [0, 4]
    assert spread(np.zeros((4, 3), np.int16), 3) == [0, 1, 2]


def test_shares_are_kept_as_long_as_there_are_rows(hand: int) -> None:
    rows, codes = clustered(1000), (np.arange(1000) % 10 == 0).astype(np.int64)[:, None]
    chosen = spread(rows, 160, codes, [[0.5, 0.5]])
    assert codes[chosen].sum() == 80
    assert codes[spread(rows, 400, codes, [[0.5, 0.5]])].sum() == 100
    assert codes[spread(rows, 100, codes, [[0.8, 0.2]])].sum() == 20


def test_chosen_rows_are_farther_apart_than_the_first_ones() -> None:
    rows = clustered(1000)
    far, first = (np.triu(cosines(rows[some], rows[some]), 1).max() for some in (spread(rows, 30), list(range(30))))
    assert far < first - 0.1
