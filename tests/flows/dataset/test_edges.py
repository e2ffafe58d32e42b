"""The pairs shown are those at the threshold: held against all pairs."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import edges
from prefloom.flows.diversity.grid import cosines, on_grid
from tests.vectored import leave_out, vectored

GRID = on_grid(np.random.default_rng(3).normal(size=(60, 4)))


@pytest.mark.parametrize("block", [7, 2048])
@pytest.mark.parametrize("limit", [-2.0, 0.0, 0.9, 2.0, float(cosines(GRID[1:2], GRID[:1])[0, 0])])
def test_the_nearest_on_either_side_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch, block: int, limit: float) -> None:
    monkeypatch.setattr(edges, "_BLOCK", block)
    every = cosines(GRID, GRID)
    for above in (False, True):
        found = {row["second"]: row for row in edges.nearest(GRID, limit, above).to_dicts()}
        for j in range(len(GRID)):
            side = [float(every[j, i]) for i in range(j) if (every[j, i] >= limit) == above]
            assert (j in found) == bool(side)
            if side:
                assert found[j]["cosine"] == (min(side) if above else max(side))
                assert float(every[j, found[j]["first"]]) == found[j]["cosine"]


def test_no_text_is_shown_twice_and_the_nearest_come_first() -> None:
    everything = [(i, j, round(0.5 + 0.001 * i + 0.0001 * j, 4)) for i, j in itertools.combinations(range(20), 2)]
    frame = pl.DataFrame(everything, {"first": pl.Int64, "second": pl.Int64, "cosine": pl.Float64}, orient="row")
    for largest in (True, False):
        found = edges.edge(frame, largest)
        assert found.height == edges.SHOWN
        assert len({*found["first"], *found["second"]}) == 10
        assert found["cosine"][0] == (frame["cosine"].max() if largest else frame["cosine"].min())
        assert found["cosine"].is_sorted(descending=largest)
    by_prompt = edges.edge(frame.with_columns(prompt_id=pl.col("first").cast(pl.String)), largest=True)
    assert by_prompt["first"].to_list() == [18, 17, 16, 15, 14], "one pair of a prompt, whatever its texts"
    assert edges.edge(frame.clear(), largest=True).height == 0


def test_removed_rows_are_read_back_with_what_they_repeat(copy: Path) -> None:
    store = vectored(copy)
    row = {"prompt_id": "0" * 16, "text": "What?"}
    details = ["cosine 0.9000 (m), threshold 0.85", "cosine 1.0000 (m)", "cosine 0.8612 (m)", "cosine nan (m)", "near", "cosine 0.9 (m)"]
    leave_out(store, "prompts", "near_duplicate", [(row | {"prompt_id": f"{i:016x}"}, "f" * 16, text) for i, text in enumerate(details)])
    leave_out(
        store, "prompts", "near_duplicate", [(row | {"prompt_id": f"{9 + i:016x}"}, "f" * 16, f"cosine 0.8{i} (m)") for i in range(2, 6)]
    )
    leave_out(store, "prompts", "less_diverse", [(row, None, "cosine 0.1000 (m) with the nearest")])
    found = edges.removed(store, "prompts")
    assert found["cosine"].to_list() == [0.82, 0.83, 0.84, 0.85, 0.8612]
    assert set(found["duplicate_of"]) == {"f" * 16}
    assert edges.removed(store, "personas").height == 0
    assert edges.rejected_rows(store, "prompts", [f"{2:016x}"])["row_id"].to_list() == [f"{2:016x}"]
    assert edges.rejected_rows(store, "prompts", []).height == 0
