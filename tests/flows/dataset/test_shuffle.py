"""Rows cut two ways: every row comes back once, in the part it was sent to."""

from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import shuffle
from prefloom.flows.dataset.store import Store

ROWS = pl.DataFrame({"id": list("abcdefg"), "margin": [1.0, None, 3.0, 4.0, 5.0, 6.0, 7.0]})
PLACE = pl.Series([2, 0, 2, 0, 2, 0, 0])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_each_part_has_its_rows_out_of_every_file_in_their_order(store: Store) -> None:
    shuffle.write(store, "a.arrow", ROWS, PLACE, 4, "hash")
    shuffle.write(store, "b.arrow", ROWS.clear(), PLACE.clear(), 4, "hash")
    shuffle.write(store, "c.arrow", ROWS.head(1), PLACE.head(1), 4, "hash")
    names = ["a.arrow", "b.arrow", "c.arrow"]
    parts = [shuffle.read(store, names, part) for part in range(4)]
    assert [part["id"].to_list() for part in parts] == [["b", "d", "f", "g"], [], ["a", "c", "e", "a"], []]
    assert parts[0]["margin"].to_list() == [None, 4.0, 6.0, 7.0]
    assert all(part.schema == ROWS.schema for part in parts)
    assert shuffle.read(store, names, 2, ["margin"]).to_dict(as_series=False) == {"margin": [1.0, 3.0, 5.0, 1.0]}


def test_a_file_of_something_else_or_a_torn_one_is_made_again(store: Store) -> None:
    shuffle.write(store, "a.arrow", ROWS, PLACE, 4, "hash")
    assert shuffle.is_made_of(store, "a.arrow", "hash")
    assert not shuffle.is_made_of(store, "a.arrow", "another")
    assert not shuffle.is_made_of(store, "b.arrow", "hash")
    store.publish("a.arrow", lambda file: file.write(store.read("a.arrow")[:-20]))
    assert not shuffle.is_made_of(store, "a.arrow", "hash")
