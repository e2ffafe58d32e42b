"""Vendi score and the plane, each against its definition."""

import numpy as np
import pytest

from prefloom.flows.diversity.grid import on_grid
from prefloom.flows.diversity.measure import plane, vendi


def rows(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension))


@pytest.mark.parametrize(("count", "dimension"), [(5, 16), (40, 6)])
def test_vendi_is_the_definition(count: int, dimension: int) -> None:
    some = rows(count, dimension)
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / count)
    values = values[values > 1e-12]
    assert vendi(on_grid(some)) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-3)


def test_vendi_counts_what_has_nothing_in_common() -> None:
    assert vendi(on_grid(np.eye(7))) == pytest.approx(7)
    assert vendi(on_grid(np.repeat(np.eye(3), 5, axis=0))) == pytest.approx(3)
    assert vendi(on_grid(np.repeat(rows(1, 384), 50, axis=0))) == pytest.approx(1)
    assert vendi(on_grid(rows(1))) == pytest.approx(1)


def test_vendi_of_rows_of_zeros_and_of_none() -> None:
    some = on_grid(np.eye(4))
    some[0] = 0
    assert vendi(some) == pytest.approx(3)
    assert np.isnan(vendi(np.zeros((4, 3), np.int16)))
    assert np.isnan(vendi(np.zeros((0, 3), np.int16)))


def test_vendi_of_very_many_is_that_of_a_part() -> None:
    assert vendi(on_grid(np.tile(np.eye(10), (2501, 1)))) == pytest.approx(10, rel=1e-3)


def test_plane_shows_the_directions_in_which_rows_differ() -> None:
    some = rows(400) * np.array([0.02, 3, 0.02, 1] + [0.02] * 12)
    found = plane(on_grid(some))
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    assert found.shape == (400, 2)
    assert abs(np.corrcoef(found[:, 0], unit[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(found[:, 1], unit[:, 3])[0, 1]) > 0.99
    assert np.allclose(plane(on_grid(some * 2)), found)


def test_plane_of_few_rows_and_few_dimensions() -> None:
    assert plane(on_grid(rows(1))).tolist() == [[0, 0]]
    assert plane(on_grid(rows(0))).shape == (0, 2)
    assert plane(on_grid(np.ones((3, 1)))).tolist() == [[0, 0]] * 3
    assert np.allclose(plane(np.repeat(on_grid(rows(1)), 9, axis=0)), 0)
