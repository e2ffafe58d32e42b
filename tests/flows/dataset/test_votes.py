"""What all voters say of a comparison, and what people in general do, worked by hand."""

import math

import polars as pl
import pytest

from prefloom.flows.dataset.votes import generic, votes


def test_votes_are_counted_over_all_labels_and_ties_are_halved() -> None:
    labels = pl.DataFrame({"comparison_id": ["c"] * 4 + ["d"] * 2 + ["e"], "margin": [1.0, 0.3, -2.0, 0.5, 0.0, 1.0, -1.0]})
    rows = {row["comparison_id"]: row for row in votes(labels).iter_rows(named=True)}
    assert rows["c"] == {"comparison_id": "c", "voters": 4, "minority_share": 0.25, "entropy": 0.5623}
    assert (rows["d"]["voters"], rows["d"]["minority_share"]) == (2, 0.25), "a tie is half a vote for each"
    assert (rows["e"]["minority_share"], math.copysign(1, rows["e"]["entropy"])) == (0.0, 1.0), "not minus nothing"
    assert votes(labels.reverse()).equals(votes(labels))


def test_the_reading_for_nobody_averages_both_orders() -> None:
    rows = [("c", "", "ab", 1.9), ("c", "", "ba", -0.7), ("c", "5d", "ab", 9.0), ("d", "", "ab", 1.0)]
    frame = pl.DataFrame(rows, schema=["comparison_id", "read_as", "order", "log_odds"], orient="row").with_columns(repeat=0)
    (row,) = generic(frame).iter_rows()
    assert row == ("c", pytest.approx(1 / (1 + math.exp(-1.3)), abs=1e-4)), "d was read in one order only"
