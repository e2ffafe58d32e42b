"""Ids and random numbers are part of the format: the values below may never change."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prefloom.schemas.ids import content_hash, content_id, draw, keys, shard_of, unit

IDS = st.lists(st.integers(0, 2**64 - 1).map("{:016x}".format), min_size=1, max_size=30)


def test_golden_values() -> None:
    assert content_id("prompt", "How do I wrap a present neatly?") == "2738bb37981c41a3"
    assert [int(x) for x in draw(1, "assign", keys(["00000000000000ff", "ffffffffffffffff"]))] == [
        9829232412818997916,
        13754684499300720298,
    ]


def test_hash_ignores_the_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": [2, None]}) == content_hash({"b": [2, None], "a": 1})
    assert content_id("a", "b") != content_id("ab", "")


def test_draws_broadcast_and_depend_on_every_counter() -> None:
    rows, columns = keys(["01", "02", "03"]), keys(["0a", "0b"])
    table = draw(7, "s", rows[:, None], columns[None, :])
    assert table.shape == (3, 2)
    assert table[1, 0] == draw(7, "s", rows[1:2], columns[0:1])[0]
    assert len({*table.ravel().tolist(), *draw(8, "s", rows).tolist(), *draw(7, "t", rows).tolist()}) == 12


def test_draws_look_uniform() -> None:
    points = unit(draw(3, "u", np.arange(200_000, dtype=np.uint64)))
    counts, _ = np.histogram(points, bins=20, range=(0, 1))
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 43.8  # chi-square, 19 degrees of freedom, p = .001
    assert abs(np.corrcoef(points[:-1], points[1:])[0, 1]) < 0.01


@given(IDS, st.integers(1, 64))
def test_shards_are_ranges_of_sorted_ids(ids: list[str], shards: int) -> None:
    places = shard_of(sorted(ids), shards)
    assert (np.diff(places) >= 0).all()
    assert 0 <= places.min() <= places.max() < shards
