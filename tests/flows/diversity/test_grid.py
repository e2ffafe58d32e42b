"""Cosines are exact: equal rows have 1, nothing has more, and no library, block or thread changes a bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloom.flows.diversity.grid import SCALE, cosines, on_grid
from prefloom.schemas.errors import InputError


def vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension))


def test_cosines_are_those_of_the_vectors() -> None:
    rows = vectors(200, 384)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.abs(cosines(on_grid(rows), on_grid(rows)) - unit @ unit.T).max() < 6e-4  # 1e-4 is usual


def test_length_does_not_matter() -> None:
    rows = vectors(50, 8).astype(np.float32)
    assert (on_grid(rows) == on_grid(rows * np.geomspace(1e-15, 1e15, 50, dtype=np.float32)[:, None])).all()
    assert (on_grid((rows / 8).astype(np.float16)) == on_grid((rows / 8).astype(np.float16).astype(np.float64))).all()


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(0, 10_000))
def test_equal_rows_have_one_and_none_has_more(dimension: int, seed: int) -> None:
    grid = on_grid(vectors(20, dimension, seed))
    found = cosines(grid, np.concatenate([grid, -grid]))
    assert (found.diagonal() == 1).all()
    assert np.abs(found).max() == 1


def test_the_bits_do_not_depend_on_the_order_of_adding() -> None:
    grid = on_grid(vectors(300, 384))
    shuffled = np.random.default_rng(1).permutation(384)
    assert (cosines(grid, grid) == cosines(grid[:, shuffled], grid[:, shuffled])).all()
    assert (cosines(grid, grid)[7:8, 100:103] == cosines(grid[7:8], grid[100:103])).all()


def test_products_stay_whole_at_the_widest() -> None:
    grid = on_grid(np.ones((2, 4096)) * 0.49 + vectors(2, 4096) * 1e-3)
    assert int((grid[0].astype(np.int64) ** 2).sum()) < 2**24
    assert cosines(grid, grid)[0, 0] == 1


def test_zeros_are_like_nothing() -> None:
    grid = on_grid(np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    assert not grid[0].any()
    assert cosines(grid, grid).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(value: float) -> None:
    rows = vectors(20_000, 2).astype(np.float16)
    rows[17_000, 1] = value
    with pytest.raises(InputError, match="row 17000"):
        on_grid(rows)


def test_no_rows() -> None:
    assert on_grid(np.zeros((0, 5))).shape == (0, 5)
    assert cosines(on_grid(np.zeros((0, 5))), on_grid(np.ones((2, 5)))).shape == (0, 2)
    assert np.abs(on_grid(np.eye(3))).max() == SCALE
