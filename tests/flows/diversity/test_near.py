"""Near-duplicates: what is kept, what is left out, and by whom."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloom.flows.diversity import near
from prefloom.flows.diversity.grid import Grid, cosines, on_grid
from prefloom.flows.diversity.near import Near, near_duplicates

SMALL = st.tuples(st.integers(0, 70), st.integers(1, 5), st.integers(0, 10_000))


def lattice(count: int, dimension: int, seed: int) -> Grid:
    """Rows with many equals, ties, opposites and zeros."""
    return on_grid(np.random.default_rng(seed).integers(-2, 3, (count, dimension)))


def clustered(count: int, seed: int = 0) -> Grid:
    """Rows around as many centres as half of them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count // 2, 32))
    return on_grid(centres[rng.integers(0, len(centres), count)] + rng.uniform(0.05, 0.6, (count, 1)) * rng.standard_normal((count, 32)))


def written_out(rows: Grid, threshold: float) -> Near:
    """The definition, row by row."""
    found, kept = Near(np.full(len(rows), -1), np.full(len(rows), np.nan, np.float32)), list[int]()
    every = cosines(rows, rows)
    for row in np.flatnonzero(rows.any(axis=1)):
        if kept:
            best = int(every[row, kept].argmax())
            found.cosine[row] = every[row, kept][best]
            if found.cosine[row] >= threshold:
                found.of[row] = kept[best]
                continue
        kept.append(int(row))
    return found


def same(first: Near, second: Near) -> bool:
    return bool((first.of == second.of).all()) and np.array_equal(first.cosine, second.cosine, equal_nan=True)


@settings(deadline=None)
@given(SMALL, st.sampled_from([0.3, 0.5, 0.9, 1.0]), st.integers(1, 40), st.integers(1, 12))
def test_it_is_the_definition_whatever_the_blocks(size: tuple[int, int, int], threshold: float, block: int, part: int) -> None:
    rows = lattice(*size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "_BLOCK", block)
        patch.setattr(near, "_PART", part)
        assert same(near_duplicates(rows, threshold), written_out(rows, threshold))


@settings(deadline=None)
@given(SMALL, st.sampled_from([0.5, 0.9, 1.0]))
def test_kept_rows_are_apart_and_the_others_name_an_earlier_kept_one(size: tuple[int, int, int], threshold: float) -> None:
    rows = lattice(*size)
    found = near_duplicates(rows, threshold)
    every = cosines(rows, rows)
    kept = np.flatnonzero(found.of < 0)
    assert (np.triu(every[np.ix_(kept, kept)], 1) < threshold).all()
    for row in np.flatnonzero(found.of >= 0):
        assert found.of[row] < row
        assert found.of[found.of[row]] == -1
        assert every[row, found.of[row]] == found.cosine[row] >= threshold


@settings(deadline=None)
@given(SMALL, st.integers(0, 70))
def test_later_rows_change_nothing_for_earlier_ones(size: tuple[int, int, int], cut: int) -> None:
    rows = lattice(*size)
    others = np.concatenate([rows[:cut], np.random.default_rng(1).permutation(rows[cut:])])
    first, second = near_duplicates(rows, 0.9), near_duplicates(others, 0.9)
    assert same(Near(first.of[:cut], first.cosine[:cut]), Near(second.of[:cut], second.cosine[:cut]))


def test_the_first_of_a_chain_hides_only_what_is_near_itself() -> None:
    angles = np.radians([0, 20, 40])  # cos 20° = 0.94, cos 40° = 0.77
    found = near_duplicates(on_grid(np.column_stack([np.cos(angles), np.sin(angles)])), 0.9)
    assert found.of.tolist() == [-1, 0, -1]
    assert found.cosine[2] == pytest.approx(0.766, abs=1e-3)


@pytest.mark.parametrize("exact", [20_000, 100])
def test_all_identical_none_one_and_zeros(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_EXACT", exact)
    monkeypatch.setattr(near, "_BLOCK", 256)
    row = on_grid(np.random.default_rng(0).standard_normal((1, 384)))
    found = near_duplicates(np.repeat(row, 1000, axis=0), 1.0)
    assert (found.of[1:] == 0).all()
    assert (found.cosine[1:] == 1).all()
    assert same(near_duplicates(row, 0.5), Near(np.array([-1]), np.array([np.nan], np.float32)))
    assert near_duplicates(row[:0], 0.5).of.shape == (0,)
    zeros = near_duplicates(np.zeros((1000, 384), np.int16), 0.5)
    assert (zeros.of == -1).all()
    assert np.isnan(zeros.cosine).all()


def test_zeros_between_others_change_nothing_for_these() -> None:
    rows = clustered(300)
    holes = np.zeros((600, 32), np.int16)
    holes[::2] = rows
    plain, found = near_duplicates(rows, 0.9), near_duplicates(holes, 0.9)
    assert (found.of[1::2] == -1).all()
    assert (found.of[::2] == np.where(plain.of < 0, -1, 2 * plain.of)).all()


def cells(rows: Grid, probes: int = 24) -> Near:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_EXACT": 0, "_BLOCK": 200, "_PROBES": probes}.items():
            patch.setattr(near, name, value)
        return near_duplicates(rows, 0.9)


def test_cells_find_nearly_all_and_nothing_else() -> None:
    rows = clustered(4000)
    found, true = cells(rows), written_out(rows, 0.9)
    every = cosines(rows, rows)
    out = np.flatnonzero(found.of >= 0)
    assert len(out) > 300
    assert (every[out, found.of[out]] == found.cosine[out]).all()
    assert (found.cosine[out] >= 0.9).all()
    assert (found.of[found.of[out]] == -1).all()
    kept = found.of < 0
    missed = ((np.tril(every, -1) >= 0.9) & kept).any(axis=1) & kept
    assert missed.sum() <= 0.02 * (true.of >= 0).sum()
    assert same(cells(rows, probes=10_000), true)


def test_cells_find_every_exact_repeat() -> None:
    rows = clustered(1500)
    found = cells(np.concatenate([rows, rows]), probes=1)
    kept = np.flatnonzero(found.of[:1500] < 0)
    assert (found.of[1500 + kept] == kept).all()
    assert (found.cosine[1500 + kept] == 1).all()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_number_of_threads_changes_nothing(threads: str) -> None:
    code = (
        "from tests.flows.diversity.test_near import cells, clustered; import hashlib;"
        "found = cells(clustered(3000)); print(hashlib.sha256(found.of.tobytes() + found.cosine.tobytes()).hexdigest())"
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | dict.fromkeys(names, threads), capture_output=True, text=True, check=True
    )
    found = cells(clustered(3000))
    assert run.stdout.strip() == hashlib.sha256(found.of.tobytes() + found.cosine.tobytes()).hexdigest()
