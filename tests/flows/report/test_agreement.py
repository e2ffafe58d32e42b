"""The bounds on disagreement in the report: rounds as they are on disk, and the personas beyond the bounds, who are escaped."""

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import statistics
from prefloom.flows.dataset.population import Agreement as Matrix
from prefloom.flows.report.agreement import far_off, rounds

BAD = "<script>alert(1)</script>"


def test_rounds_are_counted() -> None:
    drafts = pl.DataFrame(
        [("p", 0, 0.1, 2.0, "regenerated", False), ("p", 1, 0.3, 1.0, "kept", True), ("q", 0, None, None, "gave_up", True)],
        schema=["prompt_id", "round", "disagreement", "strength", "action", "stays"],
        orient="row",
    )
    first, second = rounds(drafts)
    assert (first["prompts"], first["inside"], first["stays"], first["disagreement"]) == (2, 0, 1, 0.1)
    assert (second["prompts"], second["inside"], second["stays"], second["strength"]) == (1, 1, 1, 1.0)


def test_personas_beyond_the_bounds_are_listed() -> None:
    same = np.array([[1.0, 0.9, 0.1, np.nan], [0.9, 1.0, 0.15, np.nan], [0.1, 0.15, 1.0, np.nan], [np.nan, np.nan, np.nan, 1.0]])
    empty = pl.DataFrame()
    personas = pl.DataFrame({"persona_id": ["a", "b", "c", "d"], "description": ["A.", "B.", BAD, "D."]})
    labels = pl.DataFrame({"persona_id": ["a", "c", "c"], "consistency": [1.0, 1.0, 0.0]})
    data = statistics.Dataset(personas, empty, empty, empty, labels, empty)
    found = far_off(data, Matrix(["a", "b", "c", "d"], same), 0.2, 0.8)
    assert found["persona_id"].to_list() == ["c"], "0.875; a: 0.5, b: 0.475, d shares nothing with anybody"
    assert found["disagreement"].to_list() == pytest.approx([0.875])
    assert found["consistent"].to_list() == [0.5]
    assert far_off(data, Matrix([], np.zeros((0, 0))), 0.2, 0.8).is_empty()
